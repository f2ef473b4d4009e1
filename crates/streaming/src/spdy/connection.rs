//! One connection: a task that reads and writes its frames.
//!
//! ```text
//! open ── close() ──▶ GOAWAY sent ── the client's end, or 10 s ──▶ over
//!   └── the client goes, or breaks the rules ────────────────────▶ over
//! over: readers fail with ConnectionReset (unless their stream has ended), writers with BrokenPipe
//! ```

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::codec::FramedRead;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::frame::{Frame, FrameDecoder, FrameEncoder, FrameError, GOAWAY_OK, GOAWAY_PROTOCOL_ERROR};
use super::stream::{Offer, Stream, StreamWriter};
use super::table::{Opened, Table};
use crate::stdio::{CHUNK, Input, InputReader};

/// Pieces of a stream that wait for the service to read.
const INPUTS: usize = 4;
/// The longest of them, in bytes.
const PIECE: usize = 16 * 1024;
/// Frames that wait for the client to read.
const OUTPUTS: usize = 8;
/// Streams that wait for the service to take them.
const OFFERS: usize = 8;
/// How often a client is asked for a sign of life, so that no proxy on the way takes a quiet connection for dead, and one that has
/// broken is noticed. Answers are not awaited: a client that has paused its own output does not read. (See `session`.)
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long a client has for its part of closing.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// The connection is over: closed by us, by the client, or broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is over")]
pub(crate) struct ConnectionOver;

/// What the connection's task is to send.
#[derive(Debug)]
pub(super) enum Outgoing {
    Frame(Frame),
    /// Nothing more; the connection is closed.
    Close,
}

/// A connection that goes on. Dropped, it is cut.
pub(crate) struct Connection {
    offers: mpsc::Receiver<Offer>,
    outputs: mpsc::Sender<Outgoing>,
    task: AbortOnDropHandle<Result<(), ConnectionOver>>,
}

/// Starts a connection on the bytes behind a 101.
pub(crate) fn serve<IO>(io: IO) -> Connection
where
    IO: AsyncRead + AsyncWrite + Send + 'static,
{
    let (outputs, send) = mpsc::channel(OUTPUTS);
    let (offer, offers) = mpsc::channel(OFFERS);
    let table = Arc::new(Table::default());
    let reading = Reading { table: Arc::clone(&table), offers: offer, outputs: outputs.clone() };
    let task = tokio::spawn(run(io, reading, send, table));
    Connection { offers, outputs, task: AbortOnDropHandle::new(task) }
}

impl Connection {
    /// The next stream that the client asks for; none once the connection is over. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Offer> {
        self.offers.recv().await
    }

    /// Takes no more streams: those that still come are refused.
    pub(crate) fn refuse_more(&mut self) {
        self.offers.close();
        while self.offers.try_recv().is_ok() {}
    }

    /// Completes when the connection is over.
    pub(crate) async fn over(&self) {
        self.outputs.closed().await;
    }

    /// Closes it after all that the streams' writers have accepted.
    ///
    /// # Errors
    /// If it is over before all is sent.
    pub(crate) async fn close(self) -> Result<(), ConnectionOver> {
        self.outputs.send(Outgoing::Close).await.map_err(|_| ConnectionOver)?;
        // The task is neither aborted nor panics; if the runtime ends, so does the connection.
        self.task.await.unwrap_or(Err(ConnectionOver))
    }
}

/// Ends every stream, however the task ends.
struct Ended(Arc<Table>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}

async fn run<IO>(
    io: IO,
    reading: Reading,
    outputs: mpsc::Receiver<Outgoing>,
    table: Arc<Table>,
) -> Result<(), ConnectionOver>
where
    IO: AsyncRead + AsyncWrite + Send + 'static,
{
    let _ended = Ended(Arc::clone(&table));
    let (reader, writer) = tokio::io::split(io);
    let mut out = Out { io: writer, encoder: FrameEncoder::default(), bytes: BytesMut::new() };
    let mut reading = std::pin::pin!(reading.run(reader));
    // No arm is resumed after another has completed, except `reading`, which is only borrowed.
    let broken = tokio::select! {
        broken = reading.as_mut() => broken,
        written = out.run(&table, outputs) => {
            // Closing with unread input would make the kernel reset the connection, and the client could lose the end.
            let _quiet_or_late = timeout(CLOSE_WITHIN, reading).await;
            return written.map_err(|_| ConnectionOver);
        }
    };
    table.end();
    if let Some(broken) = broken {
        tracing::debug!(error = &broken as &dyn std::error::Error, "a client has broken the rules of SPDY");
        let goodbye = out.close(table.last(), GOAWAY_PROTOCOL_ERROR);
        let _told_or_late = timeout(CLOSE_WITHIN, goodbye).await;
    }
    Err(ConnectionOver)
}

/// How a client has broken the rules.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("stream {0} may not be opened")]
    Stream(u32),
}

