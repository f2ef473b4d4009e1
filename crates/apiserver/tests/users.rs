//! Who may do what: tokens, anonymous, impersonation, reviews, nodes; logs and sessions up to the upgrade.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{NODE, Server};
use remora_http::User;
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";
const TOKEN: &str = "/api/v1/namespaces/default/serviceaccounts/default/token";

/// Marks a pod as the picture of a static one.
const MIRROR: &str = "kubernetes.io/config.mirror";

async fn with_pod() -> (Server, Value) {
    let server = Server::start().await;
    server.service_account("default").await;
    let pod = server.bound_pod("default", "web").await;
    (server, pod)
}

async fn bound_token(server: &Server, pod: &Value) -> String {
    let reference = json!({"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": pod["metadata"]["uid"]});
    let request = json!({"spec": {"expirationSeconds": 3607, "boundObjectRef": reference}});
    let answer = server.post(TOKEN, request).await;
    assert!(answer["status"]["expirationTimestamp"].is_string());
    answer["status"]["token"].as_str().unwrap().to_owned()
}

async fn whoami(server: &Server, token: &str) -> common::Answer {
    let ask = server.ask("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews");
    ask.header("authorization", &format!("Bearer {token}")).json(&json!({})).send().await
}

#[tokio::test]
async fn a_bound_token_lives_as_long_as_its_pod_and_account() {
    let (server, pod) = with_pod().await;
    let token = bound_token(&server, &pod).await;
    let nobody = server.as_nobody();
    let user = whoami(&nobody, &token).await.ok()["status"]["userInfo"].clone();
    assert_eq!(user["username"], "system:serviceaccount:default:default");
    assert_eq!(user["extra"]["authentication.kubernetes.io/pod-name"], json!(["web"]));
    let listed = nobody.ask("GET", PODS).header("authorization", &format!("Bearer {token}")).send().await;
    assert_eq!(listed.refused().0, 403);
    server.ask("DELETE", &format!("{PODS}/web?gracePeriodSeconds=0")).send().await.ok();
    assert_eq!(whoami(&nobody, &token).await.refused(), (401, "Unauthorized".to_owned()));

    let unbound = server.post(TOKEN, json!({"spec": {}})).await["status"]["token"].as_str().unwrap().to_owned();
    whoami(&nobody, &unbound).await.ok();
    server.ask("DELETE", "/api/v1/namespaces/default/serviceaccounts/default").send().await.ok();
    server.service_account("default").await;
    assert_eq!(whoami(&nobody, &unbound).await.refused().0, 401, "another account of the same name is not meant");
}

#[tokio::test]
async fn a_token_for_others_is_none_for_us_and_reviewed_for_them() {
    let (server, _) = with_pod().await;
    let request = json!({"spec": {"audiences": ["vault"], "expirationSeconds": 600}});
    let token = server.post(TOKEN, request).await["status"]["token"].as_str().unwrap().to_owned();
    assert_eq!(whoami(&server.as_nobody(), &token).await.refused().0, 401);
    let review = async |audiences: Value| {
        let spec = json!({"spec": {"token": token, "audiences": audiences}});
        server.post("/apis/authentication.k8s.io/v1/tokenreviews", spec).await["status"].clone()
    };
    assert_eq!(review(json!(["vault", "other"])).await["audiences"], json!(["vault"]));
    assert!(review(json!([])).await.get("authenticated").is_none());
}

#[tokio::test]
async fn token_requests_are_checked() {
    let (server, pod) = with_pod().await;
    let uid = &pod["metadata"]["uid"];
    for (spec, code) in [
        (json!({"expirationSeconds": 60}), 422),
        (json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "none"}}), 404),
        (json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": "other"}}), 409),
        (json!({"boundObjectRef": {"kind": "Node", "apiVersion": "v1", "name": "x", "uid": uid}}), 400),
    ] {
        assert_eq!(server.ask("POST", TOKEN).json(&json!({"spec": spec})).send().await.refused().0, code);
    }
}

#[tokio::test]
async fn the_unknown_see_health_and_version_only() {
    let nobody = Server::start().await.as_nobody();
    for path in ["/healthz", "/livez", "/readyz?verbose", "/version"] {
        assert!(nobody.ask("GET", path).send().await.code.is_success(), "{path}");
    }
    for path in ["/", "/api", "/apis", "/metrics", PODS, "/wibble", "/openapi/v2"] {
        let (code, why) = nobody.ask("GET", path).send().await.refused();
        assert!(code == 403 && why.contains("User \"system:anonymous\" cannot"), "{path}: {code} {why}");
    }
    let ask = nobody.ask("GET", PODS).header("authorization", "Bearer wibble").send().await;
    assert_eq!(ask.refused().0, 401);
    let as_jane = nobody.ask("GET", "/version").header("impersonate-user", "jane").send().await.refused();
    assert!(as_jane.0 == 403 && as_jane.1.contains("cannot impersonate resource \"users\""), "{as_jane:?}");
}

