//! The router: it hears of pods (API) and of containers (runtime), and wakes the actor whose business it is.

mod api;
mod runtime;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use remora_cri::labels;

pub(crate) use api::watch;
pub(crate) use runtime::{adopt, listen};

use crate::actor::{self, Adopted, Handle, Origin, Wake};
use crate::context::{Context, id_of};

/// The actors, by the UID of their pod.
#[derive(Clone, Default)]
pub(crate) struct Pods(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    actors: HashMap<String, Handle>,
    /// Static pods by the UIDs of their mirrors: by those the API asks for them.
    mirrors: HashMap<String, String>,
}

impl Pods {
    /// The actor of a pod, by its UID or that of its mirror.
    pub(crate) fn get(&self, uid: &str) -> Option<Handle> {
        let known = self.lock();
        let uid = known.mirrors.get(uid).map_or(uid, String::as_str);
        known.actors.get(uid).cloned()
    }

    /// All actors.
    pub(crate) fn all(&self) -> Vec<(String, Handle)> {
        self.lock().actors.iter().map(|(uid, handle)| (uid.clone(), handle.clone())).collect()
    }

    /// From now on the mirror's UID leads to the static pod.
    pub(crate) fn add_mirror(&self, mirror: &str, pod: &str) {
        self.lock().mirrors.insert(mirror.to_owned(), pod.to_owned());
    }

    /// The mirror is gone.
    pub(crate) fn remove_mirror(&self, mirror: &str) {
        self.lock().mirrors.remove(mirror);
    }

    /// A pod as the API has it now: wakes its actor, or starts one.
    async fn put(&self, context: &Context, pod: Pod, adopted: impl FnOnce() -> Adopted) {
        let uid = id_of(&pod).uid.to_owned();
        match self.get(&uid) {
            Some(handle) => handle.wake(Wake::Pod(Arc::new(pod))).await,
            None => drop(self.start(context, pod, Origin::Api, adopted())),
        }
    }

    /// A pod that the API has dropped.
    async fn removed(&self, pod: Pod) {
        if let Some(handle) = self.get(id_of(&pod).uid) {
            handle.wake(Wake::Removed(Arc::new(pod))).await;
        }
    }

    /// Starts the actor of a pod.
    pub(crate) fn start(&self, context: &Context, pod: Pod, origin: Origin, adopted: Adopted) -> Handle {
        let uid = id_of(&pod).uid.to_owned();
        let handle = actor::start(context, pod, origin, adopted);
        self.lock().actors.insert(uid.clone(), handle.clone());
        let (pods, started) = (self.clone(), handle.clone());
        context.tasks.spawn(async move {
            started.ended().await;
            let mut known = pods.lock();
            // A static pod's file may be back already, with another actor.
            if known.actors.get(&uid).is_some_and(Handle::has_ended) {
                known.actors.remove(&uid);
            }
        });
        handle
    }

    /// The map is whole even if a holder of the lock has panicked: no operation on it has two steps.
    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pod that a label set names.
pub(crate) fn uid_of(labels: &std::collections::BTreeMap<String, String>) -> Option<&str> {
    labels.get(labels::POD_UID).map(String::as_str)
}
