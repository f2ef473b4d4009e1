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

    /// Gives everything that it says to `seen`, to its end; its exit status.
    ///
    /// # Errors
    /// The server's refusal, a connection that is lost, or a pod that went away first.
    pub async fn told(&self, mut seen: impl FnMut(&[u8])) -> Result<i32, SessionError> {
        let told = self.log(true, 0, &mut seen).await?;
        let code = self.exit_code().await?;
        // A kubelet may end a log that is followed when the container has ended, without its last lines.
        self.log(false, told, &mut seen).await?;
        Ok(code)
    }

    /// Its log but for the first bytes; how long it is.
    async fn log(&self, follow: bool, skip: u64, seen: &mut impl FnMut(&[u8])) -> Result<u64, SessionError> {
        let params = LogParams { container: Some(self.container.clone()), follow, ..LogParams::default() };
        let mut log = std::pin::pin!(self.pods.log_stream(&self.pod, &params).await?);
        let mut buffer = vec![0; 16 << 10];
        let mut length = 0;
        loop {
            let read = log.read(&mut buffer).await;
            let read = read.map_err(|error| {
                Failure::new(Cause::Lost, format!("reading the log of container {}: {error}", self.container))
            })?;
            if read == 0 {
                return Ok(length);
            }
            let known = usize::try_from(skip.saturating_sub(length)).unwrap_or(read).min(read);
            if known < read {
                seen(&buffer[known..read]);
            }
            length += read as u64;
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
