//! Writes: races, dry runs, field validation, bodies, deletion.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::Server;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn with_pod() -> Server {
    let server = Server::start().await;
    server.service_account("default").await;
    server.bound_pod("default", "web").await;
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patches_that_race_all_count() {
    let server = Server::start().await;
    server.post(MAPS, json!({"metadata": {"name": "a"}})).await;
    let tasks: Vec<_> = (0..32)
        .map(|n| {
            let server = server.clone();
            tokio::spawn(async move {
                let patch = json!({"data": {format!("k{n}"): "v"}});
                server.ask("PATCH", &format!("{MAPS}/a")).merge(&patch).send().await.ok()
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let data = server.get(&format!("{MAPS}/a")).await["data"].as_object().unwrap().len();
    assert_eq!(data, 32);
}

#[tokio::test]
async fn a_stale_version_is_a_conflict_in_put_and_patch() {
    let server = Server::start().await;
    let old = server.post(MAPS, json!({"metadata": {"name": "a"}})).await;
    server.ask("PATCH", &format!("{MAPS}/a")).merge(&json!({"data": {"x": "1"}})).send().await.ok();
    let put = server.ask("PUT", &format!("{MAPS}/a")).json(&old).send().await.refused();
    let expected = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your \
                    changes to the latest version and try again";
    assert_eq!(put, (409, expected.to_owned()));
    let stale = json!({"metadata": {"resourceVersion": old["metadata"]["resourceVersion"]}, "data": {"y": "1"}});
    let patch = server.ask("PATCH", &format!("{MAPS}/a")).merge(&stale).send().await.refused();
    assert_eq!(patch.0, 409);
}

#[tokio::test]
async fn a_write_that_changes_nothing_keeps_the_version() {
    let server = with_pod().await;
    let before = server.get(&format!("{PODS}/web")).await;
    let same = server.ask("PUT", &format!("{PODS}/web")).json(&before).send().await.ok();
    assert_eq!(same, before);
    let patched = server.ask("PATCH", &format!("{PODS}/web")).strategic(&json!({"metadata": {}})).send().await.ok();
    assert_eq!(patched, before);
}

#[tokio::test]
async fn a_dry_run_keeps_nothing() {
    let server = Server::start().await;
    let dry = format!("{MAPS}?dryRun=All");
    server.ask("POST", &dry).json(&json!({"metadata": {"name": "a"}})).send().await.ok();
    assert_eq!(server.ask("GET", &format!("{MAPS}/a")).send().await.refused().0, 404);
    let made = server.post(MAPS, json!({"metadata": {"name": "a"}})).await;
    assert_eq!(server.ask("POST", &dry).json(&json!({"metadata": {"name": "a"}})).send().await.refused().0, 409);
    let patch = json!({"data": {"x": "1"}});
    let shown = server.ask("PATCH", &format!("{MAPS}/a?dryRun=All")).merge(&patch).send().await.ok();
    assert_eq!(shown["data"]["x"], "1");
    server.ask("DELETE", &format!("{MAPS}/a?dryRun=All")).send().await.ok();
    assert_eq!(server.get(&format!("{MAPS}/a")).await, made);
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_of_or_ignored() {
    let server = Server::start().await;
    let body = json!({"metadata": {"name": "a"}, "wibble": 1});
    let ask = async |how: &str| {
        server.ask("POST", &format!("{MAPS}?fieldValidation={how}&dryRun=All")).json(&body).send().await
    };
    assert_eq!(ask("Strict").await.refused().0, 400);
    assert_eq!(ask("Warn").await.warning.as_deref(), Some("299 - \"unknown field \\\"wibble\\\"\""));
    assert_eq!(ask("Ignore").await.warning, None);
}

#[tokio::test]
async fn keys_given_twice_are_told_in_json_and_in_yaml() {
    let server = Server::start().await;
    let bodies = [
        ("application/json", r#"{"metadata": {"name": "NAME"}, "data": {"x": "1", "x": "2"}}"#),
        ("application/yaml", "metadata: {name: NAME}\ndata:\n  x: '1'\n  x: '2'\n"),
    ];
    for (number, (kind, text)) in bodies.into_iter().enumerate() {
        let text = text.replace("NAME", &format!("m{number}"));
        let post = |validation: &str| server.ask("POST", &format!("{MAPS}{validation}")).body(kind, text.clone());
        let (code, why) = post("?fieldValidation=Strict").send().await.refused();
        assert!(code == 400 && why.ends_with("strict decoding error: duplicate field \"data.x\""), "{kind}: {why}");
        let made = post("").send().await;
        assert_eq!(made.warning.as_deref(), Some("299 - \"duplicate field \\\"data.x\\\"\""), "{kind}");
        assert_eq!(made.ok()["data"]["x"], "2", "{kind}");
    }
}

#[tokio::test]
async fn bodies_may_be_yaml_and_no_more_than_three_mebibytes() {
    let server = Server::start().await;
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '1'}\n";
    let made = server.ask("POST", MAPS).body("application/yaml", yaml).send().await.ok();
    assert_eq!(made["data"]["x"], "1");
    let large = json!({"metadata": {"name": "b"}, "data": {"x": "y".repeat(3 * 1024 * 1024)}});
    assert_eq!(server.ask("POST", MAPS).json(&large).send().await.refused().0, 413);
    let cbor = server.ask("POST", MAPS).body("application/cbor", "x").send().await;
    assert_eq!(cbor.refused().0, 415);
}

#[tokio::test]
async fn nothing_is_made_in_a_namespace_that_goes_away() {
    let server = Server::start().await;
    server.namespace("old").await;
    let shown = server.ask("DELETE", "/api/v1/namespaces/old").send().await.ok();
    assert_eq!(shown["status"]["phase"], "Terminating");
    let path = "/api/v1/namespaces/old/configmaps";
    let refused = server.ask("POST", path).json(&json!({"metadata": {"name": "a"}})).send().await;
    assert_eq!(refused.body["details"]["causes"][0]["reason"], "NamespaceTerminating");
    let (code, message) = refused.refused();
    assert_eq!(code, 403);
    let expected =
        "configmaps \"a\" is forbidden: unable to create new content in namespace old because it is being terminated";
    assert_eq!(message, expected);
    let mut namespace = server.get("/api/v1/namespaces/old").await;
    namespace["spec"]["finalizers"] = json!([]);
    server.ask("PUT", "/api/v1/namespaces/old/finalize").json(&namespace).send().await.ok();
    assert_eq!(server.ask("GET", "/api/v1/namespaces/old").send().await.refused().0, 404);
    assert_eq!(server.ask("DELETE", "/api/v1/namespaces/default").send().await.refused().0, 403);
}

#[tokio::test]
async fn a_pod_is_deleted_gracefully_then_for_good() {
    let server = with_pod().await;
    let path = format!("{PODS}/web");
    let marked = server.ask("DELETE", &path).send().await.ok();
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(marked["metadata"]["generation"], 2);
    let again = server.ask("DELETE", &path).send().await.ok();
    assert_eq!(again, marked);
    let body = json!({"gracePeriodSeconds": 0});
    let gone = server.ask("DELETE", &path).json(&body).send().await.ok();
    assert_eq!(gone["kind"], "Pod");
    assert_eq!(server.ask("GET", &path).send().await.refused().0, 404);
}

#[tokio::test]
async fn what_a_finalizer_holds_goes_when_it_lets_go() {
    let server = Server::start().await;
    server.post(MAPS, json!({"metadata": {"name": "a", "finalizers": ["x.io/y"]}})).await;
    let path = format!("{MAPS}/a");
    let held = server.ask("DELETE", &path).send().await.ok();
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    server.ask("PATCH", &path).merge(&json!({"metadata": {"finalizers": null}})).send().await.ok();
    assert_eq!(server.ask("GET", &path).send().await.refused().0, 404);
    let made = server.post(MAPS, json!({"metadata": {"name": "b"}})).await;
    let status = server.ask("DELETE", &format!("{MAPS}/b")).send().await.ok();
    assert_eq!((&status["kind"], &status["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(status["details"], json!({"name": "b", "kind": "configmaps", "uid": made["metadata"]["uid"]}));
}

#[tokio::test]
async fn a_put_of_a_lease_creates_it() {
    let server = Server::start().await;
    let path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/anchor";
    let lease = json!({"metadata": {"name": "anchor"}, "spec": {"holderIdentity": "anchor"}});
    let made = server.ask("PUT", path).json(&lease).send().await;
    assert_eq!(made.code.as_u16(), 201);
    let mut lease: Value = made.body;
    lease["spec"]["holderIdentity"] = "other".into();
    assert_eq!(server.ask("PUT", path).json(&lease).send().await.ok()["spec"]["holderIdentity"], "other");
    assert_eq!(server.ask("PUT", path).json(&json!({"metadata": {"name": "anchor"}})).send().await.refused().0, 422);
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let server = Server::start().await;
    server.service_account("default").await;
    let spec = json!({"containers": [{"name": "c", "image": "busybox"}]});
    server.post(PODS, json!({"metadata": {"name": "p"}, "spec": spec})).await;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "anchor"}});
    let path = format!("{PODS}/p/binding");
    let done = server.ask("POST", &path).json(&binding).send().await;
    assert_eq!((done.code.as_u16(), &done.body["status"]), (201, &json!("Success")));
    let pod = server.get(&format!("{PODS}/p")).await;
    assert_eq!(
        (&pod["spec"]["nodeName"], &pod["status"]["conditions"][0]["type"]),
        (&json!("anchor"), &json!("PodScheduled"))
    );
    assert_eq!(server.ask("POST", &path).json(&binding).send().await.refused().0, 409);
}

/// Not an assertion on time: it prints what a PATCH costs here, for `cargo test -- --nocapture latency`.
#[tokio::test]
async fn the_latency_of_a_patch_is_shown() {
    let server = with_pod().await;
    let path = format!("{PODS}/web/ephemeralcontainers");
    let mut micros = Vec::new();
    for n in 0..50 {
        let container = json!({"name": format!("d{n}"), "image": "busybox", "targetContainerName": "web"});
        let patch = json!({"spec": {"ephemeralContainers": [container]}});
        let begun = std::time::Instant::now();
        server.ask("PATCH", &path).strategic(&patch).send().await.ok();
        micros.push(begun.elapsed().as_micros());
    }
    micros.sort_unstable();
    eprintln!("PATCH of ephemeral containers: median {} µs, largest {} µs", micros[25], micros[49]);
}
