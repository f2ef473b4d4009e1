//! Carries a plan out: adds the container, waits for it, attaches. Thin; what a status means is decided in [`crate::progress`].

use futures::{AsyncBufRead, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, AttachedProcess, LogParams, Patch, PatchParams, WatchEvent, WatchParams};

use crate::{DebugPlan, Progress, Refusal, Rung, Waiting, progress, refusal};

/// A container in a pod that we want to reach.
pub struct Session {
    pods: Api<Pod>,
    pod: String,
    container: String,
}

/// Why a session could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The API server refused or could not be reached.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// The watch of the pod broke off.
    #[error("the watch of pod {pod} ended before container {container} got where it was awaited")]
    WatchEnded {
        /// The pod.
        pod: String,
        /// The container.
        container: String,
    },
    /// The node cannot start it; waiting longer would not help.
    #[error("container {container} cannot start: {reason}: {message}")]
    Stuck {
        /// The container.
        container: String,
        /// The node's word for it.
        reason: String,
        /// The node's sentence.
        message: String,
    },
    /// It will never start.
    #[error("{0}")]
    Never(String),
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
/// The server's own words if less would not help or there was only one rung, [`SessionError::Refused`] if none was admitted.
pub async fn admit(pods: &Api<Pod>, pod: &str, plan: &DebugPlan, trial: Trial) -> Result<Admitted, SessionError> {
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
    /// A container that is there already.
    pub fn existing(pods: Api<Pod>, pod: &str, container: &str) -> Session {
        Session { pods, pod: pod.to_owned(), container: container.to_owned() }
    }

    /// Waits until the container runs or has ended. `seen` is called with each new reason to wait.
    ///
    /// # Errors
    /// [`SessionError::Stuck`] as soon as the node says that it cannot be started.
    pub async fn ready(&self, from: &Pod, mut seen: impl FnMut(&Waiting)) -> Result<Progress, SessionError> {
        let mut last = Waiting::default();
        if let Some(done) = self.judge(from, &mut last, &mut seen)? {
            return Ok(done);
        }
        let version = from.metadata.resource_version.as_deref().unwrap_or("0");
        self.until(version, |pod| self.judge(pod, &mut last, &mut seen)).await
    }

    /// Waits until the container has ended and gives its exit status: attach itself does not tell it.
    ///
    /// # Errors
    /// The pod went away first, or the watch broke off.
    pub async fn exit_code(&self) -> Result<i32, SessionError> {
        let ended = |pod: &Pod| match progress(pod, &self.container) {
            Progress::Terminated(state) => Ok(Some(state.exit_code)),
            _ => Ok(None),
        };
        // From "0": how it is now comes first.
        self.until("0", ended).await
    }

    /// Watches the pod until `judge` has an answer.
    async fn until<T>(
        &self,
        version: &str,
        mut judge: impl FnMut(&Pod) -> Result<Option<T>, SessionError>,
    ) -> Result<T, SessionError> {
        let params = WatchParams::default().fields(&format!("metadata.name={}", self.pod));
        let mut events = Box::pin(self.pods.watch(&params, version).await?);
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                    if let Some(answer) = judge(&pod)? {
                        return Ok(answer);
                    }
                }
                WatchEvent::Deleted(_) => return Err(SessionError::Never(format!("pod {} was deleted", self.pod))),
                WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
                WatchEvent::Bookmark(_) => {}
            }
        }
        Err(SessionError::WatchEnded { pod: self.pod.clone(), container: self.container.clone() })
    }

    fn judge(
        &self,
        pod: &Pod,
        last: &mut Waiting,
        seen: &mut impl FnMut(&Waiting),
    ) -> Result<Option<Progress>, SessionError> {
        match progress(pod, &self.container) {
            Progress::Waiting(waiting) if waiting.is_stuck() => Err(SessionError::Stuck {
                container: self.container.clone(),
                reason: waiting.reason,
                message: waiting.message,
            }),
            Progress::Waiting(waiting) => {
                if waiting != *last {
                    seen(&waiting);
                    *last = waiting;
                }
                Ok(None)
            }
            Progress::Never(why) => Err(SessionError::Never(why)),
            done => Ok(Some(done)),
        }
    }

    /// Its log from the first line to its end.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn log(&self) -> Result<impl AsyncBufRead + use<>, SessionError> {
        let params = LogParams { container: Some(self.container.clone()), follow: true, ..LogParams::default() };
        Ok(self.pods.log_stream(&self.pod, &params).await?)
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
