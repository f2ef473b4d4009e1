//! Roles and bindings: that they count, at once, and that nobody gives what they do not have. What they mean is tested in `rules::rbac`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::Server;
use remora_http::User;
use serde_json::{Value, json};

const GROUP: &str = "/apis/rbac.authorization.k8s.io/v1";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn rule(verbs: &[&str], group: &str, resource: &str) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": [resource]})
}

fn role(name: &str, rules: &[Value]) -> Value {
    json!({"metadata": {"name": name}, "rules": rules})
}

fn binding(name: &str, role: &str, user: &str) -> Value {
    let (kind, role) = role.split_once('/').unwrap();
    json!({
        "metadata": {"name": name}, "roleRef": {"kind": kind, "name": role}, "subjects": [{"kind": "User", "name": user}],
    })
}

/// A server and jane, who may manage roles and bindings in `default`, read pods there, and no more.
async fn with_jane() -> (Server, Server) {
    let server = Server::start().await;
    let own = [rule(&["*"], "rbac.authorization.k8s.io", "roles"), rule(&["get", "list"], "", "pods")];
    let mut rules = own.to_vec();
    rules[0]["verbs"] = json!(["get", "list", "create", "update", "patch", "delete"]);
    rules[0]["resources"] = json!(["roles", "rolebindings"]);
    server.post(ROLES, role("lead", &rules)).await;
    server.post(BINDINGS, binding("lead", "Role/lead", "jane")).await;
    let jane = server.as_user(User::new("jane", ["dev"]));
    (server, jane)
}

#[tokio::test]
async fn a_change_of_rights_counts_when_it_is_answered() {
    let server = Server::start().await;
    let jane = server.as_user(User::new("jane", ["dev"]));
    let may = async || jane.ask("GET", PODS).send().await.code.is_success();
    server.post(ROLES, role("reader", &[rule(&["list"], "", "pods")])).await;
    for _ in 0..20 {
        server.post(BINDINGS, binding("jane", "Role/reader", "jane")).await;
        assert!(may().await, "a binding counts");
        let none = json!({ "rules": [] });
        server.ask("PATCH", &format!("{ROLES}/reader")).merge(&none).send().await.ok();
        assert!(!may().await, "what is taken from a role is gone");
        let some = json!({"rules": [rule(&["list"], "", "pods")]});
        server.ask("PATCH", &format!("{ROLES}/reader")).merge(&some).send().await.ok();
        assert!(may().await, "what is added to a role counts");
        server.ask("DELETE", &format!("{BINDINGS}/jane")).send().await.ok();
        assert!(!may().await, "a removed binding is gone");
    }
    server.post(BINDINGS, binding("jane", "Role/reader", "jane")).await;
    server.ask("DELETE", &format!("{ROLES}/reader")).send().await.ok();
    let refused = jane.ask("GET", PODS).send().await.refused();
    let because = "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\": \
                   RBAC: role.rbac.authorization.k8s.io \"reader\" not found";
    assert_eq!(refused, (403, because.to_owned()));
}

#[tokio::test]
async fn nobody_gives_more_than_they_have() {
    let (server, jane) = with_jane().await;
    jane.post(ROLES, role("pods", &[rule(&["list"], "", "pods")])).await;
    jane.post(BINDINGS, binding("pods", "Role/pods", "joe")).await;
    let secrets = role("secrets", &[rule(&["get", "list"], "", "secrets")]);
    let lacking = "user \"jane\" (groups=[\"dev\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
                   {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}";
    let refused =
        |resource: &str| (403, format!("{resource}.rbac.authorization.k8s.io \"secrets\" is forbidden: {lacking}"));
    assert_eq!(jane.ask("POST", ROLES).json(&secrets).send().await.refused(), refused("roles"));
    assert_eq!(jane.ask("PUT", &format!("{ROLES}/secrets")).json(&secrets).send().await.refused(), refused("roles"));
    let apply = jane.ask("PATCH", &format!("{ROLES}/secrets?fieldManager=j"));
    let mut applied = secrets.clone();
    applied["apiVersion"] = "rbac.authorization.k8s.io/v1".into();
    applied["kind"] = "Role".into();
    let applied = apply.body("application/apply-patch+yaml", applied.to_string()).send().await;
    assert_eq!(applied.refused(), refused("roles"));
    server.post(ROLES, secrets.clone()).await;
    let bound = binding("secrets", "Role/secrets", "jane");
    assert_eq!(jane.ask("POST", BINDINGS).json(&bound).send().await.refused(), refused("rolebindings"));
    let more = json!({"rules": [rule(&["*"], "", "*")]});
    assert_eq!(jane.ask("PATCH", &format!("{ROLES}/pods")).merge(&more).send().await.refused().0, 403);
    // Labels of a role that one lacks are its content too; nothing changes by an empty patch.
    let labelled = json!({"metadata": {"labels": {"a": "b"}}});
    let path = format!("{ROLES}/secrets");
    assert_eq!(jane.ask("PATCH", &path).merge(&labelled).send().await.refused(), refused("roles"));
    jane.ask("PATCH", &path).merge(&json!({})).send().await.ok();

    let powers = ["roles", "clusterroles"].map(|kind| rule(&["bind", "escalate"], "rbac.authorization.k8s.io", kind));
    server.post(ROLES, role("powers", &powers)).await;
    server.post(BINDINGS, binding("powers", "Role/powers", "jane")).await;
    jane.post(BINDINGS, bound).await;
    jane.post(BINDINGS, binding("root", "ClusterRole/cluster-admin", "jane")).await;
    server.ask("DELETE", &format!("{BINDINGS}/root")).send().await.ok();
    jane.post(ROLES, role("more", &[rule(&["*"], "*", "*")])).await;
}

