//! The API's picture of a static pod: when it is made, and when it goes.
//!
//! Source: kubernetes `pkg/kubelet/kubelet.go`, `tryReconcileMirrorPods`, and `pkg/kubelet/pod/mirror_client.go`.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// What tells a static pod from another of its name.
const HASH: &str = "kubernetes.io/config.hash";
/// Of which static pod the API's pod is a picture.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What is to be done about a name's mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorAction {
    /// Nothing.
    Keep,
    /// Make it.
    Create,
    /// Delete what is there. If a pod wants one, it is made once that is gone.
    Delete,
}

/// Whether a pod of the API is the picture of a static one.
pub fn is_mirror(pod: &Pod) -> bool {
    annotation(&pod.metadata, MIRROR).is_some()
}

/// What to do about a mirror. `of` is the static pod of that name which runs or ends here: until it has ended its mirror tells of it. `ends`: it
/// is to run no more.
pub fn mirror_action(of: Option<&Pod>, ends: bool, mirror: Option<&Pod>) -> MirrorAction {
    match (of, mirror) {
        (None, None) => MirrorAction::Keep,
        (None, Some(_)) => MirrorAction::Delete,
        (Some(_), None) if ends => MirrorAction::Keep,
        (Some(_), None) => MirrorAction::Create,
        (Some(pod), Some(mirror)) if mirror.metadata.deletion_timestamp.is_none() && shows(mirror, pod) => {
            MirrorAction::Keep
        }
        (Some(_), Some(_)) => MirrorAction::Delete,
    }
}

/// The mirror of a static pod. `owner` is the node's UID: with the node its mirrors go.
pub fn mirror_of(pod: &Pod, node: &str, owner: &str) -> Pod {
    let mut annotations = pod.metadata.annotations.clone().unwrap_or_default();
    let hash = annotation(&pod.metadata, HASH).unwrap_or_default().to_owned();
    annotations.insert(MIRROR.to_owned(), hash);
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.to_owned(),
        uid: owner.to_owned(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    Pod {
        metadata: ObjectMeta {
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            labels: pod.metadata.labels.clone(),
            annotations: Some(annotations),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: pod.spec.clone(),
        status: None,
    }
}

/// The static pod with what the API says of it: the status, in the revision of its mirror.
pub fn seen_in(mirror: &Pod, pod: &Pod) -> Pod {
    let resource_version = mirror.metadata.resource_version.clone();
    Pod {
        metadata: ObjectMeta { resource_version, ..pod.metadata.clone() },
        spec: pod.spec.clone(),
        status: mirror.status.clone(),
    }
}

/// Whether the mirror is of this pod and not of one that had its name before.
fn shows(mirror: &Pod, pod: &Pod) -> bool {
    annotation(&mirror.metadata, MIRROR) == annotation(&pod.metadata, HASH)
}

fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn a_static(hash: &str) -> Pod {
        let metadata = json!({"name": "p", "uid": hash, "labels": {"a": "b"}, "annotations": {HASH: hash}});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"containers": []}})).unwrap()
    }

    #[test]
    fn a_pod_that_runs_has_the_mirror_that_shows_it() {
        use MirrorAction::{Create, Delete, Keep};
        let (pod, right, wrong) =
            (a_static("1"), mirror_of(&a_static("1"), "n", "u"), mirror_of(&a_static("2"), "n", "u"));
        let mut going = right.clone();
        going.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        for (of, ends, mirror, expected) in [
            (Some(&pod), false, None, Create),
            (Some(&pod), false, Some(&right), Keep),
            // Another file has its name now, or somebody deleted the mirror: it is made again once it is gone.
            (Some(&pod), false, Some(&wrong), Delete),
            (Some(&pod), false, Some(&going), Delete),
            // The pod's file is gone: people see how it ends.
            (Some(&pod), true, Some(&right), Keep),
            (Some(&pod), true, Some(&going), Delete),
            (Some(&pod), true, None, Keep),
            (None, false, Some(&right), Delete),
            (None, false, None, Keep),
        ] {
            assert_eq!(mirror_action(of, ends, mirror), expected, "ends: {ends}, {mirror:?}");
        }
    }

    #[test]
    fn a_mirror_says_of_whom_and_whose_it_is() {
        let (pod, mirror) = (a_static("1"), mirror_of(&a_static("1"), "n", "u"));
        assert!(!is_mirror(&pod) && is_mirror(&mirror) && !is_mirror(&Pod::default()));
        assert_eq!((mirror.metadata.uid, mirror.metadata.labels), (None, pod.metadata.labels));
        assert_eq!(mirror.metadata.owner_references.unwrap()[0].uid, "u");
    }

    #[test]
    fn what_the_api_says_of_a_mirror_it_says_of_its_pod() {
        let pod = a_static("1");
        let mut mirror = mirror_of(&pod, "n", "u");
        mirror.metadata.uid = Some("other".to_owned());
        mirror.metadata.resource_version = Some("7".to_owned());
        mirror.status = Some(serde_json::from_value(json!({"phase": "Running"})).unwrap());
        let seen = seen_in(&mirror, &pod);
        assert_eq!((seen.metadata.uid.as_deref(), seen.metadata.resource_version.as_deref()), (Some("1"), Some("7")));
        assert_eq!((seen.spec, seen.status), (pod.spec, mirror.status));
    }
}
