//! Plays recorded requests (answers of kube-apiserver v1.34.4, one line each) and compares whole answers: `data/apply.json` and `data/scale.json` with all their
//! `managedFields`, but for their times, in the order of operation, manager, version and subresource; `data/pod_security.json` without.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Answer, Server};
use serde_json::{Map, Value, json};

const NS: &str = "rec-1";

#[tokio::test]
async fn managers_are_noted_as_kubernetes_notes_them() {
    check(include_str!("data/apply.json"), true).await;
}

#[tokio::test]
async fn managers_of_the_number_of_replicas_are_noted_as_kubernetes_notes_them() {
    check(include_str!("data/scale.json"), true).await;
}

#[tokio::test]
async fn managers_of_other_versions_of_a_type_are_borne_as_by_kubernetes() {
    check(include_str!("data/other_versions.json"), true).await;
}

#[tokio::test]
async fn pods_are_judged_by_their_namespaces_labels_as_kubernetes_judges_them() {
    check(include_str!("data/pod_security.json"), false).await;
}

async fn check(recorded: &str, with_managers: bool) {
    let cases: Vec<Value> = serde_json::from_str(&recorded.replace("{ns}", NS)).unwrap();
    // What happens in one second is told apart otherwise than what does not; the recordings were quick.
    let server = Server::start_with_clock(|| jiff::Timestamp::constant(1_767_225_600, 0)).await;
    server.namespace(NS).await;
    let mut failed = Vec::new();
    for case in &cases {
        let answer = play(&server, case).await;
        let mut got = if case["compare"] == "code" { json!({"code": answer.code.as_u16()}) } else { essence(&answer) };
        if !with_managers {
            got.pointer_mut("/object/metadata").map(|m| m.as_object_mut().unwrap().remove("managedFields"));
        }
        if got != case["answer"] {
            let different = difference("", &got, &case["answer"]).unwrap_or_default();
            failed.push(format!("{}{different}", case["title"]));
        }
    }
    assert!(failed.is_empty(), "{} of {} differ:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

async fn play(server: &Server, case: &Value) -> Answer {
    let text = |name: &str| case[name].as_str().unwrap_or_default();
    let mut asked = server.ask(text("method"), text("path"));
    for (name, value) in case["headers"].as_object().into_iter().flatten() {
        asked = asked.header(name, value.as_str().unwrap());
    }
    let media_type = match text("type") {
        "strategic" => "application/strategic-merge-patch+json",
        "merge" => "application/merge-patch+json",
        "json-patch" => "application/json-patch+json",
        "apply" => "application/apply-patch+yaml",
        _ => "application/json",
    };
    match case.get("body") {
        None => asked.send().await,
        Some(Value::String(text)) => asked.body(media_type, text.clone()).send().await,
        Some(body) => asked.body(media_type, body.to_string()).send().await,
    }
}

fn essence(answer: &Answer) -> Value {
    let mut out = Map::new();
    out.insert("code".to_owned(), answer.code.as_u16().into());
    if let Some(warning) = &answer.warning {
        out.insert("warning".to_owned(), warning.as_str().into());
    }
    let body = &answer.body;
    if body["kind"] == "Status" {
        let causes = body["details"]["causes"].as_array().cloned().unwrap_or_default();
        let part = |c: &Value| json!({"reason": c["reason"], "field": c["field"], "message": c["message"]});
        let mut causes: Vec<Value> = causes.iter().map(part).collect();
        causes.sort_by_key(|c| (c["field"].to_string(), c["message"].to_string()));
        out.extend([("reason".to_owned(), body["reason"].clone()), ("message".to_owned(), body["message"].clone())]);
        out.insert("causes".to_owned(), causes.into());
    } else {
        out.insert("object".to_owned(), shown(body.clone()));
    }
    masked(&Value::Object(out))
}

/// Without what differs from run to run.
fn shown(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().unwrap();
    for field in ["uid", "resourceVersion", "creationTimestamp"] {
        metadata.remove(field);
    }
    if let Some(entries) = metadata.get_mut("managedFields").and_then(Value::as_array_mut) {
        entries.iter_mut().for_each(|entry| drop(entry.as_object_mut().unwrap().remove("time")));
        let word = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        entries.sort_by_key(|e| ["operation", "manager", "apiVersion", "subresource"].map(|name| word(e, name)));
    }
    object
}

fn masked(value: &Value) -> Value {
    let text = value.to_string().replace(NS, "NS");
    let text = ["kube-api-access-", "\\\"bad-"].iter().fold(text, |text, prefix| {
        let mut parts = text.split(prefix);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| format!("{text}{prefix}XXXXX{}", &part[5..]))
    });
    serde_json::from_str(&text).unwrap()
}

/// Where two values first differ.
fn difference(path: &str, got: &Value, expected: &Value) -> Option<String> {
    match (got, expected) {
        (Value::Object(a), Value::Object(b)) => a
            .keys()
            .chain(b.keys())
            .find_map(|name| difference(&format!("{path}/{name}"), &got[name.as_str()], &expected[name.as_str()])),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(at, (a, b))| difference(&format!("{path}/{at}"), a, b))
        }
        (a, b) => (a != b).then(|| format!(" at {path}\n    got  {a}\n    want {b}")),
    }
}
