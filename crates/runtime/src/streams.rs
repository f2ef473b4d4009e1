//! Exec and attach sessions and forwarded connections for clients: `streaming::ContainerStreams`.

use std::sync::Arc;

use async_trait::async_trait;
use remora_shim_protocol::{AttachRequest, Failure, Reply, Request, TerminalSize};
use remora_streaming::{ContainerStreams, Duplex, ExecOptions, SessionEnd, Stdio, StreamError};
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

use crate::container::Container;
use crate::error::chain;
use crate::exec::{CANNOT_EXECUTE, Command, Exec, not_running};
use crate::shim::{Connection, relay};
use crate::{Error, Runtime, port_forward};

#[async_trait]
impl ContainerStreams for Runtime {
    async fn exec(
        &self,
        container_id: &str,
        options: ExecOptions,
        mut stdio: Stdio,
    ) -> Result<SessionEnd, StreamError> {
        if options.command.is_empty() {
            return Err(StreamError::Invalid("you must specify at least one command for the container".to_owned()));
        }
        let container = self.running(container_id)?;
        // Most clients send their terminal's size first: then the program never sees another one.
        let size = stdio.resize.as_mut().and_then(|resize| resize.try_recv().ok());
        let command = Command {
            args: options.command,
            tty: options.tty,
            stdin: stdio.stdin.is_some(),
            size: size.map(|size| TerminalSize { width: size.width, height: size.height }),
        };
        match self.inner.exec(&container, command).await.map_err(worded)? {
            Exec::Runs { connection, .. } => session(connection, stdio).await,
            Exec::NoProgram(failure) => {
                tell(stdio, options.tty, &failure).await;
                Ok(SessionEnd::Exited(CANNOT_EXECUTE))
            }
        }
    }

    async fn attach(&self, container_id: &str, stdio: Stdio) -> Result<SessionEnd, StreamError> {
        let container = self.running(container_id)?;
        let request = AttachRequest {
            exec_id: None,
            stdin: stdio.stdin.is_some(),
            stdout: stdio.stdout.is_some(),
            stderr: stdio.stderr.is_some(),
        };
        let socket = container.paths.socket();
        let mut connection = Connection::open(&socket, Request::Attach(request)).await.map_err(worded)?;
        match connection.reply().await.map_err(worded)? {
            Reply::Streaming { .. } => session(connection, stdio).await,
            Reply::Failed(failure) => Err(StreamError::Internal(failure.message)),
            other => Err(StreamError::Internal(format!("the shim answered an attach with {other:?}"))),
        }
    }

    async fn port_forward(&self, sandbox_id: &str, port: u16, duplex: Duplex) -> Result<(), StreamError> {
        let sandbox = self.inner.table.sandbox(sandbox_id).map_err(worded)?;
        sandbox.require_ready().map_err(worded)?;
        port_forward::forward(&sandbox, port, duplex).await
    }
}

impl Runtime {
    fn running(&self, id: &str) -> Result<Arc<Container>, StreamError> {
        let container = self.inner.table.container(id).map_err(worded)?;
        match container.running() {
            Some(_) => Ok(container),
            None => Err(worded(not_running(&container))),
        }
    }
}

/// In a task of its own: when the caller drops its future, the shim is still told that the client is gone.
async fn session(connection: Connection, stdio: Stdio) -> Result<SessionEnd, StreamError> {
    let (held, gone) = oneshot::channel();
    let relayed = tokio::spawn(relay(connection, stdio, gone)).await;
    drop::<oneshot::Sender<()>>(held);
    match relayed {
        Ok(end) => end.map_err(worded),
        Err(error) => Err(StreamError::Internal(format!("the session broke: {error}"))),
    }
}

/// Where the program would have written: a terminal has no standard error of its own.
async fn tell(stdio: Stdio, tty: bool, failure: &Failure) {
    let line = format!("{}{}", failure.message, if tty { "\r\n" } else { "\n" });
    if let Some(mut writer) = stdio.stderr.filter(|_| !tty).or(stdio.stdout) {
        // A client that has gone does not need to be told; the exit code says the same.
        let _ = writer.write_all(line.as_bytes()).await;
        let _ = writer.shutdown().await;
    }
}

fn worded(error: Error) -> StreamError {
    match &error {
        Error::NotFound { .. } => StreamError::NotFound(error.to_string()),
        Error::State { what: "container", id, .. } => StreamError::NotRunning(format!("container not running ({id})")),
        Error::State { .. } => StreamError::NotRunning(error.to_string()),
        _ => StreamError::Internal(chain(&error)),
    }
}
