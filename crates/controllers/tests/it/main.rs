//! The controllers against a small API of our own, in paused time. With the real API server they are tested in the
//! workspace's scenarios.
#![cfg(test)]

mod api;

use std::time::Duration;

use api::Api;
use remora_controllers::{namespace, role_aggregation, root_ca, scheduler, service_account};
use serde_json::{Value, json};

fn pod(name: &str, spec: &Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "generation": 1}, "spec": spec})
}

fn node(name: &str, labels: &Value) -> Value {
    json!({"metadata": {"name": name, "labels": labels}})
}

#[tokio::test(start_paused = true)]
async fn a_new_pod_is_bound_and_its_event_follows() {
    let api = Api::default();
    api.put("nodes/node-1", node("node-1", &json!({})));
    let _running = api.run(async |client| scheduler::run(client, "host").await);
    api.put("shop/pods/web", pod("web", &json!({})));
    let event = api.until("POST shop/events").await;
    let note = &event["note"];
    assert_eq!(note, "Successfully assigned shop/web to node-1");
    assert_eq!(api.writes(), ["POST shop/pods/web/binding", "POST shop/events"]);
    assert_eq!(api.get("shop/pods/web").unwrap()["spec"]["nodeName"], "node-1");
}

#[tokio::test(start_paused = true)]
async fn a_pod_without_a_node_is_told_why_and_bound_once_one_fits() {
    let api = Api::default();
    api.put("nodes/node-1", node("node-1", &json!({})));
    api.put("shop/pods/web", pod("web", &json!({"nodeSelector": {"disk": "ssd"}})));
    let _running = api.run(async |client| scheduler::run(client, "host").await);
    let why = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, \
               preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    let event = api.until("POST shop/events").await;
    assert_eq!([&event["reason"], &event["note"]], ["FailedScheduling", why]);
    let condition = &api.get("shop/pods/web").unwrap()["status"]["conditions"][0];
    assert_eq!([&condition["reason"], &condition["message"]], ["Unschedulable", why]);
    api.put("nodes/node-1", node("node-1", &json!({"disk": "ssd"})));
    api.until("POST shop/pods/web/binding").await;
    assert_eq!(api.writes()[..2], ["PATCH shop/pods/web/status", "POST shop/events"]);
}

