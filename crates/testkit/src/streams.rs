//! The fake's exec, attach and port-forward: an echo.

use async_trait::async_trait;
use remora_streaming::{ContainerStreams, Duplex, ExecOptions, SessionEnd, Stdio, StreamError};
use tokio::io::AsyncWriteExt;

use crate::FakeRuntime;

#[async_trait]
impl ContainerStreams for FakeRuntime {
    /// Prints its command; `sh` and `false` end as in an image without a shell, and as false does.
    async fn exec(&self, id: &str, options: ExecOptions, stdio: Stdio) -> Result<SessionEnd, StreamError> {
        self.require_running(id)?;
        let program = options.command.first().map(String::as_str).unwrap_or_default();
        let (text, code) = match program {
            "sh" => ("exec: \"sh\": executable file not found in $PATH\n".to_owned(), 126),
            "false" => (String::new(), 1),
            _ => (format!("{}\n", options.command.join(" ")), 0),
        };
        let to = if code == 126 && !options.tty { stdio.stderr } else { stdio.stdout };
        say(to, text.as_bytes()).await?;
        Ok(SessionEnd::Exited(code))
    }

    /// Gives back what it gets, until the end of the input.
    async fn attach(&self, id: &str, stdio: Stdio) -> Result<SessionEnd, StreamError> {
        self.require_running(id)?;
        if let (Some(mut input), Some(mut output)) = (stdio.stdin, stdio.stdout) {
            tokio::io::copy(&mut input, &mut output).await.map_err(internal)?;
            output.shutdown().await.map_err(internal)?;
        }
        Ok(SessionEnd::Exited(0))
    }

    /// Says the port, then gives back what it gets; nobody listens on port 1.
    async fn port_forward(&self, sandbox: &str, port: u16, duplex: Duplex) -> Result<(), StreamError> {
        self.require_ready(sandbox)?;
        if port == 1 {
            return Err(StreamError::Internal(format!("failed to connect to localhost:{port}: connection refused")));
        }
        let Duplex { mut reader, mut writer } = duplex;
        writer.write_all(format!("port {port}\n").as_bytes()).await.map_err(internal)?;
        tokio::io::copy(&mut reader, &mut writer).await.map_err(internal)?;
        writer.shutdown().await.map_err(internal)
    }
}

async fn say(to: Option<remora_streaming::Writer>, text: &[u8]) -> Result<(), StreamError> {
    let Some(mut to) = to else { return Ok(()) };
    to.write_all(text).await.map_err(internal)?;
    to.shutdown().await.map_err(internal)
}

fn internal(error: std::io::Error) -> StreamError {
    StreamError::Internal(error.to_string())
}
