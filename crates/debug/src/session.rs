//! Carries a plan out: adds the container, waits for it, attaches. Thin; what a status means is decided in [`crate::progress`].

use std::time::Duration;

use futures::AsyncReadExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, AttachedProcess, LogParams, Patch, PatchParams};

use crate::wait::Awaited;
use crate::{Cause, DebugPlan, Failure, Progress, Refusal, Rung, progress, refusal};

/// A container in a pod that we want to reach.
pub struct Session {
    pods: Api<Pod>,
    pod: String,
    container: String,
    image: String,
}

/// Why a session could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The API server refused or could not be reached.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// It does not start, or was lost.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The server admits none of what was asked for.
    #[error("the cluster admits no debug container to this pod")]
    Refused(Vec<Refused>),
}

/// Whether the server shall keep what it admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// No: it only says whether it would.
    DryRun,
    /// Yes.
    Real,
}

/// A rung that was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// What it is called.
    pub name: String,
    /// By whom and why.
    pub refusal: Refusal,
}

/// What the server admitted.
#[derive(Debug)]
pub struct Admitted {
    /// The first rung that passed.
    pub rung: Rung,
    /// Those above it.
    pub refused: Vec<Refused>,
    /// The pod as it is now (with [`Trial::DryRun`]: as it would be).
    pub pod: Pod,
}

