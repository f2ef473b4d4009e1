//! Two API servers on one etcd, without nodes: what one writes the other answers, watches and compares with. Needs Debian's etcd.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::Server;
use http::StatusCode;
use remora_store::watched;
use remora_store_etcd::{EtcdConfig, EtcdEngine};
use remora_testkit::Etcd;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn server(etcd: &Etcd) -> Server {
    let address = format!("etcd://{}", etcd.endpoint()).parse().unwrap();
    let engine = EtcdEngine::open(EtcdConfig { address, tls: None, login: None }).await.unwrap();
    Server::over(Arc::new(watched(Arc::new(engine)).await.unwrap())).await
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_server_writes_the_other_watches_and_compares_with() {
    let Some(etcd) = Etcd::start() else { return };
    let (one, other) = tokio::join!(server(&etcd), server(&etcd));
    let map = one.post(MAPS, json!({"metadata": {"name": "m"}, "data": {"x": "1"}})).await;
    let mut watch = other.watch(&format!("{MAPS}?watch=true&resourceVersion={}", version(&map))).await;
    let seen = other.get(&format!("{MAPS}/m")).await;
    assert_eq!(seen, map);

    let write = async |server: &Server, value: &str| {
        let mut map = seen.clone();
        map["data"]["x"] = json!(value);
        server.ask("PUT", &format!("{MAPS}/m")).json(&map).send().await.code
    };
    let (first, second) = tokio::join!(write(&one, "one"), write(&other, "other"));
    let mut codes = [first, second];
    codes.sort();
    assert_eq!(codes, [StatusCode::OK, StatusCode::CONFLICT]);
    assert_eq!(watch.told().await, "MODIFIED m");
    one.ask("DELETE", &format!("{MAPS}/m")).send().await.ok();
    assert_eq!(watch.told().await, "DELETED m");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_held_by_one() {
    let Some(etcd) = Etcd::start() else { return };
    let (one, other) = tokio::join!(server(&etcd), server(&etcd));
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    let take = async |server: &Server, holder: &str| {
        let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": holder}});
        server.ask("POST", leases).json(&lease).send().await.code
    };
    let (first, second) = tokio::join!(take(&one, "one"), take(&other, "other"));
    let mut codes = [first, second];
    codes.sort();
    assert_eq!(codes, [StatusCode::CREATED, StatusCode::CONFLICT]);
    let holder = if first == StatusCode::CREATED { "one" } else { "other" };
    assert_eq!(other.get(&format!("{leases}/l")).await["spec"]["holderIdentity"], holder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_etcd_requests_fail_and_then_work_again() {
    let Some(mut etcd) = Etcd::start() else { return };
    let server = server(&etcd).await;
    etcd.kill();
    let answer = server.ask("GET", MAPS).send().await;
    assert_eq!(answer.code, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
    assert_eq!(answer.body["reason"], "ServiceUnavailable");
    assert!(answer.text.contains(&etcd.endpoint()), "{}", answer.text);
    assert_eq!(server.ask("GET", "/readyz").send().await.code, StatusCode::INTERNAL_SERVER_ERROR);
    let _etcd = tokio::task::spawn_blocking(move || {
        etcd.resume();
        etcd
    })
    .await
    .unwrap();
    let again = async { while server.ask("GET", MAPS).send().await.code != StatusCode::OK {} };
    tokio::time::timeout(Duration::from_secs(20), again).await.unwrap();
    assert_eq!(server.ask("GET", "/readyz").send().await.code, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_answers_nothing_is_a_timeout() {
    let Some(etcd) = Etcd::start() else { return };
    let server = server(&etcd).await;
    etcd.freeze();
    let answer = server.ask("GET", MAPS).send().await;
    let is_late = answer.code == StatusCode::GATEWAY_TIMEOUT && answer.text.contains("did not answer within 10 s");
    // Where a ping was on its way when it froze, the connection is given up before the request is.
    let is_lost = answer.code == StatusCode::SERVICE_UNAVAILABLE && answer.text.contains(&etcd.endpoint());
    assert!(is_late || is_lost, "{} {}", answer.code, answer.text);
}
