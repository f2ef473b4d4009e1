//! A session from the bytes behind its 101 to its end: the client's ends are handed to the node, and what came of it to the client. Called by
//! whoever answers `exec` and `attach`: the API server, and the node's own server.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    Carrier, ExecOptions, PodContainer, PodStreams, Session, SessionEnd, Stdio, StreamError, Upgrade, Wanted, accept,
    spdy,
};

/// What is to be joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// A new process.
    Exec(ExecOptions),
    /// The container's first process.
    Attach,
}

/// A session that waits for its upgrade.
pub struct Joined {
    /// Whom to ask.
    pub streams: Arc<dyn PodStreams>,
    /// Where.
    pub at: PodContainer,
    /// For what.
    pub work: Work,
    /// Which streams the client has asked for.
    pub wanted: Wanted,
    /// How they are carried.
    pub accepted: Upgrade,
}

impl Joined {
    /// Goes on for as long as both sides want.
    pub async fn run<IO>(self, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Some((stdio, session)) = self.begin(io).await else { return };
        // A client that is gone needs no answer; the node notices by the streams that have ended. Cancel-safe: `client_gone` only waits.
        let end = tokio::select! {
            end = self.work(stdio) => end,
            () = session.client_gone() => Ok(SessionEnd::Detached),
        };
        if session.finish(end).await.is_err() {
            tracing::debug!(pod = self.at.pod, container = self.at.container, "a session's client went away");
        }
    }

    /// The service's ends of the session; none if the client goes before it stands.
    async fn begin<IO>(&self, io: IO) -> Option<(Stdio, Session)>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        match self.accepted.carrier() {
            Carrier::WebSocket => Some(accept(io, self.accepted.protocol(), self.wanted)),
            Carrier::Spdy => match spdy::accept(io, self.accepted.protocol(), self.wanted).await {
                Ok(begun) => Some(begun),
                Err(error) => {
                    tracing::debug!(error = &error as &dyn std::error::Error, "a session has not begun");
                    None
                }
            },
        }
    }

    async fn work(&self, stdio: Stdio) -> Result<SessionEnd, StreamError> {
        match &self.work {
            Work::Exec(options) => self.streams.exec(&self.at, options.clone(), stdio).await,
            // As behind real runtimes, an attached session's end says nothing of the exit status: on anything but success,
            // `kubectl debug` would warn that it could not attach and print the log. The status is in the pod.
            Work::Attach => self.streams.attach(&self.at, stdio).await.map(|_| SessionEnd::Exited(0)),
        }
    }
}
