//! The subresources that only pods have: binding, eviction, log, exec, attach, portforward.

pub mod binding;
pub mod eviction;
pub mod exec;
pub mod log;
pub mod port_forward;

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use remora_http::{Body, upgrade};
use remora_model::{ObjectKey, Status, kinds};
use remora_streaming::{PodContainer, PodStreams, Refusal, StreamError};
use serde_json::Value;

use crate::response;
use crate::server::{Call, State};

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

/// No session, and which one the client could have.
fn refused(refusal: &Refusal) -> Response<Body> {
    let mut response = match refusal.status() {
        StatusCode::BAD_REQUEST => response::status(&Status::bad_request(refusal.to_string())),
        // Clients of SPDY show what they cannot read as a Status.
        other => response::text(other, refusal.to_string()),
    };
    response.headers_mut().extend(refusal.headers());
    response
}

/// The bytes behind the 101 that this request is about to be answered; none if it does not come to that.
pub(crate) fn upgraded(call: &Call) -> impl Future<Output = Option<upgrade::Upgraded>> + Send + use<> {
    let mut request = Request::new(());
    *request.extensions_mut() = call.parts.extensions.clone();
    async move {
        match upgrade::on(request).await {
            Ok(io) => Some(io),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a session's upgrade failed");
                None
            }
        }
    }
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
