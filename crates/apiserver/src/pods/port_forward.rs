//! `pods/NAME/portforward`: checked against the pod, upgraded, and carried to the pod's node for as long as the client wants. Framing is
//! [`remora_streaming`]'s business.

use std::sync::Arc;

use http::Response;
use remora_http::{Body, Connection, body};
use remora_model::{ObjectKey, Status};
use remora_rules::pod::containers;
use remora_streaming::port_forward::{MOST_PORTS, serve};
use remora_streaming::{ForwardProtocol, PodName, negotiate_forward};
use serde_json::Value;

use super::{refused, streams_of, upgraded};
use crate::server::Call;

/// Forwards connections to a pod's ports.
pub async fn answer(call: &Call, key: &ObjectKey, ports: Vec<u16>) -> Result<Response<Body>, Status> {
    let pod = call.state.objects().require(key).await?.decoded();
    let node = containers::node_of(&pod)?;
    let accepted = match negotiate_forward(&call.parts.headers) {
        Ok(accepted) => accepted,
        Err(refusal) => return Ok(refused(&refusal)),
    };
    if accepted.protocol() == ForwardProtocol::Channels {
        check(&ports)?;
    }
    let streams = streams_of(&call.state, node).await?;
    let text = |path: &str| pod.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let at =
        PodName { namespace: text("/metadata/namespace"), pod: text("/metadata/name"), uid: text("/metadata/uid") };
    let response = accepted.response(body::empty());
    let upgraded = upgraded(call);
    let connection: &Arc<Connection> = &call.connection;
    let trail = Arc::clone(&call.trail);
    connection.spawn(async move {
        // For the audit log, the request ends with the session.
        let _open = trail;
        if let Some(io) = upgraded.await {
            serve(io, accepted.protocol(), &ports, at, streams).await;
        }
    });
    Ok(response)
}

/// Over channels the ports are fixed from the beginning. Source of the words: upstream's `portforward.NewV4Options`, which is asked by
/// the parameter's name there.
fn check(ports: &[u16]) -> Result<(), Status> {
    match ports.len() {
        0 => Err(Status::bad_request("query parameter \"port\" is required")),
        count if count > MOST_PORTS => {
            Err(Status::bad_request(format!("{count} ports are more than the {MOST_PORTS} of one request")))
        }
        _ => Ok(()),
    }
}
