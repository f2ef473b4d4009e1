//! `pods/NAME/exec` and `pods/NAME/attach`: checked against the pod, upgraded, and joined with the container's node for as
//! long as both sides want. Framing is [`remora_streaming`]'s business.

use std::sync::Arc;

use http::Response;
use remora_http::{Body, body};
use remora_model::{ObjectKey, Status};
use remora_rules::pod::log::StreamOptions;
use remora_streaming::{ExecOptions, Joined, Wanted, Work, negotiate};

use super::{container, refused, streams_of};
use crate::server::Call;

/// Runs a command in a container.
pub async fn exec(call: &Call, key: &ObjectKey, options: StreamOptions) -> Result<Response<Body>, Status> {
    let work = Work::Exec(ExecOptions { command: options.command.clone(), tty: options.tty });
    start(call, key, &options, work).await
}

/// Joins the streams of a container's first process.
pub async fn attach(call: &Call, key: &ObjectKey, options: StreamOptions) -> Result<Response<Body>, Status> {
    start(call, key, &options, Work::Attach).await
}

async fn start(call: &Call, key: &ObjectKey, options: &StreamOptions, work: Work) -> Result<Response<Body>, Status> {
    let pod = call.state.objects().require(key).await?.decoded();
    let name = options.container_of(&pod)?;
    let accepted = match negotiate(&call.parts.headers) {
        Ok(accepted) => accepted,
        Err(refusal) => return Ok(refused(&refusal)),
    };
    options.check_streams()?;
    if matches!(&work, Work::Exec(exec) if exec.command.is_empty()) {
        return Err(Status::bad_request("you must specify at least one command to execute"));
    }
    let node = pod.pointer("/spec/nodeName").and_then(|n| n.as_str()).unwrap_or_default();
    let streams = streams_of(&call.state, node).await?;
    let wanted = Wanted { stdin: options.stdin, stdout: options.stdout, stderr: options.stderr, tty: options.tty };
    let response = accepted.response(body::empty());
    spawn(call, Joined { streams, at: container(&pod, name), work, wanted, accepted });
    Ok(response)
}

/// Goes on once the 101 is sent, on a task that outlives the request.
fn spawn(call: &Call, joined: Joined) {
    let upgraded = super::upgraded(call);
    let trail = Arc::clone(&call.trail);
    call.connection.spawn(async move {
        // For the audit log, the request ends with the session.
        let _open = trail;
        if let Some(io) = upgraded.await {
            joined.run(io).await;
        }
    });
}
