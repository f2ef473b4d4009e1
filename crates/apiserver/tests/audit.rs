//! What the audit log tells of requests, from the request to the line.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io;
use std::sync::{Arc, Mutex};

use common::{PANICS, Server};
use futures::FutureExt;
use remora_apiserver::audit::{Auditor, Output, read_policy};
use remora_http::{Connection, Handler, Peer, User};
use remora_rules::audit::Policy;
use remora_store::Store;
use remora_store::memory::MemoryEngine;
use serde_json::{Value, json};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<Value>>>);

impl Output for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        assert_eq!(line.last(), Some(&b'\n'));
        self.0.lock().unwrap().push(serde_json::from_slice(line)?);
        Ok(())
    }
}

struct Audited {
    server: Server,
    auditor: Auditor,
    lines: Lines,
}

impl Audited {
    async fn start(policy: Policy) -> Self {
        let store: Arc<dyn Store> = Arc::new(remora_store::watched(Arc::new(MemoryEngine::new())).await.unwrap());
        let lines = Lines::default();
        let auditor = Auditor::start(policy, lines.clone()).unwrap();
        let server = Server::audited(store, Some(auditor.clone())).await;
        Self { server, auditor, lines }
    }

    /// With rules for what happens in namespace `a`.
    async fn with_rules(rules: &str) -> Self {
        let policy = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n{rules}\n");
        let audited = Self::start(read_policy(&policy).unwrap()).await;
        audited.server.namespace("a").await;
        audited.told().await;
        audited
    }

    /// What was told since the last time.
    async fn told(&self) -> Vec<Value> {
        self.auditor.flush().await;
        std::mem::take(&mut *self.lines.0.lock().unwrap())
    }

    async fn stages(&self) -> Vec<String> {
        let stage = |event: &Value| format!("{} {}", text(event, "verb"), text(event, "stage"));
        self.told().await.iter().map(stage).collect()
    }
}

fn text<'v>(event: &'v Value, name: &str) -> &'v str {
    event[name].as_str().unwrap_or_default()
}

const MAPS: &str = "/api/v1/namespaces/a/configmaps";

fn map(name: &str) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"key": "hidden"}})
}

#[tokio::test]
async fn without_a_policy_each_request_is_one_line_without_bodies() {
    let audited = Audited::start(Policy::standard()).await;
    audited.server.namespace("a").await;
    audited.told().await;
    let asked = audited.server.ask("POST", &format!("{MAPS}?fieldManager=me")).header("user-agent", "kubectl/v1.33.0");
    let response = asked.json(&map("m")).raw().await;
    let id = response.headers()["audit-id"].to_str().unwrap().to_owned();
    drop(response);
    let told = audited.told().await;
    assert_eq!(told.len(), 1, "{told:?}");
    let mut event = told[0].clone();
    for field in ["requestReceivedTimestamp", "stageTimestamp"] {
        let time = event.as_object_mut().unwrap().remove(field).unwrap();
        assert_eq!(time.as_str().unwrap().len(), "2026-01-02T03:04:05.678901Z".len());
    }
    assert_eq!(
        event,
        json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": id,
            "stage": "ResponseComplete", "requestURI": "/api/v1/namespaces/a/configmaps?fieldManager=me", "verb": "create",
            "user": {"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]},
            "userAgent": "kubectl/v1.33.0",
            "objectRef": {"resource": "configmaps", "namespace": "a", "name": "m", "apiVersion": "v1"},
            "responseStatus": {"metadata": {}, "code": 201},
            "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""}
        })
    );
    audited.server.get("/healthz").await;
    audited.server.get("/api/v1/namespaces/a/events").await;
    audited.server.get("/version").await;
    assert_eq!(audited.stages().await, ["get ResponseComplete"]);
}

