//! Volumes on the node's disk that may only get so large: when they are measured, and whose pod is evicted.
//!
//! Source: kubernetes `pkg/kubelet/eviction/eviction_manager.go`, `emptyDirLimitEviction`, whose words these are. Volumes in memory are no matter of
//! this: the kernel holds them to their limit.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use remora_model::quantity::Quantity;

use crate::observed::Observed;

/// How long a measure is good for, as in a kubelet.
const MEASURED_EVERY: SignedDuration = SignedDuration::from_secs(10);
/// A walk through many files comes more rarely: all measuring of a pod takes no more than this part of a core.
const LEAST_REST: i32 = 100;
/// From here on pods are critical: what the cluster needs is not evicted.
const CRITICAL: i32 = 2_000_000_000;

/// What a look at a pod's volumes has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// When it was over.
    pub at: Timestamp,
    /// How long it took.
    pub took: SignedDuration,
    /// Bytes on the disk, by volume.
    pub volumes: BTreeMap<String, Size>,
}

/// How much a volume takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// So many bytes.
    Exactly(u64),
    /// At least so many: it has too many files or folders too deep to be looked through.
    AtLeast(u64),
}

/// The volumes of a pod that must be measured, and what each may take at most.
pub fn limited_volumes(pod: &Pod) -> impl Iterator<Item = (&str, &str)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| {
        let source = volume.empty_dir.as_ref()?;
        let is_on_disk = source.medium.as_deref().is_none_or(str::is_empty);
        let limit = source.size_limit.as_ref().filter(|_| is_on_disk)?;
        Some((volume.name.as_str(), limit.0.as_str()))
    })
}

/// When the volumes are to be measured next; none if nothing is limited, or nothing runs that could write.
pub(crate) fn next_measure(pod: &Pod, observed: &Observed) -> Option<Timestamp> {
    let runs = observed.attempts().any(|(_, attempt)| attempt.is_running());
    if !runs || is_critical(pod, observed) || limited_volumes(pod).next().is_none() {
        return None;
    }
    let Some(last) = &observed.storage else { return Some(Timestamp::UNIX_EPOCH) };
    let rest = MEASURED_EVERY.max(last.took.saturating_mul(LEAST_REST));
    Some(last.at.saturating_add(rest).unwrap_or(Timestamp::MAX))
}

/// Why the pod may not stay: the whole sentence.
pub(crate) fn excess(pod: &Pod, observed: &Observed) -> Option<String> {
    let measured = observed.storage.as_ref().filter(|_| !is_critical(pod, observed))?;
    limited_volumes(pod).find_map(|(name, limit)| {
        let most = Quantity::parse(limit).ok().filter(|limit| limit.sign() > 0)?.value();
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        match *measured.volumes.get(name)? {
            // Its last space is upstream's.
            Size::Exactly(used) | Size::AtLeast(used) if used > most => {
                Some(format!("Usage of EmptyDir volume {name:?} exceeds the limit {limit:?}. "))
            }
            Size::Exactly(_) => None,
            // Else whoever makes enough empty files, or folders deep enough, would have no limit.
            Size::AtLeast(_) => Some(format!(
                "Usage of EmptyDir volume {name:?} with the limit {limit:?} cannot be measured: it has too many files, \
                 or folders that are too deep. "
            )),
        }
    })
}

fn is_critical(pod: &Pod, observed: &Observed) -> bool {
    observed.is_static || pod.spec.as_ref().and_then(|spec| spec.priority).is_some_and(|priority| priority >= CRITICAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::{Attempt, AttemptState, Track};
    use serde_json::{Value, json};

    fn pod(volumes: Value, priority: i32) -> Pod {
        serde_json::from_value(json!({"spec": {"containers": [], "priority": priority, "volumes": volumes}})).unwrap()
    }

    fn running(storage: Option<Measured>) -> Observed {
        let attempt = Attempt::new("1", AttemptState::Running { since: Timestamp::UNIX_EPOCH });
        let track = Track { attempts: vec![attempt], ..Track::default() };
        Observed { tracks: [("c".to_owned(), track)].into(), storage, ..Observed::default() }
    }

    fn measured(used: u64) -> Option<Measured> {
        found(Size::Exactly(used))
    }

    fn found(used: Size) -> Option<Measured> {
        Some(Measured { volumes: [("v".to_owned(), used)].into(), ..Measured::default() })
    }

    #[test]
    fn a_volume_on_the_disk_may_be_as_large_as_its_limit() {
        let limited = json!([{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]);
        let over = Some("Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ");
        for (volumes, priority, used, expected) in [
            (limited.clone(), 0, 1 << 20, None),
            (limited.clone(), 0, (1 << 20) + 1, over),
            (limited.clone(), CRITICAL, 1 << 30, None),
            (json!([{"name": "v", "emptyDir": {"sizeLimit": "0"}}]), 0, 1 << 30, None),
            (json!([{"name": "v", "emptyDir": {"sizeLimit": "1Mi", "medium": "Memory"}}]), 0, 1 << 30, None),
            (json!([{"name": "v", "emptyDir": {}}]), 0, 1 << 30, None),
            (json!([{"name": "w", "emptyDir": {"sizeLimit": "1Mi"}}]), 0, 1 << 30, None),
        ] {
            let pod = pod(volumes, priority);
            assert_eq!(excess(&pod, &running(measured(used))).as_deref(), expected, "{pod:?} with {used}");
        }
        let mut of_a_file = running(measured(1 << 30));
        of_a_file.is_static = true;
        assert_eq!(excess(&pod(limited, 0), &of_a_file), None);
    }

    #[test]
    fn what_cannot_be_measured_to_its_end_is_never_small() {
        let pod = |priority| pod(json!([{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]), priority);
        let said = |priority, bytes| excess(&pod(priority), &running(found(Size::AtLeast(bytes))));
        let over = "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ";
        let unknown = "Usage of EmptyDir volume \"v\" with the limit \"1Mi\" cannot be measured: it has too many files, \
                       or folders that are too deep. ";
        assert_eq!(said(0, 2 << 20).as_deref(), Some(over));
        assert_eq!(said(0, 0).as_deref(), Some(unknown));
        assert_eq!(said(CRITICAL, 0), None);
    }

    #[test]
    fn only_what_is_limited_and_runs_is_measured_and_the_more_rarely_the_longer_it_takes() {
        let limited = pod(json!([{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]), 0);
        let after = |millis| {
            let took = SignedDuration::from_millis(millis);
            let next = next_measure(&limited, &running(Some(Measured { took, ..Measured::default() })));
            next.map(Timestamp::as_second)
        };
        assert_eq!(next_measure(&limited, &running(None)), Some(Timestamp::UNIX_EPOCH));
        assert_eq!((after(1), after(100), after(2000)), (Some(10), Some(10), Some(200)));
        assert_eq!(next_measure(&limited, &Observed::default()), None, "nothing runs");
        assert_eq!(next_measure(&pod(json!([{"name": "v", "emptyDir": {}}]), 0), &running(None)), None);
    }
}
