//! Interactive sessions: a shell in which a variable is set, left alone while something goes wrong, and asked for it again.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::workload::MAIN;

/// A shell that says nothing for so long has hung.
const SILENCE: Duration = Duration::from_secs(10);

/// How a terminal is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// An ephemeral container with a terminal.
    Attach { container: String },
    /// A shell in the main container.
    Exec,
}

/// A shell that knows a variable.
pub(crate) struct Terminal {
    pub(crate) pod: String,
    pub(crate) how: How,
    pub(crate) variable: String,
    /// The container in which it is.
    pub(crate) id: String,
    session: Option<Session>,
}

/// A connection to a terminal. It ends when this is dropped.
struct Session {
    input: Box<dyn AsyncWrite + Unpin>,
    output: Box<dyn AsyncRead + Unpin>,
    _process: AttachedProcess,
}

impl Terminal {
    /// Opens it and sets its variable.
    pub(crate) async fn open(pods: &Api<Pod>, pod: &str, how: How, variable: &str, id: String) -> Result<Terminal> {
        let mut session = join(pods, pod, &how, variable).await?;
        talk(&mut session, &format!("v={variable}; echo set-$v\n"), &format!("set-{variable}")).await?;
        Ok(Terminal { pod: pod.to_owned(), how, variable: variable.to_owned(), id, session: Some(session) })
    }

    /// The connection is of no use any more.
    pub(crate) fn lose_connection(&mut self) {
        self.session = None;
    }

    /// Asks for the variable, by the connection that there is or by a new one.
    pub(crate) async fn still_knows(&mut self, pods: &Api<Pod>) -> Result<()> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => join(pods, &self.pod, &self.how, &self.variable).await?,
        };
        talk(&mut session, "echo still-$v\n", &format!("still-{}", self.variable)).await?;
        self.session = Some(session);
        Ok(())
    }

    /// The container in which it is.
    pub(crate) fn container(&self) -> &str {
        match &self.how {
            How::Attach { container } => container,
            How::Exec => MAIN,
        }
    }
}

async fn join(pods: &Api<Pod>, pod: &str, how: &How, variable: &str) -> Result<Session> {
    let joined = async {
        match how {
            How::Attach { container } => pods.attach(pod, &AttachParams::interactive_tty().container(container)).await,
            How::Exec => {
                pods.exec(
                    pod,
                    ["env", &format!("TERMINAL={variable}"), "sh"],
                    &AttachParams::interactive_tty().container(MAIN),
                )
                .await
            }
        }
    };
    let mut process = timeout(SILENCE, joined).await.context("no terminal came")??;
    Ok(Session {
        input: Box::new(process.stdin().context("the session has no input")?),
        output: Box::new(process.stdout().context("the session has no output")?),
        _process: process,
    })
}

/// Types a line and reads until the answer.
async fn talk(session: &mut Session, line: &str, answer: &str) -> Result<()> {
    let mut seen = String::new();
    let talked = timeout(SILENCE, async {
        session.input.write_all(line.as_bytes()).await?;
        let mut buffer = [0; 4096];
        while !seen.contains(answer) {
            match session.output.read(&mut buffer).await? {
                0 => bail!("the session ended"),
                length => seen.push_str(&String::from_utf8_lossy(&buffer[..length])),
            }
        }
        Ok(())
    });
    let outcome = talked.await;
    outcome
        .with_context(|| format!("{answer:?} did not come; seen: {seen:?}"))?
        .with_context(|| format!("seen: {seen:?}"))
}