#[tokio::test]
async fn who_is_refused_and_who_acts_as_another_is_told() {
    let audited = Audited::with_rules("- {level: Metadata, omitStages: [RequestReceived]}").await;
    let jane = audited.server.as_user(User::new("jane", ["dev"]));
    assert_eq!(jane.ask("GET", &format!("{MAPS}/m")).send().await.code, 403);
    let event = &audited.told().await[0];
    assert_eq!(event["user"]["username"], "jane");
    assert_eq!(event["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(
        (event["responseStatus"]["code"].as_u64(), &event["responseStatus"]["reason"]),
        (Some(403), &"Forbidden".into())
    );
    assert!(text(&event["responseStatus"], "message").contains("User \"jane\" cannot get resource \"configmaps\""));

    audited.server.ask("GET", MAPS).header("impersonate-user", "jane").send().await;
    let event = &audited.told().await[0];
    assert_eq!(
        (&event["user"]["username"], &event["impersonatedUser"]["username"]),
        (&"kubernetes-admin".into(), &"jane".into())
    );
    assert_eq!(event["responseStatus"]["code"], 403);
    jane.ask("GET", MAPS).header("impersonate-user", "joe").send().await;
    let event = &audited.told().await[0];
    assert!(event.get("impersonatedUser").is_none() && event["responseStatus"]["code"] == 403);

    let nobody = audited.server.as_nobody();
    let asked =
        nobody.ask("GET", MAPS).header("authorization", "Bearer wrong").header("x-forwarded-for", "192.0.2.7, x");
    assert_eq!(asked.send().await.code, 401);
    let told = audited.told().await;
    assert_eq!((told.len(), text(&told[0], "stage")), (1, "ResponseStarted"));
    assert_eq!(told[0]["responseStatus"]["message"], "Authentication failed, attempted: bearer");
    assert_eq!((&told[0]["user"], &told[0]["sourceIPs"]), (&json!({}), &json!(["192.0.2.7", "127.0.0.1"])));
}

#[tokio::test]
async fn bodies_are_told_where_the_policy_says_so() {
    let rules = "- {level: RequestResponse, resources: [{resources: [configmaps]}], omitManagedFields: true, omitStages: [RequestReceived]}\n\
                 - {level: Request, resources: [{resources: [secrets]}], omitStages: [RequestReceived]}";
    let audited = Audited::with_rules(rules).await;
    audited.server.post(MAPS, map("m")).await;
    let event = &audited.told().await[0];
    assert_eq!(event["requestObject"], map("m"));
    assert_eq!(event["responseObject"]["data"]["key"], "hidden");
    assert!(event["responseObject"]["metadata"].get("managedFields").is_none());
    let patch = audited.server.ask("PATCH", &format!("{MAPS}/m"));
    patch.body("application/merge-patch+json", r#"{"data":{"key":"other"}}"#).send().await.ok();
    let event = &audited.told().await[0];
    assert_eq!(
        (&event["requestObject"], &event["responseObject"]["data"]),
        (&json!({"data": {"key": "other"}}), &json!({"key": "other"}))
    );
    audited.server.get(MAPS).await;
    assert_eq!(audited.told().await[0]["responseObject"]["items"][0]["metadata"]["name"], "m");
    audited.server.ask("POST", MAPS).json(&map("m")).send().await;
    assert_eq!(audited.told().await[0]["responseObject"]["reason"], "AlreadyExists");
    let refused = audited.server.ask("POST", MAPS).body("application/json", "{").send().await.refused();
    let event = &audited.told().await[0];
    assert!(event.get("requestObject").is_none() && event["responseStatus"]["message"] == refused.1, "{event}");
    audited.server.post("/api/v1/namespaces/a/secrets", json!({"metadata": {"generateName": "s-"}})).await;
    let event = &audited.told().await[0];
    assert!(event.get("requestObject").is_some() && event.get("responseObject").is_none());
    assert!(text(&event["objectRef"], "name").starts_with("s-"));
}

/// As kube-apiserver v1.34.4 tells of the same requests.
#[tokio::test]
async fn objects_are_told_as_they_are_decoded_and_patches_as_they_come() {
    let audited = Audited::with_rules("- {level: Request, namespaces: [a], omitStages: [RequestReceived]}").await;
    let server = &audited.server;
    let pods = "/api/v1/namespaces/a/pods";
    let sent =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}, "wrong": 1});
    server.post(&format!("{pods}?fieldValidation=Ignore"), sent).await;
    let event = &audited.told().await[0];
    let container = json!({
        "name": "c", "image": "busybox", "resources": {}, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "imagePullPolicy": "Always",
    });
    let spec = json!({
        "containers": [container], "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
        "securityContext": {}, "schedulerName": "default-scheduler", "enableServiceLinks": true,
    });
    let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "spec": spec, "status": {}});
    assert_eq!(event["requestObject"], pod);
    let target = json!({"kind": "Node", "name": common::NODE});
    server.post(&format!("{pods}/p/binding"), json!({"target": target})).await;
    let binding = json!({"kind": "Binding", "apiVersion": "v1", "metadata": {}, "target": target});
    assert_eq!(audited.told().await[0]["requestObject"], binding);

    let mut now = server.post(MAPS, map("m")).await;
    audited.told().await;
    now["data"] = json!({"key": "other"});
    server.ask("PUT", &format!("{MAPS}/m")).json(&now).send().await.ok();
    let event = &audited.told().await[0];
    assert_eq!(event["requestObject"], now);
    for field in ["uid", "resourceVersion"] {
        assert_eq!(event["objectRef"][field], now["metadata"][field], "{field}");
    }
    let yaml = server.ask("PATCH", &format!("{MAPS}/m?fieldManager=x&force=true"));
    let applied = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {key: applied}\n";
    yaml.body("application/apply-patch+yaml", applied).send().await.ok();
    assert_eq!(audited.told().await[0]["requestObject"]["data"], json!({"key": "applied"}));
    server.ask("POST", MAPS).json(&json!({"kind": "Pod", "metadata": {"name": "m"}})).send().await.refused();
    assert_eq!(audited.told().await[0].get("requestObject"), None);
    server.ask("POST", MAPS).json(&map("M_")).send().await.refused();
    let event = &audited.told().await[0];
    assert_eq!((&event["requestObject"], &event["objectRef"]["name"]), (&map("M_"), &json!("M_")));
}

