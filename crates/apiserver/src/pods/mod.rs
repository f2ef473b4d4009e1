//! The subresources that only pods have: binding, eviction, log, exec, attach.

pub mod binding;
pub mod eviction;
pub mod exec;
pub mod log;

use std::sync::Arc;

use remora_model::{ObjectKey, Status, kinds};
use remora_streaming::{PodContainer, PodStreams, StreamError};
use serde_json::Value;

use crate::server::State;

/// The node that runs a pod.
///
/// # Errors
/// 404 if the node does not exist, 500 if it cannot be reached.
async fn streams_of(state: &State, node: &str) -> Result<Arc<dyn PodStreams>, Status> {
    if let Some(streams) = state.nodes().streams_for(node) {
        return Ok(streams);
    }
    state.objects().require(&ObjectKey::new(kinds::core("nodes"), None, node)).await?;
    Err(Status::internal(format!("error dialing backend: node {node} cannot be reached from this API server")))
}

/// The container as nodes know it.
fn container(pod: &Value, name: String) -> PodContainer {
    let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    PodContainer {
        namespace: text("/metadata/namespace"),
        pod: text("/metadata/name"),
        uid: text("/metadata/uid"),
        container: name,
    }
}

/// What a client sees of a node's refusal.
fn stream_status(error: StreamError) -> Status {
    match error {
        StreamError::NotFound(message) | StreamError::NotRunning(message) | StreamError::Invalid(message) => {
            Status::bad_request(message)
        }
        StreamError::Internal(message) => Status::internal(message),
    }
}
