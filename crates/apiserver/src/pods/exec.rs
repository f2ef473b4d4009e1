//! `pods/NAME/exec` and `pods/NAME/attach`: checked against the pod, upgraded, and joined with the container's node for as
//! long as both sides want. Framing is [`remora_streaming`]'s business.

use std::sync::Arc;

use http::Response;
use remora_http::{Body, Connection, body, upgrade};
use remora_model::{ObjectKey, Status};
use remora_rules::pod::log::StreamOptions;
use remora_streaming::{
    Carrier, ExecOptions, PodContainer, PodStreams, Session, SessionEnd, Stdio, StreamError, Upgrade, Wanted, accept,
    negotiate, spdy,
};

use super::{container, refused, streams_of};
use crate::server::Call;

/// What is to be joined.
enum Work {
    Exec(ExecOptions),
    Attach,
}

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
    Joined { streams, at: container(&pod, name), work, wanted, accepted }.spawn(call);
    Ok(response)
}

/// A session that waits for its upgrade.
struct Joined {
    streams: Arc<dyn PodStreams>,
    at: PodContainer,
    work: Work,
    wanted: Wanted,
    accepted: Upgrade,
}

impl Joined {
    /// Goes on once the 101 is sent, on a task that outlives the request.
    fn spawn(self, call: &Call) {
        let upgraded = super::upgraded(call);
        let connection: &Arc<Connection> = &call.connection;
        let trail = Arc::clone(&call.trail);
        connection.spawn(async move {
            // For the audit log, the request ends with the session.
            let _open = trail;
            let Some(io) = upgraded.await else { return };
            let Some((stdio, session)) = begin(io, &self.accepted, self.wanted).await else { return };
            // A client that is gone needs no answer; the node notices by the streams that have ended.
            let end = tokio::select! {
                end = run(self.streams.as_ref(), &self.at, self.work, stdio) => end,
                () = session.client_gone() => Ok(SessionEnd::Detached),
            };
            if session.finish(end).await.is_err() {
                tracing::debug!(pod = self.at.pod, container = self.at.container, "a session's client went away");
            }
        });
    }
}

/// The service's ends of the session; none if the client goes before it stands.
async fn begin(io: upgrade::Upgraded, accepted: &Upgrade, wanted: Wanted) -> Option<(Stdio, Session)> {
    match accepted.carrier() {
        Carrier::WebSocket => Some(accept(io, accepted.protocol(), wanted)),
        Carrier::Spdy => match spdy::accept(io, accepted.protocol(), wanted).await {
            Ok(begun) => Some(begun),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a session has not begun");
                None
            }
        },
    }
}

async fn run(streams: &dyn PodStreams, at: &PodContainer, work: Work, stdio: Stdio) -> Result<SessionEnd, StreamError> {
    match work {
        Work::Exec(options) => streams.exec(at, options, stdio).await,
        // As behind real runtimes, an attached session's end says nothing of the exit status: on anything but success,
        // `kubectl debug` would warn that it could not attach and print the log. The status is in the pod.
        Work::Attach => streams.attach(at, stdio).await.map(|_| SessionEnd::Exited(0)),
    }
}