/// Asks for the rungs of a plan, one after the other, until one is admitted. A refusal leaves nothing behind, so that no dry run is
/// needed before the real thing.
///
/// # Errors
/// [`Failure`] if the name is taken by another debug container; the server's own words if less would not help or there was only one rung, [`SessionError::Refused`] if none was admitted.
pub async fn admit(pods: &Api<Pod>, pod: &str, plan: &DebugPlan, trial: Trial) -> Result<Admitted, SessionError> {
    if plan.is_taken() {
        let taken = format!("a debug container {} is in pod {pod} already", plan.container);
        let remedy = Some("an entry can neither start again nor change: give another name, or none");
        return Err(Failure { cause: Cause::CannotStart, message: taken, remedy }.into());
    }
    let params = PatchParams { dry_run: trial == Trial::DryRun, ..PatchParams::default() };
    let namespace = pods.namespace().unwrap_or("default");
    let mut refused = Vec::new();
    for rung in &plan.rungs {
        match pods.patch_ephemeral_containers(pod, &params, &Patch::Strategic(plan.patch(rung))).await {
            Ok(pod) => return Ok(Admitted { rung: rung.clone(), refused, pod }),
            Err(kube::Error::Api(status)) => {
                let refusal = refusal(&status, &plan.container, namespace);
                if !refusal.depends_on_the_entry() {
                    return Err(SessionError::Api(kube::Error::Api(status)));
                }
                refused.push(Refused { name: rung.name.clone(), refusal });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(SessionError::Refused(refused))
}

impl Session {
    /// A container that is in the pod already. The image is for words about it.
    pub fn existing(pods: Api<Pod>, pod: &str, container: &str, image: &str) -> Session {
        Session { pods, pod: pod.to_owned(), container: container.to_owned(), image: image.to_owned() }
    }

    /// Its name.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// Waits until the container runs or has ended. `seen` is called with each new line about its way.
    ///
    /// # Errors
    /// [`SessionError::Failed`] as soon as waiting longer is of no use, or when `timeout` has passed.
    pub async fn ready(
        &self,
        from: &Pod,
        timeout: Option<Duration>,
        seen: impl FnMut(&str),
    ) -> Result<Progress, SessionError> {
        self.awaited(timeout).started(from, seen).await
    }

    /// Waits until the container has ended and gives its exit status: attach itself does not tell it.
    ///
    /// # Errors
    /// The pod went away first, or the connection was lost for good.
    pub async fn exit_code(&self) -> Result<i32, SessionError> {
        self.awaited(None).ended().await
    }

    /// How it is now.
    ///
    /// # Errors
    /// The server's refusal, or no answer.
    pub async fn now(&self) -> Result<Progress, SessionError> {
        Ok(progress(&self.pods.get(&self.pod).await?, &self.container))
    }

    fn awaited(&self, timeout: Option<Duration>) -> Awaited<'_> {
        Awaited { pods: &self.pods, pod: &self.pod, container: &self.container, image: &self.image, timeout }
    }

    /// Gives everything that it says to `seen`, to its end.
    ///
    /// # Errors
    /// The server's refusal, a connection that is lost, or a pod that went away first.
    pub async fn told(&self, mut seen: impl FnMut(&[u8])) -> Result<Told, SessionError> {
        let mut first = Read::default();
        self.log(true, |bytes| {
            first.pass(bytes);
            seen(bytes);
        })
        .await?;
        let code = self.exit_code().await?;
        // A kubelet may end a log that is followed when the container has ended, without its last lines.
        let mut again = Again { first, second: Read::default(), goes_on: false };
        let read = self.log(false, |bytes| seen(again.unseen(bytes))).await;
        let unread = read.err().or_else(|| {
            let another = format!("the node has begun another log of container {}", self.container);
            (!again.is_whole()).then(|| Failure::new(Cause::Lost, another).into())
        });
        Ok(Told { code, unread })
    }

    async fn log(&self, follow: bool, mut seen: impl FnMut(&[u8])) -> Result<(), SessionError> {
        let params = LogParams { container: Some(self.container.clone()), follow, ..LogParams::default() };
        let mut log = std::pin::pin!(self.pods.log_stream(&self.pod, &params).await?);
        let mut buffer = vec![0; 16 << 10];
        loop {
            let read = log.read(&mut buffer).await;
            let read = read.map_err(|error| {
                Failure::new(Cause::Lost, format!("reading the log of container {}: {error}", self.container))
            })?;
            if read == 0 {
                return Ok(());
            }
            seen(&buffer[..read]);
        }
    }

    /// Joins the container's streams; what it has already shown on a terminal comes first where the node can do that.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn attach(&self, stdin: bool, tty: bool) -> Result<AttachedProcess, SessionError> {
        let params = AttachParams::default().container(&self.container).stdin(stdin).stdout(true).stderr(!tty).tty(tty);
        Ok(self.pods.attach(&self.pod, &params).await?)
    }
}

/// How a tool ended whose log was read.
#[derive(Debug)]
pub struct Told {
    /// Its exit status.
    pub code: i32,
    /// Why its last lines may be missing.
    pub unread: Option<SessionError>,
}

/// A log is known again by the end of what was read of it.
const TAIL: usize = 1 << 10;

/// How far a log was read.
#[derive(Default)]
struct Read {
    length: u64,
    /// Its last bytes, at most [`TAIL`].
    tail: Vec<u8>,
}

impl Read {
    fn pass(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
    }
}

/// A log that is read a second time. Once a node has put a full log aside, it gives only the one after it: there, a count says nothing.
struct Again {
    first: Read,
    second: Read,
    /// It is the same log, and all that was read of it before has passed.
    goes_on: bool,
}

impl Again {
    /// What of it was not seen the first time.
    fn unseen<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        if self.goes_on {
            return bytes;
        }
        let missing = self.first.length.saturating_sub(self.second.length);
        let (known, rest) = bytes.split_at(usize::try_from(missing).unwrap_or(usize::MAX).min(bytes.len()));
        self.second.pass(known);
        self.goes_on = self.second.length == self.first.length && self.second.tail == self.first.tail;
        if self.goes_on {
            return rest;
        }
        self.second.pass(rest);
        &[]
    }

    /// Whether all was seen: it is the same log, or another one that ends as the first time.
    fn is_whole(&self) -> bool {
        self.goes_on || self.second.tail == self.first.tail
    }
}
