//! Events about objects, for people. The same event again counts, instead of being another one. Called by the controllers of workloads.

use std::hash::Hasher;

use fnv::FnvHasher;
use jiff::Timestamp;
use remora_model::{Kind, kinds};
use remora_rules::object::{integer, text};
use remora_rules::time;
use serde_json::{Value, json};

use crate::objects::{Key, Objects, PatchKind};
use crate::per_object::answered;

/// What an event is about.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) kind: &'static Kind,
    pub(crate) object: &'a Value,
}

/// Writes the events of one controller.
#[derive(Clone)]
pub(crate) struct Recorder {
    objects: Objects,
    component: &'static str,
}

impl Recorder {
    pub(crate) fn new(objects: Objects, component: &'static str) -> Self {
        Self { objects, component }
    }

    /// Writes an event. If that cannot be, what it tells of has happened all the same.
    pub(crate) async fn tell(&self, about: About<'_>, type_: &str, reason: &str, message: &str) {
        let event = event(about, self.component, (type_, reason, message), Timestamp::now());
        if let Err(error) = self.write(&event).await {
            let error: &(dyn std::error::Error + Send + Sync + 'static) = &error;
            tracing::warn!(controller = self.component, reason, error, "cannot write an event");
        }
    }

    async fn write(&self, event: &Value) -> Result<(), kube::Error> {
        let (kind, key) = (kinds::core("events"), Key::of(event));
        let error = match self.objects.create(kind, &key.namespace, event).await {
            Err(error) if answered(&error, 409) => error,
            // The namespace goes, and its events with it.
            Err(error) if answered(&error, 403) => return Ok(()),
            written => return written.map(drop),
        };
        let Some(before) = self.objects.get(kind, &key).await? else { return Err(error) };
        let count = integer(&before, &["count"]).unwrap_or(1) + 1;
        let patch = json!({"count": count, "lastTimestamp": event["lastTimestamp"]});
        self.objects.patch(kind, &key, PatchKind::Merge, &patch).await.map(drop)
    }
}

/// The event. What is the same has the same name.
fn event(about: About<'_>, component: &str, (type_, reason, message): (&str, &str, &str), now: Timestamp) -> Value {
    let of = |field: &str| text(about.object, &["metadata", field]);
    // FNV-1a is the same in every process.
    let mut unique = FnvHasher::default();
    for word in [of("uid"), type_, reason, message] {
        unique.write(word.as_bytes());
        unique.write(&[0]);
    }
    let now = time::seconds(now);
    json!({
        "kind": "Event", "apiVersion": "v1",
        "metadata": {"name": format!("{}.{:016x}", of("name"), unique.finish()), "namespace": of("namespace")},
        "involvedObject": {
            "kind": about.kind.kind, "namespace": of("namespace"), "name": of("name"), "uid": of("uid"),
            "apiVersion": about.kind.api_version(), "resourceVersion": of("resourceVersion"),
        },
        "reason": reason, "message": message, "type": type_, "count": 1, "firstTimestamp": now, "lastTimestamp": now,
        "source": {"component": component}, "reportingComponent": component,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_as_upstream_writes_it_and_has_the_same_name_again() {
        let set = json!({"metadata": {"name": "web-1", "namespace": "a", "uid": "u", "resourceVersion": "7"}});
        let about = About { kind: kinds::v1("apps", "replicasets"), object: &set };
        let told = |message: &str, seconds: i64| {
            let now = Timestamp::from_second(seconds).unwrap();
            event(about, "replicaset-controller", ("Normal", "SuccessfulCreate", message), now)
        };
        let first = told("Created pod: p", 0);
        let involved = json!({"kind": "ReplicaSet", "namespace": "a", "name": "web-1", "uid": "u", "apiVersion": "apps/v1", "resourceVersion": "7"});
        assert_eq!(first["involvedObject"], involved);
        assert_eq!((&first["count"], &first["lastTimestamp"]), (&json!(1), &json!("1970-01-01T00:00:00Z")));
        assert_eq!(first["metadata"]["name"], told("Created pod: p", 9)["metadata"]["name"]);
        assert_ne!(first["metadata"]["name"], told("Created pod: q", 0)["metadata"]["name"]);
    }
}
