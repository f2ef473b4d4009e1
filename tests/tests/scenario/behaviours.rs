//! The 47 kinds of pods whose behaviour was recorded on Kubernetes v1.34.4 (`tests/data/behaviours.json`, from
//! `reference/behaviours`), played on the fake runtime and compared as `reference/behaviours/compare.py` compares.
//!
//! The fake understands their shell scripts, so that all else — API server, scheduler, node agent — is the real thing.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::api::ListParams;
use serde_json::{Value, json};

use crate::cluster::Cluster;

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

/// Cases that differ, each with its reason.
const DIFFER: [(&str, &str); 0] = [];

#[tokio::test(start_paused = true)]
async fn pods_behave_as_recorded() {
    let recorded: Value = serde_json::from_str(include_str!("../../data/behaviours.json")).unwrap();
    let cases = recorded["cases"].as_array().unwrap();
    let cluster = Cluster::start().await;
    for case in cases {
        let name = case["name"].as_str().unwrap();
        cluster
            .create(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": case["spec"]}))
            .await;
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    for case in cases {
        let added = case["ephemeralContainers"].as_array().unwrap();
        if !added.is_empty() {
            cluster.debug(case["name"].as_str().unwrap(), added).await;
        }
    }
    tokio::time::sleep(Duration::from_secs(75)).await;
    let events = events(&cluster).await;
    let mut differences = BTreeMap::new();
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let pod = serde_json::to_value(cluster.pods().get(name).await.unwrap()).unwrap();
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let none = Vec::new();
        let ours = json!({"status": tidy(pod["status"].clone(), uid), "events": tidy(json!(events.get(name).unwrap_or(&none)), uid)});
        let (wanted, got) = (essence(case), essence(&ours));
        let different = wanted.keys().chain(got.keys()).filter(|k| wanted.get(*k) != got.get(*k));
        let lines: Vec<String> = different
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(|k| format!("  {k}:\n    want {}\n     got {}", shown(wanted.get(k)), shown(got.get(k))))
            .collect();
        if !lines.is_empty() {
            differences.insert(name, lines.join("\n"));
        }
    }
    let known: BTreeSet<&str> = DIFFER.iter().map(|(name, _)| *name).collect();
    let differing: BTreeSet<&str> = differences.keys().copied().collect();
    let report: Vec<String> = differences.iter().map(|(name, text)| format!("{name}\n{text}")).collect();
    assert_eq!(differing, known, "{} of {} agree\n{}", cases.len() - differing.len(), cases.len(), report.join("\n"));
}

fn shown(value: Option<&Value>) -> String {
    value.map(Value::to_string).unwrap_or_else(|| "nothing".to_owned())
}

/// Events by pod.
async fn events(cluster: &Cluster) -> BTreeMap<String, Vec<Value>> {
    let api: kube::Api<k8s_openapi::api::core::v1::Event> = kube::Api::namespaced(cluster.client.clone(), "default");
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for event in api.list(&ListParams::default()).await.unwrap().items {
        let row = json!({"type": event.type_, "reason": event.reason, "message": event.message, "fieldPath": event.involved_object.field_path});
        all.entry(event.involved_object.name.unwrap_or_default()).or_default().push(row);
    }
    all
}

/// Replaces what differs from run to run, as the recorder does.
fn tidy(value: Value, uid: &str) -> Value {
    match value {
        Value::Object(map) => map.into_iter().map(|(k, v)| (k, tidy(v, uid))).collect::<serde_json::Map<_, _>>().into(),
        Value::Array(list) => list.into_iter().map(|v| tidy(v, uid)).collect::<Vec<_>>().into(),
        Value::String(text) => {
            let text = text.replace(uid, "UID").replace("default/", "behaviours/").replace("_default(", "_behaviours(");
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

/// What is compared; see compare.py.
fn essence(case: &Value) -> BTreeMap<String, Value> {
    let status = &case["status"];
    let list = |key: &str| status[key].as_array().cloned().unwrap_or_default();
    let lists = ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"];
    let mut out = BTreeMap::from([
        ("phase".to_owned(), status["phase"].clone()),
        ("reason".to_owned(), status["reason"].clone()),
        ("qos".to_owned(), status["qosClass"].clone()),
    ]);
    let restarting = lists[..2].iter().any(|l| list(l).iter().any(|c| c["restartCount"] != 0));
    if !restarting {
        let mut conditions: Vec<Value> =
            list("conditions").iter().map(|c| json!([c["type"], c["status"], c["reason"]])).collect();
        conditions.sort_by_key(Value::to_string);
        out.insert("conditions".to_owned(), conditions.into());
    }
    for key in lists {
        for container in list(key) {
            let state = state(&container);
            let ready = if state == json!("restarting") { Value::Null } else { container["ready"].clone() };
            out.insert(format!("{key}/{}", container["name"].as_str().unwrap_or_default()), json!([state, ready]));
        }
    }
    let events = case["events"].as_array().cloned().unwrap_or_default();
    let rows: BTreeSet<String> = events
        .iter()
        .filter(|e| e["reason"] != "Pulling")
        .map(|e| {
            let message = e["message"].as_str().unwrap_or_default();
            let words = if is_runtimes(message) { Value::Null } else { message.lines().next().into() };
            json!([e["type"], e["reason"], e["fieldPath"], words]).to_string()
        })
        .collect();
    out.insert("events".to_owned(), json!(rows));
    out
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
