//! Watches: history and what comes after, bookmarks, selectors, tables, and what happens when history is gone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;

use common::Server;
use remora_store::memory::MemoryEngine;
use remora_store::{Revision, WatchLimits, watched_within};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn make(server: &Server, name: &str, labels: Value) -> Value {
    server.post(MAPS, json!({"metadata": {"name": name, "labels": labels}})).await
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_watch_tells_what_is_and_then_what_happens() {
    let server = Server::start().await;
    make(&server, "a", json!({})).await;
    let mut watch = server.watch(&format!("{MAPS}?watch=true")).await;
    assert_eq!(watch.told().await, "ADDED a");
    make(&server, "b", json!({})).await;
    assert_eq!(watch.told().await, "ADDED b");
    server.ask("PATCH", &format!("{MAPS}/b")).merge(&json!({"data": {"x": "1"}})).send().await.ok();
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["data"]["x"]), (&json!("MODIFIED"), &json!("1")));
    assert_eq!((&event["object"]["kind"], &event["object"]["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
    let before = version(&event["object"]);
    server.ask("DELETE", &format!("{MAPS}/b")).send().await.ok();
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["data"]["x"]), (&json!("DELETED"), &json!("1")));
    assert!(version(&event["object"]) > before, "a deletion is told at its own revision");
}

#[tokio::test]
async fn a_watch_from_a_version_tells_all_that_came_after_it_and_nothing_else() {
    let server = Server::start().await;
    let first = make(&server, "a", json!({})).await;
    make(&server, "b", json!({})).await;
    let path = format!("{MAPS}?watch=true&resourceVersion={}", version(&first));
    let mut watch = server.watch(&path).await;
    make(&server, "c", json!({})).await;
    assert_eq!([watch.told().await, watch.told().await], ["ADDED b", "ADDED c"]);
}

#[tokio::test]
async fn an_object_that_enters_or_leaves_a_selector_is_added_or_deleted() {
    let server = Server::start().await;
    let start = make(&server, "a", json!({"in": "no"})).await;
    let path = format!("{MAPS}?watch=true&resourceVersion={}&labelSelector=in%3Dyes", version(&start));
    let mut watch = server.watch(&path).await;
    let label = async |value: &str| {
        let patch = json!({"metadata": {"labels": {"in": value}}});
        server.ask("PATCH", &format!("{MAPS}/a")).merge(&patch).send().await.ok()
    };
    label("yes").await;
    assert_eq!(watch.told().await, "ADDED a");
    server.ask("PATCH", &format!("{MAPS}/a")).merge(&json!({"data": {"x": "1"}})).send().await.ok();
    assert_eq!(watch.told().await, "MODIFIED a");
    let left = label("no").await;
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], version(&event["object"])), (&json!("DELETED"), version(&left)));
    assert_eq!(event["object"]["metadata"]["labels"]["in"], "yes", "shown as it last was selected");
    server.ask("DELETE", &format!("{MAPS}/a")).send().await.ok();
    make(&server, "end", json!({"in": "yes"})).await;
    assert_eq!(watch.told().await, "ADDED end");
}

