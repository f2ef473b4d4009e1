//! GET of `pods/NAME/log`: the pod's node is asked, what it sends is passed on as it comes.

use http::{Response, StatusCode};
use remora_http::{Body, body};
use remora_model::{ObjectKey, Status};
use remora_rules::pod::containers;
use remora_rules::pod::log::LogOptions;
use remora_streaming::{LogOptions as NodeOptions, LogStream};
use serde_json::Value;

use super::{container, stream_status, streams_of};
use crate::response;
use crate::server::Call;

/// The log. A pod that no node has yet has an empty one.
pub async fn answer(call: &Call, key: &ObjectKey, options: &LogOptions) -> Result<Response<Body>, Status> {
    let pod = call.state.objects().require(key).await?.decoded();
    let name = containers::choose(&pod, &options.container)?;
    let node = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
    if node.is_empty() {
        return Ok(response::text(StatusCode::OK, ""));
    }
    let streams = streams_of(&call.state, node).await?;
    let chunks = streams.logs(&container(&pod, name), node_options(call, options)).await.map_err(stream_status)?;
    let body = body::until_shutdown(body::stream(chunks), call.connection.shutdown().clone());
    Ok(response::with_type(StatusCode::OK, "text/plain", body))
}

fn node_options(call: &Call, options: &LogOptions) -> NodeOptions {
    let unsigned = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
    NodeOptions {
        follow: options.follow,
        previous: options.previous,
        since: options.since(call.state.now()),
        timestamps: options.timestamps,
        tail_lines: unsigned(options.tail_lines),
        limit_bytes: unsigned(options.limit_bytes),
        stream: match options.stream.as_deref() {
            Some("Stdout") => Some(LogStream::Stdout),
            Some("Stderr") => Some(LogStream::Stderr),
            _ => None,
        },
    }
}
