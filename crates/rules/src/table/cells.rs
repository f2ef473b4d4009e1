//! The cells of kinds that need little thought.

use jiff::Timestamp;
use serde_json::Value;

use super::duration::since;
use crate::object::{at, flag, integer, list, text};

pub(super) fn name(object: &Value) -> Value {
    text(object, &["metadata", "name"]).into()
}

pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    since(at(object, &["metadata", "creationTimestamp"]), now).into()
}

fn count(object: &Value, field: &str) -> usize {
    match object.get(field) {
        Some(Value::Object(map)) => map.len(),
        Some(Value::Array(items)) => items.len(),
        _ => 0,
    }
}

pub(super) fn or<'t>(word: &'t str, instead: &'t str) -> &'t str {
    if word.is_empty() { instead } else { word }
}

pub(super) fn any(object: &Value, _: Timestamp) -> Vec<Value> {
    vec![name(object), at(object, &["metadata", "creationTimestamp"]).clone()]
}

pub(super) fn namespace(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), text(object, &["status", "phase"]).into(), age(object, now)]
}

pub(super) fn config_map(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), (count(object, "data") + count(object, "binaryData")).into(), age(object, now)]
}

pub(super) fn secret(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), text(object, &["type"]).into(), count(object, "data").into(), age(object, now)]
}

pub(super) fn service_account(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), count(object, "secrets").into(), age(object, now)]
}

pub(super) fn lease(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), text(object, &["spec", "holderIdentity"]).into(), age(object, now)]
}

pub(super) fn runtime_class(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), text(object, &["handler"]).into(), age(object, now)]
}

pub(super) fn priority_class(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        integer(object, &["value"]).unwrap_or_default().into(),
        flag(object, &["globalDefault"]).into(),
        age(object, now),
        text(object, &["preemptionPolicy"]).into(),
    ]
}

pub(super) fn resource_quota(object: &Value, now: Timestamp) -> Vec<Value> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (resource, hard) in at(object, &["status", "hard"]).as_object().into_iter().flatten() {
        let used = or(text(object, &["status", "used", resource]), "0");
        let told = format!("{resource}: {used}/{}", hard.as_str().unwrap_or_default());
        if resource.starts_with("limits.") { limits.push(told) } else { requests.push(told) }
    }
    vec![name(object), requests.join(", ").into(), limits.join(", ").into(), age(object, now)]
}

pub(super) fn binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let role = format!("{}/{}", text(object, &["roleRef", "kind"]), text(object, &["roleRef", "name"]));
    let subjects = |kind: &str, shown: fn(&Value) -> String| {
        let of_kind = list(object, &["subjects"]).iter().filter(|subject| text(subject, &["kind"]) == kind);
        of_kind.map(shown).collect::<Vec<String>>().join(", ").into()
    };
    let plain = |subject: &Value| text(subject, &["name"]).to_owned();
    let account = |subject: &Value| format!("{}/{}", text(subject, &["namespace"]), text(subject, &["name"]));
    vec![
        name(object),
        role.into(),
        age(object, now),
        subjects("User", plain),
        subjects("Group", plain),
        subjects("ServiceAccount", account),
    ]
}

pub(super) fn node(object: &Value, now: Timestamp) -> Vec<Value> {
    let info = |field: &str| or(text(object, &["status", "nodeInfo", field]), "<unknown>").into();
    let address = |kind: &str| {
        let found = list(object, &["status", "addresses"]).iter().find(|a| text(a, &["type"]) == kind);
        found.map_or("<none>", |a| text(a, &["address"])).into()
    };
    vec![
        name(object),
        node_status(object).into(),
        node_roles(object).into(),
        age(object, now),
        text(object, &["status", "nodeInfo", "kubeletVersion"]).into(),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn node_status(node: &Value) -> String {
    let ready = list(node, &["status", "conditions"]).iter().find(|c| text(c, &["type"]) == "Ready");
    let word = match ready.map(|c| text(c, &["status"])) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let closed = if flag(node, &["spec", "unschedulable"]) { ",SchedulingDisabled" } else { "" };
    format!("{word}{closed}")
}

fn node_roles(node: &Value) -> String {
    const PREFIX: &str = "node-role.kubernetes.io/";
    let labels = at(node, &["metadata", "labels"]).as_object();
    let mut roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix(PREFIX) {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

pub(super) fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let first = match at(object, &["firstTimestamp"]) {
        Value::Null => since(at(object, &["eventTime"]), now),
        time => since(time, now),
    };
    let mut last = match at(object, &["lastTimestamp"]) {
        Value::Null => first.clone(),
        time => since(time, now),
    };
    let mut count = integer(object, &["count"]).filter(|n| *n > 0).unwrap_or(1);
    if let Some(series) = object.get("series").filter(|s| s.is_object()) {
        last = since(at(series, &["lastObservedTime"]), now);
        count = integer(series, &["count"]).unwrap_or_default();
    }
    vec![
        last.into(),
        text(object, &["type"]).into(),
        text(object, &["reason"]).into(),
        event_object(object).into(),
        text(object, &["involvedObject", "fieldPath"]).into(),
        event_source(object).into(),
        text(object, &["message"]).trim().into(),
        first.into(),
        count.into(),
        name(object),
    ]
}

fn event_object(event: &Value) -> String {
    let kind = text(event, &["involvedObject", "kind"]).to_lowercase();
    match text(event, &["involvedObject", "name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn event_source(event: &Value) -> String {
    let either = |old: &[&str], new: &str| or(text(event, old), text(event, &[new])).to_owned();
    let component = either(&["source", "component"], "reportingComponent");
    let host = either(&["source", "host"], "reportingInstance");
    if host.is_empty() { component } else { format!("{component}, {host}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nodes_show_readiness_and_roles() {
        let node = json!({
            "metadata": {"labels": {"node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": ""}},
            "spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        });
        assert_eq!(node_status(&node), "Ready,SchedulingDisabled");
        assert_eq!(node_roles(&node), "control-plane,worker");
        assert_eq!(node_status(&json!({})), "Unknown");
    }

    #[test]
    fn bindings_show_their_role_and_subjects() {
        let subjects = json!([
            {"kind": "User", "name": "jane"}, {"kind": "User", "name": "joe"}, {"kind": "Group", "name": "dev"},
            {"kind": "ServiceAccount", "name": "bot", "namespace": "ci"},
        ]);
        let role = json!({"kind": "ClusterRole", "name": "view"});
        let cells =
            binding(&json!({"metadata": {"name": "b"}, "roleRef": role, "subjects": subjects}), Timestamp::UNIX_EPOCH);
        assert_eq!(cells, ["b", "ClusterRole/view", "<unknown>", "jane, joe", "dev", "ci/bot"]);
    }

    #[test]
    fn events_show_their_object_and_source() {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let cells = event(
            &json!({"firstTimestamp": "2026-01-02T03:00:43Z", "lastTimestamp": "2026-01-02T03:04:00Z", "count": 2,
                    "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "kubelet", "host": "n"}, "message": "m\n"}),
            now,
        );
        let shown: Vec<String> = cells.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["\"5s\"", "\"\"", "\"\"", "\"pod/p\"", "\"\"", "\"kubelet, n\"", "\"m\"", "\"3m22s\"", "2", "\"\""]
        );
    }
}
