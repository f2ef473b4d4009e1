//! Sessions, whatever carries them; and those over one WebSocket connection: a task that moves messages between the connection and
//! a [`Stdio`].
//!
//! tokio-tungstenite does the framing: kube brings it into the tree anyway, it bounds messages and frames, and it has no
//! `unsafe`. Nothing here is unbounded: a client that does not read stops the writers, a process that does not read stops
//! the client.
//!
//! ```text
//! open ── finish() ──▶ last words and Close sent ── the client's Close, or 10 s ──▶ over
//!   └── the client goes, or breaks the rules ─────────────────────────────────────▶ over
//! over: standard input fails with ConnectionReset (unless it has ended), writers with BrokenPipe
//! ```

use std::time::Duration;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::task::AbortOnDropHandle;

use crate::ending::last_words;
use crate::protocol::{self, Protocol, Received};
use crate::spdy::RemoteCommand;
use crate::stdio::{CHUNK, Input, InputReader, Output, OutputWriter};
use crate::{Reader, SessionEnd, Stdio, StreamError, TerminalSize, Writer};

/// The longest message that a client may send, in bytes. kubectl's are 32 KiB; scripts send a file as one.
pub(crate) const LONGEST_MESSAGE: usize = 4 * 1024 * 1024;
/// Messages that wait for the process to read its standard input.
const INPUTS: usize = 2;
/// Messages that wait for the client to read.
const OUTPUTS: usize = 8;
/// How often something is sent on a quiet session, so that no proxy on the way takes it for dead. Answers are not awaited: a
/// client that has paused its own output does not read them. Dead clients are found by TCP's keepalive.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long a client has for its part of closing.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// Which streams a client has asked for (core/v1 PodExecOptions and PodAttachOptions).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// It will send standard input.
    pub stdin: bool,
    /// It takes standard output.
    pub stdout: bool,
    /// It takes standard error; not with a terminal.
    pub stderr: bool,
    /// It has a terminal, and tells its size.
    pub tty: bool,
}

impl Wanted {
    /// A terminal has no standard error of its own.
    pub(crate) fn wants_stderr(self) -> bool {
        self.stderr && !self.tty
    }
}

/// The client went away before it was told how the session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client is gone")]
pub struct ClientGone;

/// A session that goes on. Dropped, it cuts the connection.
pub struct Session {
    protocol: Protocol,
    carried: Carried,
}

/// A session's connection.
enum Carried {
    WebSocket { outputs: mpsc::Sender<Output>, task: AbortOnDropHandle<Result<(), ClientGone>> },
    Spdy(Box<RemoteCommand>),
}

/// Starts a session on the bytes behind a 101, and gives the service's ends of it.
pub fn accept<IO>(io: IO, protocol: Protocol, wanted: Wanted) -> (Stdio, Session)
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (outputs, send) = mpsc::channel(OUTPUTS);
    let (inputs, stdin) = mpsc::channel(INPUTS);
    let (sizes, resize) = mpsc::channel(1);
    let writer = |channel| Box::new(OutputWriter::new(channel, outputs.clone())) as Writer;
    let wants_stderr = wanted.wants_stderr();
    let stdio = Stdio {
        stdin: wanted.stdin.then(|| Box::new(InputReader::new(stdin)) as Reader),
        stdout: wanted.stdout.then(|| writer(protocol::STDOUT)),
        stderr: wants_stderr.then(|| writer(protocol::STDERR)),
        resize: wanted.tty.then_some(resize),
    };
    // An empty message on its first channel tells the client that the session stands.
    let first = match (wanted.stdout, wants_stderr) {
        (true, _) => protocol::STDOUT,
        (false, true) => protocol::STDERR,
        (false, false) => protocol::ERROR,
    };
    let task = tokio::spawn(run(io, protocol, first, Ends { inputs, sizes, outputs: send }));
    (stdio, Session { protocol, carried: Carried::WebSocket { outputs, task: AbortOnDropHandle::new(task) } })
}