#[tokio::test]
async fn a_node_may_report_on_itself() {
    let (server, _) = with_pod().await;
    let node = server.as_user(User::new(format!("system:node:{NODE}"), ["system:nodes"]));
    node.post("/api/v1/nodes", json!({"metadata": {"name": NODE}})).await;
    let status = json!({"status": {"phase": "Running"}});
    node.ask("PATCH", &format!("{PODS}/web/status")).strategic(&status).send().await.ok();
    assert_eq!(node.ask("PATCH", &format!("{PODS}/web")).merge(&json!({})).send().await.refused().0, 403);
    let other = server.as_user(User::new("system:node:other", ["system:nodes"]));
    let path = format!("/api/v1/nodes/{NODE}/status");
    assert_eq!(other.ask("PATCH", &path).merge(&json!({})).send().await.refused().0, 403);
}

#[tokio::test]
async fn a_node_reads_what_its_pods_name_and_nothing_else() {
    let (server, _) = with_pod().await;
    const SECRETS: &str = "/api/v1/namespaces/default/secrets";
    for name in ["named", "other"] {
        server.post(SECRETS, json!({"metadata": {"name": name}})).await;
    }
    let node = server.as_user(User::new(format!("system:node:{NODE}"), ["system:nodes"]));
    let read = async |server: &Server, path: &str| server.ask("GET", &format!("{SECRETS}{path}")).send().await.code;
    assert_eq!(read(&node, "/named").await, 403);
    let env = json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "named", "key": "k"}}}]);
    let spec = json!({"nodeName": NODE, "containers": [{"name": "c", "image": "i", "env": env}]});
    server.post(PODS, json!({"metadata": {"name": "reads"}, "spec": spec})).await;
    assert_eq!(read(&node, "/named").await, 200);
    assert_eq!(read(&node, "?fieldSelector=metadata.name%3Dnamed").await, 200);
    for path in ["/other", "", "?fieldSelector=metadata.name%3Dother"] {
        let (code, why) = node.ask("GET", &format!("{SECRETS}{path}")).send().await.refused();
        assert!(
            code == 403 && why.contains("no relationship found between node 'anchor' and this object"),
            "{path}: {why}"
        );
    }
    let elsewhere = server.as_user(User::new("system:node:elsewhere", ["system:nodes"]));
    assert_eq!(read(&elsewhere, "/named").await, 403);
    server.ask("DELETE", &format!("{PODS}/reads")).json(&json!({"gracePeriodSeconds": 0})).send().await.ok();
    assert_eq!(read(&node, "/named").await, 403);
}

#[tokio::test]
async fn a_node_reads_the_claims_and_volumes_of_its_pods_and_changes_none() {
    let (server, _) = with_pod().await;
    const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
    const VOLUMES: &str = "/api/v1/persistentvolumes";
    let size = json!({"storage": "1Gi"});
    for name in ["mine", "theirs"] {
        let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": size}, "volumeName": name, "storageClassName": ""});
        let claim = server.post(CLAIMS, json!({"metadata": {"name": name}, "spec": spec})).await;
        let of = json!({"namespace": "default", "name": name, "uid": claim["metadata"]["uid"]});
        let spec =
            json!({"accessModes": ["ReadWriteOnce"], "capacity": size, "hostPath": {"path": "/data"}, "claimRef": of});
        server.post(VOLUMES, json!({"metadata": {"name": name}, "spec": spec})).await;
    }
    let volumes = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "mine"}}]);
    let spec = json!({"nodeName": NODE, "containers": [{"name": "c", "image": "i"}], "volumes": volumes});
    let node = server.as_user(User::new(format!("system:node:{NODE}"), ["system:nodes"]));
    let read = async |server: &Server, path: String| server.ask("GET", &path).send().await.code;
    assert_eq!(read(&node, format!("{VOLUMES}/mine")).await, 403, "no pod names its claim yet");
    server.post(PODS, json!({"metadata": {"name": "stores"}, "spec": spec})).await;
    for path in [format!("{CLAIMS}/mine"), format!("{CLAIMS}/mine/status"), format!("{VOLUMES}/mine")] {
        assert_eq!(read(&node, path.clone()).await, 200, "{path}");
        let elsewhere = server.as_user(User::new("system:node:elsewhere", ["system:nodes"]));
        assert_eq!(read(&elsewhere, path.clone()).await, 403, "{path}");
        assert_eq!(node.ask("PATCH", &path).merge(&json!({})).send().await.refused().0, 403, "{path}");
    }
    for path in
        [format!("{CLAIMS}/theirs/status"), format!("{VOLUMES}/theirs"), format!("{VOLUMES}/none"), VOLUMES.to_owned()]
    {
        assert_eq!(read(&node, path.clone()).await, 403, "{path}");
    }
}

