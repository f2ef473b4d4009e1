//! Further processes in a running container: asking its shim for one, and CRI's ExecSync.

use std::sync::Arc;
use std::time::Duration;

use remora_oci_config::exec_process;
use remora_shim_protocol::{ExecRequest, Failure, FailureKind, Reply, Request, TerminalSize};
use tokio::sync::oneshot;

use crate::container::{Container, first_process};
use crate::error::failed;
use crate::identity;
use crate::shim::{Collected, Connection, ask, collect};
use crate::task::blocking;
use crate::{Error, Inner};

/// CRI: at most 16 MiB of each stream.
const MAX_OUTPUT: usize = 16 << 20;
const KILL: i32 = 9;
/// What shells and runc say when a program cannot be executed; here also when it is not there.
pub(crate) const CANNOT_EXECUTE: i32 = 126;

/// A process to run in a container.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) args: Vec<String>,
    pub(crate) tty: bool,
    pub(crate) stdin: bool,
    pub(crate) size: Option<TerminalSize>,
}

/// What came of asking for a process.
pub(crate) enum Exec {
    /// It runs; its frames come on the connection.
    Runs { connection: Connection, id: String },
    /// The program cannot be run.
    NoProgram(Failure),
}

impl Inner {
    /// Starts a process in a running container, with all that the first one has but arguments and terminal.
    pub(crate) async fn exec(&self, container: &Container, command: Command) -> Result<Exec, Error> {
        if container.running().is_none() {
            return Err(not_running(container));
        }
        let spec = container.paths.spec();
        let tty = command.tty;
        let (process, id) = blocking(move || {
            let process = exec_process(&first_process(&spec)?, &command.args, command.tty);
            let json = serde_json::to_string(&process).map_err(|error| failed("write", &spec)(error.into()))?;
            let id = identity::new_id()?;
            Ok((ExecRequest { id: id.clone(), process: json, tty, stdin: command.stdin, size: command.size }, id))
        })
        .await?;
        let mut connection = Connection::open(&container.paths.socket(), Request::Exec(process)).await?;
        match connection.reply().await? {
            Reply::Streaming { .. } => Ok(Exec::Runs { connection, id }),
            Reply::Failed(failure) => refused(container, failure),
            other => {
                Err(Error::Shim { id: container.id().to_owned(), problem: format!("answered an exec with {other:?}") })
            }
        }
    }

    /// Runs a command to its end, or kills it when its time is up or nobody waits any more. `seconds` of 0 or less is no limit.
    pub(crate) async fn exec_sync(
        self: Arc<Self>,
        container: Arc<Container>,
        args: Vec<String>,
        seconds: i64,
    ) -> Result<Collected, Error> {
        let (held, gone) = oneshot::channel();
        let running = tokio::spawn(async move { self.run_to_end(&container, args, seconds, gone).await });
        let result = running.await.map_err(|_| Error::Closed)?;
        // Held until here: dropped earlier only with this future.
        drop::<oneshot::Sender<()>>(held);
        result
    }

    async fn run_to_end(
        &self,
        container: &Container,
        args: Vec<String>,
        seconds: i64,
        gone: oneshot::Receiver<()>,
    ) -> Result<Collected, Error> {
        let command = Command { args: args.clone(), tty: false, stdin: false, size: None };
        let (mut connection, id) = match self.exec(container, command).await? {
            Exec::Runs { connection, id } => (connection, id),
            Exec::NoProgram(failure) => {
                let stderr = format!("{}\n", failure.message).into_bytes();
                return Ok(Collected { stderr, exit_code: CANNOT_EXECUTE, ..Default::default() });
            }
        };
        let outcome = tokio::select! {
            // Each arm ends the session, so nothing is lost by dropping the others.
            collected = collect(&mut connection, MAX_OUTPUT) => return collected,
            () = time_up(seconds) => Error::Timeout { command: args, seconds },
            _ = gone => Error::Closed,
        };
        // Whether it was killed or has just ended by itself, its time is up.
        let _ = ask(&container.paths.socket(), Request::SignalExec { exec_id: id, signal: KILL }).await;
        Err(outcome)
    }
}

pub(crate) fn not_running(container: &Container) -> Error {
    Error::State { what: "container", id: container.id().to_owned(), state: container.state().name() }
}

fn refused(container: &Container, failure: Failure) -> Result<Exec, Error> {
    match failure.kind {
        FailureKind::ExecutableNotFound | FailureKind::NotExecutable => Ok(Exec::NoProgram(failure)),
        FailureKind::NotRunning => Err(not_running(container)),
        FailureKind::NotFound | FailureKind::Invalid | FailureKind::Internal => Err(Error::Start(failure.message)),
    }
}

async fn time_up(seconds: i64) {
    match u64::try_from(seconds) {
        Ok(seconds) if seconds > 0 => tokio::time::sleep(Duration::from_secs(seconds)).await,
        _ => std::future::pending().await,
    }
}