/// The part that reads.
struct Reading {
    table: Arc<Table>,
    offers: mpsc::Sender<Offer>,
    /// For the writers of new streams.
    outputs: mpsc::Sender<Outgoing>,
}

impl Reading {
    /// Takes the client's frames until it is gone. What it must be told if it broke the rules.
    async fn run<IO: AsyncRead + AsyncWrite>(self, io: ReadHalf<IO>) -> Option<Broken> {
        let mut frames = FramedRead::with_capacity(io, FrameDecoder::default(), PIECE);
        loop {
            let frame = match frames.next().await? {
                Ok(frame) => frame,
                Err(FrameError::Io(_)) => return None,
                Err(error) => return Some(error.into()),
            };
            if let Err(broken) = self.take(frame).await {
                return Some(broken);
            }
        }
    }

    async fn take(&self, frame: Frame) -> Result<(), Broken> {
        match frame {
            Frame::SynStream { stream, fin, headers } => return self.open(stream, fin, headers).await,
            Frame::Data { stream, fin, data } => self.data(stream, fin, data).await,
            Frame::Headers { stream, fin: true, .. } => self.data(stream, true, Bytes::new()).await,
            Frame::Reset { stream, .. } => self.table.reset(stream),
            Frame::Ping(id) if !id.is_multiple_of(2) => self.table.send(Frame::Ping(id)),
            // Answers to our pings are not awaited, and we ask for no streams; a client that goes away does so by itself.
            Frame::Ping(_) | Frame::SynReply { .. } | Frame::Headers { .. } | Frame::GoAway { .. } => {}
        }
        Ok(())
    }

    async fn open(&self, id: u32, fin: bool, headers: HeaderMap) -> Result<(), Broken> {
        let (inputs, input) = mpsc::channel(INPUTS);
        let reset = CancellationToken::new();
        match self.table.open(id, inputs, reset.clone()) {
            Opened::Taken => {}
            Opened::Refused => return Ok(()),
            Opened::Broken => return Err(Broken::Stream(id)),
        }
        let writer = StreamWriter::new(id, self.outputs.clone(), Arc::clone(&self.table), reset.clone());
        let stream = Stream { id, headers, reader: InputReader::new(input), writer, reset };
        if fin {
            self.data(id, true, Bytes::new()).await;
        }
        // A service that takes no more streams drops it: the client is told.
        let _taken_or_refused = self.offers.send(Offer { stream }).await;
        Ok(())
    }

    /// Hands data on. A stream that nobody knows is over: its data may have been on the way.
    async fn data(&self, stream: u32, fin: bool, data: Bytes) {
        let Some(inputs) = self.table.inputs(stream) else { return };
        // An error means that nobody reads the stream any more; its end is still noted.
        if !data.is_empty() {
            let _read_or_thrown_away = inputs.send(Input::Data(data)).await;
        }
        if fin {
            let _read_or_thrown_away = inputs.send(Input::End).await;
            self.table.ended(stream);
        }
    }
}

/// The part that writes.
struct Out<IO> {
    io: WriteHalf<IO>,
    encoder: FrameEncoder,
    bytes: BytesMut,
}

impl<IO: AsyncRead + AsyncWrite> Out<IO> {
    /// Sends until the connection is to be closed.
    async fn run(&mut self, table: &Table, mut outputs: mpsc::Receiver<Outgoing>) -> io::Result<()> {
        let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Ours are even.
        let mut ping: u32 = 2;
        let mut next = None;
        loop {
            // All that waits goes out together; whoever waits for more waits after a flush.
            for frame in table.take_controls() {
                self.put(&frame).await?;
            }
            while let Some(outgoing) = next {
                match outgoing {
                    Outgoing::Frame(frame) => self.put(&frame).await?,
                    Outgoing::Close => return self.close(table.last(), GOAWAY_OK).await,
                }
                next = outputs.try_recv().ok();
            }
            self.flush().await?;
            // All arms are cancel-safe by tokio's documentation.
            tokio::select! {
                outgoing = outputs.recv() => match outgoing {
                    None => return Err(io::ErrorKind::BrokenPipe.into()),
                    some => next = some,
                },
                () = table.has_controls() => next = None,
                _ = pings.tick() => {
                    next = Some(Outgoing::Frame(Frame::Ping(ping)));
                    ping = ping.wrapping_add(2);
                }
            }
        }
    }

    async fn put(&mut self, frame: &Frame) -> io::Result<()> {
        self.encoder.encode(frame, &mut self.bytes).map_err(io::Error::other)?;
        if self.bytes.len() >= CHUNK {
            self.io.write_all_buf(&mut self.bytes).await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.io.write_all_buf(&mut self.bytes).await?;
        self.io.flush().await
    }

    async fn close(&mut self, last: u32, status: u32) -> io::Result<()> {
        self.put(&Frame::GoAway { last, status }).await?;
        self.flush().await?;
        self.io.shutdown().await
    }
}
