//! GET of `pods/NAME/log`: the pod's node is asked, what it sends is passed on as it comes; over WebSocket if the client wants that.

use std::sync::Arc;

use http::{Response, StatusCode};
use remora_http::{Body, body};
use remora_model::{ObjectKey, Status};
use remora_rules::pod::containers;
use remora_rules::pod::log::LogOptions;
use remora_streaming::{LogChunks, LogOptions as NodeOptions, LogStream, messages, negotiate_messages};
use serde_json::Value;

use super::{container, refused, stream_status, streams_of, upgraded};
use crate::response;
use crate::server::Call;

/// The log. A pod that no node has yet has an empty one.
pub async fn answer(call: &Call, key: &ObjectKey, options: &LogOptions) -> Result<Response<Body>, Status> {
    let pod = call.state.objects().require(key).await?.decoded();
    let name = containers::choose(&pod, &options.container)?;
    let upgrade = match negotiate_messages(&call.parts.headers) {
        Ok(upgrade) => upgrade,
        Err(refusal) => return Ok(refused(&refusal)),
    };
    let node = pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
    let chunks: LogChunks = match node {
        "" => Box::pin(futures::stream::empty()),
        node => {
            let streams = streams_of(&call.state, node).await?;
            streams.logs(&container(&pod, name), node_options(call, options)).await.map_err(stream_status)?
        }
    };
    if let Some(upgrade) = upgrade {
        send_messages(call, chunks);
        return Ok(upgrade.response(body::empty()));
    }
    let body = body::until_shutdown(body::stream(chunks), call.connection.shutdown().clone());
    Ok(response::with_type(StatusCode::OK, "text/plain", body))
}

/// Goes on once the 101 is sent, on a task that outlives the request.
fn send_messages(call: &Call, chunks: LogChunks) {
    let (upgraded, trail) = (upgraded(call), Arc::clone(&call.trail));
    call.connection.spawn(async move {
        // For the audit log, the request ends with the connection.
        let _open = trail;
        let Some(io) = upgraded.await else { return };
        if messages::send(io, chunks).await.is_err() {
            tracing::debug!("the reader of a log went away");
        }
    });
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
