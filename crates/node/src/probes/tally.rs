//! How often each probe has gone well and how often not, for whoever asks the node. A pod's counts go with the pod.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;

use crate::context::id_of;

/// What came of one probe of one container so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTally {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID.
    pub uid: String,
    /// The container's name.
    pub container: String,
    /// `Startup`, `Liveness`, `Readiness`.
    pub kind: &'static str,
    /// How often it went well.
    pub successful: u64,
    /// How often not.
    pub failed: u64,
}

/// All of them, by pod. The lock is held for a look-up only.
#[derive(Debug, Default)]
pub(crate) struct ProbeCounts(Mutex<BTreeMap<String, Vec<ProbeTally>>>);

impl ProbeCounts {
    /// One more.
    pub(crate) fn count(&self, pod: &Pod, container: &str, kind: &'static str, is_well: bool) {
        let id = id_of(pod);
        let mut all = self.lock();
        let of_pod = all.entry(id.uid.to_owned()).or_default();
        let place = of_pod.iter().position(|of| of.container == container && of.kind == kind);
        let place = place.unwrap_or_else(|| {
            of_pod.push(ProbeTally {
                namespace: id.namespace.to_owned(),
                pod: id.name.to_owned(),
                uid: id.uid.to_owned(),
                container: container.to_owned(),
                kind,
                successful: 0,
                failed: 0,
            });
            of_pod.len() - 1
        });
        *(if is_well { &mut of_pod[place].successful } else { &mut of_pod[place].failed }) += 1;
    }

    /// The pod is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    pub(crate) fn all(&self) -> Vec<ProbeTally> {
        self.lock().values().flatten().cloned().collect()
    }

    /// The map is whole even if a holder of the lock has panicked: no operation on it has two steps.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<ProbeTally>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_counts_go_with_the_pod() {
        let pod = |uid: &str| {
            let mut pod = Pod::default();
            pod.metadata.uid = Some(uid.to_owned());
            pod
        };
        let counts = ProbeCounts::default();
        for is_well in [true, false, true] {
            counts.count(&pod("a"), "web", "Liveness", is_well);
        }
        counts.count(&pod("a"), "web", "Readiness", true);
        counts.count(&pod("b"), "web", "Liveness", true);
        let seen: Vec<(String, &str, u64, u64)> =
            counts.all().into_iter().map(|of| (of.uid, of.kind, of.successful, of.failed)).collect();
        let a = || "a".to_owned();
        assert_eq!(seen, [(a(), "Liveness", 2, 1), (a(), "Readiness", 1, 0), ("b".to_owned(), "Liveness", 1, 0)]);
        counts.forget("a");
        assert_eq!(counts.all().len(), 1);
    }
}
