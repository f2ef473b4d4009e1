//! Which streams of a connection are a session's [`Stdio`]: each says in a header what it is. Source of the rules: upstream's
//! `k8s.io/kubelet/pkg/cri/streaming/remotecommand` (`createHTTPStreamStreams`, `waitForStreams`).

use std::time::Duration;

use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::connection::{Connection, serve};
use super::stream::{Stream, StreamWriter};
use crate::protocol::Sizes;
use crate::session::{Wanted, forward};
use crate::stdio::InputReader;
use crate::{ClientGone, Protocol, Reader, Session, Stdio, Writer};

/// How long a client has to open its streams: upstream's `DefaultStreamCreationTimeout`.
const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// Says what a stream is.
const STREAM_TYPE: &str = "streamtype";

/// Why a session could not begin. There is nobody left to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoStreams {
    /// The client went away.
    #[error("the client is gone")]
    Gone,
    /// It did not open all its streams in time.
    #[error("the client did not open its streams within 30 s")]
    Late,
}

/// Starts a session on the bytes behind a 101: waits for the streams that were asked for, and gives the service's ends of them.
///
/// # Errors
/// If the client does not open them.
pub async fn accept<IO>(io: IO, protocol: Protocol, wanted: Wanted) -> Result<(Stdio, Session), NoStreams>
where
    IO: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut connection = serve(io);
    let opened = timeout(OPEN_WITHIN, Streams::open(&mut connection, protocol, wanted)).await;
    let Streams { error, stdin, stdout, stderr, resize } = opened.map_err(|_| NoStreams::Late)??;
    let error = error.ok_or(NoStreams::Gone)?;
    connection.refuse_more();
    let mut to_end = Vec::new();
    let mut split = |stream: Stream| {
        to_end.push(stream.writer.clone());
        (stream.reader, stream.writer)
    };
    let input = |(reader, _): (InputReader, StreamWriter)| Box::new(reader) as Reader;
    let output = |(_, writer): (InputReader, StreamWriter)| Box::new(writer) as Writer;
    let stdout = stdout.map(&mut split).map(output);
    let stderr = stderr.map(&mut split).map(output);
    let stdin = stdin.map(&mut split).map(input);
    let (sizes, listening) = resize.map(&mut split).map(|(reader, _)| listen(reader)).unzip();
    let stdio = Stdio { stdin, stdout, stderr, resize: sizes };
    let command = RemoteCommand { connection, error: error.writer, to_end, _listening: listening };
    Ok((stdio, Session::over_spdy(protocol, command)))
}

/// The streams of a session.
#[derive(Default)]
struct Streams {
    error: Option<Stream>,
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Option<Stream>,
}

impl Streams {
    /// Takes streams until all that are wanted are there. Others, and a second one of a kind, are refused.
    async fn open(connection: &mut Connection, protocol: Protocol, wanted: Wanted) -> Result<Streams, NoStreams> {
        let mut streams = Streams::default();
        while !streams.are_complete(protocol, wanted) {
            let offer = connection.next().await.ok_or(NoStreams::Gone)?;
            if let Some(place) = streams.place(offer.headers(), protocol, wanted) {
                *place = Some(offer.accept().await.map_err(|_| NoStreams::Gone)?);
            }
        }
        Ok(streams)
    }

    fn place(&mut self, headers: &HeaderMap, protocol: Protocol, wanted: Wanted) -> Option<&mut Option<Stream>> {
        let kind = headers.get(STREAM_TYPE)?.to_str().ok()?;
        let (place, is_wanted) = match kind {
            "error" => (&mut self.error, true),
            "stdin" => (&mut self.stdin, wanted.stdin),
            "stdout" => (&mut self.stdout, wanted.stdout),
            "stderr" => (&mut self.stderr, wanted.wants_stderr()),
            "resize" => (&mut self.resize, has_sizes(protocol, wanted)),
            _ => return None,
        };
        Some(place).filter(|place| is_wanted && place.is_none())
    }

    fn are_complete(&self, protocol: Protocol, wanted: Wanted) -> bool {
        self.error.is_some()
            && self.stdin.is_some() == wanted.stdin
            && self.stdout.is_some() == wanted.stdout
            && self.stderr.is_some() == wanted.wants_stderr()
            && self.resize.is_some() == has_sizes(protocol, wanted)
    }
}

/// From the third version on, a client with a terminal tells its size.
fn has_sizes(protocol: Protocol, wanted: Wanted) -> bool {
    wanted.tty && !matches!(protocol, Protocol::V1 | Protocol::V2)
}

/// The newest size is handed on whenever the service takes one.
fn listen(mut reader: InputReader) -> (mpsc::Receiver<crate::TerminalSize>, AbortOnDropHandle<()>) {
    let (sender, receiver) = mpsc::channel(1);
    let (newest, sizes) = watch::channel(None);
    let reading = async move {
        let mut sizes = Sizes::default();
        let mut bytes = [0; 256];
        while let Ok(length @ 1..) = reader.read(&mut bytes).await {
            if let Some(size) = sizes.push(&bytes[..length]) {
                newest.send_replace(Some(size));
            }
        }
    };
    let task = tokio::spawn(async move {
        // What was told last is still handed on when the client's side has ended.
        tokio::join!(reading, forward(sizes, sender));
    });
    (receiver, AbortOnDropHandle::new(task))
}

/// A session that goes on.
pub(crate) struct RemoteCommand {
    connection: Connection,
    error: StreamWriter,
    /// All others: what the service forgets to end is ended with the session.
    to_end: Vec<StreamWriter>,
    _listening: Option<AbortOnDropHandle<()>>,
}

impl RemoteCommand {
    pub(crate) async fn client_gone(&self) {
        self.connection.over().await;
    }

    /// Sends the last words, ends every stream and the connection.
    pub(crate) async fn finish(mut self, last: Option<String>) -> Result<(), ClientGone> {
        let said = async {
            for stream in &mut self.to_end {
                stream.shutdown().await?;
            }
            self.error.write_all(last.unwrap_or_default().as_bytes()).await?;
            self.error.shutdown().await
        };
        said.await.map_err(|_| ClientGone)?;
        self.connection.close().await.map_err(|_| ClientGone)
    }
}
