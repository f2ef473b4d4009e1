//! Port-forwards: a client's connections to ports of a pod, each handed to [`PodStreams::port_forward`], and told its client how it
//! failed. A connection that fails ends alone. Source of the rules: upstream's `k8s.io/kubelet/pkg/cri/streaming/portforward`.
//!
//! | module | what is in it | pure |
//! |---|---|:--:|
//! | `pairs` | which two SPDY streams are one connection | ✔ |
//! | `over_spdy` | connections over SPDY | |
//! | `tunnel` | SPDY's bytes in a WebSocket connection | |
//! | `over_channels` | one connection for each port, over the channels of a WebSocket connection | |

mod over_channels;
mod over_spdy;
mod pairs;
mod tunnel;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{Duplex, ForwardProtocol, PodName, PodStreams, StreamError, spdy};

/// The most ports of one request over channels: a channel's number is a byte, and a port has two.
pub const MOST_PORTS: usize = 127;

/// Carries a port-forward on the bytes behind a 101 until the client goes, or, over channels, until every connection has ended. `ports`
/// matter over channels alone: over SPDY each stream names its own.
pub async fn serve<IO>(io: IO, protocol: ForwardProtocol, ports: &[u16], pod: PodName, streams: Arc<dyn PodStreams>)
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let forwards = Arc::new(Forwards { pod, streams });
    match protocol {
        ForwardProtocol::Spdy => over_spdy::run(spdy::serve(io), &forwards).await,
        ForwardProtocol::Tunnel => over_spdy::run(spdy::serve(tunnel::over(io).await), &forwards).await,
        ForwardProtocol::Channels => over_channels::run(io, ports, &forwards).await,
    }
}

/// Whom to ask for connections.
struct Forwards {
    pod: PodName,
    streams: Arc<dyn PodStreams>,
}

impl Forwards {
    /// Carries one connection to its end; if that is none, what the client is told of it.
    async fn connect(&self, port: u16, duplex: Duplex) -> Result<(), String> {
        let ended = self.streams.port_forward(&self.pod, port, duplex).await;
        ended.map_err(|error| self.words(port, &error))
    }

    /// As upstream's `portForward` says it.
    fn words(&self, port: u16, error: &StreamError) -> String {
        let PodName { pod, uid, .. } = &self.pod;
        format!("error forwarding port {port} to pod {pod}, uid {uid}: {error}")
    }
}

/// What the client gets; tells when the pod's side has ended.
struct Ending<W> {
    writer: W,
    ended: CancellationToken,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Ending<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = ready!(Pin::new(&mut self.writer).poll_shutdown(cx));
        self.ended.cancel();
        Poll::Ready(shut)
    }
}

/// Waits for one of the connections that go on. One that panics is told in the log; the others go on.
async fn one_ended(running: &mut JoinSet<()>) {
    if let Some(Err(error)) = running.join_next().await
        && error.is_panic()
    {
        tracing::error!(error = &error as &dyn std::error::Error, "a forwarded connection broke");
    }
}
