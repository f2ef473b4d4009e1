//! What a node may do, by what it is, without any binding (upstream: `plugin/pkg/auth/authorizer/node`): the rules of `system:node`, and of nodes
//! and node leases its own only. Upstream leaves it to the admission plugin NodeRestriction which nodes a node writes; here it is one place.
//!
//! What a node's pods name, their secrets, config maps and claims, is its own too, and so are the volumes of those claims; but a decision knows no pods: it says no, and whoever
//! can look ([`wants_to_read`], [`claim_of`], [`names`]) may say yes after all. Upstream keeps a graph of all pods for it.

use std::sync::LazyLock;

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::Value;

use super::{Attributes, Decision, Who, defaults, rule};
use crate::object::{at, text};
use crate::pod::admission::MIRROR_ANNOTATION;
use crate::pod::references::{claims, config_maps, referenced, secrets};

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
    if wants_to_read(who, what).is_some() {
        return Decision::no(format!("no relationship found between node '{node}' and this object"));
    }
    if RULES.iter().any(|of| rule::allows(of, what)) { Decision::yes("") } else { Decision::default() }
}

/// An object that a node may read if a pod of its own names it, or, of a volume, the claim that it is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    /// The node.
    pub node: &'a str,
    /// `secrets`, `configmaps`, `persistentvolumeclaims` or `persistentvolumes`.
    pub resource: &'a str,
    /// Where; the pod is there too. Volumes are in none.
    pub namespace: &'a str,
    /// Which.
    pub name: &'a str,
}

/// What a node wants to read that it may read only for its pods.
pub fn wants_to_read<'a>(who: Who<'a>, what: &Attributes<'a>) -> Option<Named<'a>> {
    let node = node_of(who).filter(|node| !node.is_empty())?;
    let Attributes::Resource { verb, group: "", resource, subresource, namespace, name } = *what else {
        return None;
    };
    let is_theirs = match (resource, subresource) {
        ("secrets" | "configmaps", "") => matches!(verb, "get" | "list" | "watch"),
        ("persistentvolumeclaims", "" | "status") | ("persistentvolumes", "") => verb == "get",
        _ => false,
    };
    is_theirs.then_some(Named { node, resource, namespace, name })
}

/// The claim that this volume is for: who may read that may read the volume, if they [are bound](are_bound).
pub fn claim_of<'a>(node: &'a str, volume: &'a Value) -> Option<Named<'a>> {
    let field = |field: &str| text(volume, &["spec", "claimRef", field]);
    let (namespace, name) = (field("namespace"), field("name"));
    let is_named = !namespace.is_empty() && !name.is_empty();
    is_named.then_some(Named { node, resource: "persistentvolumeclaims", namespace, name })
}

/// Whether each names the other: a claim alone can name any volume, and a volume may be that of a claim of this name that went.
pub fn are_bound(volume: &Value, claim: &Value) -> bool {
    let (name, uid) = (text(volume, &["metadata", "name"]), text(claim, &["metadata", "uid"]));
    !name.is_empty()
        && !uid.is_empty()
        && text(claim, &["spec", "volumeName"]) == name
        && text(volume, &["spec", "claimRef", "uid"]) == uid
}

/// Whether this is a pod of the node's that names the object. Mirrors do not count: the node makes them itself.
pub fn names(pod: &Value, wanted: &Named<'_>) -> bool {
    let is_mirror = !at(pod, &["metadata", "annotations", MIRROR_ANNOTATION]).is_null();
    if is_mirror || wanted.name.is_empty() || text(pod, &["spec", "nodeName"]) != wanted.node {
        return false;
    }
    match wanted.resource {
        "secrets" => secrets(pod).any(|name| name == wanted.name),
        "configmaps" => config_maps(pod).any(|name| name == wanted.name),
        "persistentvolumeclaims" => claims(pod).any(|name| name == wanted.name),
        _ => false,
    }
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
    // Else it would give itself what its pods may have.
    match referenced(pod) {
        Some(what) => Err(format!("node {node:?} can not create pods that reference {what}")),
        None => Ok(()),
    }
}

