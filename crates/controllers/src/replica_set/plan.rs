//! What is to be done about a replica set: which pods become its own or are let go, how many are missing, which are too many, what its status is
//! then. Pure. Source of the rules: upstream's `replica_set.go`, `replica_set_utils.go`, `controller_ref_manager.go`.

use std::collections::HashMap;

use jiff::Timestamp;
use remora_model::kinds;
use remora_rules::object::{at, field_mut, integer, list, set, text};
use remora_rules::time;
use serde_json::{Value, json};

use crate::objects::{controller_of, controller_reference, selector_of};
use crate::pods;

/// The most pods that are made or deleted in one look.
const BURST: usize = 500;

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// Pods that nobody controls and that it selects.
    pub(super) adopt: Vec<Value>,
    /// Its pods that it does not select any more.
    pub(super) release: Vec<Value>,
    /// How many are missing.
    pub(super) create: usize,
    /// Those that are too many.
    pub(super) delete: Vec<Value>,
    /// Those that run, or will, as the status counts them.
    pub(super) active: Vec<Value>,
}

/// What is to be done, by all pods of its namespace. `related` are the uids of the replica sets of the same owner.
pub(super) fn plan(set: &Value, all: &[Value], related: &[String], now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(selector) = selector_of(set) else { return plan };
    let uid = text(set, &["metadata", "uid"]);
    let is_ending = !at(set, &["metadata", "deletionTimestamp"]).is_null();
    for pod in all.iter().filter(|pod| pods::is_active(pod)) {
        let selects = selector.matches(at(pod, &["metadata", "labels"]));
        match controller_of(pod) {
            Some(owner) if text(owner, &["uid"]) != uid => {}
            Some(_) if selects => plan.active.push(pod.clone()),
            Some(_) if is_ending => {}
            Some(_) => plan.release.push(pod.clone()),
            None if selects && !is_ending => {
                plan.adopt.push(pod.clone());
                plan.active.push(pod.clone());
            }
            None => {}
        }
    }
    if is_ending {
        return plan;
    }
    let wanted = usize::try_from(integer(set, &["spec", "replicas"]).unwrap_or(1)).unwrap_or_default();
    plan.create = wanted.saturating_sub(plan.active.len()).min(BURST);
    let surplus = plan.active.len().saturating_sub(wanted).min(BURST);
    plan.delete = least_worth(&plan.active, all, related, surplus, now);
    plan
}

fn least_worth(active: &[Value], all: &[Value], related: &[String], count: usize, now: Timestamp) -> Vec<Value> {
    if count == 0 {
        return Vec::new();
    }
    let nodes = by_node(all, related);
    let neighbours = |pod: &Value| nodes.get(node(pod)).copied().unwrap_or_default();
    let mut order: Vec<&Value> = active.iter().collect();
    order.sort_by(|a, b| pods::less_worth(a, b, neighbours, now));
    order.into_iter().take(count).cloned().collect()
}

/// How many pods of these replica sets are on each node. Counted once, since a sort asks for each two pods.
fn by_node<'p>(all: &'p [Value], related: &[String]) -> HashMap<&'p str, usize> {
    let is_related = |pod: &&Value| {
        pods::is_active(pod) && controller_of(pod).is_some_and(|owner| related.iter().any(|uid| owner["uid"] == **uid))
    };
    let mut counts = HashMap::new();
    for pod in all.iter().filter(is_related) {
        *counts.entry(node(pod)).or_default() += 1;
    }
    counts
}

fn node(pod: &Value) -> &str {
    text(pod, &["spec", "nodeName"])
}

/// A patch that makes a pod the replica set's own; the uid says which pod is meant.
pub(super) fn adoption(set: &Value, pod: &Value) -> Value {
    let owner = controller_reference(kinds::v1("apps", "replicasets"), set);
    json!({"metadata": {"ownerReferences": [owner], "uid": pod["metadata"]["uid"]}})
}

/// A patch that lets a pod go.
pub(super) fn release(set: &Value, pod: &Value) -> Value {
    let uid = &set["metadata"]["uid"];
    json!({"metadata": {"ownerReferences": [{"$patch": "delete", "uid": uid}], "uid": pod["metadata"]["uid"]}})
}

/// One more pod, by the template.
pub(super) fn pod(set: &Value) -> Value {
    let template = at(set, &["spec", "template"]);
    let mut metadata = json!({
        "generateName": prefix(text(set, &["metadata", "name"])),
        "ownerReferences": [controller_reference(kinds::v1("apps", "replicasets"), set)],
    });
    for field in ["labels", "annotations", "finalizers"] {
        remora_rules::object::set(&mut metadata, field, at(template, &["metadata", field]).clone());
    }
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": at(template, &["spec"])})
}

