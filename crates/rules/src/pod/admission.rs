//! What Kubernetes' default admission plugins add to a new pod: service account and its token volume,
//! tolerations for a node that is not ready (upstream: `plugin/pkg/admission/{serviceaccount,defaulttolerationseconds}`).
//! The API server looks up the account and calls [`admit`] between decoding and the strategy; only for creates.

use remora_model::status::Qualified;
use remora_model::text::quoted;
use remora_model::{FieldError, Path, Status};
use serde_json::{Value, json};

use super::references;
use crate::object::{at, field_mut, items_mut, list, set, text};

/// Where containers find the token.
pub const TOKEN_MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The start of the token volume's name.
pub const TOKEN_VOLUME_PREFIX: &str = "kube-api-access-";
/// Marks the API's picture of a static pod.
pub const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// The service account that a pod runs as.
pub fn service_account_name(pod: &Value) -> &str {
    match text(pod, &["spec", "serviceAccountName"]) {
        "" => "default",
        name => name,
    }
}

/// Adds what admission adds. `account` is the pod's service account as stored, `suffix` five random characters.
///
/// # Errors
/// 403 if the account does not exist, or a mirror pod names other objects.
pub fn admit(pod: &mut Value, account: Option<&Value>, suffix: &str) -> Result<(), Status> {
    set_tolerations(field_mut(pod, "spec"));
    if at(pod, &["metadata", "annotations", MIRROR_ANNOTATION]).is_null() {
        return set_service_account(pod, account, suffix);
    }
    match refused_in_mirrors(pod) {
        Some(why) => Err(forbidden(pod, &format!("a mirror pod may not {why}"))),
        None => Ok(()),
    }
}

/// Nobody may make a mirror that has what the static pod cannot have; a node is held to more than that ([`crate::rbac::node::check_pod`]).
fn refused_in_mirrors(pod: &Value) -> Option<&'static str> {
    if !text(pod, &["spec", "serviceAccountName"]).is_empty() {
        return Some("reference service accounts");
    }
    if references::secrets(pod).any(|name| !name.is_empty()) {
        return Some("reference secrets");
    }
    let mut sources = list(pod, &["spec", "volumes"]).iter().flat_map(|volume| list(volume, &["projected", "sources"]));
    let is_token = |source: &Value| !at(source, &["serviceAccountToken"]).is_null();
    sources.any(is_token).then_some("use ServiceAccountToken volume projections")
}

/// A pod is a mirror from its first moment to its last, or it never is: what one may do depends on it.
pub(super) fn validate_mirror(new: &Value, old: &Value) -> Option<FieldError> {
    let of = |pod| at(pod, &["metadata", "annotations", MIRROR_ANNOTATION]);
    let why = match (of(old), of(new)) {
        (old, new) if old == new => return None,
        (Value::Null, _) => "may not add mirror pod annotation",
        _ => "may not remove or update mirror pod annotation",
    };
    let metadata = Path::new("metadata");
    Some(FieldError::forbidden(&metadata.child("annotations").key(MIRROR_ANNOTATION), why))
}

pub(super) fn forbidden(pod: &Value, why: &str) -> Status {
    let name = match text(pod, &["metadata", "name"]) {
        "" => text(pod, &["metadata", "generateName"]),
        name => name,
    };
    Status::forbidden(Qualified::core("pods"), name, why)
}

/// A pod stays on a node that went away for five minutes, unless it says otherwise.
fn set_tolerations(spec: &mut Value) {
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerates = |t: &Value| {
            matches!(text(t, &["key"]), "") | (text(t, &["key"]) == key)
                && matches!(text(t, &["effect"]), "" | "NoExecute")
        };
        if list(spec, &["tolerations"]).iter().any(tolerates) {
            continue;
        }
        let added = json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
        push(spec, "tolerations", added);
    }
}

pub(super) fn push(object: &mut Value, field: &str, item: Value) {
    match field_mut(object, field) {
        Value::Array(items) => items.push(item),
        slot => *slot = Value::Array(vec![item]),
    }
}

fn set_service_account(pod: &mut Value, account: Option<&Value>, suffix: &str) -> Result<(), Status> {
    let name = service_account_name(pod).to_owned();
    let Some(account) = account else {
        let namespace = text(pod, &["metadata", "namespace"]);
        let why =
            format!("error looking up service account {namespace}/{name}: serviceaccount {} not found", quoted(&name));
        return Err(forbidden(pod, &why));
    };
    let spec = field_mut(pod, "spec");
    set(spec, "serviceAccountName", name.clone().into());
    set(spec, "serviceAccount", name.into());
    if list(spec, &["imagePullSecrets"]).is_empty() && !list(account, &["imagePullSecrets"]).is_empty() {
        set(spec, "imagePullSecrets", at(account, &["imagePullSecrets"]).clone());
    }
    if wants_token(spec, account) {
        mount_token(spec, suffix);
    }
    Ok(())
}

