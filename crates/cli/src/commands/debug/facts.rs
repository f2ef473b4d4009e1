//! What is known beside the pod. Whoever may not read it does without: it makes sessions better, not possible.

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use remora_debug::Facts;

use crate::cluster::Cluster;

/// Of a pod's node.
pub(super) async fn of_pod(cluster: &Cluster, pod: &Pod, default_image: &str) -> Facts {
    let node = match pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) {
        Some(name) => Api::<Node>::all(cluster.client.clone()).get_opt(name).await.ok().flatten(),
        None => None,
    };
    of(node.as_ref(), default_image)
}

/// Of a node.
pub(super) fn of(node: Option<&Node>, default_image: &str) -> Facts {
    let runtime =
        node.and_then(|node| Some(node.status.as_ref()?.node_info.as_ref()?.container_runtime_version.as_str()));
    Facts {
        is_remora: runtime.is_some_and(|runtime| runtime.starts_with("remora://")),
        images: node.map(remora_debug::images_of).unwrap_or_default(),
        default_image: default_image.to_owned(),
    }
}
