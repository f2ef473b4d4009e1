//! The pods that the API assigns to this node: a list, then a watch, and again when the watch breaks.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use remora_decide::is_mirror;
use tokio::sync::mpsc;

use super::Pods;
use crate::actor::{Adopted, Origin, need};
use crate::context::{Context, id_of};
use crate::statics::MirrorNews;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Why a watch has to begin again with a list.
enum Broken {
    /// The revision is too old, or the server refuses.
    Api(kube::Error),
}

/// Lists once, starts actors, then watches until the agent stops. `adopted` is what the runtime has, by pod UID; what no
/// pod of the API claims is cleaned up. `ready` is told when the first list has been handed out.
pub(crate) async fn watch(
    context: Context,
    pods: Pods,
    adopted: HashMap<String, Adopted>,
    mirrors: mpsc::Sender<MirrorNews>,
    ready: tokio::sync::oneshot::Sender<()>,
) {
    let mut state = Watch { context, pods, adopted, mirrors, ready: Some(ready) };
    let mut wait = FIRST_WAIT;
    loop {
        let stop = state.context.stop.clone();
        // Dropping a half-done list or watch loses nothing: the next begins with a list.
        let result = tokio::select! {
            () = stop.cancelled() => return,
            result = state.list_and_watch(&mut wait) => result,
        };
        if let Err(Broken::Api(error)) = result {
            tracing::warn!(%error, "the watch of pods has broken, it begins again");
            // Cancel-safe: only waiting.
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

struct Watch {
    context: Context,
    pods: Pods,
    adopted: HashMap<String, Adopted>,
    mirrors: mpsc::Sender<MirrorNews>,
    ready: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Watch {
    /// Returns when the server wants a new list.
    async fn list_and_watch(&mut self, wait: &mut Duration) -> Result<(), Broken> {
        let mine = format!("spec.nodeName={}", self.context.config.node_name);
        let api: Api<Pod> = Api::all(self.context.config.client.clone());
        let list = api.list(&ListParams::default().fields(&mine)).await.map_err(Broken::Api)?;
        let mut revision = list.metadata.resource_version.clone().unwrap_or_default();
        self.take_list(list.items).await;
        if let Some(ready) = self.ready.take() {
            // Whoever started us may have given up waiting.
            let _ = ready.send(());
        }
        *wait = FIRST_WAIT;
        loop {
            let stream = api.watch(&WatchParams::default().fields(&mine), &revision).await.map_err(Broken::Api)?;
            let mut stream = pin!(stream);
            while let Some(event) = stream.try_next().await.map_err(Broken::Api)? {
                match event {
                    WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                        revision = pod.metadata.resource_version.clone().unwrap_or(revision);
                        self.put(pod).await;
                    }
                    WatchEvent::Deleted(pod) => {
                        revision = pod.metadata.resource_version.clone().unwrap_or(revision);
                        self.removed(pod).await;
                    }
                    WatchEvent::Bookmark(bookmark) => revision = bookmark.metadata.resource_version,
                    WatchEvent::Error(status) if status.code == 410 => return Ok(()),
                    WatchEvent::Error(status) => return Err(Broken::Api(kube::Error::Api(status))),
                }
            }
        }
    }

    async fn put(&mut self, pod: Pod) {
        if is_mirror(&pod) {
            return self.tell(MirrorNews::Is(Arc::new(pod))).await;
        }
        let adopted = &mut self.adopted;
        let uid = id_of(&pod).uid.to_owned();
        self.pods.put(&self.context, pod, || adopted.remove(&uid).unwrap_or_default()).await;
    }

    async fn removed(&mut self, pod: Pod) {
        if is_mirror(&pod) {
            return self.tell(MirrorNews::Gone(Arc::new(pod))).await;
        }
        self.pods.removed(pod).await;
    }

    async fn tell(&self, news: MirrorNews) {
        // The keeper of static pods ends only with the agent.
        let _ = self.mirrors.send(news).await;
    }

    /// Every pod of the list; and those that have vanished while nobody watched.
    async fn take_list(&mut self, list: Vec<Pod>) {
        let (mirrors, list): (Vec<Pod>, Vec<Pod>) = list.into_iter().partition(is_mirror);
        self.tell(MirrorNews::All(mirrors.into_iter().map(Arc::new).collect())).await;
        let present: HashSet<String> = list.iter().map(|p| id_of(p).uid.to_owned()).collect();
        // Actors look at once: what one of them may be given depends on what all have.
        list.iter().for_each(|pod| self.context.claims.expect(id_of(pod).uid, need(pod)));
        for pod in list {
            self.put(pod).await;
        }
        for (uid, handle) in self.pods.all() {
            let view = handle.view();
            if !view.observed.is_static && !present.contains(&uid) {
                self.pods.removed((*view.pod).clone()).await;
            }
        }
        for (_, orphan) in self.adopted.drain() {
            if let Some(pod) = orphan.pod() {
                self.pods.start(&self.context, pod.clone(), Origin::Runtime, orphan);
                self.pods.removed(pod).await;
            }
        }
        super::runtime::clear_folders(&self.context, &self.pods);
    }
}