/// The pod's word counts before the account's; without either the token is mounted.
fn wants_token(spec: &Value, account: &Value) -> bool {
    let word = |of: &Value| at(of, &["automountServiceAccountToken"]).as_bool();
    word(spec).or_else(|| word(account)).unwrap_or(true)
}

/// Mounts the token into every container that has nothing there, and adds the volume if one does. Ephemeral containers
/// get none: they come later, and never pass here.
fn mount_token(spec: &mut Value, suffix: &str) {
    let existing =
        list(spec, &["volumes"]).iter().map(|v| text(v, &["name"])).find(|n| n.starts_with(TOKEN_VOLUME_PREFIX));
    let (volume, present) = match existing {
        Some(name) => (name.to_owned(), true),
        None => (format!("{TOKEN_VOLUME_PREFIX}{suffix}"), false),
    };
    let mut used = false;
    for field in ["initContainers", "containers"] {
        for container in items_mut(spec, field) {
            let taken = |mount: &Value| text(mount, &["mountPath"]) == TOKEN_MOUNT_PATH;
            if !list(container, &["volumeMounts"]).iter().any(taken) {
                push(
                    container,
                    "volumeMounts",
                    json!({"name": volume, "readOnly": true, "mountPath": TOKEN_MOUNT_PATH}),
                );
                used = true;
            }
        }
    }
    if used && !present {
        push(spec, "volumes", token_volume(&volume));
    }
}

/// Token, CA and namespace; the lifetime is an hour and a bit, which tells kubelets that the token may be extended.
fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(spec: Value, account: Value) -> Value {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": spec});
        admit(&mut pod, Some(&account), "abcde").unwrap();
        pod["spec"].clone()
    }

    #[test]
    fn the_token_is_mounted_where_nothing_is() {
        let spec = admitted(
            json!({"containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"name": "x", "mountPath": TOKEN_MOUNT_PATH}]}]}),
            json!({}),
        );
        assert_eq!(spec["volumes"][0]["name"], "kube-api-access-abcde");
        assert_eq!(spec["containers"][0]["volumeMounts"][0]["mountPath"], TOKEN_MOUNT_PATH);
        assert_eq!(spec["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn the_pods_word_on_the_token_counts_before_the_accounts() {
        for (pod, account, mounted) in [
            (json!({}), json!({"automountServiceAccountToken": false}), false),
            (json!({"automountServiceAccountToken": true}), json!({"automountServiceAccountToken": false}), true),
            (json!({"automountServiceAccountToken": false}), json!({}), false),
        ] {
            let mut spec = pod;
            spec["containers"] = json!([{"name": "a"}]);
            assert_eq!(admitted(spec, account).get("volumes").is_some(), mounted);
        }
    }

    #[test]
    fn tolerations_are_added_only_where_missing() {
        let everything = admitted(json!({"tolerations": [{"operator": "Exists"}]}), json!({}));
        assert_eq!(everything["tolerations"].as_array().unwrap().len(), 1);
        let one = admitted(
            json!({"tolerations": [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]}),
            json!({}),
        );
        assert_eq!(one["tolerations"][1]["key"], "node.kubernetes.io/unreachable");
    }

    #[test]
    fn a_mirror_pod_names_nothing_and_stays_a_mirror() {
        let pod = |annotation: Value| json!({"metadata": {"name": "p", "annotations": {MIRROR_ANNOTATION: annotation}}, "spec": {}});
        let mut named = pod("x".into());
        assert_eq!(admit(&mut named, None, "x"), Ok(()));
        named["spec"]["serviceAccountName"] = "s".into();
        assert_eq!(
            admit(&mut named, None, "x").unwrap_err().message,
            "pods \"p\" is forbidden: a mirror pod may not reference service accounts"
        );
        for (old, new, expected) in [
            ("x".into(), "x".into(), None),
            ("x".into(), "y".into(), Some("may not remove or update mirror pod annotation")),
            ("x".into(), Value::Null, Some("may not remove or update mirror pod annotation")),
            (Value::Null, "x".into(), Some("may not add mirror pod annotation")),
        ] {
            let error = validate_mirror(&pod(new), &pod(old)).map(|error| error.to_string());
            let expected = expected.map(|why| format!("metadata.annotations[{MIRROR_ANNOTATION}]: Forbidden: {why}"));
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn an_account_that_is_not_there_is_forbidden() {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {}});
        assert_eq!(
            admit(&mut pod, None, "x").unwrap_err().message,
            "pods \"p\" is forbidden: error looking up service account n/default: serviceaccount \"default\" not found"
        );
    }
}
