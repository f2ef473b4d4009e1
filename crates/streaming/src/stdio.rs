//! The ends of a session as readers and writers: bounded queues between a service and the session's task.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use crate::protocol;

/// Most data of one message to a client, in bytes.
pub(crate) const CHUNK: usize = 32 * 1024;

/// What a connection's task has for one reader.
#[derive(Debug)]
pub(crate) enum Input {
    Data(Bytes),
    End,
}

/// What the session's task is to send.
#[derive(Debug)]
pub(crate) enum Output {
    /// One message.
    Message(Bytes),
    /// The last message, if any; then the connection is closed.
    Last(Option<Bytes>),
}

/// What a client sends on one stream. Its end is told by [`Input::End`] alone: if the task just goes, so has the client.
pub(crate) struct InputReader {
    inputs: mpsc::Receiver<Input>,
    rest: Bytes,
    ended: bool,
}

impl InputReader {
    pub(crate) fn new(inputs: mpsc::Receiver<Input>) -> Self {
        Self { inputs, rest: Bytes::new(), ended: false }
    }
}

impl AsyncRead for InputReader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() && !self.ended {
            match ready!(self.inputs.poll_recv(cx)) {
                Some(Input::Data(data)) => self.rest = data,
                Some(Input::End) => self.ended = true,
                None => return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, "the client is gone"))),
            }
        }
        let length = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..length]);
        self.rest.advance(length);
        Poll::Ready(Ok(()))
    }
}

/// Standard output or error. What it has accepted is sent before the session's end.
pub(crate) struct OutputWriter {
    channel: u8,
    outputs: PollSender<Output>,
    shut: bool,
}

impl OutputWriter {
    pub(crate) fn new(channel: u8, outputs: mpsc::Sender<Output>) -> Self {
        Self { channel, outputs: PollSender::new(outputs), shut: false }
    }
}

impl AsyncWrite for OutputWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.shut {
            return Poll::Ready(Err(broken_pipe("this stream was shut down")));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let length = buf.len().min(CHUNK);
        ready!(self.outputs.poll_reserve(cx)).map_err(|_| broken_pipe("the session is over"))?;
        let message = Output::Message(protocol::encode(self.channel, &buf[..length]));
        self.outputs.send_item(message).map_err(|_| broken_pipe("the session is over"))?;
        Poll::Ready(Ok(length))
    }

    /// The session's task sends what it has as soon as the client takes it.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut = true;
        self.outputs.abort_send();
        Poll::Ready(Ok(()))
    }
}

pub(crate) fn broken_pipe(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, text)
}
