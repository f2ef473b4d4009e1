//! Plays the recorded requests (`data/exchanges.json`: answers of kube-apiserver v1.34.4, see `shared/reference/README.md`)
//! against the rules, with a map for a store. What is not the rules' matter (routing, rights, running pods, server-side
//! apply, PodSecurity) is left out by title, and said so.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod world;

use serde_json::{Value, json};
use world::World;

/// Not pure, or not yet: decided elsewhere.
const ELSEWHERE: [&str; 22] = [
    "exec without a command",                       // streaming: no upgrade asked for
    "pod in a missing namespace",                   // API server: namespace lifecycle
    "unknown resource",                             // API server: routing
    "unknown group",                                // API server: routing
    "bad limit",                                    // API server: paging
    "bad continue token",                           // API server: paging
    "list at a resource version of the far future", // API server: store
    "log of a pod that has not started",            // API server: asks the node
    "apply creates",                                // server-side apply
    "apply conflicts",
    "apply by force",
    "apply drops what its manager no longer has",
    "a namespace with the restricted level", // PodSecurity
    "plain pod in a restricted namespace",
    "good pod in a restricted namespace",
    "plain ephemeral container in a restricted namespace",
    "good ephemeral container in a restricted namespace",
    "remove the restricted namespace",
    "may nobody get pods/", // API server: access reviews
    "may system patch pods/ephemeralcontainers",
    "as a user without rights",
    "debug as a user without rights",
];

#[test]
fn the_rules_answer_as_kubernetes_answered() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("data/exchanges.json")).unwrap();
    let mut world = World::default();
    let (mut played, mut failed) = (Vec::new(), Vec::new());
    for (at, case) in cases.iter().enumerate() {
        let title = case["title"].as_str().unwrap();
        if ELSEWHERE.contains(&title) {
            continue;
        }
        let got = world.play(case);
        played.push(at + 1);
        if got != case["answer"] {
            failed.push(format!("{} {title}\n  want {}\n  got  {got}", at + 1, case["answer"]));
        }
    }
    assert!(failed.is_empty(), "{} of {} differ:\n{}", failed.len(), played.len(), failed.join("\n"));
    let of_the_first_48 = played.iter().filter(|at| **at <= 48).count();
    assert_eq!((of_the_first_48, played.len()), (47, 84), "cases played");
}

#[test]
fn the_recordings_have_every_case_that_is_named_here() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("data/exchanges.json")).unwrap();
    let unknown: Vec<&str> =
        ELSEWHERE.into_iter().filter(|title| !cases.iter().any(|c| c["title"] == json!(title))).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