#[tokio::test(start_paused = true)]
async fn a_binding_that_fails_is_tried_again() {
    let api = Api::default();
    api.put("nodes/node-1", node("node-1", &json!({})));
    api.fail("POST shop/pods/web/binding", 3);
    let _running = api.run(async |client| scheduler::run(client, "host").await);
    api.put("shop/pods/web", pod("web", &json!({})));
    api.until("POST shop/events").await;
    assert_eq!(api.writes().len(), 5, "three failures, one binding, one event");
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_another_scheduler_waits_for_that_one() {
    let api = Api::default();
    api.put("nodes/node-1", node("node-1", &json!({})));
    let _running = api.run(async |client| scheduler::run(client, "host").await);
    api.put("shop/pods/other", pod("other", &json!({"schedulerName": "nobody"})));
    api.put("shop/pods/web", pod("web", &json!({})));
    api.until("POST shop/events").await;
    assert_eq!(api.writes(), ["POST shop/pods/web/binding", "POST shop/events"]);
}

#[tokio::test(start_paused = true)]
async fn every_namespace_gets_its_account_and_certificate_and_gets_them_back() {
    let api = Api::default();
    let _accounts = api.run(service_account::run);
    let _certificates = api.run(async |client| root_ca::run(client, "CERT".to_owned()).await);
    api.put("namespaces/shop", json!({"metadata": {"name": "shop"}}));
    api.until("POST shop/serviceaccounts").await;
    let map = api.until("POST shop/configmaps").await;
    assert_eq!(map["data"], json!({"ca.crt": "CERT"}));
    api.forget_writes();
    api.remove("shop/serviceaccounts/default");
    api.put(
        "shop/configmaps/kube-root-ca.crt",
        json!({"metadata": {"name": "kube-root-ca.crt", "namespace": "shop"}, "data": {}}),
    );
    api.until("POST shop/serviceaccounts").await;
    let map = api.until("PUT shop/configmaps/kube-root-ca.crt").await;
    assert_eq!(map["data"], json!({"ca.crt": "CERT"}));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_goes_when_all_that_is_in_it_has_gone() {
    let api = Api::default();
    let deleted = json!({"metadata": {"name": "shop", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
    api.put("shop/pods/web", pod("web", &json!({})));
    api.put("shop/configmaps/one", json!({"metadata": {"name": "one", "namespace": "shop"}}));
    api.put("home/configmaps/two", json!({"metadata": {"name": "two", "namespace": "home"}}));
    let _running = api.run(namespace::run);
    api.put("namespaces/shop", deleted);
    api.until("DELETE shop/pods").await;
    // The pod has a grace period: nothing more happens, however long it takes.
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert!(!api.writes().iter().any(|write| write.starts_with("PUT")), "{:?}", api.writes());
    assert_eq!(api.get("namespaces/shop").unwrap()["status"]["phase"], "Terminating");
    api.remove("shop/pods/web");
    let finalized = api.until("PUT namespaces/shop/finalize").await;
    assert_eq!(finalized["spec"]["finalizers"], json!([]));
    assert!(api.get("shop/configmaps/one").is_none());
    assert!(api.get("home/configmaps/two").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_nobody_deleted_is_left_alone() {
    let api = Api::default();
    let _running = api.run(namespace::run);
    api.put("namespaces/shop", json!({"metadata": {"name": "shop"}, "spec": {"finalizers": ["kubernetes"]}}));
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(api.writes(), [""; 0]);
}

fn cluster_role(name: &str, labels: &Value, collects: Option<&str>, rules: &[&str]) -> Value {
    let rules: Vec<Value> = rules.iter().map(|word| json!({"verbs": ["get"], "resources": [word]})).collect();
    let mut role = json!({"metadata": {"name": name, "labels": labels}, "rules": rules});
    if let Some(label) = collects {
        role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
    }
    role
}

#[tokio::test(start_paused = true)]
async fn a_role_gets_the_rules_of_its_parts_and_of_theirs() {
    let api = Api::default();
    api.put("clusterroles/edit", cluster_role("edit", &json!({}), Some("to-edit"), &[]));
    api.put("clusterroles/view", cluster_role("view", &json!({"to-edit": "true"}), Some("to-view"), &[]));
    api.put("clusterroles/plain", cluster_role("plain", &json!({}), None, &["mine"]));
    let _running = api.run(role_aggregation::run);
    api.put("clusterroles/new", cluster_role("new", &json!({"to-view": "true"}), None, &["pods"]));
    let sent = api.until("PATCH clusterroles/edit").await;
    assert_eq!(sent["rules"], json!([{"verbs": ["get"], "resources": ["pods"]}]));
    assert_eq!(api.writes(), ["PATCH clusterroles/view", "PATCH clusterroles/edit"]);
    api.forget_writes();
    api.remove("clusterroles/new");
    assert_eq!(api.until("PATCH clusterroles/edit").await["rules"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn rules_that_could_not_be_written_are_written_later() {
    let api = Api::default();
    api.fail("PATCH clusterroles/view", 3);
    api.put("clusterroles/view", cluster_role("view", &json!({"to-edit": "true"}), Some("to-view"), &["old"]));
    api.put("clusterroles/edit", cluster_role("edit", &json!({}), Some("to-edit"), &["old"]));
    let _running = api.run(role_aggregation::run);
    api.until("PATCH clusterroles/edit").await;
    let mut expected = vec!["PATCH clusterroles/view"; 4];
    expected.push("PATCH clusterroles/edit");
    assert_eq!(api.writes(), expected);
    assert_eq!(api.get("clusterroles/view").unwrap()["rules"], json!([]));
}