#[tokio::test]
async fn a_watch_is_told_when_it_starts_and_when_it_ends() {
    let audited = Audited::with_rules("- {level: RequestResponse}").await;
    let watch = audited.server.watch(&format!("{MAPS}?watch=1")).await;
    assert_eq!(audited.stages().await, ["watch RequestReceived", "watch ResponseStarted"]);
    drop(watch);
    let told = audited.told().await;
    assert_eq!((told.len(), text(&told[0], "stage")), (1, "ResponseComplete"));
    assert!(told[0].get("responseObject").is_none());
    let named = audited.server.ask("GET", "/version").header("audit-id", "mine").raw().await;
    assert_eq!(named.headers()["audit-id"], "mine");
    drop(named);
    let told = audited.told().await;
    assert_eq!([text(&told[0], "stage"), text(&told[1], "stage")], ["RequestReceived", "ResponseComplete"]);
    assert!(told.iter().all(|event| event["auditID"] == "mine" && event.get("responseObject").is_none()));
}

#[tokio::test]
async fn a_handler_that_panics_and_a_client_that_goes_are_told() {
    let audited = Audited::with_rules("- {level: Metadata}").await;
    audited.server.bound_pod("a", PANICS).await;
    audited.told().await;
    let server = audited.server.clone();
    let asked = tokio::spawn(async move {
        server.ask("GET", &format!("/api/v1/namespaces/a/pods/{PANICS}/log")).raw().await;
    });
    assert!(asked.await.unwrap_err().is_panic());
    let told = audited.told().await;
    let stages: Vec<&str> = told.iter().map(|event| text(event, "stage")).collect();
    assert_eq!(stages, ["RequestReceived", "Panic"]);
    assert_eq!(told[1]["responseStatus"]["code"], 500);

    let body = remora_http::body::stream(futures::stream::pending::<Result<bytes::Bytes, io::Error>>());
    let request = http::Request::builder().method("POST").uri(MAPS).body(body).unwrap();
    let connection = Connection::detached(Peer::Memory { user: Arc::new(User::new("jane", ["system:masters"])) });
    // One look: the handler waits for the body that never comes.
    assert!(audited.server.api.call(request, connection).now_or_never().is_none());
    let told = audited.told().await;
    let stages: Vec<&str> = told.iter().map(|event| text(event, "stage")).collect();
    assert_eq!(stages, ["RequestReceived", "ResponseComplete"]);
    assert!(told[1].get("responseStatus").is_none());
}

#[tokio::test]
async fn what_pod_security_finds_is_an_annotation() {
    let audited = Audited::with_rules("- {level: Metadata, omitStages: [RequestReceived]}").await;
    let label =
        |mode: &str| json!({"metadata": {"labels": {format!("pod-security.kubernetes.io/{mode}"): "baseline"}}});
    let pod = |name: &str| {
        let container = json!({"name": "c", "image": "busybox", "securityContext": {"privileged": true}});
        json!({"metadata": {"name": name}, "spec": {"containers": [container]}})
    };
    let relabel = async |mode: &str| {
        let patch = audited.server.ask("PATCH", "/api/v1/namespaces/a");
        patch.body("application/merge-patch+json", label(mode).to_string()).send().await.ok();
        audited.told().await;
    };
    relabel("audit").await;
    audited.server.post("/api/v1/namespaces/a/pods", pod("p")).await;
    let event = &audited.told().await[0];
    assert_eq!(event["annotations"]["pod-security.kubernetes.io/enforce-policy"], "privileged:latest");
    let found = text(&event["annotations"], "pod-security.kubernetes.io/audit-violations");
    assert!(found.starts_with("would violate PodSecurity \"baseline:latest\": privileged"), "{found}");
    relabel("enforce").await;
    assert_eq!(audited.server.ask("POST", "/api/v1/namespaces/a/pods").json(&pod("q")).send().await.code, 403);
    let event = &audited.told().await[0];
    assert_eq!((&event["objectRef"]["name"], &event["responseStatus"]["code"]), (&"q".into(), &403.into()));
    assert_eq!(event["annotations"]["pod-security.kubernetes.io/enforce-policy"], "baseline:latest");
}

#[tokio::test]
async fn without_a_log_every_answer_still_has_its_name() {
    let server = Server::start().await;
    let response = server.ask("GET", "/nowhere").raw().await;
    assert_eq!(response.headers()["audit-id"].len(), 36);
}