impl Session {
    pub(crate) fn over_spdy(protocol: Protocol, command: RemoteCommand) -> Self {
        Self { protocol, carried: Carried::Spdy(Box::new(command)) }
    }

    /// Completes when the client is gone: then nobody waits for what the session does.
    pub async fn client_gone(&self) {
        match &self.carried {
            Carried::WebSocket { outputs, .. } => outputs.closed().await,
            Carried::Spdy(command) => command.client_gone().await,
        }
    }

    /// Tells the client how the session ended, after all that the writers have accepted, and closes the connection.
    ///
    /// # Errors
    /// If the client goes before it has been told.
    pub async fn finish(self, end: Result<SessionEnd, StreamError>) -> Result<(), ClientGone> {
        let last = last_words(self.protocol, &end);
        match self.carried {
            Carried::Spdy(command) => command.finish(last).await,
            Carried::WebSocket { outputs, task } => {
                let last = last.map(|words| protocol::encode(protocol::ERROR, words.as_bytes()));
                outputs.send(Output::Last(last)).await.map_err(|_| ClientGone)?;
                // The task is neither aborted nor panics; if the runtime ends, so does the connection.
                task.await.unwrap_or(Err(ClientGone))
            }
        }
    }
}

/// The task's ends of the queues.
struct Ends {
    inputs: mpsc::Sender<Input>,
    sizes: mpsc::Sender<TerminalSize>,
    outputs: mpsc::Receiver<Output>,
}

async fn run<IO>(io: IO, protocol: Protocol, first: u8, ends: Ends) -> Result<(), ClientGone>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Ends { inputs, sizes, outputs } = ends;
    let first = vec![protocol::encode(first, &[])];
    carry(socket(io, LONGEST_MESSAGE).await, first, outputs, |stream| async move {
        let (newest, changes) = watch::channel(None);
        let forwarding = async {
            forward(changes, sizes).await;
            std::future::pending().await
        };
        // Neither arm is resumed after the other has completed.
        tokio::select! {
            broken = read(stream, protocol, inputs, newest) => broken,
            () = forwarding => None,
        }
    })
    .await
}

/// A WebSocket connection on the bytes behind a 101, with no message longer than so many bytes.
pub(crate) async fn socket<IO>(io: IO, longest: usize) -> WebSocketStream<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    WebSocketStream::from_raw_socket(io, Role::Server, Some(limits(longest))).await
}

/// Carries messages both ways until the last words are sent and the client has closed, or it is gone. `read` completes when it is, with
/// what it must be told if it broke the rules.
pub(crate) async fn carry<IO, R>(
    socket: WebSocketStream<IO>,
    first: Vec<Bytes>,
    outputs: mpsc::Receiver<Output>,
    read: impl FnOnce(SplitStream<WebSocketStream<IO>>) -> R,
) -> Result<(), ClientGone>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    R: Future<Output = Option<CloseCode>>,
{
    let (mut sink, stream) = socket.split();
    let mut reading = std::pin::pin!(read(stream));
    // No arm is resumed after another has completed, except `reading`, which is only borrowed.
    let broken = tokio::select! {
        broken = reading.as_mut() => broken,
        written = write(&mut sink, first, outputs) => {
            // Closing with unread input would make the kernel reset the connection, and the client could lose the end. And a
            // client that went away may have sent something before.
            let _quiet_or_late = timeout(CLOSE_WITHIN, reading).await;
            return written;
        }
    };
    if let Some(code) = broken {
        let close = Message::Close(Some(CloseFrame { code, reason: Default::default() }));
        let _told_or_late = timeout(CLOSE_WITHIN, sink.send(close)).await;
    }
    Err(ClientGone)
}

fn limits(longest: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(2 * CHUNK)
        .max_write_buffer_size(8 * CHUNK)
        .max_message_size(Some(longest))
        .max_frame_size(Some(longest))
}

