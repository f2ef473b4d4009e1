//! Plays the recorded requests of `reference/` (kube-apiserver v1.34.4) through the whole handler and compares the answers,
//! as `replay.py` does. Where a case waits for a node or a controller, the test writes what that would have written.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;

use common::{Answer, Server};
use serde_json::{Map, Value, json};

const NS: &str = "replay-a-1";

#[tokio::test]
async fn every_recorded_answer_is_ours() {
    let cases: Vec<Value> = serde_json::from_str(&include_str!("data/cases.json").replace("{ns}", NS)).unwrap();
    let answers: Vec<Value> = serde_json::from_str(include_str!("data/exchanges.json")).unwrap();
    let server = Server::start().await;
    server.namespace(NS).await;
    let mut failed = BTreeSet::new();
    for (case, recorded) in cases.iter().zip(&answers) {
        assert_eq!(case["title"], recorded["title"]);
        let answer = play(&server, case).await;
        let got = essence(&answer, case["compare"].as_str());
        if got != recorded["answer"] {
            let title = case["title"].as_str().unwrap();
            eprintln!("FAIL {title}\n  want {}\n  got  {got}", recorded["answer"]);
            failed.insert(title.to_owned());
        }
        settle(&server, case).await;
    }
    eprintln!("{} passed, {} failed", cases.len() - failed.len(), failed.len());
    assert_eq!((cases.len(), failed), (106, BTreeSet::new()));
}

async fn play(server: &Server, case: &Value) -> Answer {
    let body = match case.get("edit") {
        None => case.get("body").cloned(),
        Some(edit) => {
            let now = server.get(edit["of"].as_str().unwrap()).await;
            Some(edited(now, edit["set"].as_array().unwrap()))
        }
    };
    let kind = case["type"].as_str().unwrap_or("json");
    let accept = match kind {
        "table" => "application/json;as=Table;v=v1;g=meta.k8s.io",
        _ => "application/json",
    };
    let mut asked =
        server.ask(case["method"].as_str().unwrap(), case["path"].as_str().unwrap()).header("accept", accept);
    for (name, value) in case["headers"].as_object().into_iter().flatten() {
        asked = asked.header(name, value.as_str().unwrap());
    }
    match body {
        None => asked.send().await,
        Some(Value::String(text)) => asked.body(media_type(kind), text).send().await,
        Some(body) => asked.body(media_type(kind), body.to_string()).send().await,
    }
}

fn media_type(kind: &str) -> &str {
    match kind {
        "strategic" => "application/strategic-merge-patch+json",
        "merge" => "application/merge-patch+json",
        "json-patch" => "application/json-patch+json",
        "apply" => "application/apply-patch+yaml",
        "json" | "table" => "application/json",
        other => other,
    }
}

/// What node and controllers would have done before the next case.
async fn settle(server: &Server, case: &Value) {
    let Some(wait) = case.get("wait") else { return };
    let path = wait["path"].as_str().unwrap();
    if path.contains("/serviceaccounts/") {
        server.service_account(&format!("{NS}-r")).await;
        return;
    }
    let binding = json!({"target": {"kind": "Node", "name": common::NODE}});
    server.post(&format!("{path}/binding"), binding).await;
    let status = json!({"status": {"phase": wait["is"]}});
    server.ask("PATCH", &format!("{path}/status")).merge(&status).send().await.ok();
}

fn edited(mut object: Value, edits: &[Value]) -> Value {
    for edit in edits {
        let (path, value) = (edit[0].as_str().unwrap(), &edit[1]);
        let pointer = format!("/{}", path.trim_end_matches('+').replace('.', "/"));
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        if path.ends_with('+') {
            object.pointer_mut(&pointer).unwrap().as_array_mut().unwrap().push(value.clone());
        } else if value == "$reverse" {
            object.pointer_mut(&pointer).unwrap().as_array_mut().unwrap().reverse();
        } else {
            object.pointer_mut(parent).unwrap()[last] = value.clone();
        }
    }
    object
}

/// What is compared of an answer.
fn essence(answer: &Answer, compare: Option<&str>) -> Value {
    let code = answer.code.as_u16();
    let body = &answer.body;
    match compare {
        Some("code") => return json!({ "code": code }),
        Some("reason") => return json!({"code": code, "reason": body["reason"]}),
        _ => {}
    }
    if body["kind"] != "Status" {
        return tidy(&json!({"code": code, "warning": answer.warning, "object": body}), "");
    }
    let details = &body["details"];
    let causes: Vec<Value> = details["causes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| json!({"reason": c["reason"], "field": c["field"], "message": first_line(&c["message"])}))
        .collect();
    tidy(
        &json!({
            "code": code, "reason": body["reason"], "message": first_line(&body["message"]), "warning": answer.warning,
            "kind": details["kind"], "name": details["name"], "group": details["group"], "causes": causes,
        }),
        "",
    )
}

/// A message's contract: up to the dump of a diff, if it has one.
fn first_line(message: &Value) -> Value {
    let Some(text) = message.as_str() else { return Value::Null };
    let end = ["\n@@", "\n  "].iter().filter_map(|mark| text.find(mark)).min().unwrap_or(text.len());
    text[..end].trim_end_matches('\n').into()
}

/// Removes what differs from run to run.
fn tidy(value: &Value, key: &str) -> Value {
    match value {
        Value::Object(map) => {
            let is_volatile = |name: &str, v: &Value| {
                (key == "columnDefinitions" && name == "description")
                    || (key == "metadata" && VOLATILE.contains(&name))
                    || (name == "status" && v.get("phase").is_some())
                    || ["nodeName", "lastTransitionTime", "startTime"].contains(&name)
            };
            let kept =
                map.iter().filter(|(name, v)| !is_volatile(name, v)).map(|(name, v)| (name.clone(), tidy(v, name)));
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Array(items) => {
            let key = if key == "columnDefinitions" { key } else { "" };
            items.iter().map(|v| tidy(v, key)).collect()
        }
        Value::String(text) => mask(text).into(),
        other => other.clone(),
    }
}

const VOLATILE: [&str; 7] =
    ["uid", "resourceVersion", "creationTimestamp", "managedFields", "selfLink", "deletionTimestamp", "generateName"];

fn mask(text: &str) -> String {
    let mut text = text.replace(NS, "NS");
    if let Some(at) = text.find("kube-api-access-") {
        let suffix = at + "kube-api-access-".len();
        text.replace_range(suffix..(suffix + 5).min(text.len()), "XXXXX");
    }
    let uid = |word: &str| word.len() == 36 && word.chars().filter(|c| *c == '-').count() == 4;
    let words: Vec<String> = text.split(['(', ')']).filter(|w| uid(w)).map(str::to_owned).collect();
    words.iter().fold(text, |text, uid| text.replace(uid, "UID"))
}