#[tokio::test]
async fn what_an_update_or_an_apply_creates_must_be_allowed_to_be_created() {
    let server = Server::start().await;
    let rules = [rule(&["update", "patch"], "coordination.k8s.io", "leases"), rule(&["patch"], "", "configmaps")];
    server.post(ROLES, role("writer", &rules)).await;
    server.post(BINDINGS, binding("writer", "Role/writer", "jane")).await;
    let jane = server.as_user(User::new("jane", ["dev"]));
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let (code, message) = jane.ask("PUT", path).json(&json!({"metadata": {"name": "l"}})).send().await.refused();
    let expected = "leases.coordination.k8s.io \"l\" is forbidden: User \"jane\" cannot create resource \"leases\" in API group \
                    \"coordination.k8s.io\" in the namespace \"default\"";
    assert_eq!((code, message.as_str()), (403, expected));
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "b"}}).to_string();
    let path = "/api/v1/namespaces/default/configmaps/m?fieldManager=j";
    let apply = async || jane.ask("PATCH", path).body("application/apply-patch+yaml", map.clone()).send().await;
    assert_eq!(apply().await.refused().0, 403);
    server.post("/api/v1/namespaces/default/configmaps", json!({"metadata": {"name": "m"}})).await;
    apply().await.ok();
}

#[tokio::test]
async fn reviews_say_what_requests_would_be_told() {
    let (server, jane) = with_jane().await;
    let review = async |path: &str, spec: Value| {
        let path = format!("/apis/authorization.k8s.io/v1/{path}");
        server.ask("POST", &path).json(&json!({ "spec": spec })).send().await
    };
    let list = json!({"verb": "list", "resource": "pods", "namespace": "default"});
    let asked = json!({"user": "jane", "resourceAttributes": list});
    let yes = json!({
        "allowed": true, "reason": "RBAC: allowed by RoleBinding \"lead/default\" of Role \"lead\" to User \"jane\"",
    });
    assert_eq!(review("subjectaccessreviews", asked.clone()).await.ok()["status"], yes);
    let local = "namespaces/default/localsubjectaccessreviews";
    assert_eq!(review(local, asked.clone()).await.ok()["status"], yes);
    assert_eq!(review("namespaces/other/localsubjectaccessreviews", asked).await.code, 400);
    let path = json!({"user": "jane", "groups": ["system:authenticated"], "nonResourceAttributes": {"verb": "get", "path": "/api"}});
    let because = "RBAC: allowed by ClusterRoleBinding \"system:discovery\" of ClusterRole \"system:discovery\" to Group \
                   \"system:authenticated\"";
    assert_eq!(review("subjectaccessreviews", path).await.ok()["status"]["reason"], because);

    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let asked = jane.ask("POST", rules).json(&json!({"spec": {}})).send().await;
    assert_eq!(asked.refused(), (400, "no namespace on request".to_owned()));
    let there = jane.post(rules, json!({"spec": {"namespace": "default"}})).await["status"].clone();
    assert!(there["resourceRules"].as_array().unwrap().contains(&rule(&["get", "list"], "", "pods")), "{there}");
    assert_eq!(there["incomplete"], false);
    let elsewhere = jane.post(rules, json!({"spec": {"namespace": "other"}})).await["status"].clone();
    assert!(!elsewhere["resourceRules"].to_string().contains("pods"), "{elsewhere}");
    let node = server.as_user(User::new("system:node:n", ["system:nodes"]));
    let node = node.post(rules, json!({"spec": {"namespace": "default"}})).await["status"].clone();
    assert_eq!(
        [&node["incomplete"], &node["evaluationError"]],
        [&json!(true), &json!("node authorizer does not support user rule resolution")]
    );
}