#[tokio::test]
async fn a_watch_of_one_name_hears_of_no_other() {
    let server = Server::start().await;
    let mut watch = server.watch(&format!("{MAPS}?watch=true&fieldSelector=metadata.name%3Db")).await;
    make(&server, "a", json!({})).await;
    make(&server, "b", json!({})).await;
    assert_eq!(watch.told().await, "ADDED b");
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark_that_says_so() {
    let server = Server::start().await;
    make(&server, "a", json!({})).await;
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = server.watch(&format!("{MAPS}?{query}")).await;
    assert_eq!(watch.told().await, "ADDED a");
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let list = server.get(MAPS).await;
    assert_eq!(version(&bookmark["object"]), version(&list));
}

#[tokio::test(start_paused = true)]
async fn an_idle_watch_is_told_where_it_stands_if_it_wants_to_be() {
    let server = Server::start().await;
    let made = make(&server, "a", json!({})).await;
    let path = format!("{MAPS}?watch=true&allowWatchBookmarks=true&resourceVersion={}", version(&made));
    let mut watch = server.watch(&path).await;
    server.post("/api/v1/namespaces/default/secrets", json!({"metadata": {"name": "elsewhere"}})).await;
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    assert!(version(&event["object"]) > version(&made), "what happens elsewhere moves the bookmark on");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_wants_bookmarks_has_one_before_its_end() {
    let server = Server::start().await;
    let made = make(&server, "a", json!({})).await;
    let path = format!("{MAPS}?watch=true&allowWatchBookmarks=true&resourceVersion={}", version(&made));
    let mut watch = server.watch(&format!("{path}&timeoutSeconds=5")).await;
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], version(&event["object"])), (&json!("BOOKMARK"), version(&made)));
    assert_eq!(watch.next().await, None);
    let mut short = server.watch(&format!("{path}&timeoutSeconds=2")).await;
    assert_eq!(short.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_in_its_time() {
    let server = Server::start().await;
    let mut watch = server.watch(&format!("{MAPS}?watch=true&timeoutSeconds=5")).await;
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn a_version_whose_history_is_gone_is_expired_and_one_of_the_future_too_large() {
    let server = Server::start().await;
    let old = make(&server, "a", json!({})).await;
    let new = make(&server, "b", json!({})).await;
    make(&server, "c", json!({})).await;
    server.store.compact(Revision(version(&new))).await.unwrap();
    let gone = server.ask("GET", &format!("{MAPS}?watch=true&resourceVersion={}", version(&old))).send().await;
    assert_eq!((gone.code.as_u16(), &gone.body["reason"]), (410, &json!("Expired")));
    let list = server.ask("GET", &format!("{MAPS}?resourceVersionMatch=Exact&resourceVersion={}", version(&old)));
    assert_eq!(list.send().await.refused().0, 410);
    let future = server.ask("GET", &format!("{MAPS}?watch=true&resourceVersion=99999")).send().await;
    assert_eq!(future.refused().0, 504);
}

#[tokio::test]
async fn tables_name_their_columns_once() {
    let server = Server::start().await;
    make(&server, "a", json!({})).await;
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let response = server.ask("GET", &format!("{MAPS}?watch=true")).header("accept", accept).raw().await;
    let mut watch = common::Lines::of(response);
    let first = watch.next().await.unwrap();
    assert_eq!(first["object"]["kind"], "Table");
    assert!(first["object"]["columnDefinitions"].is_array());
    assert_eq!(first["object"]["rows"][0]["object"]["metadata"]["name"], "a");
    make(&server, "b", json!({})).await;
    let second = watch.next().await.unwrap();
    assert_eq!((&second["type"], &second["object"]["columnDefinitions"]), (&json!("ADDED"), &Value::Null));
    assert_eq!(second["object"]["rows"][0]["cells"][0], "b");
}

#[tokio::test]
async fn both_groups_of_events_see_the_same_events_in_their_own_form() {
    let server = Server::start().await;
    let mut new = server.watch("/apis/events.k8s.io/v1/events?watch=true").await;
    let mut old = server.watch("/api/v1/events?watch=true").await;
    let event = json!({
        "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "Started", "message": "hello", "type": "Normal", "count": 1,
    });
    server.post("/api/v1/namespaces/default/events", event).await;
    let (old, new) = (old.next().await.unwrap(), new.next().await.unwrap());
    assert_eq!((&old["object"]["message"], &old["object"]["apiVersion"]), (&json!("hello"), &json!("v1")));
    assert_eq!((&new["object"]["note"], &new["object"]["apiVersion"]), (&json!("hello"), &json!("events.k8s.io/v1")));
    let list = server.get("/apis/events.k8s.io/v1/namespaces/default/events").await;
    assert_eq!((&list["items"][0]["note"], list["items"][0].get("kind")), (&json!("hello"), None));
    let path = "/apis/events.k8s.io/v1/namespaces/default/events/e";
    server.ask("PATCH", path).merge(&json!({"note": "again"})).send().await.ok();
    assert_eq!(server.get("/api/v1/namespaces/default/events/e").await["message"], "again");
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_cut_and_told_to_start_again() {
    let limits = WatchLimits { queue: 4, events: 4, ..WatchLimits::default() };
    let engine = Arc::new(MemoryEngine::new());
    let server = Server::over(Arc::new(watched_within(engine, limits).await.unwrap())).await;
    let mut watch = server.watch(&format!("{MAPS}?watch=true")).await;
    for n in 0..20 {
        make(&server, &format!("m{n}"), json!({})).await;
    }
    let mut last = watch.next().await.unwrap();
    while let Some(event) = watch.next().await {
        last = event;
    }
    assert_eq!((&last["type"], &last["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(last["object"]["reason"], "Expired");
}

#[tokio::test]
async fn a_watch_for_ever_is_a_long_one() {
    let server = Server::start().await;
    let mut watch = server.watch("/api/v1/namespaces?watch=true&timeoutSeconds=9223372036854775807").await;
    assert_eq!(watch.told().await, "ADDED default");
}
