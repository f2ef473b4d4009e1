//! Recorded behaviours of pods, and what is compared of them, as `reference/behaviours/compare.py` does it: one case is a pod's spec, the
//! ephemeral containers that join it after [`Recording::JOIN_AFTER`], and what the API said of it at the end: status, events, and the word that
//! `kubectl get pods` shows. Whoever plays them creates, waits and reads. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

/// Words that only the container runtime chooses.
const RUNTIME: [&str; 7] = [
    "containerd task",
    "failed to pull",
    "couldn't parse",
    "failed to generate container",
    "Successfully pulled",
    "pull access denied",
    "failed to resolve",
];
const LISTS: [&str; 3] = ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"];
/// The names in the recording.
const NAMESPACE: &str = "behaviours";
const NODE: &str = "anchor";

/// Where pods were played: names that differ from cluster to cluster.
#[derive(Clone, Copy, Debug)]
pub struct Played<'a> {
    /// The pods' namespace.
    pub namespace: &'a str,
    /// Their node.
    pub node: &'a str,
}

/// What a cluster says of one pod.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The object.
    pub pod: Value,
    /// The events about it, as `v1/Event`.
    pub events: Vec<Value>,
    /// The word in `kubectl get pods`' column STATUS; null if nobody asked.
    pub shown: Value,
}

/// All cases of a file.
#[derive(Clone, Debug)]
pub struct Recording {
    /// In the order in which the pods are made.
    pub cases: Vec<Case>,
}

/// One pod and what became of it.
#[derive(Clone, Debug)]
pub struct Case {
    value: Value,
}

impl Recording {
    /// How long pods are alone.
    pub const JOIN_AFTER: Duration = Duration::from_secs(6);
    /// How long after that they are looked at.
    pub const LOOK_AFTER: Duration = Duration::from_secs(75);

    /// Reads a file.
    ///
    /// # Errors
    /// If it is no JSON.
    pub fn read(file: &str) -> Result<Self, serde_json::Error> {
        let recorded: Value = serde_json::from_str(file)?;
        let cases = recorded["cases"].as_array().cloned().unwrap_or_default();
        Ok(Self { cases: cases.into_iter().map(|value| Case { value }).collect() })
    }
}

impl Case {
    /// The pod's name.
    pub fn name(&self) -> &str {
        self.value["name"].as_str().unwrap_or_default()
    }

    /// The pod to create.
    pub fn pod(&self) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name()}, "spec": self.value["spec"]})
    }

    /// The strategic merge patch of `pods/ephemeralcontainers`, if any joins; as kubectl sends it, with the order.
    pub fn join(&self) -> Option<Value> {
        let list = self.value["ephemeralContainers"].as_array().filter(|list| !list.is_empty())?;
        let order: Vec<Value> = list.iter().map(|entry| json!({"name": entry["name"]})).collect();
        Some(json!({"spec": {"$setElementOrder/ephemeralContainers": order, "ephemeralContainers": list}}))
    }

    /// What is different from the recording, as lines for people; empty if nothing is.
    pub fn differences(&self, seen: &Seen, played: Played<'_>) -> Vec<String> {
        let wanted = essence(&self.value["status"], &self.value["events"], &self.value["kubectlGetPods"]["status"]);
        let uid = seen.pod["metadata"]["uid"].as_str().unwrap_or_default();
        let events = seen.events.iter().map(|event| {
            json!({"type": event["type"], "reason": event["reason"], "message": event["message"],
                "fieldPath": event["involvedObject"]["fieldPath"]})
        });
        let tidy = |value: Value| tidy(value, uid, played);
        let got = essence(&tidy(seen.pod["status"].clone()), &tidy(events.collect()), &seen.shown);
        let keys: BTreeSet<&String> = wanted.keys().chain(got.keys()).collect();
        let same = |key: &str| wanted.get(key) == got.get(key) || (key == "shown" && seen.shown.is_null());
        keys.into_iter()
            .filter(|key| !same(key))
            .map(|key| format!("{key}:\n  want {}\n   got {}", words(wanted.get(key)), words(got.get(key))))
            .collect()
    }
}

