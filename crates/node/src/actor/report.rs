//! Writing the status: one patch at a time, always the newest, only what changed, only on the object that was read.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Map, Value, json};

use super::{Actor, Wake};
use crate::context::{Context, id_of};

const WAIT_AFTER_ERROR: SignedDuration = SignedDuration::from_secs(1);
/// How long news of the generation alone waits. A client that reads a pod which it has just changed, changes it again and
/// puts it back has a revision that is worth something for that long: no other node answers faster than a client can.
const SETTLE: SignedDuration = SignedDuration::from_millis(250);

/// Where the writing stands.
#[derive(Debug, Default)]
pub(super) struct Report {
    in_flight: bool,
    retry: Option<Timestamp>,
    /// When news of the generation alone is due.
    settled: Option<Timestamp>,
    /// What was wanted when the API last took a patch, and the revision that it made of it.
    taken: Option<(PodStatus, Option<String>)>,
}

impl Report {
    /// Whether the API's object says so already, or as nearly so as the API is ready to.
    pub(super) fn is_written(&self, pod: &Pod, status: &PodStatus) -> bool {
        let taken = || matches!(&self.taken, Some((s, at)) if s == status && *at == pod.metadata.resource_version);
        !self.in_flight && (pod.status.as_ref() == Some(status) || taken())
    }

    /// When to try again: after an error, or because what waits is due.
    pub(super) fn retry(&self) -> Option<Timestamp> {
        self.retry.into_iter().chain(self.settled).min()
    }

    /// Whether a change may wait still: it is of the generation alone, and not yet due.
    fn may_wait(&mut self, is_bookkeeping: bool, now: Timestamp) -> bool {
        if !is_bookkeeping {
            self.settled = None;
            return false;
        }
        let due = *self.settled.get_or_insert(now.checked_add(SETTLE).unwrap_or(now));
        if due <= now {
            self.settled = None;
        }
        due > now
    }

    /// Takes the answer to a patch; the object, if the API gave one.
    pub(super) fn written(&mut self, result: Result<Written, kube::Error>, now: Timestamp) -> Option<Arc<Pod>> {
        self.in_flight = false;
        match result {
            Ok(Written { pod, wanted }) => {
                self.taken = wanted.map(|wanted| (wanted, pod.metadata.resource_version.clone()));
                Some(pod)
            }
            // The pod is gone: the watch will say so.
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => {
                tracing::debug!(%error, "status not written");
                self.retry = now.checked_add(WAIT_AFTER_ERROR).ok();
                None
            }
        }
    }
}

/// The API's answer.
#[derive(Debug)]
pub(crate) struct Written {
    /// The object as the API has it now.
    pub(super) pod: Arc<Pod>,
    /// What was written; none if somebody else had written first.
    pub(super) wanted: Option<PodStatus>,
}

impl Actor {
    /// Begins to write the status if the API has another one and nothing is being written.
    pub(super) fn write_status(&mut self) {
        let now = self.context.now();
        self.report.retry = self.report.retry.filter(|retry| *retry > now);
        let waits = self.report.retry.is_some();
        if self.observed.status_written || self.observed.removed {
            self.report.settled = None;
        }
        let is_gone = self.observed.removed && !self.observed.is_static;
        if is_gone || self.observed.status_written || self.report.in_flight || waits {
            return;
        }
        // A static pod without a mirror is told of nowhere.
        let Some(uid) = self.object.clone() else { return };
        let is_bookkeeping = differs_by_generation_alone(self.pod.status.as_ref(), &self.observed.reported);
        if self.report.may_wait(is_bookkeeping, now) {
            return;
        }
        let Some(wakes) = self.wakes.upgrade() else { return };
        let Some(patch) = patch(&self.pod, &uid, &self.observed.reported) else { return };
        self.report.in_flight = true;
        let (context, pod, wanted) = (self.context.clone(), Arc::clone(&self.pod), self.observed.reported.clone());
        self.context.tasks.spawn(async move {
            let result = write(&context, &pod, &uid, patch, wanted).await;
            // The actor may have ended meanwhile: then nobody needs the answer.
            let _ = wakes.send(Wake::Reported(Box::new(result))).await;
        });
    }
}