/// Takes the client's messages until it is gone. What it must be told if it broke the rules.
async fn read<IO>(
    mut stream: SplitStream<WebSocketStream<IO>>,
    protocol: Protocol,
    inputs: mpsc::Sender<Input>,
    newest: watch::Sender<Option<TerminalSize>>,
) -> Option<CloseCode>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut inputs = Some(inputs);
    loop {
        let message = match next_message(&mut stream).await? {
            Ok(message) => message,
            Err(code) => return Some(code),
        };
        let input = match protocol.decode(message) {
            Received::Stdin(data) => Input::Data(data),
            Received::StdinEnd => Input::End,
            Received::Resize(size) => {
                newest.send_replace(Some(size));
                continue;
            }
            Received::Nothing => continue,
        };
        let last = matches!(input, Input::End);
        let taken = match &inputs {
            Some(inputs) => inputs.send(input).await.is_ok(),
            None => false,
        };
        if last || !taken {
            // The process reads no more: what still comes is thrown away, so that sizes and the end are still seen.
            inputs = None;
        }
    }
}

/// The next message; none if the client is gone. An error is what it must be told of how it broke the rules.
pub(crate) async fn next_message<IO>(stream: &mut SplitStream<WebSocketStream<IO>>) -> Option<Result<Bytes, CloseCode>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    match stream.next().await? {
        Ok(message) => Some(Ok(data_of(message))),
        Err(Error::Capacity(_)) => Some(Err(CloseCode::Size)),
        Err(Error::Protocol(_) | Error::Utf8(_) | Error::AttackAttempt) => Some(Err(CloseCode::Protocol)),
        Err(_) => None,
    }
}

/// Some clients send text; control messages are tungstenite's.
fn data_of(message: Message) -> Bytes {
    match message {
        Message::Binary(data) => data,
        Message::Text(text) => text.into(),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => Bytes::new(),
    }
}

/// Hands the newest size on whenever the service takes one. In between, older ones are dropped.
pub(crate) async fn forward(mut newest: watch::Receiver<Option<TerminalSize>>, sizes: mpsc::Sender<TerminalSize>) {
    while let Ok(place) = sizes.reserve().await {
        if newest.changed().await.is_err() {
            return;
        }
        if let Some(size) = *newest.borrow_and_update() {
            place.send(size);
        }
    }
}

/// Sends until the session's last words are sent and closing has begun.
async fn write<IO>(
    sink: &mut SplitSink<WebSocketStream<IO>, Message>,
    first: Vec<Bytes>,
    mut outputs: mpsc::Receiver<Output>,
) -> Result<(), ClientGone>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for message in first {
        feed(sink, Message::Binary(message)).await?;
    }
    let mut next = None;
    loop {
        // All that waits goes out together; whoever waits for more waits after a flush.
        while let Some(output) = next {
            match output {
                Output::Message(message) => feed(sink, Message::Binary(message)).await?,
                Output::Last(last) => return end(sink, last).await,
            }
            next = outputs.try_recv().ok();
        }
        sink.flush().await.map_err(|_| ClientGone)?;
        // Both arms are cancel-safe by tokio's documentation.
        tokio::select! {
            output = outputs.recv() => next = Some(output.ok_or(ClientGone)?),
            _ = pings.tick() => {
                feed(sink, Message::Ping(Bytes::new())).await?;
                next = None;
            }
        }
    }
}

async fn end<IO>(sink: &mut SplitSink<WebSocketStream<IO>, Message>, last: Option<Bytes>) -> Result<(), ClientGone>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(message) = last {
        feed(sink, Message::Binary(message)).await?;
    }
    let close = CloseFrame { code: CloseCode::Normal, reason: Default::default() };
    feed(sink, Message::Close(Some(close))).await?;
    sink.flush().await.map_err(|_| ClientGone)
}

async fn feed<IO>(sink: &mut SplitSink<WebSocketStream<IO>, Message>, message: Message) -> Result<(), ClientGone>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    sink.feed(message).await.map_err(|_| ClientGone)
}
