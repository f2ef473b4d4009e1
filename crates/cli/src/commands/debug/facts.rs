//! What is known beside the pod. Whoever may not read it does without: it makes sessions better, not possible.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::Api;
use kube::api::PostParams;
use remora_debug::{Facts, Right};

use crate::cluster::Cluster;

/// The label of a namespace that says what Pod Security does at a level.
const POD_SECURITY: &str = "pod-security.kubernetes.io/";

/// Of a pod's node, and of the user's rights.
pub(crate) struct Known {
    pub(crate) facts: Facts,
    /// The node's name, with its runtime.
    pub(crate) node: Option<String>,
    /// Why nothing starts there now.
    pub(crate) obstacle: Option<String>,
    /// Whether the user may attach; none if the server does not say.
    pub(crate) may_attach: Option<bool>,
}

/// All at once: the slowest answer is all that it costs.
pub(crate) async fn of_pod(cluster: &Cluster, pod: &Pod, default_image: &str) -> Known {
    let name = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let (node, may_attach, user) =
        futures::join!(node(cluster, name.as_deref()), may(cluster, "get", "pods/attach"), user(cluster));
    let runtime = node.as_ref().and_then(runtime);
    let shown = name.as_ref().map(|name| match runtime {
        Some(runtime) => format!("{name} ({runtime})"),
        None => name.clone(),
    });
    Known {
        facts: of(node.as_ref(), user, default_image),
        node: shown,
        obstacle: node.as_ref().and_then(remora_debug::not_ready),
        may_attach,
    }
}

async fn node(cluster: &Cluster, name: Option<&str>) -> Option<Node> {
    Api::<Node>::all(cluster.client.clone()).get_opt(name?).await.ok().flatten()
}

/// Of a node.
pub(super) fn of(node: Option<&Node>, user: Option<String>, default_image: &str) -> Facts {
    Facts {
        is_remora: node.and_then(runtime).is_some_and(|runtime| runtime.starts_with("remora://")),
        images: node.map(remora_debug::images_of).unwrap_or_default(),
        user,
        default_image: default_image.to_owned(),
    }
}

/// Who the API server says one is (Kubernetes 1.28 and later).
pub(super) async fn user(cluster: &Cluster) -> Option<String> {
    let review = SelfSubjectReview::default();
    let answer = Api::all(cluster.client.clone()).create(&PostParams::default(), &review).await.ok()?;
    answer.status?.user_info?.username
}

fn runtime(node: &Node) -> Option<&str> {
    Some(node.status.as_ref()?.node_info.as_ref()?.container_runtime_version.as_str())
}

/// Whether the user may; none if the server does not say.
async fn may(cluster: &Cluster, verb: &str, resource: &str) -> Option<bool> {
    let (resource, subresource) = resource.split_once('/').map_or((resource, None), |(r, s)| (r, Some(s.to_owned())));
    let attributes = ResourceAttributes {
        namespace: Some(cluster.namespace.clone()),
        verb: Some(verb.to_owned()),
        resource: Some(resource.to_owned()),
        subresource,
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), non_resource_attributes: None };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let answer = Api::all(cluster.client.clone()).create(&PostParams::default(), &review).await.ok()?;
    Some(answer.status?.allowed)
}

/// What a session needs, and whether the user may.
pub(super) async fn rights(cluster: &Cluster) -> Vec<Right> {
    // `kube` reaches streams by WebSockets, which is `get`; Kubernetes from 1.35 asks for `create` as well.
    const NEEDED: [(&str, &str, &str); 6] = [
        ("patch", "pods/ephemeralcontainers", "to add the container"),
        ("watch", "pods", "to see it start"),
        ("get", "pods/attach", "to reach it"),
        ("create", "pods/attach", "to reach it (1.35 and later)"),
        ("get", "pods/log", "to read what it said"),
        ("get", "nodes", "to know the node's images"),
    ];
    let answers = NEEDED.map(|(verb, resource, _)| may(cluster, verb, resource));
    let answers = futures::future::join_all(answers).await;
    let rights = NEEDED.into_iter().zip(answers);
    rights.map(|((verb, resource, purpose), allowed)| Right { verb, resource, purpose, allowed }).collect()
}

/// What the namespace's labels say of Pod Security, the enforced level first; none if they may not be read.
pub(super) async fn pod_security(cluster: &Cluster) -> Option<Vec<String>> {
    let namespace = Api::<Namespace>::all(cluster.client.clone()).get(&cluster.namespace).await.ok()?;
    let labels = namespace.metadata.labels.unwrap_or_default();
    let of = |mode: &str| labels.get(&format!("{POD_SECURITY}{mode}")).map(|level| format!("{mode}={level}"));
    Some(["enforce", "warn", "audit"].iter().filter_map(|mode| of(mode)).collect())
}
