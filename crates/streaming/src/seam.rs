//! The traits by which services stream to each other: the API server asks the node ([`PodStreams`]), the node asks the
//! runtime ([`ContainerStreams`]). They meet in the binary.

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// Bytes from a client.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// Bytes to a client. Shutting it down ends that stream and no other.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// The client's ends of a session. What the client did not ask for is none.
#[derive(Default)]
pub struct Stdio {
    /// Its end of file is passed on: `echo x | kubectl exec -i … cat` ends. Dropped connections give an error
    /// (`ConnectionReset`, `BrokenPipe` or `UnexpectedEof`), which is not an end of file.
    pub stdin: Option<Reader>,
    /// Also a terminal's output.
    pub stdout: Option<Writer>,
    /// None with a terminal.
    pub stderr: Option<Writer>,
    /// New sizes of the client's terminal; the first comes at once from most clients.
    pub resize: Option<mpsc::Receiver<TerminalSize>>,
}

/// A terminal's size in character cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

/// What to run, and with which streams. The streams themselves are in [`Stdio`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// Program and arguments.
    pub command: Vec<String>,
    /// One terminal for all streams.
    pub tty: bool,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The process ended, with this exit code (128 + n for signal n).
    Exited(i32),
    /// The client's side ended first.
    Detached,
}

/// Why a session could not be had. The message is shown to users.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// No such pod or container on this node.
    #[error("{0}")]
    NotFound(String),
    /// It is there, but not in a state that allows it: not started yet, ended.
    #[error("{0}")]
    NotRunning(String),
    /// The request makes no sense: an empty command, an unknown option.
    #[error("{0}")]
    Invalid(String),
    /// All else.
    #[error("{0}")]
    Internal(String),
}

/// A container of a pod, by the names that the API has for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodContainer {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID, so that a pod of the same name that came later is not meant.
    pub uid: String,
    /// The container's name.
    pub container: String,
}

/// A pod, by the names that the API has for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID, so that a pod of the same name that came later is not meant.
    pub uid: String,
}

/// The client's ends of a forwarded connection. Each direction has its own end.
pub struct Duplex {
    /// What the client sends. Its end of file is passed on; a client that vanishes gives an error, which is none.
    pub reader: Reader,
    /// What the client gets.
    pub writer: Writer,
}

/// What `kubectl logs` may ask for (core/v1 PodLogOptions).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on as lines come, until the container ends.
    pub follow: bool,
    /// The container before the present one of that name.
    pub previous: bool,
    /// Only lines at or after this time: nanoseconds since the Unix epoch.
    pub since: Option<i64>,
    /// Put the time of each line before it.
    pub timestamps: bool,
    /// Only the last so many lines.
    pub tail_lines: Option<u64>,
    /// Stop after so many bytes.
    pub limit_bytes: Option<u64>,
    /// Only this stream; none is both.
    pub stream: Option<LogStream>,
}

/// One of a container's output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Chunks of a log. Each is whole lines unless a byte limit cut the last.
pub type LogChunks = Pin<Box<dyn Stream<Item = Result<Bytes, StreamError>> + Send>>;

/// What a node offers the API server: sessions with the containers of its pods, and connections to their ports.
#[async_trait]
pub trait PodStreams: Send + Sync + 'static {
    /// Runs a command until it ends. A program that cannot be started is no error but exit code 126 (not found, not
    /// executable), with the reason on standard error, or on the terminal.
    async fn exec(&self, at: &PodContainer, options: ExecOptions, stdio: Stdio) -> Result<SessionEnd, StreamError>;
    /// Joins the streams of the container's first process; what it has already shown comes first.
    async fn attach(&self, at: &PodContainer, stdio: Stdio) -> Result<SessionEnd, StreamError>;
    /// The container's log.
    async fn logs(&self, at: &PodContainer, options: LogOptions) -> Result<LogChunks, StreamError>;
    /// Carries a connection to a port of the pod's loopback until both directions have ended. Dropped, it is cut. One that breaks once
    /// it stands is no error: the client's writer is dropped without being shut down.
    ///
    /// # Errors
    /// If the pod does not run, or nobody listens. Other connections are not concerned.
    async fn port_forward(&self, pod: &PodName, port: u16, duplex: Duplex) -> Result<(), StreamError>;
}

/// What a runtime in the same process offers the node: CRI's Exec, Attach and PortForward without the way round by a URL.
#[async_trait]
pub trait ContainerStreams: Send + Sync + 'static {
    /// As [`PodStreams::exec`], by container id.
    async fn exec(&self, container_id: &str, options: ExecOptions, stdio: Stdio) -> Result<SessionEnd, StreamError>;
    /// As [`PodStreams::attach`], by container id.
    async fn attach(&self, container_id: &str, stdio: Stdio) -> Result<SessionEnd, StreamError>;
    /// As [`PodStreams::port_forward`], by sandbox id.
    async fn port_forward(&self, sandbox_id: &str, port: u16, duplex: Duplex) -> Result<(), StreamError>;
}
