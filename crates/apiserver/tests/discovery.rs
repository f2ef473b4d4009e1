//! Discovery, OpenAPI, version and health, as clients ask for them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::Server;
use serde_json::{Value, json};

const KUBECTL: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                       application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

#[tokio::test]
async fn aggregated_discovery_tells_everything_at_once_and_only_once() {
    let server = Server::start().await;
    let response = server.ask("GET", "/api").header("accept", KUBECTL).raw().await;
    let headers = response.headers();
    assert_eq!(headers["content-type"], "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    let tag = headers["etag"].to_str().unwrap().to_owned();
    let list = server.ask("GET", "/api").header("accept", KUBECTL).send().await.ok();
    let resources = list["items"][0]["versions"][0]["resources"].as_array().unwrap().clone();
    let pods = resources.iter().find(|r| r["resource"] == "pods").unwrap();
    assert_eq!((&pods["scope"], &pods["shortNames"]), (&json!("Namespaced"), &json!(["po"])));
    let parts: Vec<&Value> = pods["subresources"].as_array().unwrap().iter().map(|s| &s["subresource"]).collect();
    let expected = [
        "attach",
        "binding",
        "ephemeralcontainers",
        "eviction",
        "exec",
        "log",
        "portforward",
        "proxy",
        "resize",
        "status",
    ];
    assert_eq!(parts, expected);
    let again = server.ask("GET", "/api").header("accept", KUBECTL).header("if-none-match", &tag).send().await;
    assert_eq!((again.code.as_u16(), again.text.as_str()), (304, ""));
    let old = server.ask("GET", "/api").header("accept", "application/json").send().await.ok();
    assert_eq!(old["kind"], "APIVersions");
}

#[tokio::test]
async fn the_index_of_openapi_leads_to_its_documents() {
    let server = Server::start().await;
    let index = server.get("/openapi/v3").await;
    for place in ["api/v1", "apis/coordination.k8s.io/v1", "apis/events.k8s.io/v1"] {
        let url = index["paths"][place]["serverRelativeURL"].as_str().unwrap();
        let document = server.get(url).await;
        assert_eq!(document["openapi"], "3.0.0");
        assert!(!document["components"]["schemas"].as_object().unwrap().is_empty(), "{place}");
    }
    let swagger = server.get("/openapi/v2").await;
    assert_eq!((&swagger["swagger"], &swagger["info"]["title"]), (&json!("2.0"), &json!("Kubernetes")));
    assert!(swagger["definitions"]["io.k8s.api.core.v1.EphemeralContainer"].is_object());
}

#[tokio::test]
async fn the_old_document_is_given_as_protobuf_to_those_who_ask_first_for_it() {
    let server = Server::start().await;
    let kubectl = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let right = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    for (accept, expected) in [
        // In kubectl's name is an `@`, which Go does not take in the type of an answer.
        (kubectl, right),
        (right, right),
        (&format!("{right}; q=0.9, application/json"), right),
        (&format!("application/json, {kubectl}"), "application/json"),
        ("*/*", "application/json"),
    ] {
        let response = server.ask("GET", "/openapi/v2").header("accept", accept).raw().await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"].to_str().unwrap()),
            (200, &expected)
        );
    }
    let refused = server.ask("GET", "/openapi/v3").header("accept", kubectl).send().await;
    assert_eq!(refused.refused().0, 406);
}

#[tokio::test]
async fn we_say_who_we_are_and_how_we_feel() {
    let server = Server::start().await;
    let version = server.get("/version").await;
    assert_eq!((&version["gitVersion"], &version["minor"]), (&json!("v1.34.4"), &json!("34")));
    for path in ["/healthz", "/livez", "/readyz", "/readyz/etcd"] {
        assert_eq!(server.ask("GET", path).send().await.text, "ok");
    }
    let verbose = server.ask("GET", "/readyz?verbose&exclude=ping").send().await.text;
    assert_eq!(verbose, "[+]ping excluded: ok\n[+]etcd ok\nreadyz check passed\n");
    server.store.close().await.unwrap();
    assert_eq!(server.ask("GET", "/readyz").send().await.code.as_u16(), 500);
}
