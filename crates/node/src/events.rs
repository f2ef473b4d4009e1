//! The recorder of events: core/v1 Events, as kubelets write them. Telling never waits: a task writes, and equal events
//! are counted instead of written again.
//!
//! Source: client-go `tools/record`; the recordings show the fields.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, Node, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use remora_decide::{Note, NoteType, containers};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::Clock;
use crate::context::id_of;

/// Events that wait to be written. When it is full, new ones are dropped with a word in the log.
const WAITING: usize = 4096;
/// How many events are remembered for counting.
const REMEMBERED: usize = 4096;

/// The way to the recorder.
#[derive(Clone)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<Told>,
    clock: Clock,
}

struct Told {
    about: ObjectReference,
    kind: &'static str,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

impl Recorder {
    /// The recorder, and what it does: run it as a task.
    pub(crate) fn new(client: kube::Client, node: String, clock: Clock) -> (Self, Writer) {
        let (queue, told) = mpsc::channel(WAITING);
        (Self { queue, clock }, Writer { client, node, told, known: BTreeMap::new(), order: VecDeque::new(), names: 0 })
    }

    /// Something about a pod, or about one of its containers.
    pub(crate) fn pod(&self, pod: &Pod, note: &Note) {
        let field_path = note.container.as_deref().and_then(|name| field_path(pod, name));
        let id = id_of(pod);
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(id.namespace.to_owned()),
            name: Some(id.name.to_owned()),
            uid: Some(id.uid.to_owned()),
            resource_version: pod.metadata.resource_version.clone(),
            field_path,
        };
        self.tell(about, note.kind.as_str(), note.reason, note.message.clone());
    }

    /// Something about the node.
    pub(crate) fn node(&self, node: &Node, kind: NoteType, reason: &'static str, message: String) {
        let name = node.metadata.name.clone();
        let about = ObjectReference {
            kind: Some("Node".to_owned()),
            // A node's events name the node as its uid: kubelets speak before they know the object.
            uid: name.clone(),
            name,
            ..ObjectReference::default()
        };
        self.tell(about, kind.as_str(), reason, message);
    }

    fn tell(&self, about: ObjectReference, kind: &'static str, reason: &'static str, message: String) {
        let at = (self.clock)();
        if self.queue.try_send(Told { about, kind, reason, message, at }).is_err() {
            tracing::warn!(reason, "an event is dropped: too many wait to be written");
        }
    }
}

/// `spec.containers{web}`.
fn field_path(pod: &Pod, name: &str) -> Option<String> {
    let container = containers(pod).find(|c| c.name == name)?;
    Some(format!("spec.{}{{{name}}}", container.kind.spec_field()))
}

/// Writes events, one after the other.
pub(crate) struct Writer {
    client: kube::Client,
    node: String,
    told: mpsc::Receiver<Told>,
    /// Event name and count, by what makes events equal.
    known: BTreeMap<Key, (String, i32)>,
    order: VecDeque<Key>,
    names: u64,
}

type Key = (Option<String>, Option<String>, &'static str, &'static str, String);

impl Writer {
    /// Writes until the agent stops; what waits then is still written.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            // Both arms are cancel-safe: nothing is taken from the queue by a recv that is dropped.
            let told = tokio::select! {
                biased;
                told = self.told.recv() => told,
                () = stop.cancelled() => None,
            };
            let Some(told) = told else { break };
            self.write(told).await;
        }
        while let Ok(told) = self.told.try_recv() {
            self.write(told).await;
        }
    }

    async fn write(&mut self, told: Told) {
        let key = (told.about.uid.clone(), told.about.field_path.clone(), told.kind, told.reason, told.message.clone());
        let result = match self.known.get_mut(&key) {
            Some((name, count)) => {
                *count += 1;
                let (name, count) = (name.clone(), *count);
                self.count(&told, &name, count).await
            }
            None => self.create(&told, key).await,
        };
        if let Err(error) = result {
            tracing::debug!(%error, reason = told.reason, "event not written");
        }
    }

    async fn create(&mut self, told: &Told, key: Key) -> Result<(), kube::Error> {
        self.names += 1;
        let about = told.about.name.as_deref().unwrap_or_default();
        let name = format!("{about}.{:x}", told.at.as_nanosecond() + i128::from(self.names));
        let event = self.event(told, &name);
        self.api(told).create(&PostParams::default(), &event).await?;
        if self.order.len() >= REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.known.insert(key, (name, 1));
        Ok(())
    }

    async fn count(&self, told: &Told, name: &str, count: i32) -> Result<(), kube::Error> {
        let patch = json!({"count": count, "lastTimestamp": Time(told.at)});
        match self.api(told).patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => Ok(()),
            // It has expired meanwhile: written anew, with its count.
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let event = Event { count: Some(count), ..self.event(told, name) };
                self.api(told).create(&PostParams::default(), &event).await.map(drop)
            }
            Err(error) => Err(error),
        }
    }

    fn api(&self, told: &Told) -> Api<Event> {
        Api::namespaced(self.client.clone(), told.about.namespace.as_deref().unwrap_or("default"))
    }

    fn event(&self, told: &Told, name: &str) -> Event {
        Event {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(told.about.namespace.clone().unwrap_or_else(|| "default".to_owned())),
                ..ObjectMeta::default()
            },
            involved_object: told.about.clone(),
            type_: Some(told.kind.to_owned()),
            reason: Some(told.reason.to_owned()),
            message: Some(told.message.clone()),
            source: Some(EventSource { component: Some("kubelet".to_owned()), host: Some(self.node.clone()) }),
            reporting_component: Some("kubelet".to_owned()),
            reporting_instance: Some(self.node.clone()),
            first_timestamp: Some(Time(told.at)),
            last_timestamp: Some(Time(told.at)),
            count: Some(1),
            ..Event::default()
        }
    }
}
