//! What the scheduler writes: bindings, conditions and events, worded as upstream's. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use serde_json::{Value, json};

use super::NAME;

/// The condition that says whether a pod has a node.
const CONDITION: &str = "PodScheduled";

/// Assigns the pod, and no other of its name that may have come since, to a node.
pub(super) fn binding(pod: &Pod, node: &str) -> Binding {
    let ObjectMeta { name, namespace, uid, .. } = pod.metadata.clone();
    Binding {
        metadata: ObjectMeta { name, namespace, uid, ..ObjectMeta::default() },
        target: ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    }
}

/// Whether the pod's status already gives this reason.
pub(super) fn is_told(pod: &Pod, why: &str) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ours = conditions.filter(|condition| condition.type_ == CONDITION);
    ours.any(|condition| condition.status == "False" && condition.message.as_deref() == Some(why))
}

/// A strategic patch of the pod's status. The time of the transition stays if there was none.
pub(super) fn unschedulable(pod: &Pod, why: &str, now: Timestamp) -> Value {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ours = conditions.filter(|condition| condition.type_ == CONDITION);
    let since = ours
        .find(|condition| condition.status == "False")
        .and_then(|condition| condition.last_transition_time.as_ref());
    let since = since.map_or(now, |time| time.0);
    json!({ "metadata": { "uid": pod.metadata.uid }, "status": { "conditions": [{
        "type": CONDITION,
        "status": "False",
        "reason": "Unschedulable",
        "message": why,
        "observedGeneration": pod.metadata.generation,
        "lastProbeTime": null,
        "lastTransitionTime": whole_seconds(since),
    }] } })
}

/// The event of a pod that has a node now.
pub(super) fn scheduled(pod: &Pod, node: &str, instance: &str, now: Timestamp) -> Event {
    let ObjectMeta { name, namespace, .. } = &pod.metadata;
    let name = name.as_deref().unwrap_or_default();
    let note = format!("Successfully assigned {}/{name} to {node}", namespace.as_deref().unwrap_or_default());
    Event { reason: Some("Scheduled".to_owned()), ..event(pod, "Normal", "Binding", note, instance, now) }
}

/// The event of a pod that gets none.
pub(super) fn failed(pod: &Pod, why: &str, instance: &str, now: Timestamp) -> Event {
    let reason = Some("FailedScheduling".to_owned());
    Event { reason, ..event(pod, "Warning", "Scheduling", why.to_owned(), instance, now) }
}

fn event(pod: &Pod, type_: &str, action: &str, note: String, instance: &str, now: Timestamp) -> Event {
    let ObjectMeta { name, namespace, uid, resource_version, .. } = pod.metadata.clone();
    let unique = format!("{}.{:x}", name.as_deref().unwrap_or_default(), now.as_nanosecond());
    Event {
        metadata: ObjectMeta { name: Some(unique), namespace: namespace.clone(), ..ObjectMeta::default() },
        event_time: Some(MicroTime(now)),
        regarding: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name,
            namespace,
            uid,
            resource_version,
            field_path: None,
        }),
        type_: Some(type_.to_owned()),
        action: Some(action.to_owned()),
        note: Some(note),
        reporting_controller: Some(NAME.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        ..Event::default()
    }
}

/// `metav1.Time` has no fractions of a second.
fn whole_seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(conditions: Value) -> Pod {
        let metadata =
            json!({"name": "web", "namespace": "shop", "uid": "u-1", "resourceVersion": "7", "generation": 3});
        serde_json::from_value(json!({"metadata": metadata, "status": {"conditions": conditions}})).unwrap()
    }

    fn now() -> Timestamp {
        "2026-01-02T03:04:05.678901Z".parse().unwrap()
    }

    #[test]
    fn events_are_those_of_the_real_scheduler() {
        let check = |event: Event, type_: &str, reason: &str, action: &str, note: &str| {
            let expected = json!({
                "apiVersion": "events.k8s.io/v1", "kind": "Event",
                "metadata": {"name": "web.1886caf2450d6708", "namespace": "shop"},
                "eventTime": "2026-01-02T03:04:05.678901Z",
                "regarding": {"apiVersion": "v1", "kind": "Pod", "name": "web", "namespace": "shop", "uid": "u-1",
                    "resourceVersion": "7"},
                "type": type_, "reason": reason, "action": action, "note": note,
                "reportingController": "default-scheduler", "reportingInstance": "default-scheduler-host",
            });
            assert_eq!(serde_json::to_value(event).unwrap(), expected);
        };
        let (pod, host) = (pod(json!([])), "default-scheduler-host");
        let note = "Successfully assigned shop/web to node-1";
        check(scheduled(&pod, "node-1", host, now()), "Normal", "Scheduled", "Binding", note);
        check(failed(&pod, "no room", host, now()), "Warning", "FailedScheduling", "Scheduling", "no room");
    }

    #[test]
    fn a_condition_says_why_and_since_when() {
        let check = |conditions: Value, since: &str| {
            let expected = json!({"metadata": {"uid": "u-1"}, "status": {"conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room",
                "observedGeneration": 3, "lastProbeTime": null, "lastTransitionTime": since,
            }]}});
            assert_eq!(unschedulable(&pod(conditions), "no room", now()), expected);
        };
        check(json!([]), "2026-01-02T03:04:05Z");
        let earlier = "2025-01-01T00:00:00Z";
        check(json!([{"type": "PodScheduled", "status": "False", "lastTransitionTime": earlier}]), earlier);
        check(
            json!([{"type": "PodScheduled", "status": "True", "lastTransitionTime": earlier}]),
            "2026-01-02T03:04:05Z",
        );
    }

    #[test]
    fn a_reason_is_told_once() {
        let check = |conditions: Value, expected: bool| assert_eq!(is_told(&pod(conditions), "no room"), expected);
        check(json!([]), false);
        check(json!([{"type": "PodScheduled", "status": "False", "message": "no room"}]), true);
        check(json!([{"type": "PodScheduled", "status": "False", "message": "other"}]), false);
        check(json!([{"type": "PodScheduled", "status": "True", "message": "no room"}]), false);
        check(json!([{"type": "Ready", "status": "False", "message": "no room"}]), false);
    }

    #[test]
    fn a_binding_means_this_pod_and_no_later_one() {
        let expected = json!({"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "node-1"},
            "metadata": {"name": "web", "namespace": "shop", "uid": "u-1"}});
        assert_eq!(serde_json::to_value(binding(&pod(json!([])), "node-1")).unwrap(), expected);
    }
}
