//! What the controllers want to know of a pod, and in which order pods go that are too many (upstream: `controller_utils.go`,
//! `podutil.IsPodAvailable`). Pure.

use std::cmp::Ordering;

use jiff::Timestamp;
use remora_rules::object::{at, integer, list, text};
use remora_rules::time;
use serde_json::Value;

/// The annotation by which a user says how dear a pod is.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Whether it runs, or will.
pub(crate) fn is_active(pod: &Value) -> bool {
    !has_ended(pod) && at(pod, &["metadata", "deletionTimestamp"]).is_null()
}

/// Whether it has ended for good.
pub(crate) fn has_ended(pod: &Value) -> bool {
    matches!(text(pod, &["status", "phase"]), "Succeeded" | "Failed")
}

/// Whether it is ready.
pub(crate) fn is_ready(pod: &Value) -> bool {
    ready(pod).is_some_and(|condition| text(condition, &["status"]) == "True")
}

fn ready(pod: &Value) -> Option<&Value> {
    list(pod, &["status", "conditions"]).iter().find(|condition| text(condition, &["type"]) == "Ready")
}

/// Since when it is ready.
fn ready_since(pod: &Value) -> Option<Timestamp> {
    let condition = ready(pod).filter(|_| is_ready(pod))?;
    time::parse(text(condition, &["lastTransitionTime"]))
}

/// When a pod that is ready has been so for this many seconds; none if it is not ready.
pub(crate) fn available_at(pod: &Value, seconds: i64) -> Option<Timestamp> {
    if !is_ready(pod) {
        return None;
    }
    if seconds == 0 {
        return Some(Timestamp::MIN);
    }
    ready_since(pod)?.checked_add(jiff::SignedDuration::from_secs(seconds)).ok()
}

/// The first of two pods to go comes first: that which does least. `neighbours` says how many related pods are on a pod's node.
pub(crate) fn less_worth(a: &Value, b: &Value, neighbours: impl Fn(&Value) -> usize, now: Timestamp) -> Ordering {
    let has_node = |pod: &Value| !text(pod, &["spec", "nodeName"]).is_empty();
    let created = |pod: &Value| time::parse(text(pod, &["metadata", "creationTimestamp"]));
    let uid = |pod: &Value| text(pod, &["metadata", "uid"]).to_owned();
    has_node(a)
        .cmp(&has_node(b))
        .then_with(|| phase(a).cmp(&phase(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| neighbours(b).cmp(&neighbours(a)))
        .then_with(|| younger(ready_since(a), ready_since(b), now))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| younger(created(a), created(b), now))
        .then_with(|| uid(a).cmp(&uid(b)))
}

fn phase(pod: &Value) -> u8 {
    match text(pod, &["status", "phase"]) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

fn cost(pod: &Value) -> i32 {
    text(pod, &["metadata", "annotations", DELETION_COST]).parse().unwrap_or_default()
}

fn restarts(pod: &Value) -> i64 {
    let counts = list(pod, &["status", "containerStatuses"]).iter();
    counts.map(|status| integer(status, &["restartCount"]).unwrap_or_default()).max().unwrap_or_default()
}

/// The younger one goes; ages that are about the same (to a power of two) are the same, so that chance decides.
fn younger(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    let magnitude = |since: Timestamp| {
        let age = now.as_nanosecond().saturating_sub(since.as_nanosecond());
        u128::try_from(age).ok().and_then(u128::checked_ilog2)
    };
    match (a, b) {
        (Some(a), Some(b)) => magnitude(a).cmp(&magnitude(b)),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn pod(uid: &str, node: &str, phase: &str, ready_since: Option<&str>) -> Value {
        let mut pod = json!({
            "metadata": {"uid": uid, "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}, "status": {"phase": phase},
        });
        if !node.is_empty() {
            pod["spec"]["nodeName"] = node.into();
        }
        if let Some(since) = ready_since {
            pod["status"]["conditions"] = json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]);
        }
        pod
    }

    fn with(mut pod: Value, pointer: &str, value: Value) -> Value {
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[last] = value;
        pod
    }

    #[test]
    fn those_that_do_least_go_first() {
        let long = pod("z", "n", "Running", Some("2026-01-01T00:00:00Z"));
        let check = |first: Value| {
            let less = |a: &Value, b: &Value| less_worth(a, b, |_| 0, now());
            assert_eq!((less(&first, &long), less(&long, &first)), (Ordering::Less, Ordering::Greater), "{first}");
        };
        check(pod("a", "", "Pending", None));
        check(pod("a", "n", "Pending", None));
        check(pod("a", "n", "Running", None));
        check(pod("a", "n", "Running", Some("2026-01-02T03:04:00Z")));
        check(with(long.clone(), "/metadata/annotations", json!({DELETION_COST: "-1"})));
        check(with(long.clone(), "/status/containerStatuses", json!([{"restartCount": 3}])));
        check(with(long.clone(), "/metadata/creationTimestamp", json!("2026-01-02T03:04:00Z")));
        check(with(long.clone(), "/metadata/uid", json!("a")));
        let neighbours = |pod: &Value| if text(pod, &["metadata", "uid"]) == "b" { 2 } else { 1 };
        let crowded = with(long.clone(), "/metadata/uid", json!("b"));
        assert_eq!(less_worth(&crowded, &long, neighbours, now()), Ordering::Less);
    }

    #[test]
    fn a_pod_is_available_when_it_has_been_ready_for_long_enough() {
        let ready = pod("a", "n", "Running", Some("2026-01-02T03:04:00Z"));
        assert_eq!(available_at(&ready, 0), Some(Timestamp::MIN));
        assert_eq!(available_at(&ready, 10), Some("2026-01-02T03:04:10Z".parse().unwrap()));
        assert_eq!(available_at(&pod("a", "n", "Running", None), 0), None);
    }
}