/// Whether the only news is which generation was seen.
fn differs_by_generation_alone(before: Option<&PodStatus>, after: &PodStatus) -> bool {
    let timeless = |status: &PodStatus| {
        let mut status = status.clone();
        status.observed_generation = None;
        status.conditions.iter_mut().flatten().for_each(|condition| condition.observed_generation = None);
        status
    };
    before.is_some_and(|before| timeless(before) == timeless(after))
}

/// Writes; if somebody wrote in between, answers with their object, from which the actor starts again.
async fn write(
    context: &Context,
    pod: &Pod,
    uid: &str,
    patch: Value,
    wanted: PodStatus,
) -> Result<Written, kube::Error> {
    let id = id_of(pod);
    let api: Api<Pod> = Api::namespaced(context.config.client.clone(), id.namespace);
    match api.patch_status(id.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let newer = api.get(id.name).await?;
            let same = newer.metadata.uid.as_deref() == Some(uid);
            if same { Ok(Written { pod: Arc::new(newer), wanted: None }) } else { Err(kube::Error::Api(status)) }
        }
        result => result.map(|pod| Written { pod: Arc::new(pod), wanted: Some(wanted) }),
    }
}

/// A merge patch from the object's status to the wanted one, bound to the object's identity and revision. None if a
/// status cannot be written as JSON, which would be a fault of ours.
fn patch(pod: &Pod, uid: &str, wanted: &PodStatus) -> Option<Value> {
    let before = serde_json::to_value(pod.status.clone().unwrap_or_default()).ok()?;
    let after = serde_json::to_value(wanted).ok()?;
    let status = difference(&before, &after)?;
    let metadata = json!({"uid": uid, "resourceVersion": pod.metadata.resource_version});
    Some(json!({"metadata": metadata, "status": status}))
}

/// RFC 7396: what is gone is null, lists are replaced as a whole. None if nothing differs.
fn difference(before: &Value, after: &Value) -> Option<Value> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let gone = before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key.clone(), Value::Null));
            let changed = after.iter().filter_map(|(key, value)| {
                let old = before.get(key).unwrap_or(&Value::Null);
                difference(old, value).map(|value| (key.clone(), value))
            });
            let all: Map<String, Value> = gone.chain(changed).collect();
            (!all.is_empty()).then_some(Value::Object(all))
        }
        (before, after) => (before != after).then(|| after.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, SETTLE, difference, differs_by_generation_alone};
    use jiff::Timestamp;
    use k8s_openapi::api::core::v1::PodStatus;
    use serde_json::json;

    #[test]
    fn news_of_the_generation_alone_waits_and_is_written_when_due() {
        let status = |generation, phase: &str| PodStatus {
            observed_generation: Some(generation),
            phase: Some(phase.to_owned()),
            ..PodStatus::default()
        };
        assert!(differs_by_generation_alone(Some(&status(1, "Running")), &status(2, "Running")));
        assert!(!differs_by_generation_alone(Some(&status(1, "Pending")), &status(2, "Running")));
        assert!(!differs_by_generation_alone(None, &status(1, "Pending")));
        let (mut report, begin) = (Report::default(), Timestamp::UNIX_EPOCH);
        let due = begin + SETTLE;
        assert!(report.may_wait(true, begin));
        assert_eq!(report.retry(), Some(due));
        assert!(!report.may_wait(true, due));
        assert_eq!(report.retry(), None);
        assert!(report.may_wait(true, due));
        assert!(!report.may_wait(false, due), "real news takes the generation along");
        assert_eq!(report.retry(), None);
    }

    #[test]
    fn a_patch_says_only_what_differs() {
        for (before, after, expected) in [
            (json!({"a": 1, "b": 2}), json!({"a": 1, "b": 3}), Some(json!({"b": 3}))),
            (json!({"a": 1, "reason": "x"}), json!({"a": 1}), Some(json!({"reason": null}))),
            (json!({"l": [1, 2]}), json!({"l": [1]}), Some(json!({"l": [1]}))),
            (json!({"a": {"b": 1}}), json!({"a": {"b": 1}}), None),
            (json!({}), json!({"a": {}}), Some(json!({"a": {}}))),
        ] {
            assert_eq!(difference(&before, &after), expected, "{before} → {after}");
        }
    }
}