#[tokio::test]
async fn a_node_gets_nothing_by_way_of_a_mirror_pod() {
    let (server, _) = with_pod().await;
    let node = server.as_user(User::new(format!("system:node:{NODE}"), ["system:nodes"]));
    let mirror = |name: &str, spec: Value| {
        let mut pod = json!({"metadata": {"name": name, "annotations": {MIRROR: "x"}}, "spec": spec});
        pod["spec"]["nodeName"] = NODE.into();
        pod["spec"]["containers"] = json!([{"name": "c", "image": "i"}]);
        pod
    };
    let config = json!({"volumes": [{"name": "v", "configMap": {"name": "c"}}]});
    let secret = json!({"volumes": [{"name": "v", "secret": {"secretName": "c"}}]});
    for (spec, why) in [
        (json!({"serviceAccountName": "default"}), "a mirror pod may not reference service accounts"),
        (json!({"serviceAccount": "default"}), "a mirror pod may not reference service accounts"),
        (secret, "a mirror pod may not reference secrets"),
        (config, "node \"anchor\" can not create pods that reference configmaps"),
    ] {
        let refused = node.ask("POST", PODS).json(&mirror("m", spec)).send().await.refused();
        assert_eq!(refused, (403, format!("pods \"m\" is forbidden: {why}")));
    }
    node.post(PODS, mirror("m", json!({}))).await;
    let stripped = json!({"metadata": {"annotations": {MIRROR: null}}, "status": {"phase": "Running"}});
    for (who, path) in [(&node, "/m/status"), (&server, "/m/status"), (&server, "/m")] {
        let (code, why) = who.ask("PATCH", &format!("{PODS}{path}")).merge(&stripped).send().await.refused();
        assert!(code == 422 && why.contains("may not remove or update mirror pod annotation"), "{path}: {why}");
    }
}

#[tokio::test]
async fn a_node_leaves_pods_of_others_alone() {
    let (server, _) = with_pod().await;
    let other = server.as_user(User::new("system:node:other", ["system:nodes"]));
    let only = |verb: &str, what: &str| {
        let why = format!("can only {verb} {what} with spec.nodeName set to itself");
        (403, format!("pods \"web\" is forbidden: node \"other\" {why}"))
    };
    let web = format!("{PODS}/web");
    let status =
        other.ask("PATCH", &format!("{web}/status")).merge(&json!({"status": {"phase": "Failed"}})).send().await;
    assert_eq!(status.refused(), only("update", "pod status for pods"));
    assert_eq!(other.ask("DELETE", &web).send().await.refused(), only("delete", "pods"));
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web", "namespace": "default"}});
    let (code, why) = other.ask("POST", &format!("{web}/eviction")).json(&eviction).send().await.refused();
    assert!(code == 403 && why.contains("node other can only evict pods with spec.nodeName set to itself"), "{why}");
    let own = server.as_user(User::new(format!("system:node:{NODE}"), ["system:nodes"]));
    let labels = json!({"metadata": {"labels": {"app": "theirs"}}});
    let (code, why) = own.ask("PATCH", &format!("{web}/status")).merge(&labels).send().await.refused();
    assert!(code == 403 && why.contains("cannot update labels through pod status"), "{why}");
    own.ask("DELETE", &web).json(&json!({"gracePeriodSeconds": 0})).send().await.ok();
}

#[tokio::test]
async fn reviews_answer_as_requests_are_answered() {
    let server = Server::start().await;
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let ask = json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "a"}}});
    assert_eq!(server.post(path, ask.clone()).await["status"]["allowed"], true);
    let jane = server.as_user(User::new("jane", ["dev"]));
    assert_eq!(jane.post(path, ask).await["status"]["allowed"], false);
    assert_eq!(jane.ask("POST", path).json(&json!({"spec": {}})).send().await.refused().0, 422);
    let rules =
        jane.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", json!({"spec": {"namespace": "a"}})).await;
    assert!(rules["status"]["resourceRules"].is_array());
}

#[tokio::test]
async fn logs_come_from_the_node_of_the_pod() {
    let (server, _) = with_pod().await;
    let log = server.ask("GET", &format!("{PODS}/web/log")).send().await;
    assert_eq!(log.text, "log of web/web\n");
    let spec = json!({"nodeName": "far", "containers": [{"name": "c", "image": "busybox"}]});
    server.post(PODS, json!({"metadata": {"name": "away"}, "spec": spec})).await;
    let (code, message) = server.ask("GET", &format!("{PODS}/away/log")).send().await.refused();
    assert_eq!((code, message.as_str()), (404, "nodes \"far\" not found"));
    server.post("/api/v1/nodes", json!({"metadata": {"name": "far"}})).await;
    assert_eq!(server.ask("GET", &format!("{PODS}/away/log")).send().await.refused().0, 500);
}

