//! The control messages: requests, replies, and the report at start.

use serde::{Deserialize, Serialize};

use crate::{ExitRecord, StartRecord};

/// What a connection is for; its first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Request {
    /// Answered with [`Reply::State`].
    State,
    /// Answered with [`Reply::State`] once the process has ended: at once if it has.
    Wait,
    /// Join the streams of the container's first process, or of an exec that still runs.
    /// Answered with [`Reply::Streaming`], then what was kept for replay, then what comes.
    Attach(AttachRequest),
    /// Run one more process in the container, or, with a terminal and standard input, take up one that was asked for in the same words and whose
    /// client has vanished. Answered with [`Reply::Streaming`], or [`Reply::Failed`] if it cannot be started.
    Exec(ExecRequest),
    /// Send a signal to the first process (`all`: to every process of the container's cgroup). [`Reply::Done`], also if it has ended.
    #[serde(rename_all = "camelCase")]
    Signal {
        /// Its number.
        signal: i32,
        /// To the whole cgroup.
        all: bool,
    },
    /// Send a signal to an exec's process. [`Reply::Done`], or [`FailureKind::NotFound`] if there is no such exec (any more).
    #[serde(rename_all = "camelCase")]
    SignalExec {
        /// The exec's id.
        exec_id: String,
        /// Its number.
        signal: i32,
    },
    /// Open the log file anew: it was rotated.
    ReopenLog,
    /// Let the low-level runtime delete its state, remove the socket, and end. Refused while the container runs.
    Shutdown,
}

/// See [`Request::Attach`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachRequest {
    /// The id of an exec; none is the container's first process.
    pub exec_id: Option<String>,
    /// This client will send standard input.
    pub stdin: bool,
    /// This client wants standard output (and a terminal's output).
    pub stdout: bool,
    /// This client wants standard error.
    pub stderr: bool,
}

/// See [`Request::Exec`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecRequest {
    /// Unique within the container; by it one can attach again.
    pub id: String,
    /// An OCI `process` object: args, env, cwd, user, capabilities, rlimits, noNewPrivileges, terminal.
    /// Kept as JSON text so that this crate needs no OCI types.
    pub process: String,
    /// As in [`crate::StdioConfig`].
    pub tty: bool,
    /// The client will send standard input; without it, it is `/dev/null`.
    pub stdin: bool,
    /// The terminal's first size.
    pub size: Option<TerminalSize>,
}

impl Eq for ExecRequest {}

/// A terminal's size in character cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

/// The shim's answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Reply {
    /// It is done.
    Done,
    /// How the first process is.
    State(ProcessState),
    /// Stream frames follow, both ways, until [`crate::Frame::Exit`].
    #[serde(rename_all = "camelCase")]
    Streaming {
        /// The streams are one terminal.
        tty: bool,
    },
    /// It could not be done.
    Failed(Failure),
}

/// A process is one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum ProcessState {
    /// Being created by the low-level runtime.
    Creating,
    /// It runs.
    Running(StartRecord),
    /// It has ended, and the record is on disk.
    Exited(ExitRecord),
}

/// Written once to the pipe at file descriptor 3 by a new shim; then the pipe is closed.
/// A pipe closed without a report means that the shim died: its log says why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Report {
    /// The container runs.
    Started(StartRecord),
    /// It could not be started; the low-level runtime's state is cleaned up and the shim ends.
    Failed(Failure),
}

/// Why something could not be done, in words that may be shown to users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// One sentence, from the low-level runtime where it is its fault.
    pub message: String,
}

/// Kinds of failure that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FailureKind {
    /// The program to run is not there: shells say 127 (here 126, as runc's exec does).
    ExecutableNotFound,
    /// It is there but cannot be executed (permissions, format).
    NotExecutable,
    /// The container is not running.
    NotRunning,
    /// No exec of that id.
    NotFound,
    /// The request cannot be understood or is not allowed now.
    Invalid,
    /// All else.
    Internal,
}
