//! What a node may do, by what it is, without any binding (upstream: `plugin/pkg/auth/authorizer/node`): the rules of `system:node`, and of nodes
//! and node leases its own only. Upstream leaves it to the admission plugin NodeRestriction which nodes a node writes; here it is one place.
//!
//! Deliberately absent: upstream's graph of which pod on which node names which secret, config map or service account.

use std::sync::LazyLock;

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::Value;

use super::{Attributes, Decision, Who, defaults, rule};
use crate::object::{at, text};
use crate::pod::admission::MIRROR_ANNOTATION;

const GROUP: &str = "system:nodes";
const PREFIX: &str = "system:node:";
const LEASES: &str = "kube-node-lease";

static RULES: LazyLock<Vec<PolicyRule>> = LazyLock::new(defaults::node_rules);

/// The name of the node that a user is.
pub fn node_of<'a>(who: Who<'a>) -> Option<&'a str> {
    who.name.strip_prefix(PREFIX).filter(|_| who.is_in(GROUP))
}

/// Whether `who` is a node that may do `what`.
pub fn decide(who: Who<'_>, what: &Attributes<'_>) -> Decision {
    let Some(node) = node_of(who) else { return Decision::default() };
    if node.is_empty() {
        return Decision::no(format!("unknown node for user {:?}", who.name));
    }
    if let Some(why) = refusal(node, what) {
        return Decision::no(why);
    }
    if RULES.iter().any(|of| rule::allows(of, what)) { Decision::yes("") } else { Decision::default() }
}

/// Why a node may not touch what is not its own.
fn refusal(node: &str, what: &Attributes<'_>) -> Option<String> {
    let Attributes::Resource { verb, group, resource, namespace, name, .. } = *what else { return None };
    match (group, resource) {
        ("", "nodes") if matches!(verb, "update" | "patch") && name != node => {
            Some(format!("node '{node}' cannot change '{name}', only its own Node object"))
        }
        ("coordination.k8s.io", "leases") if namespace != LEASES => {
            Some(format!("can only access leases in the {LEASES:?} system namespace"))
        }
        // The name of what is created is not known yet.
        ("coordination.k8s.io", "leases") if verb != "create" && name != node => {
            Some("can only access node lease with the same name as the requesting node".to_owned())
        }
        _ => None,
    }
}

/// Whether a node may create this pod: a mirror of a static pod of its own (upstream: `plugin/pkg/admission/noderestriction`).
///
/// # Errors
/// Why not.
pub fn check_pod(node: &str, pod: &Value) -> Result<(), String> {
    if at(pod, &["metadata", "annotations", MIRROR_ANNOTATION]).is_null() {
        return Err(format!(
            "pod does not have {MIRROR_ANNOTATION:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if text(pod, &["spec", "nodeName"]) != node {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    Ok(())
}

/// Whether a node may have a token that is bound to a pod on this other node; none if it is bound to no pod.
///
/// # Errors
/// Why not.
pub fn check_token(node: &str, bound_to_pod_on: Option<&str>) -> Result<(), &'static str> {
    match bound_to_pod_on {
        None => Err("node requested token not bound to a pod"),
        Some(other) if other != node => Err("node requested token bound to a pod scheduled on a different node"),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_makes_mirror_pods_and_tokens_for_its_own_pods() {
        let pod = |annotations: Value, node: &str| json!({"metadata": {"annotations": annotations}, "spec": {"nodeName": node}});
        let mirror = json!({MIRROR_ANNOTATION: "x"});
        assert_eq!(check_pod("n", &pod(mirror.clone(), "n")), Ok(()));
        assert!(check_pod("n", &pod(mirror, "other")).is_err());
        assert!(check_pod("n", &pod(json!({}), "n")).is_err());
        assert_eq!(check_token("n", Some("n")), Ok(()));
        assert!(check_token("n", Some("other")).is_err() && check_token("n", None).is_err());
    }

    #[test]
    fn a_node_does_its_work_and_leaves_others_alone() {
        let nodes = [GROUP.to_owned()];
        let node = Who { name: "system:node:n", groups: &nodes };
        let liar = Who { name: "system:node:n", groups: &[] };
        for (who, verb, path, expected) in [
            (node, "patch", "pods/status a/p", true),
            (node, "patch", "pods a/p", false),
            (node, "patch", "pods/ephemeralcontainers a/p", false),
            (node, "patch", "nodes/status /n", true),
            (node, "patch", "nodes/status /other", false),
            (node, "update", "nodes /other", false),
            (node, "create", "nodes /", true),
            (node, "delete", "nodes /n", false),
            (node, "create", "events.k8s.io:events a/", true),
            (node, "update", "coordination.k8s.io:leases kube-node-lease/n", true),
            (node, "create", "coordination.k8s.io:leases kube-node-lease/", true),
            (node, "update", "coordination.k8s.io:leases kube-node-lease/other", false),
            (node, "update", "coordination.k8s.io:leases kube-system/n", false),
            (liar, "patch", "pods/status a/p", false),
        ] {
            let (resource, place) = path.split_once(' ').unwrap();
            let (namespace, name) = place.split_once('/').unwrap();
            let (group, resource) = resource.rsplit_once(':').unwrap_or(("", resource));
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let what = Attributes::Resource { verb, group, resource, subresource, namespace, name };
            assert_eq!(decide(who, &what).allowed, expected, "{verb} {path}");
        }
    }
}