fn words(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

/// Replaces what differs from run to run, as the recorder did.
fn tidy(value: Value, uid: &str, played: Played<'_>) -> Value {
    match value {
        Value::Object(map) => map.into_iter().map(|(k, v)| (k, tidy(v, uid, played))).collect(),
        Value::Array(list) => list.into_iter().map(|v| tidy(v, uid, played)).collect(),
        Value::String(text) => {
            let Played { namespace, node } = played;
            let text = text
                .replace(uid, "UID")
                .replace(&format!("{namespace}/"), &format!("{NAMESPACE}/"))
                .replace(&format!("_{namespace}("), &format!("_{NAMESPACE}("))
                .replace(&format!(" to {node}"), &format!(" to {NODE}"));
            let words = text.split(' ').map(|w| if is_duration(w) { "DURATION" } else { w });
            words.collect::<Vec<_>>().join(" ").into()
        }
        other => other,
    }
}

fn is_duration(word: &str) -> bool {
    let number = word.strip_suffix("ms").or_else(|| word.strip_suffix('s'));
    number.is_some_and(|n| n.parse::<f64>().is_ok()) || word == "1m20s"
}

/// What is compared: phase, reason, QoS class, conditions, each container's state, and the kinds of events.
fn essence(status: &Value, events: &Value, shown: &Value) -> BTreeMap<String, Value> {
    let list = |key: &str| status[key].as_array().cloned().unwrap_or_default();
    let mut out = BTreeMap::from([
        ("phase".to_owned(), status["phase"].clone()),
        ("reason".to_owned(), status["reason"].clone()),
        ("qos".to_owned(), status["qosClass"].clone()),
    ]);
    let restarting = LISTS[..2].iter().any(|l| list(l).iter().any(|c| c["restartCount"] != 0));
    if !restarting {
        let mut conditions: Vec<Value> =
            list("conditions").iter().map(|c| json!([c["type"], c["status"], c["reason"]])).collect();
        conditions.sort_by_key(Value::to_string);
        out.insert("conditions".to_owned(), conditions.into());
        out.insert("shown".to_owned(), shown.clone());
    }
    for key in LISTS {
        for container in list(key) {
            let state = state(&container);
            let ready = if state == json!("restarting") { Value::Null } else { container["ready"].clone() };
            out.insert(format!("{key}/{}", container["name"].as_str().unwrap_or_default()), json!([state, ready]));
        }
    }
    let rows: BTreeSet<String> =
        events.as_array().into_iter().flatten().filter(|e| e["reason"] != "Pulling").map(row).collect();
    out.insert("events".to_owned(), json!(rows));
    out
}

fn row(event: &Value) -> String {
    let message = event["message"].as_str().unwrap_or_default();
    let words = if is_runtimes(message) { Value::Null } else { message.lines().next().into() };
    json!([event["type"], event["reason"], event["fieldPath"], words]).to_string()
}

/// A container that restarts may be met in any of its states.
fn state(container: &Value) -> Value {
    if container["restartCount"] != 0 {
        return json!("restarting");
    }
    let Some((kind, value)) = container["state"].as_object().and_then(|s| s.iter().next()) else { return Value::Null };
    let message =
        value["message"].as_str().map_or(Value::Null, |m| if is_runtimes(m) { Value::Null } else { m.into() });
    json!([kind, value["reason"], value["exitCode"], message])
}

fn is_runtimes(message: &str) -> bool {
    RUNTIME.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"cases": [{"name": "web", "spec": {}, "ephemeralContainers": [{"name": "d"}],
        "kubectlGetPods": {"status": "Running"},
        "status": {"phase": "Running", "containerStatuses": [{"name": "c", "restartCount": 0, "ready": true, "state": {"running": {}}}]},
        "events": [{"type": "Normal", "reason": "Scheduled", "message": "Successfully assigned behaviours/web to anchor"}]}]}"#;

    fn differences(change: impl Fn(&mut Seen)) -> Vec<String> {
        let recording = Recording::read(FILE).unwrap();
        let mut seen = Seen {
            pod: json!({"metadata": {"uid": "u-1"}, "status": recording.cases[0].value["status"]}),
            events: vec![
                json!({"type": "Normal", "reason": "Scheduled", "message": "Successfully assigned mine/web to node-1", "involvedObject": {}}),
            ],
            shown: "Running".into(),
        };
        change(&mut seen);
        recording.cases[0].differences(&seen, Played { namespace: "mine", node: "node-1" })
    }

    #[test]
    fn names_are_no_difference_and_states_are() {
        assert_eq!(differences(|_| ()), Vec::<String>::new());
        assert_eq!(differences(|seen| seen.shown = Value::Null), Vec::<String>::new(), "nobody asked kubectl");
        let shown = differences(|seen| seen.shown = "Pending".into());
        assert_eq!(shown, ["shown:\n  want \"Running\"\n   got \"Pending\""]);
        let failed = differences(|seen| seen.pod["status"]["phase"] = "Failed".into());
        assert_eq!(failed, ["phase:\n  want \"Running\"\n   got \"Failed\""]);
        assert_eq!(differences(|seen| seen.events.clear()).len(), 1);
    }

    #[test]
    fn ephemeral_containers_come_with_their_order() {
        let recording = Recording::read(FILE).unwrap();
        let patch = recording.cases[0].join().unwrap();
        assert_eq!(patch["spec"]["$setElementOrder/ephemeralContainers"], json!([{"name": "d"}]));
    }
}
