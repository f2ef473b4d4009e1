//! More requests than are answered at one time: who waits for whom.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::convert::Infallible;
use std::pin::pin;

use bytes::Bytes;
use common::{HANGS, Server};
use futures::FutureExt;
use http::StatusCode;
use remora_http::{User, body};
use serde_json::json;
use tokio::sync::oneshot;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

fn user(server: &Server, name: &str) -> Server {
    server.as_user(User::new(name, ["system:authenticated"]))
}

fn review() -> Bytes {
    let what = json!({"nonResourceAttributes": {"path": "/version", "verb": "get"}});
    json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": what}).to_string().into()
}

#[tokio::test(start_paused = true)]
async fn one_slow_client_keeps_neither_the_admin_nor_the_nodes_waiting_and_others_get_their_turn() {
    let server = Server::with_seats(1).await;
    let (jane, joe) = (user(&server, "jane"), user(&server, "joe"));
    let (finish, rest) = oneshot::channel::<Bytes>();
    let slowly = body::stream(futures::stream::once(async move { Ok::<_, Infallible>(rest.await.unwrap()) }));
    let mut slow = pin!(jane.ask("POST", REVIEWS).header("content-type", "application/json").raw_with(slowly));
    assert!(slow.as_mut().now_or_never().is_none(), "a body that has not come was read");

    let mut waits = pin!(joe.ask("GET", "/version").send());
    assert!(waits.as_mut().now_or_never().is_none(), "there is one seat, and it is taken");
    server.get("/api/v1/nodes").await;
    let node = server.as_user(User::new("system:node:anchor", ["system:nodes", "system:authenticated"]));
    node.get("/version").await;
    joe.ask("GET", "/healthz").send().await.ok();
    let metrics = server.ask("GET", "/metrics").send().await.text;
    for gauge in ["executing", "inqueue"] {
        let line = format!("apiserver_flowcontrol_current_{gauge}_requests{{priority_level=\"global-default\"}} 1");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }

    finish.send(review()).unwrap();
    assert_eq!(slow.await.status(), StatusCode::CREATED);
    waits.await.ok();
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_told_when_to_come_again() {
    let server = Server::with_seats(1).await;
    let never = body::stream(futures::stream::pending::<Result<Bytes, Infallible>>());
    let jane = user(&server, "jane");
    let mut slow = pin!(jane.ask("POST", REVIEWS).header("content-type", "application/json").raw_with(never));
    assert!(slow.as_mut().now_or_never().is_none());
    let refused = user(&server, "joe").ask("GET", "/version").raw().await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "1");
    let metrics = server.ask("GET", "/metrics").send().await.text;
    let line = "apiserver_flowcontrol_rejected_requests_total{priority_level=\"global-default\",reason=\"time-out\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_takes_no_seat_once_it_runs() {
    let server = Server::with_seats(1).await;
    let joe = server.as_user(User::new("system:kube-scheduler", ["system:authenticated"]));
    let _watch = joe.watch("/api/v1/pods?watch=true").await;
    joe.get("/api/v1/pods").await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_does_not_begin_takes_no_seat() {
    let server = Server::with_seats(1).await;
    server.service_account("default").await;
    server.bound_pod("default", HANGS).await;
    let scheduler = server.as_user(User::new("system:kube-scheduler", ["system:authenticated"]));
    let role = json!({"metadata": {"name": "logs"}, "rules": [{"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}]});
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    server.post(roles, role).await;
    let subject = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "system:kube-scheduler"});
    let role = json!({"kind": "ClusterRole", "apiGroup": "rbac.authorization.k8s.io", "name": "logs"});
    let binding = json!({"metadata": {"name": "logs"}, "roleRef": role, "subjects": [subject]});
    server.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).await;
    let path = format!("/api/v1/namespaces/default/pods/{HANGS}/log");
    let mut log = pin!(scheduler.ask("GET", &path).raw());
    assert!(log.as_mut().now_or_never().is_none(), "it should hang");
    scheduler.get("/api/v1/pods").await;
    assert_eq!(log.await.status(), StatusCode::GATEWAY_TIMEOUT, "and it ends");
}

#[tokio::test(start_paused = true)]
async fn a_node_waits_for_its_turn_before_its_pods_are_looked_at() {
    let server = Server::with_seats(1).await;
    let node = server.as_user(User::new("system:node:anchor", ["system:nodes", "system:authenticated"]));
    let never = body::stream(futures::stream::pending::<Result<Bytes, Infallible>>());
    let mut slow = pin!(node.ask("POST", REVIEWS).header("content-type", "application/json").raw_with(never));
    assert!(slow.as_mut().now_or_never().is_none());
    let refused = node.ask("GET", "/api/v1/namespaces/default/secrets/s").raw().await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
}

/// A list of 300 kB takes two of three seats, which is what one user may have; what it costs is known from the list before.
#[tokio::test(start_paused = true)]
async fn a_long_list_waits_for_several_seats() {
    let server = Server::with_seats(12).await;
    server.service_account("default").await;
    for number in 0..60 {
        let spec = json!({"containers": [{"name": "c", "image": "busybox"}]});
        let metadata = json!({"name": format!("p{number}"), "annotations": {"fill": "x".repeat(5_000)}});
        server.post("/api/v1/namespaces/default/pods", json!({"metadata": metadata, "spec": spec})).await;
    }
    let [scheduler, manager] =
        ["system:kube-scheduler", "system:kube-controller-manager"].map(|name| user(&server, name));
    let node = server.as_user(User::new("system:node:anchor", ["system:nodes", "system:authenticated"]));
    let slow = |server: Server| async move {
        let never = body::stream(futures::stream::pending::<Result<Bytes, Infallible>>());
        server.ask("POST", REVIEWS).header("content-type", "application/json").raw_with(never).await
    };
    let mut one = Box::pin(slow(manager));
    let mut other = pin!(slow(node));
    assert!(one.as_mut().now_or_never().is_none() && other.as_mut().now_or_never().is_none());

    scheduler.get("/api/v1/pods").await;
    let mut list = pin!(scheduler.ask("GET", "/api/v1/pods").send());
    assert!(list.as_mut().now_or_never().is_none(), "one seat is free, and it needs two");
    let seats = |metrics: &str, count: usize| {
        let line = format!("apiserver_flowcontrol_current_executing_seats{{priority_level=\"system\"}} {count}");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    };
    seats(&server.ask("GET", "/metrics").send().await.text, 2);
    drop(one);
    assert_eq!(list.await.ok()["items"].as_array().unwrap().len(), 60);
    seats(&server.ask("GET", "/metrics").send().await.text, 1);
    // A short page is read at the price of one.
    let short = "/api/v1/pods?limit=5";
    assert!(scheduler.ask("GET", short).send().now_or_never().is_some());
}
