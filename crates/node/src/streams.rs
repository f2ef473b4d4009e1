//! Exec, attach and logs by pod and container: names become the runtime's ids and files.

use std::sync::Arc;

use async_trait::async_trait;
use remora_decide::{Attempt, AttemptState};
use remora_streaming::{ExecOptions, LogChunks, LogOptions, PodContainer, PodStreams, SessionEnd, Stdio, StreamError};
use tokio::sync::watch;

use crate::actor::{Handle, View};
use crate::container::log_path;
use crate::context::Context;
use crate::logs::{self, Ending, LogFile};
use crate::pods::Pods;

/// The streams of this node's pods.
pub(crate) struct Streams {
    context: Context,
    pods: Pods,
}

impl Streams {
    pub(crate) fn new(context: Context, pods: Pods) -> Self {
        Self { context, pods }
    }

    fn pod(&self, at: &PodContainer) -> Result<Handle, StreamError> {
        self.pods.get(&at.uid).ok_or_else(|| StreamError::NotFound(format!("pod \"{}\" not found", at.pod)))
    }

    /// The id of the container if it runs.
    fn running(&self, at: &PodContainer, missing: String) -> Result<String, StreamError> {
        let view = self.pod(at)?.view();
        let last = view.observed.track(&at.container).and_then(|t| t.last());
        match last {
            Some(Attempt { id, state: AttemptState::Running { .. }, .. }) => Ok(id.clone()),
            _ => Err(StreamError::NotFound(missing)),
        }
    }
}

#[async_trait]
impl PodStreams for Streams {
    async fn exec(&self, at: &PodContainer, options: ExecOptions, stdio: Stdio) -> Result<SessionEnd, StreamError> {
        let id = self.running(at, format!("container not found (\"{}\")", at.container))?;
        self.context.config.streams.exec(&id, options, stdio).await
    }

    async fn attach(&self, at: &PodContainer, stdio: Stdio) -> Result<SessionEnd, StreamError> {
        let missing = format!("container {} not found in pod {}_{}", at.container, at.pod, at.namespace);
        let id = self.running(at, missing)?;
        self.context.config.streams.attach(&id, stdio).await
    }

    async fn logs(&self, at: &PodContainer, options: LogOptions) -> Result<LogChunks, StreamError> {
        let handle = self.pod(at)?;
        let view = handle.view();
        let attempt = which_attempt(&view, at, options.previous)?;
        let folder = self.context.log_folder(&view.pod);
        let path = folder.join(log_path(&at.container, attempt.restart_count));
        let ending = ending(&handle, &at.container, &attempt.id);
        Ok(logs::read(LogFile { path }, options, ending))
    }
}

/// The run whose log is wanted. Source: kubernetes `pkg/kubelet/kubelet_pods.go`, `validateContainerLogStatus`.
fn which_attempt(view: &View, at: &PodContainer, previous: bool) -> Result<Attempt, StreamError> {
    let (name, pod) = (&at.container, &at.pod);
    let attempts = view.observed.track(name).map(|t| t.attempts.as_slice()).unwrap_or_default();
    if previous {
        let newest_runs = attempts.last().is_some_and(Attempt::is_running);
        let ended =
            if newest_runs { attempts.iter().rev().nth(1) } else { attempts.iter().rev().nth(1).or(attempts.last()) };
        return ended.cloned().ok_or_else(|| {
            StreamError::NotFound(format!("previous terminated container \"{name}\" in pod \"{pod}\" not found"))
        });
    }
    match view.observed.last_attempt(name) {
        Some(attempt) => Ok(attempt.into_owned()),
        None => Err(not_started(view, at)),
    }
}

fn not_started(view: &View, at: &PodContainer) -> StreamError {
    let (name, pod) = (&at.container, &at.pod);
    let state = view.observed.reported_status(name).and_then(|s| s.state.clone()).unwrap_or_default();
    let reason = state.waiting.and_then(|w| w.reason);
    let why = match reason.as_deref() {
        Some("ErrImagePull") => "image can't be pulled",
        Some("ImagePullBackOff") => "trying and failing to pull image",
        Some(other) => other,
        None => return StreamError::NotFound(format!("container {name} not found in pod {pod}")),
    };
    StreamError::NotRunning(format!("container \"{name}\" in pod \"{pod}\" is waiting to start: {why}"))
}

/// Becomes true when this run of the container has ended.
fn ending(handle: &Handle, container: &str, id: &str) -> Ending {
    let mut views = handle.views();
    let (container, id) = (container.to_owned(), id.to_owned());
    let runs = move |view: &Arc<View>| {
        let attempts = view.observed.track(&container).map(|t| t.attempts.as_slice()).unwrap_or_default();
        attempts.iter().any(|a| a.id == id && a.is_running())
    };
    let now = runs(&views.borrow_and_update());
    let (send, receive) = watch::channel(!now);
    tokio::spawn(async move {
        // Cancel-safe: both only wait. The loop ends with the container, its pod, or the reader.
        loop {
            if !runs(&views.borrow_and_update()) {
                send.send_replace(true);
                return;
            }
            let gone = tokio::select! {
                changed = views.changed() => changed.is_err(),
                () = send.closed() => return,
            };
            if gone {
                send.send_replace(true);
                return;
            }
        }
    });
    receive
}