/// Whether a node may change a pod's status in this way.
///
/// # Errors
/// Why not.
pub fn check_status(node: &str, old: &Value, new: &Value) -> Result<(), String> {
    if text(old, &["spec", "nodeName"]) != node {
        return Err(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"));
    }
    let [before, after] =
        [old, new].map(|pod| at(pod, &["metadata", "labels"]).as_object().filter(|map| !map.is_empty()));
    if before != after {
        // They say which services and budgets a pod belongs to.
        return Err(format!("node {node:?} cannot update labels through pod status"));
    }
    Ok(())
}

/// Whether a node may delete this pod.
///
/// # Errors
/// Why not.
pub fn check_delete(node: &str, pod: &Value) -> Result<(), String> {
    match text(pod, &["spec", "nodeName"]) == node {
        true => Ok(()),
        false => Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself")),
    }
}

/// Whether a node may evict this pod.
///
/// # Errors
/// Why not.
pub fn check_eviction(node: &str, pod: &Value) -> Result<(), String> {
    match text(pod, &["spec", "nodeName"]) == node {
        true => Ok(()),
        false => Err(format!("node {node} can only evict pods with spec.nodeName set to itself")),
    }
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
        let mut greedy = pod(json!({MIRROR_ANNOTATION: "x"}), "n");
        greedy["spec"]["imagePullSecrets"] = json!([{"name": "s"}]);
        assert_eq!(check_pod("n", &greedy), Err("node \"n\" can not create pods that reference secrets".to_owned()));
        assert_eq!(check_token("n", Some("n")), Ok(()));
        assert!(check_token("n", Some("other")).is_err() && check_token("n", None).is_err());
    }

    #[test]
    fn a_node_leaves_pods_of_others_and_labels_alone() {
        let pod = |node: &str, labels: Value| json!({"metadata": {"labels": labels}, "spec": {"nodeName": node}});
        let own = pod("n", json!({"a": "b"}));
        assert_eq!(
            (check_status("n", &own, &own), check_delete("n", &own), check_eviction("n", &own)),
            (Ok(()), Ok(()), Ok(()))
        );
        assert_eq!(check_status("n", &pod("n", Value::Null), &pod("n", json!({}))), Ok(()));
        assert!(check_status("n", &own, &pod("n", json!({"a": "c"}))).unwrap_err().contains("cannot update labels"));
        for other in [pod("m", Value::Null), pod("", Value::Null)] {
            assert!(check_status("n", &other, &other).is_err());
            assert!(check_delete("n", &other).is_err() && check_eviction("n", &other).is_err());
        }
    }

    #[test]
    fn a_node_reads_what_its_pods_name() {
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {
                "nodeName": "n",
                "imagePullSecrets": [{"name": "pull"}],
                "volumes": [
                    {"name": "a", "secret": {"secretName": "mounted"}},
                    {"name": "b", "projected": {"sources": [{"secret": {"name": "part"}}, {"configMap": {"name": "map-part"}}]}},
                    {"name": "c", "configMap": {"name": "map"}},
                    {"name": "d", "persistentVolumeClaim": {"claimName": "claim"}},
                    {"name": "e", "csi": {"driver": "x", "nodePublishSecretRef": {"name": "published"}}},
                ],
                "containers": [{"name": "c", "env": [
                    {"name": "A", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}},
                    {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "map-key", "key": "k"}}},
                ]}],
                "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "whole"}}]}],
                "ephemeralContainers": [{"name": "e", "envFrom": [{"configMapRef": {"name": "map-whole"}}]}],
            }
        });
        let of = |resource, name| Named { node: "n", resource, namespace: "a", name };
        for name in ["pull", "mounted", "part", "published", "key", "whole"] {
            assert!(names(&pod, &of("secrets", name)), "{name}");
            assert!(!names(&pod, &of("configmaps", name)), "{name}");
        }
        for name in ["map", "map-part", "map-key", "map-whole"] {
            assert!(names(&pod, &of("configmaps", name)) && !names(&pod, &of("secrets", name)), "{name}");
        }
        assert!(names(&pod, &of("persistentvolumeclaims", "claim")));
        assert!(!names(&pod, &of("secrets", "")) && !names(&pod, &of("secrets", "other")));
        assert!(!names(&pod, &Named { node: "m", ..of("secrets", "pull") }));
        let mut mirror = pod;
        mirror["metadata"]["annotations"] = json!({MIRROR_ANNOTATION: "x"});
        assert!(!names(&mirror, &of("secrets", "pull")));
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
            (node, "get", "secrets a/s", false),
            (node, "list", "secrets /", false),
            (node, "watch", "configmaps a/c", false),
            (node, "get", "persistentvolumeclaims a/c", false),
            (node, "get", "persistentvolumeclaims/status a/c", false),
            (node, "get", "persistentvolumes /v", false),
            (liar, "patch", "pods/status a/p", false),
        ] {
            let (resource, place) = path.split_once(' ').unwrap();
            let (namespace, name) = place.split_once('/').unwrap();
            let (group, resource) = resource.rsplit_once(':').unwrap_or(("", resource));
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let what = Attributes::Resource { verb, group, resource, subresource, namespace, name };
            assert_eq!(decide(who, &what).allowed, expected, "{verb} {path}");
            let asks = !expected
                && matches!(resource, "secrets" | "configmaps" | "persistentvolumeclaims" | "persistentvolumes");
            assert_eq!(wants_to_read(who, &what).is_some(), asks, "{verb} {path}");
        }
    }

    #[test]
    fn a_node_changes_neither_claims_nor_volumes() {
        let nodes = [GROUP.to_owned()];
        let node = Who { name: "system:node:n", groups: &nodes };
        for (resource, subresource) in
            ["persistentvolumeclaims", "persistentvolumes"].into_iter().flat_map(|of| [(of, ""), (of, "status")])
        {
            for verb in ["update", "patch", "create", "delete", "list", "watch"] {
                let what = Attributes::Resource { verb, group: "", resource, subresource, namespace: "a", name: "x" };
                assert!(!decide(node, &what).allowed, "{verb} {resource}/{subresource}");
                assert_eq!(wants_to_read(node, &what), None, "{verb} {resource}/{subresource}");
            }
        }
    }

    #[test]
    fn a_volume_is_read_by_way_of_the_claim_that_it_is_bound_to() {
        let volume =
            json!({"metadata": {"name": "v"}, "spec": {"claimRef": {"namespace": "a", "name": "c", "uid": "1"}}});
        let claim = |uid: &str, volume: &str| json!({"metadata": {"uid": uid}, "spec": {"volumeName": volume}});
        let named = Named { node: "n", resource: "persistentvolumeclaims", namespace: "a", name: "c" };
        assert_eq!(claim_of("n", &volume), Some(named));
        assert!(are_bound(&volume, &claim("1", "v")));
        for other in [claim("2", "v"), claim("1", "w"), claim("1", ""), json!({})] {
            assert!(!are_bound(&volume, &other), "{other}");
        }
        let free = json!({"metadata": {"name": "v"}, "spec": {}});
        assert!(claim_of("n", &free).is_none() && !are_bound(&free, &claim("", "v")));
    }
}
