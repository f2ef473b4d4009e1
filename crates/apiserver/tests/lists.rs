//! Lists: pages at one revision, versions, selectors, forms.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::Server;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn make(server: &Server, name: &str, label: &str) -> Value {
    server.post(MAPS, json!({"metadata": {"name": name, "labels": {"l": label}}})).await
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_are_of_one_revision_whatever_is_written_between_them() {
    let server = Server::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        make(&server, name, "x").await;
    }
    let first = server.get(&format!("{MAPS}?limit=2")).await;
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    make(&server, "bb", "x").await;
    server.ask("DELETE", &format!("{MAPS}/d")).send().await.ok();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = server.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = server.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert_eq!(names(&third), ["e"]);
    assert!(third["metadata"].get("continue").is_none());
    assert_eq!(names(&server.get(MAPS).await), ["a", "b", "bb", "c", "e"]);
}

#[tokio::test]
async fn a_page_of_a_selector_is_full_and_says_whether_more_may_come() {
    let server = Server::start().await;
    for (name, label) in [("a", "x"), ("b", "y"), ("c", "x"), ("d", "y"), ("e", "x")] {
        make(&server, name, label).await;
    }
    let first = server.get(&format!("{MAPS}?limit=2&labelSelector=l%3Dx")).await;
    assert_eq!(names(&first), ["a", "c"]);
    assert!(first["metadata"].get("remainingItemCount").is_none(), "unknown with a selector");
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = server.get(&format!("{MAPS}?limit=2&labelSelector=l%3Dx&continue={token}")).await;
    assert_eq!(names(&second), ["e"]);
    assert!(second["metadata"].get("continue").is_none());
}

#[tokio::test]
async fn versions_are_honoured() {
    let server = Server::start().await;
    let a = make(&server, "a", "x").await;
    make(&server, "b", "x").await;
    let at = a["metadata"]["resourceVersion"].as_str().unwrap();
    for (query, expected) in [
        (format!("resourceVersion={at}&resourceVersionMatch=Exact"), vec!["a"]),
        (format!("resourceVersion={at}&limit=9"), vec!["a"]),
        (format!("resourceVersion={at}&resourceVersionMatch=NotOlderThan"), vec!["a", "b"]),
        (format!("resourceVersion={at}"), vec!["a", "b"]),
        ("resourceVersion=0".to_owned(), vec!["a", "b"]),
    ] {
        assert_eq!(names(&server.get(&format!("{MAPS}?{query}")).await), expected, "{query}");
    }
    for query in ["resourceVersion=99999", "resourceVersion=99999&resourceVersionMatch=Exact"] {
        let (code, message) = server.ask("GET", &format!("{MAPS}?{query}")).send().await.refused();
        assert_eq!(code, 504);
        assert!(message.contains("Too large resource version: 99999"), "{message}");
    }
}

#[tokio::test]
async fn items_have_no_kind_and_everything_else_that_a_get_shows() {
    let server = Server::start().await;
    let made = make(&server, "a", "x").await;
    let list = server.get(MAPS).await;
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("ConfigMapList"), &json!("v1")));
    let mut item = list["items"][0].clone();
    item["kind"] = "ConfigMap".into();
    item["apiVersion"] = "v1".into();
    assert_eq!(item, made);
    assert_eq!(server.get(&format!("{MAPS}/a")).await, made);
}

#[tokio::test]
async fn metadata_alone_and_tables_come_when_asked_for() {
    let server = Server::start().await;
    make(&server, "a", "x").await;
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = server.ask("GET", MAPS).header("accept", accept).send().await.ok();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!((&list["items"][0]["kind"], list["items"][0].get("data")), (&json!("PartialObjectMetadata"), None));
    assert_eq!(list["items"][0]["metadata"]["labels"]["l"], "x");
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let path = format!("{MAPS}/a?includeObject=Object");
    let table = server.ask("GET", &path).header("accept", accept).send().await.ok();
    assert_eq!((&table["kind"], &table["rows"][0]["object"]["kind"]), (&json!("Table"), &json!("ConfigMap")));
    assert_eq!(table["rows"][0]["cells"][0], "a");
    let yaml = server.ask("GET", &format!("{MAPS}/a")).header("accept", "application/yaml").send().await;
    assert!(yaml.text.starts_with("apiVersion: v1\n"), "{}", yaml.text);
    let refused = server.ask("GET", MAPS).header("accept", "application/vnd.kubernetes.protobuf").send().await;
    assert_eq!(refused.refused().0, 406);
}

#[tokio::test]
async fn a_selected_collection_is_deleted_and_the_rest_stays() {
    let server = Server::start().await;
    for (name, label) in [("a", "x"), ("b", "y"), ("c", "x")] {
        make(&server, name, label).await;
    }
    let deleted = server.ask("DELETE", &format!("{MAPS}?labelSelector=l%3Dx")).send().await.ok();
    assert_eq!(names(&deleted), ["a", "c"]);
    assert_eq!(names(&server.get(MAPS).await), ["b"]);
}
