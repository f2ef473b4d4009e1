//! Limit ranges, resource quotas, priority classes and evictions, as clients meet them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use async_trait::async_trait;
use bytes::Bytes;
use common::Server;
use remora_store::memory::MemoryEngine;
use remora_store::{
    Error, KeyValue, Op, RangeRequest, RangeResponse, Revision, Store, Txn, TxnOutcome, Watch, WatchRequest,
};
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const CLASSES: &str = "/apis/scheduling.k8s.io/v1/priorityclasses";

async fn server() -> Server {
    let server = Server::start().await;
    server.service_account("default").await;
    server
}

fn pod(name: &str, requests: Value) -> Value {
    let container = json!({"name": "c", "image": "i", "resources": {"requests": requests}});
    json!({"metadata": {"name": name}, "spec": {"containers": [container]}})
}

/// A quota that has been counted, as the controller does it.
async fn quota(server: &Server, hard: Value, used: Value) {
    server.post(QUOTAS, json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await;
    let counted = json!({"status": {"hard": hard, "used": used}});
    server.ask("PATCH", &format!("{QUOTAS}/q/status")).merge(&counted).send().await.ok();
}

async fn used(server: &Server) -> Value {
    server.get(&format!("{QUOTAS}/q")).await["status"]["used"].clone()
}

#[tokio::test]
async fn a_limit_range_completes_and_refuses_pods() {
    let server = server().await;
    let limits = json!([{"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "500m"}}]);
    let ranges = "/api/v1/namespaces/default/limitranges";
    server.post(ranges, json!({"metadata": {"name": "r"}, "spec": {"limits": limits}})).await;
    let made = server.post(PODS, pod("a", json!({}))).await;
    let resources = json!({"limits": {"cpu": "500m"}, "requests": {"cpu": "500m"}});
    assert_eq!(made["spec"]["containers"][0]["resources"], resources);
    assert_eq!(made["status"]["qosClass"], "Burstable");
    let mut greedy = pod("b", json!({}));
    greedy["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "2"}});
    let refused = server.ask("POST", PODS).json(&greedy).send().await.refused();
    let why = "pods \"b\" is forbidden: [maximum cpu usage per Container is 1, but limit is 2]";
    assert_eq!(refused, (403, why.replace(['[', ']'], "")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_is_exact_whoever_writes_at_once() {
    let server = server().await;
    quota(&server, json!({"pods": "5", "configmaps": "7"}), json!({"pods": "0", "configmaps": "0"})).await;
    let tasks = (0..12).map(|n| {
        let server = server.clone();
        tokio::spawn(async move {
            let pod = server.ask("POST", PODS).json(&pod(&format!("p{n}"), json!({}))).send().await;
            let map = server.ask("POST", MAPS).json(&json!({"metadata": {"name": format!("m{n}")}})).send().await;
            [pod.code.as_u16(), map.code.as_u16()]
        })
    });
    let answers = futures::future::join_all(tasks).await;
    let made = |at: usize| answers.iter().filter(|codes| codes.as_ref().unwrap()[at] == 201).count();
    assert_eq!((made(0), made(1)), (5, 7));
    assert_eq!(used(&server).await, json!({"pods": "5", "configmaps": "7"}));
    let listed = server.get(PODS).await["items"].as_array().unwrap().len();
    assert_eq!(listed, 5);
}

#[tokio::test]
async fn what_ends_or_goes_gives_its_share_back() {
    let server = server().await;
    quota(&server, json!({"pods": "1", "requests.cpu": "1"}), json!({"pods": "0", "requests.cpu": "0"})).await;
    server.post(PODS, pod("a", json!({"cpu": "1"}))).await;
    let refused = server.ask("POST", PODS).json(&pod("b", json!({"cpu": "500m"}))).send().await.refused();
    let why = "pods \"b\" is forbidden: exceeded quota: q, requested: pods=1,requests.cpu=500m, used: pods=1,requests.cpu=1, limited: pods=1,requests.cpu=1";
    assert_eq!(refused, (403, why.to_owned()));
    let over = json!({"status": {"phase": "Succeeded"}});
    server.ask("PATCH", &format!("{PODS}/a/status")).merge(&over).send().await.ok();
    assert_eq!(used(&server).await, json!({"pods": "0", "requests.cpu": "0"}));
    server.post(PODS, pod("b", json!({"cpu": "500m"}))).await;
    server.ask("DELETE", &format!("{PODS}/b?gracePeriodSeconds=0")).send().await.ok();
    assert_eq!(used(&server).await, json!({"pods": "0", "requests.cpu": "0"}));
}

#[tokio::test]
async fn what_comes_to_nothing_is_not_charged() {
    let server = server().await;
    quota(&server, json!({"configmaps": "3"}), json!({"configmaps": "0"})).await;
    server.post(MAPS, json!({"metadata": {"name": "a"}})).await;
    let again = server.ask("POST", MAPS).json(&json!({"metadata": {"name": "a"}})).send().await;
    assert_eq!(again.code, 409);
    server.post(&format!("{MAPS}?dryRun=All"), json!({"metadata": {"name": "b"}})).await;
    assert_eq!(used(&server).await, json!({"configmaps": "1"}));
}

#[tokio::test]
async fn a_quotas_status_is_not_its_users_to_write() {
    let server = server().await;
    let forged =
        json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}, "status": {"used": {"pods": "-9"}}});
    let made = server.post(QUOTAS, forged).await;
    assert_eq!(made["status"], json!({}));
    let status = json!({"status": {"hard": {"pods": "1"}, "used": {"pods": "0"}}});
    server.ask("PATCH", &format!("{QUOTAS}/q/status")).merge(&status).send().await.ok();
    let lowered = json!({"status": {"used": {"pods": "-9"}}});
    server.ask("PATCH", &format!("{QUOTAS}/q")).merge(&lowered).send().await.ok();
    assert_eq!(used(&server).await, json!({"pods": "0"}));
}

#[tokio::test]
async fn pods_have_the_priority_of_their_class() {
    let server = server().await;
    let names = |list: Value| {
        let items = list["items"].as_array().unwrap().clone();
        items.iter().map(|class| class["metadata"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(server.get(CLASSES).await), ["system-cluster-critical", "system-node-critical"]);
    let class = |name: &str, value: i32| json!({"metadata": {"name": name}, "value": value, "globalDefault": true});
    server.post(CLASSES, class("usual", 7)).await;
    let second = server.ask("POST", CLASSES).json(&class("other", 8)).send().await.refused();
    let why = "priorityclasses.scheduling.k8s.io \"other\" is forbidden: PriorityClass usual is already marked as default. Only one default can exist";
    assert_eq!(second, (403, why.to_owned()));
    let made = server.post(PODS, pod("a", json!({}))).await;
    assert_eq!((&made["spec"]["priorityClassName"], &made["spec"]["priority"]), (&json!("usual"), &json!(7)));
}

#[tokio::test]
async fn an_eviction_says_why_and_deletes() {
    let server = server().await;
    server.bound_pod("default", "web").await;
    let evict = |name: &str, options: Value| {
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, "deleteOptions": options});
        let server = server.clone();
        async move { server.ask("POST", &format!("{PODS}/web/eviction")).json(&body).send().await }
    };
    let why = "name in URL does not match name in Eviction object";
    assert_eq!(evict("other", json!({})).await.refused(), (400, why.to_owned()));
    let stranger = evict("web", json!({"preconditions": {"uid": "x"}})).await;
    assert_eq!(stranger.code, 409);
    evict("web", json!({"dryRun": ["All"]})).await.ok();
    assert!(server.get(&format!("{PODS}/web")).await["metadata"].get("deletionTimestamp").is_none());
    let version = server.get(&format!("{PODS}/web")).await["metadata"]["resourceVersion"].clone();
    let done = evict("web", json!({"preconditions": {"resourceVersion": version}})).await;
    assert_eq!((done.code.as_u16(), &done.body["status"]), (201, &json!("Success")));
    let pod = server.get(&format!("{PODS}/web")).await;
    assert!(pod["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(pod["status"]["conditions"][0]["reason"], "EvictionByEvictionAPI");
}

/// A store in which another writer makes a pod ready as soon as it says that it is being evicted: once.
struct Racing {
    store: Arc<dyn Store>,
    left: AtomicUsize,
}

impl Racing {
    async fn make_ready(&self, key: &Bytes) -> Result<(), Error> {
        let stored = self.store.get(key).await?.unwrap();
        let text = String::from_utf8(stored.value.to_vec()).unwrap();
        let ready = r#""conditions":[{"type":"Ready","status":"True"},"#;
        let value = text.replacen(r#""conditions":["#, ready, 1);
        assert_ne!(value, text);
        self.store.txn(Txn::default().put(key.clone(), value)).await.map(drop)
    }
}

#[async_trait]
impl Store for Racing {
    async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error> {
        self.store.get(key).await
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.store.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        let is_mark = |value: &Bytes| String::from_utf8_lossy(value).contains("EvictionByEvictionAPI");
        let marked = txn.ops.iter().find_map(|op| match op {
            Op::Put { key, value } if is_mark(value) => Some(key.clone()),
            _ => None,
        });
        let outcome = self.store.txn(txn).await?;
        if let Some(key) = marked
            && self.left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
        {
            self.make_ready(&key).await?;
        }
        Ok(outcome)
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.store.compact(revision).await
    }

    async fn revision(&self) -> Result<Revision, Error> {
        self.store.revision().await
    }

    async fn watch(&self, request: WatchRequest) -> Result<Watch, Error> {
        self.store.watch(request).await
    }

    async fn close(&self) -> Result<(), Error> {
        self.store.close().await
    }
}

#[tokio::test]
async fn a_pod_that_serves_by_the_time_it_is_deleted_asks_its_budget() {
    let store: Arc<dyn Store> = Arc::new(remora_store::watched(Arc::new(MemoryEngine::new())).await.unwrap());
    let server = Server::over(Arc::new(Racing { store, left: AtomicUsize::new(1) })).await;
    server.service_account("default").await;
    server.bound_pod("default", "web").await;
    let labels = json!({"metadata": {"labels": {"app": "web"}}});
    server.ask("PATCH", &format!("{PODS}/web")).merge(&labels).send().await.ok();
    let running = json!({"status": {"phase": "Running"}});
    server.ask("PATCH", &format!("{PODS}/web/status")).merge(&running).send().await.ok();
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}});
    server.post(budgets, json!({"metadata": {"name": "b"}, "spec": spec})).await;
    // Another pod serves: this one may go while it does not.
    let counted = json!({"observedGeneration": 1, "currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 2});
    server.ask("PATCH", &format!("{budgets}/b/status")).merge(&json!({"status": counted})).send().await.ok();
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web", "namespace": "default"}});
    let evict = async || server.ask("POST", &format!("{PODS}/web/eviction")).json(&eviction).send().await;
    let (code, why) = evict().await.refused();
    assert_eq!((code, why.as_str()), (429, "Cannot evict pod as it would violate the pod's disruption budget."));
    assert_eq!(server.get(&format!("{PODS}/web")).await["metadata"]["deletionTimestamp"], json!(null));
}