/// `NAME-`, unless that is no name that a pod could have.
fn prefix(name: &str) -> String {
    let dashed = format!("{name}-");
    if name.len() < 253 { dashed } else { name.to_owned() }
}

/// When to look again though nothing happens: when the next pod has been ready for long enough.
pub(super) fn look_again(set: &Value, active: &[Value], now: Timestamp) -> Option<Timestamp> {
    let seconds = integer(set, &["spec", "minReadySeconds"]).unwrap_or_default();
    active.iter().filter_map(|pod| pods::available_at(pod, seconds)).filter(|at| *at > now).min()
}

/// What has failed, in the words of the API.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure<'f> {
    /// `FailedCreate`, `FailedDelete`.
    pub(super) reason: &'static str,
    pub(super) message: &'f str,
}

/// The replica set with its new status; none if that is as it was.
pub(super) fn with_status(
    set_now: &Value,
    active: &[Value],
    failure: Option<Failure<'_>>,
    now: Timestamp,
) -> Option<Value> {
    let seconds = integer(set_now, &["spec", "minReadySeconds"]).unwrap_or_default();
    let labels = at(set_now, &["spec", "template", "metadata", "labels"]).as_object();
    let is_labelled = |pod: &&Value| {
        labels.into_iter().flatten().all(|(name, value)| at(pod, &["metadata", "labels", name]) == value)
    };
    let is_available = |pod: &&Value| pods::available_at(pod, seconds).is_some_and(|at| at <= now);
    let mut status = at(set_now, &["status"]).clone();
    let counts = [
        ("fullyLabeledReplicas", active.iter().filter(is_labelled).count()),
        ("readyReplicas", active.iter().filter(|pod| pods::is_ready(pod)).count()),
        ("availableReplicas", active.iter().filter(is_available).count()),
    ];
    set(&mut status, "replicas", active.len().into());
    for (field, count) in counts {
        set(&mut status, field, if count == 0 { Value::Null } else { count.into() });
    }
    set(&mut status, "observedGeneration", at(set_now, &["metadata", "generation"]).clone());
    set(&mut status, "conditions", conditions(at(set_now, &["status"]), failure, now));
    if status == *at(set_now, &["status"]) {
        return None;
    }
    let mut changed = set_now.clone();
    *field_mut(&mut changed, "status") = status;
    Some(changed)
}

