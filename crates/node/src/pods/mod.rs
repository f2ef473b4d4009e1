//! The router: it hears of pods (API) and of containers (runtime), and wakes the actor whose business it is.

mod api;
mod runtime;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use remora_cri::labels;

pub(crate) use api::watch;
pub(crate) use runtime::{adopt, listen};

use crate::actor::{self, Adopted, Handle, Wake};
use crate::context::{Context, id_of};

/// The actors, by the UID of their pod.
#[derive(Clone, Default)]
pub(crate) struct Pods(Arc<Mutex<HashMap<String, Handle>>>);

impl Pods {
    /// The actor of a pod.
    pub(crate) fn get(&self, uid: &str) -> Option<Handle> {
        self.lock().get(uid).cloned()
    }

    /// All actors.
    pub(crate) fn all(&self) -> Vec<(String, Handle)> {
        self.lock().iter().map(|(uid, handle)| (uid.clone(), handle.clone())).collect()
    }

    /// A pod as the API has it now: wakes its actor, or starts one.
    async fn put(&self, context: &Context, pod: Pod, adopted: impl FnOnce() -> Adopted) {
        let uid = id_of(&pod).uid.to_owned();
        match self.get(&uid) {
            Some(handle) => handle.wake(Wake::Pod(Arc::new(pod))).await,
            None => self.start(context, pod, adopted()),
        }
    }

    /// A pod that the API has dropped.
    async fn removed(&self, pod: Pod) {
        if let Some(handle) = self.get(id_of(&pod).uid) {
            handle.wake(Wake::Removed(Arc::new(pod))).await;
        }
    }

    fn start(&self, context: &Context, pod: Pod, adopted: Adopted) {
        let uid = id_of(&pod).uid.to_owned();
        let handle = actor::start(context, pod, adopted);
        self.lock().insert(uid.clone(), handle.clone());
        let pods = self.clone();
        context.tasks.spawn(async move {
            handle.ended().await;
            pods.lock().remove(&uid);
        });
    }

    /// The map is whole even if a holder of the lock has panicked: no operation on it has two steps.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Handle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pod that a label set names.
pub(crate) fn uid_of(labels: &std::collections::BTreeMap<String, String>) -> Option<&str> {
    labels.get(labels::POD_UID).map(String::as_str)
}