#[tokio::test]
async fn a_log_can_be_read_over_websocket() {
    let (server, _) = with_pod().await;
    let ask = |protocol: &'static str| {
        let ask = server.ask("GET", &format!("{PODS}/web/log")).header("connection", "Upgrade");
        let ask = ask.header("upgrade", "websocket").header("sec-websocket-version", "13");
        ask.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").header("sec-websocket-protocol", protocol)
    };
    let answer = ask("binary.k8s.io").raw().await;
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.headers()["sec-websocket-protocol"], "binary.k8s.io");
    assert_eq!(ask("v4.channel.k8s.io").send().await.refused().0, 400);
}

#[tokio::test]
async fn an_exec_is_checked_before_it_is_upgraded() {
    let (server, _) = with_pod().await;
    let upgraded = |path: &str| {
        let ask = server.ask("GET", &format!("{PODS}/{path}"));
        let ask = ask.header("connection", "Upgrade").header("upgrade", "websocket");
        let ask = ask.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        ask.header("sec-websocket-protocol", "v5.channel.k8s.io")
    };
    for (path, expected) in [
        ("none/exec?command=ls&stdout=1", "pods \"none\" not found"),
        ("web/exec?container=ghost&command=ls&stdout=1", "container ghost is not valid for pod web"),
        ("web/exec?command=ls", "you must specify at least 1 of stdin, stdout, stderr"),
        ("web/exec?stdout=1", "you must specify at least one command to execute"),
    ] {
        assert_eq!(upgraded(path).send().await.refused().1, expected, "{path}");
    }
    let accepted = upgraded("web/exec?command=ls&stdout=1").raw().await;
    assert_eq!(accepted.status().as_u16(), 101);
    assert_eq!(accepted.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
}

#[tokio::test]
async fn a_port_forward_is_checked_before_it_is_upgraded() {
    let (server, _) = with_pod().await;
    server
        .post(PODS, json!({"metadata": {"name": "nowhere"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}))
        .await;
    let over_websocket = |path: &str| {
        let ask = server.ask("GET", &format!("{PODS}/{path}"));
        let ask = ask.header("connection", "Upgrade").header("upgrade", "websocket");
        let ask = ask.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        ask.header("sec-websocket-protocol", "v4.channel.k8s.io")
    };
    let over_spdy = |protocol: &str| {
        let ask = server.ask("POST", &format!("{PODS}/web/portforward"));
        ask.header("connection", "Upgrade").header("upgrade", "SPDY/3.1").header("x-stream-protocol-version", protocol)
    };
    let many = format!("web/portforward?ports={}", vec!["80"; 128].join(","));
    for (path, expected) in [
        ("none/portforward?ports=80", "pods \"none\" not found"),
        ("nowhere/portforward?ports=80", "pod nowhere does not have a host assigned"),
        ("web/portforward", "query parameter \"port\" is required"),
        ("web/portforward?ports=0", "port \"0\" must be > 0"),
        (&many, "128 ports are more than the 127 of one request"),
    ] {
        assert_eq!(over_websocket(path).send().await.refused().1, expected, "{path}");
    }
    let accepted = over_websocket("web/portforward?ports=80").raw().await;
    assert_eq!(accepted.status().as_u16(), 101);
    assert_eq!(accepted.headers()["sec-websocket-protocol"], "v4.channel.k8s.io");
    let accepted = over_spdy("portforward.k8s.io").raw().await;
    assert_eq!(accepted.status().as_u16(), 101);
    assert_eq!(accepted.headers()["upgrade"], "SPDY/3.1");
    assert_eq!(accepted.headers()["x-stream-protocol-version"], "portforward.k8s.io");
    let refused = over_spdy("v4.channel.k8s.io").raw().await;
    assert_eq!(refused.status().as_u16(), 403);
    assert_eq!(refused.headers()["x-accepted-stream-protocol-versions"], "portforward.k8s.io");
    let plain = server.ask("POST", &format!("{PODS}/web/portforward")).send().await.refused();
    assert_eq!(plain, (400, "Upgrade request required".to_owned()));
}

#[tokio::test]
async fn metrics_tell_what_is_stored() {
    let (server, _) = with_pod().await;
    let text = server.ask("GET", "/metrics").send().await.text;
    assert!(text.contains("apiserver_storage_objects{group=\"\",resource=\"pods\"} 1\n"), "{text}");
}