/// The condition about failures comes and goes; others stay.
fn conditions(status: &Value, failure: Option<Failure<'_>>, now: Timestamp) -> Value {
    let is_failure = |condition: &Value| text(condition, &["type"]) == "ReplicaFailure";
    let all = list(status, &["conditions"]);
    let mut kept: Vec<Value> = match failure {
        None => all.iter().filter(|condition| !is_failure(condition)).cloned().collect(),
        Some(_) => all.to_vec(),
    };
    if let Some(failure) = failure.filter(|_| !all.iter().any(is_failure)) {
        kept.push(json!({
            "type": "ReplicaFailure", "status": "True", "lastTransitionTime": time::seconds(now),
            "reason": failure.reason, "message": failure.message,
        }));
    }
    if kept.is_empty() { Value::Null } else { kept.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn set_of(replicas: i64) -> Value {
        json!({
            "kind": "ReplicaSet", "apiVersion": "apps/v1",
            "metadata": {"name": "web-1", "namespace": "a", "uid": "rs", "generation": 2},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web", "x": "y"}}, "spec": {"containers": []}}},
            "status": {"replicas": 0},
        })
    }

    fn pod_of(name: &str, owner: Option<&str>, app: &str) -> Value {
        let owners: Vec<Value> = owner.map(|uid| json!({"uid": uid, "controller": true})).into_iter().collect();
        json!({"metadata": {"name": name, "uid": name, "labels": {"app": app}, "ownerReferences": owners}, "status": {"phase": "Running"}})
    }

    fn ended(mut pod: Value, phase: &str) -> Value {
        pod["status"]["phase"] = phase.into();
        pod
    }

    fn deleted(mut object: Value) -> Value {
        object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        object
    }

    fn names(pods: &[Value]) -> Vec<&str> {
        pods.iter().map(|pod| text(pod, &["metadata", "name"])).collect()
    }

    #[test]
    fn pods_are_taken_let_go_made_and_deleted() {
        let check = |set: &Value, all: &[Value], expected: (&[&str], &[&str], usize, usize)| {
            let plan = plan(set, all, &["rs".to_owned()], now());
            let got = (names(&plan.adopt), names(&plan.release), plan.create, plan.delete.len());
            assert_eq!(got, (expected.0.to_vec(), expected.1.to_vec(), expected.2, expected.3), "{all:?}");
        };
        let [own, orphan, others] = [Some("rs"), None, Some("other")].map(|owner| pod_of("p", owner, "web"));
        check(&set_of(2), &[], (&[], &[], 2, 0));
        check(&set_of(2), std::slice::from_ref(&own), (&[], &[], 1, 0));
        check(&set_of(2), &[orphan.clone(), others.clone()], (&["p"], &[], 1, 0));
        check(&set_of(1), &[pod_of("q", Some("rs"), "db")], (&[], &["q"], 1, 0));
        check(&set_of(1), &[pod_of("q", None, "db")], (&[], &[], 1, 0));
        check(&set_of(1), &[ended(own.clone(), "Failed"), deleted(own.clone())], (&[], &[], 1, 0));
        check(&set_of(0), &[own.clone(), own.clone()], (&[], &[], 0, 2));
        check(&set_of(10_000), &[], (&[], &[], BURST, 0));
        check(&json!({"kind": "ReplicaSetList"}), std::slice::from_ref(&orphan), (&[], &[], 0, 0));
        // Of one that is going, nothing is done; its pods are the garbage collector's.
        check(&deleted(set_of(3)), &[own, orphan, pod_of("q", Some("rs"), "db")], (&[], &[], 0, 0));
    }

    #[test]
    fn those_go_first_that_do_least() {
        let pending = ended(pod_of("pending", Some("rs"), "web"), "Pending");
        let all = [pod_of("running", Some("rs"), "web"), pending];
        assert_eq!(names(&plan(&set_of(1), &all, &[], now()).delete), ["pending"]);
    }

    #[test]
    fn those_go_first_that_have_most_related_neighbours() {
        let on = |name: &str, owner: &str, node: &str| {
            let mut pod = pod_of(name, Some(owner), "web");
            pod["spec"] = json!({"nodeName": node});
            pod
        };
        let all = [
            on("a", "rs", "one"),
            on("b", "rs", "two"),
            on("c", "sibling", "two"),
            on("d", "stranger", "one"),
            on("e", "stranger", "one"),
            ended(on("f", "sibling", "one"), "Failed"),
        ];
        let related = ["rs".to_owned(), "sibling".to_owned()];
        assert_eq!(by_node(&all, &related), HashMap::from([("one", 1), ("two", 2)]));
        assert_eq!(names(&plan(&set_of(1), &all, &related, now()).delete), ["b"]);
    }

    #[test]
    fn a_pod_is_made_of_the_template() {
        let made = pod(&set_of(1));
        assert_eq!(made["metadata"]["generateName"], "web-1-");
        assert_eq!(made["metadata"]["labels"], json!({"app": "web", "x": "y"}));
        let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "rs", "controller": true, "blockOwnerDeletion": true}]);
        assert_eq!(made["metadata"]["ownerReferences"], owner);
        assert!(made["metadata"].get("annotations").is_none());
    }

    #[test]
    fn the_status_counts_pods_of_each_sort() {
        let mut ready = pod_of("p", Some("rs"), "web");
        ready["metadata"]["labels"]["x"] = "y".into();
        ready["status"]["conditions"] =
            json!([{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T03:04:00Z"}]);
        let mut slow = set_of(2);
        slow["spec"]["minReadySeconds"] = 10.into();
        let active = [ready, pod_of("q", Some("rs"), "web")];
        let check = |set: &Value, failure: Option<Failure<'_>>, expected: Value| {
            let changed = with_status(set, &active, failure, now()).unwrap();
            assert_eq!(changed["status"], expected);
            assert_eq!(with_status(&changed, &active, failure, now()), None);
        };
        let counted = json!({"replicas": 2, "fullyLabeledReplicas": 1, "readyReplicas": 1, "availableReplicas": 1, "observedGeneration": 2});
        check(&set_of(2), None, counted);
        assert_eq!(look_again(&slow, &active, now()), Some("2026-01-02T03:04:10Z".parse().unwrap()));
        assert_eq!(look_again(&set_of(2), &active, now()), None);
        let failed = json!({"replicas": 2, "fullyLabeledReplicas": 1, "readyReplicas": 1, "observedGeneration": 2, "conditions": [
            {"type": "ReplicaFailure", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z", "reason": "FailedCreate", "message": "no"}]});
        check(&slow, Some(Failure { reason: "FailedCreate", message: "no" }), failed.clone());
        let mut healed = set_of(2);
        healed["status"] = failed;
        assert!(with_status(&healed, &active, None, now()).unwrap()["status"].get("conditions").is_none());
    }
}
