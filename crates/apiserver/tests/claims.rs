//! Storage classes and claims, as the API server judges them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::Server;
use serde_json::{Value, json};

const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

fn claim(name: &str, class: Value) -> Value {
    let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}});
    json!({"metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn a_default_class_of_the_administrators_stays_it() {
    let server = Server::start().await;
    let local = format!("{CLASSES}/local-path");
    let is_default = |class: &Value| class["metadata"]["annotations"][DEFAULT] == "true";
    assert!(is_default(&server.get(&local).await));
    server.ask("DELETE", &local).send().await.ok();
    let mine = json!({"metadata": {"name": "mine", "annotations": {DEFAULT: "true"}}, "provisioner": "example.com/x"});
    server.post(CLASSES, mine).await;
    // Started again, the class is back, beside the other.
    let server = Server::over(server.store.clone()).await;
    assert!(!is_default(&server.get(&local).await));
    let made = server.post(CLAIMS, claim("c", Value::Null)).await;
    assert_eq!(made["spec"]["storageClassName"], "mine");
}

#[tokio::test]
async fn a_claim_grows_only_where_its_class_allows_it() {
    let server = Server::start().await;
    let class = json!({"metadata": {"name": "grows"}, "provisioner": "example.com/x", "allowVolumeExpansion": true});
    server.post(CLASSES, class).await;
    for (class, grows) in [("grows", true), ("local-path", false), ("gone", false), ("", false)] {
        let name = format!("c-{class}x");
        let at = format!("{CLAIMS}/{name}");
        server.post(CLAIMS, claim(&name, class.into())).await;
        let status = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
        server.ask("PATCH", &format!("{at}/status")).merge(&status).send().await.ok();
        let more = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
        let answer = server.ask("PATCH", &at).merge(&more).send().await;
        if grows {
            assert_eq!(answer.ok()["spec"]["resources"]["requests"]["storage"], "2Gi");
            continue;
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        let expected = format!("persistentvolumeclaims \"{name}\" is forbidden: {why}");
        assert_eq!(answer.refused(), (403, expected), "{class:?}");
        let label = json!({"metadata": {"labels": {"a": "b"}}});
        server.ask("PATCH", &at).merge(&label).send().await.ok();
    }
}
