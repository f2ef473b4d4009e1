//! The scheduler `default-scheduler`: each pod without a node gets one at once, or its user is told why not.
//!
//! What it is not: it weighs no resources and evicts nobody. It decides in [`placement`], keeps who waits for what in
//! [`queue`], says what it did as [`report`] words it; only this file calls the API. Started by [`run`](crate::run).
//!
//! It does not use kube-runtime's `Controller`, whose delay queue counts in whole milliseconds: a pod's start waits for us.

pub mod placement;
mod queue;
mod report;

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::events::v1;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::Account;
use crate::per_object::answered;
use queue::{Effect, Event, Outcome, PodKey, Queue, Seen};

/// As whom.
pub const ACCOUNT: Account = Account { user: "system:kube-scheduler", groups: &[] };

/// The pods that are ours name it; also the controller of its events.
pub const NAME: &str = "default-scheduler";

/// Calls to the API at one time: a thousand pods that come at once wait for each other, not for a thousand connections.
const CALLS: usize = 16;

/// Runs until dropped. `host` is this machine's name.
pub async fn run(client: Client, host: &str) {
    let caller = Caller {
        client: client.clone(),
        instance: Arc::from(format!("{NAME}-{host}")),
        calls: Arc::new(Semaphore::new(CALLS)),
    };
    let ours = watcher::Config::default().fields(&format!("spec.nodeName=,spec.schedulerName={NAME}"));
    let pods = watcher(Api::<Pod>::all(client.clone()), ours).default_backoff();
    let nodes = watcher(Api::<Node>::all(client), watcher::Config::default()).default_backoff();
    let (mut pods, mut nodes) = (std::pin::pin!(pods), std::pin::pin!(nodes));
    let mut queue = Queue::default();
    let mut running: FuturesUnordered<BoxFuture<'static, Event>> = FuturesUnordered::new();
    loop {
        // Every arm is cancel-safe: taking the next item of a stream loses none.
        let event = tokio::select! {
            Some(seen) = pods.next() => known("pods", seen).map(|seen| Event::Pod(Box::new(seen))),
            Some(seen) = nodes.next() => known("nodes", seen).map(|seen| Event::Node(Box::new(seen))),
            Some(event) = running.next() => Some(event),
        };
        for effect in event.map(|event| queue.step(event)).unwrap_or_default() {
            running.push(caller.clone().carry_out(effect));
        }
    }
}

/// A watch's event; none if the watch broke, which its own back-off mends.
fn known<K>(what: &str, event: Result<watcher::Event<K>, watcher::Error>) -> Option<Seen<K>> {
    match event {
        Ok(watcher::Event::Init) => Some(Seen::ListBegins),
        Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => Some(Seen::Is(object)),
        Ok(watcher::Event::InitDone) => Some(Seen::ListEnds),
        Ok(watcher::Event::Delete(object)) => Some(Seen::IsGone(object)),
        Err(error) => {
            let error: &(dyn std::error::Error + Send + Sync + 'static) = &error;
            tracing::warn!(controller = NAME, watch = what, error, "will be tried again");
            None
        }
    }
}

/// Calls the API, and nothing else.
#[derive(Clone)]
struct Caller {
    client: Client,
    instance: Arc<str>,
    calls: Arc<Semaphore>,
}

impl Caller {
    fn carry_out(self, effect: Effect) -> BoxFuture<'static, Event> {
        Box::pin(async move {
            match effect {
                Effect::Bind { key, pod, node } => self.report(key, "bind", self.bind(&pod, &node).await),
                Effect::Refuse { key, pod, why } => self.report(key, "refuse", self.refuse(&pod, &why).await),
                Effect::Rest { key, pause } => {
                    tokio::time::sleep(pause).await;
                    Event::Rested(key)
                }
            }
        })
    }

    fn report(&self, key: PodKey, what: &str, called: Result<Outcome, kube::Error>) -> Event {
        let outcome = called.unwrap_or_else(|error| {
            let error: &(dyn std::error::Error + Send + Sync + 'static) = &error;
            tracing::warn!(controller = NAME, pod = %key, what, error, "will be tried again");
            Outcome::Failed
        });
        Event::Done(key, outcome)
    }

    async fn bind(&self, pod: &Pod, node: &str) -> Result<Outcome, kube::Error> {
        let _place = self.calls.acquire().await;
        let binding = report::binding(pod, node);
        let pods = self.pods(pod);
        let bound: Result<Value, _> =
            pods.create_subresource("binding", &pod.name_any(), &PostParams::default(), &binding).await;
        match bound {
            Ok(_) => {}
            // Gone, replaced, or bound by another: the watch tells which.
            Err(error) if answered(&error, 404) || answered(&error, 409) => return Ok(Outcome::Settled),
            Err(error) => return Err(error),
        }
        self.tell(pod, &report::scheduled(pod, node, &self.instance, Timestamp::now())).await;
        Ok(Outcome::Settled)
    }

    async fn refuse(&self, pod: &Pod, why: &str) -> Result<Outcome, kube::Error> {
        let _place = self.calls.acquire().await;
        let now = Timestamp::now();
        let patch = Patch::Strategic(report::unschedulable(pod, why, now));
        match self.pods(pod).patch_status(&pod.name_any(), &PatchParams::default(), &patch).await {
            Ok(_) => {}
            Err(error) if answered(&error, 404) || answered(&error, 409) => return Ok(Outcome::Settled),
            Err(error) => return Err(error),
        }
        self.tell(pod, &report::failed(pod, why, &self.instance, now)).await;
        Ok(Outcome::Told)
    }

    /// An event is for people: if it cannot be written, the pod runs all the same.
    async fn tell(&self, pod: &Pod, event: &v1::Event) {
        let events: Api<v1::Event> = Api::namespaced(self.client.clone(), &namespace(pod));
        if let Err(error) = events.create(&PostParams::default(), event).await {
            let error: &(dyn std::error::Error + Send + Sync + 'static) = &error;
            tracing::warn!(controller = NAME, pod = pod.name_any(), error, "cannot write an event");
        }
    }

    fn pods(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &namespace(pod))
    }
}

fn namespace(pod: &Pod) -> String {
    pod.namespace().unwrap_or_default()
}
