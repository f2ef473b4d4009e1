//! The 47 kinds of pods whose behaviour was recorded on Kubernetes v1.34.4 (`tests/data/behaviours.json`), played on the fake runtime and compared
//! as `cargo xtask conform node` compares on real clusters.
//!
//! The fake understands their shell scripts, so that all else — API server, scheduler, node agent — is the real thing.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

use std::collections::{BTreeMap, BTreeSet};

use kube::api::ListParams;
use remora_testkit::behaviours::{Played, Recording, Seen};
use serde_json::Value;

use crate::cluster::Cluster;

/// Cases that differ, each with its reason.
const DIFFER: [(&str, &str); 0] = [];

#[tokio::test(start_paused = true)]
async fn pods_behave_as_recorded() {
    let recording = Recording::read(include_str!("../../data/behaviours.json")).unwrap();
    let cluster = Cluster::start().await;
    for case in &recording.cases {
        cluster.create(case.pod()).await;
    }
    tokio::time::sleep(Recording::JOIN_AFTER).await;
    for case in &recording.cases {
        if let Some(patch) = case.join() {
            let added = patch["spec"]["ephemeralContainers"].as_array().cloned().unwrap_or_default();
            cluster.debug(case.name(), &added).await;
        }
    }
    tokio::time::sleep(Recording::LOOK_AFTER).await;
    let mut events = events(&cluster).await;
    let mut differences = BTreeMap::new();
    for case in &recording.cases {
        let pod = serde_json::to_value(cluster.pods().get(case.name()).await.unwrap()).unwrap();
        let seen = Seen { pod, events: events.remove(case.name()).unwrap_or_default(), shown: Value::Null };
        let lines = case.differences(&seen, Played { namespace: "default", node: "anchor" });
        if !lines.is_empty() {
            differences.insert(case.name(), lines.join("\n"));
        }
    }
    let known: BTreeSet<&str> = DIFFER.iter().map(|(name, _)| *name).collect();
    let differing: BTreeSet<&str> = differences.keys().copied().collect();
    let report: Vec<String> = differences.iter().map(|(name, text)| format!("{name}\n{text}")).collect();
    let cases = recording.cases.len();
    assert_eq!(differing, known, "{} of {cases} agree\n{}", cases - differing.len(), report.join("\n"));
}

/// Events by pod.
async fn events(cluster: &Cluster) -> BTreeMap<String, Vec<Value>> {
    let api: kube::Api<k8s_openapi::api::core::v1::Event> = kube::Api::namespaced(cluster.client.clone(), "default");
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for event in api.list(&ListParams::default()).await.unwrap().items {
        let name = event.involved_object.name.clone().unwrap_or_default();
        all.entry(name).or_default().push(serde_json::to_value(event).unwrap());
    }
    all
}
