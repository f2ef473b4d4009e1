//! Plays the recorded requests of `reference/` (kube-apiserver v1.34.4) through the whole handler and compares the answers,
//! as `replay.py` does, and as `cargo xtask conform api` does with any API server. Where a case waits for a node or a controller, the test
//! writes what that would have written.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Answer, Server};
use remora_rules::disruption;
use remora_testkit::recorded::Case;
use serde_json::{Value, json};

const NS: &str = "replay-a-1";

#[tokio::test]
async fn every_recorded_answer_is_ours() {
    let cases = Case::read(include_str!("data/cases.json"), NS).unwrap();
    let answers: Vec<Value> = serde_json::from_str(include_str!("data/exchanges.json")).unwrap();
    let server = Server::start().await;
    server.namespace(NS).await;
    let mut failed = Vec::new();
    for (case, recorded) in cases.iter().zip(&answers) {
        assert_eq!(case.title(), recorded["title"]);
        let answer = play(&server, case).await;
        let got = case.essence(answer.code.as_u16(), answer.warning.as_deref(), &answer.body, NS);
        if got != recorded["answer"] {
            failed.push(format!("{}\n  want {}\n  got  {got}", case.title(), recorded["answer"]));
        }
        settle(&server, case).await;
    }
    assert!(failed.is_empty(), "{} of {} differ:\n{}", failed.len(), cases.len(), failed.join("\n"));
    assert_eq!(cases.len(), 106);
}

/// Roles and bindings: what they may be, what they allow, who may write them, and those that are there from the start.
#[tokio::test]
async fn rights_are_as_recorded() {
    check(include_str!("data/rbac.json"), 100).await;
}

/// Deployments and replica sets: defaults, rules, statuses, scales, tables.
#[tokio::test]
async fn workloads_are_as_recorded() {
    check(include_str!("data/apps.json"), 60).await;
}

/// Services: defaults, rules, addresses, ports, types that change, tables.
#[tokio::test]
async fn services_are_as_recorded() {
    check(include_str!("data/services.json"), 50).await;
}

/// What is behind services, and what is said of services that cannot be asked.
#[tokio::test]
async fn endpoints_are_as_recorded() {
    check(include_str!("data/endpoints.json"), 30).await;
}

/// Disruption budgets, and evictions that they stand against.
#[tokio::test]
async fn budgets_are_as_recorded() {
    check(include_str!("data/budgets.json"), 20).await;
}

/// Resizing pods: what may change, every refusal, limit ranges, resize policies.
#[tokio::test]
async fn resizes_are_as_recorded() {
    check(include_str!("data/resize.json"), 70).await;
}

/// Plays a file whose cases have their answers beside them; there are at least so many.
async fn check(file: &str, at_least: usize) {
    let cases = Case::read(file, NS).unwrap();
    let server = Server::start().await;
    server.namespace(NS).await;
    let mut failed = Vec::new();
    for case in &cases {
        let answer = play(&server, case).await;
        let got = case.essence(answer.code.as_u16(), answer.warning.as_deref(), &answer.body, NS);
        if got != *case.recorded() {
            failed.push(format!("{}\n  want {}\n  got  {got}", case.title(), case.recorded()));
        }
        if let Some((path, ..)) = case.wait() {
            count(&server, path).await;
        }
    }
    assert!(failed.is_empty(), "{} of {} differ:\n{}", failed.len(), cases.len(), failed.join("\n"));
    assert!(cases.len() >= at_least);
}

/// What the controller of budgets would have done before the next case.
async fn count(server: &Server, path: &str) {
    let budget = server.get(path).await;
    let listed = server.get(&format!("/api/v1/namespaces/{NS}/pods")).await;
    let pods = listed["items"].as_array().unwrap();
    let covered: Vec<&Value> = pods.iter().filter(|pod| disruption::covers(&budget, pod)).collect();
    let counted = disruption::count(&budget, &covered, 0, jiff::Timestamp::now()).changed.unwrap();
    let status = server.ask("PUT", &format!("{path}/status")).body("application/json", counted.to_string());
    status.send().await.ok();
}

async fn play(server: &Server, case: &Case) -> Answer {
    let now = match case.edited() {
        None => None,
        Some(path) => Some(server.get(path).await),
    };
    let mut asked = server.ask(case.method(), case.path()).header("accept", case.accept());
    for (name, value) in case.headers() {
        asked = asked.header(name, value);
    }
    match case.body(now) {
        None => asked.send().await,
        Some(body) => asked.body(case.content_type(), body).send().await,
    }
}

/// What node and controllers would have done before the next case.
async fn settle(server: &Server, case: &Case) {
    let Some((path, _, expected)) = case.wait() else { return };
    if path.contains("/serviceaccounts/") {
        server.service_account(&format!("{NS}-r")).await;
        return;
    }
    let binding = json!({"target": {"kind": "Node", "name": common::NODE}});
    server.post(&format!("{path}/binding"), binding).await;
    let status = json!({"status": {"phase": expected}});
    server.ask("PATCH", &format!("{path}/status")).merge(&status).send().await.ok();
}