#[tokio::test]
async fn taking_on_a_user_is_a_right_like_others() {
    let server = Server::start().await;
    let mut users = rule(&["impersonate"], "", "users");
    users["resourceNames"] = json!(["joe"]);
    server.post(&format!("{GROUP}/clusterroles"), role("joe", &[users])).await;
    server.post(&format!("{GROUP}/clusterrolebindings"), binding("joe", "ClusterRole/joe", "jane")).await;
    let jane = server.as_user(User::new("jane", ["dev"]));
    let whoami = async |headers: &[(&str, &str)]| {
        let ask = jane.ask("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews").json(&json!({}));
        headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value)).send().await
    };
    let joe = ("impersonate-user", "joe");
    assert_eq!(whoami(&[joe]).await.ok()["status"]["userInfo"]["username"], "joe");
    for (headers, what) in [
        (vec![("impersonate-user", "root")], "users\" in API group \"\""),
        (vec![joe, ("impersonate-group", "system:masters")], "groups\" in API group \"\""),
        (vec![joe, ("impersonate-uid", "1")], "uids\" in API group \"authentication.k8s.io\""),
        (vec![joe, ("impersonate-extra-scopes", "a")], "userextras/scopes\" in API group \"authentication.k8s.io\""),
    ] {
        let (code, message) = whoami(&headers).await.refused();
        assert!(code == 403 && message.contains(&format!("cannot impersonate resource \"{what}")), "{message}");
    }
}

#[tokio::test]
async fn a_service_account_without_a_binding_may_what_everyone_may() {
    let server = Server::start().await;
    let groups = ["system:serviceaccounts", "system:serviceaccounts:default"];
    let account = server.as_user(User::new("system:serviceaccount:default:default", groups));
    account.get("/apis").await;
    account.get("/openapi/v3").await;
    for path in [PODS, "/api/v1/nodes", "/api/v1/namespaces/default/secrets", "/metrics"] {
        assert_eq!(account.ask("GET", path).send().await.refused().0, 403, "{path}");
    }
    let subjects = json!([{"kind": "ServiceAccount", "name": "default"}]);
    let role = json!({"kind": "ClusterRole", "name": "system:aggregate-to-view"});
    server.post(BINDINGS, json!({"metadata": {"name": "view"}, "roleRef": role, "subjects": subjects})).await;
    account.get(PODS).await;
    assert_eq!(account.ask("GET", "/api/v1/namespaces/default/secrets").send().await.refused().0, 403);
}

#[tokio::test]
async fn a_start_mends_the_defaults_and_leaves_the_rest() {
    let server = Server::start().await;
    let roles = format!("{GROUP}/clusterroles");
    let bindings = format!("{GROUP}/clusterrolebindings");
    let emptied = json!({"metadata": {"labels": {"mine": "a"}}, "rules": []});
    server.ask("PATCH", &format!("{roles}/system:basic-user")).merge(&emptied).send().await.ok();
    let protected =
        json!({"metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}, "rules": []});
    server.ask("PATCH", &format!("{roles}/system:monitoring")).merge(&protected).send().await.ok();
    server.ask("DELETE", &format!("{bindings}/cluster-admin")).send().await.ok();
    server.ask("DELETE", &format!("{bindings}/system:discovery")).send().await.ok();
    server.post(&bindings, binding("system:discovery", "ClusterRole/view", "jane")).await;
    let untouched = server.get(&format!("{roles}/system:discovery")).await;

    let again = Server::over(server.store.clone()).await;
    let basic = again.get(&format!("{roles}/system:basic-user")).await;
    assert!(basic["rules"].to_string().contains("selfsubjectaccessreviews"), "{basic}");
    assert_eq!(basic["metadata"]["labels"]["mine"], "a");
    assert_eq!(again.get(&format!("{roles}/system:monitoring")).await["rules"], Value::Null);
    again.get(&format!("{bindings}/cluster-admin")).await;
    let discovery = again.get(&format!("{bindings}/system:discovery")).await;
    assert_eq!(discovery["roleRef"]["name"], "system:discovery");
    assert_eq!(again.get(&format!("{roles}/system:discovery")).await, untouched);
}
