//! One stream, as a reader and a writer: bounded queues between a service and the connection's task.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, PollSender};

use super::connection::{ConnectionOver, Outgoing};
use super::frame::Frame;
use super::table::Table;
use crate::stdio::{CHUNK, InputReader, broken_pipe};

/// A stream that the client asks for. Dropped, it is refused.
pub(crate) struct Offer {
    pub(super) stream: Stream,
}

impl Offer {
    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.stream.id
    }

    /// What the stream is for.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.stream.headers
    }

    /// Takes it. The client waits for that before it sends anything.
    ///
    /// # Errors
    /// If the connection is over.
    pub(crate) async fn accept(self) -> Result<Stream, ConnectionOver> {
        let reply = Frame::SynReply { stream: self.stream.id, fin: false, headers: HeaderMap::new() };
        let outputs = self.stream.writer.outputs.get_ref().ok_or(ConnectionOver)?;
        outputs.send(Outgoing::Frame(reply)).await.map_err(|_| ConnectionOver)?;
        // By now it is known what it is for: nothing of that is held for as long as the stream lasts.
        Ok(Stream { headers: HeaderMap::new(), ..self.stream })
    }
}

/// A stream that was taken.
pub(crate) struct Stream {
    /// Its number, odd.
    pub(crate) id: u32,
    /// What the client has said of it, until it is taken.
    pub(super) headers: HeaderMap,
    /// What the client sends. Dropped, what still comes is thrown away.
    pub(crate) reader: InputReader,
    /// What is sent to the client.
    pub(crate) writer: StreamWriter,
    /// Cancelled when the client resets the stream, or the connection is over.
    pub(crate) reset: CancellationToken,
}

/// Writes to the client. Shutting it down ends this side of the stream; when the last clone is dropped without that, the stream is reset.
#[derive(Clone)]
pub(crate) struct StreamWriter {
    outputs: PollSender<Outgoing>,
    side: Arc<Side>,
}

/// Our side of a stream.
struct Side {
    id: u32,
    table: Arc<Table>,
    is_shut: AtomicBool,
    reset: CancellationToken,
}

impl Drop for Side {
    fn drop(&mut self) {
        if !self.is_shut.load(Ordering::Relaxed) {
            self.table.abandon(self.id);
        }
    }
}

impl StreamWriter {
    pub(super) fn new(
        id: u32,
        outputs: mpsc::Sender<Outgoing>,
        table: Arc<Table>,
        reset: CancellationToken,
    ) -> StreamWriter {
        let side = Side { id, table, is_shut: AtomicBool::new(false), reset };
        StreamWriter { outputs: PollSender::new(outputs), side: Arc::new(side) }
    }

    fn send(&mut self, fin: bool, data: Bytes) -> io::Result<()> {
        let frame = Frame::Data { stream: self.side.id, fin, data };
        self.outputs.send_item(Outgoing::Frame(frame)).map_err(|_| broken_pipe("the connection is over"))
    }
}

impl AsyncWrite for StreamWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.side.is_shut.load(Ordering::Relaxed) || self.side.reset.is_cancelled() {
            return Poll::Ready(Err(broken_pipe("this stream has ended")));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.outputs.poll_reserve(cx)).map_err(|_| broken_pipe("the connection is over"))?;
        let length = buf.len().min(CHUNK);
        self.send(false, Bytes::copy_from_slice(&buf[..length]))?;
        Poll::Ready(Ok(length))
    }

    /// The connection's task sends what it has as soon as the client takes it.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.side.is_shut.load(Ordering::Relaxed) || self.side.reset.is_cancelled() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.outputs.poll_reserve(cx)).map_err(|_| broken_pipe("the connection is over"))?;
        self.side.is_shut.store(true, Ordering::Relaxed);
        self.send(true, Bytes::new())?;
        self.side.table.shut(self.side.id);
        Poll::Ready(Ok(()))
    }
}
