//! Mirrors in the API: made and deleted. As of which pod, `remora-decide` says.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use remora_decide::{is_mirror, mirror_of};

use crate::context::{Context, id_of};

/// Why a mirror is not as it should be.
#[derive(Debug, thiserror::Error)]
pub(super) enum MirrorError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// Something holds it: a finalizer, or somebody who writes it at the same time.
    #[error("the mirror that was deleted is still there")]
    Stays,
    /// A fault of ours: the log has it.
    #[error("the work on it has panicked")]
    Panicked,
}

/// Makes the mirror of a static pod, or finds one that the watch has not told of yet. The node is asked for each time: somebody may have deleted it, and it has
/// registered again.
pub(super) async fn create(context: &Context, pod: &Pod) -> Result<Arc<Pod>, MirrorError> {
    let name = &context.config.node_name;
    let node = Api::<Node>::all(context.config.client.clone()).get(name).await?;
    let mirror = mirror_of(pod, name, node.metadata.uid.as_deref().unwrap_or_default());
    let api = api(context, pod);
    match api.create(&PostParams::default(), &mirror).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let there = api.get_opt(id_of(pod).name).await?.filter(is_mirror);
            there.map(Arc::new).ok_or(MirrorError::Api(kube::Error::Api(status)))
        }
        made => Ok(made.map(Arc::new)?),
    }
}

/// Deletes this very mirror: there is nothing that it would have to wait for. The one that is there then, if any.
pub(super) async fn delete(context: &Context, mirror: &Pod) -> Result<Option<Arc<Pod>>, MirrorError> {
    let id = id_of(mirror);
    let preconditions = Preconditions { uid: Some(id.uid.to_owned()), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }.grace_period(0);
    let api = api(context, mirror);
    match api.delete(id.name, &params).await {
        // Gone, or another one by now; or somebody has written it meanwhile. What is true is looked up.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
        result => result.map(drop)?,
    }
    let there = api.get_opt(id.name).await?.filter(is_mirror);
    match there {
        Some(same) if same.metadata.uid == mirror.metadata.uid => Err(MirrorError::Stays),
        there => Ok(there.map(Arc::new)),
    }
}

/// Revisions of one server grow; those of others are opaque and then equal here.
pub(super) fn revision(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|revision| revision.parse().ok()).unwrap_or(0)
}

fn api(context: &Context, pod: &Pod) -> Api<Pod> {
    Api::namespaced(context.config.client.clone(), id_of(pod).namespace)
}
