//! Exec, attach and logs by pod and container, and connections to pods: names become the runtime's ids and files.

use std::sync::Arc;

use async_trait::async_trait;
use remora_decide::{Attempt, AttemptState};
use remora_streaming::{
    Duplex, ExecOptions, LogChunks, LogOptions, PodContainer, PodName, PodStreams, SessionEnd, Stdio, StreamError,
};
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

    fn pod(&self, uid: &str, name: &str) -> Result<Handle, StreamError> {
        self.pods.get(uid).ok_or_else(|| StreamError::NotFound(format!("pod \"{name}\" not found")))
    }

    /// The id of the container if it runs.
    fn running(&self, at: &PodContainer, missing: String) -> Result<String, StreamError> {
        let view = self.pod(&at.uid, &at.pod)?.view();
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
        let handle = self.pod(&at.uid, &at.pod)?;
        let view = handle.view();
        let attempt = which_attempt(&view, at, options.previous)?;
        let folder = self.context.log_folder(&view.pod);
        let path = folder.join(log_path(&at.container, attempt.restart_count));
        let ending = ending(&handle, &at.container, &attempt.id);
        Ok(logs::read(LogFile { path }, options, ending))
    }

    async fn port_forward(&self, pod: &PodName, port: u16, duplex: Duplex) -> Result<(), StreamError> {
        let view = self.pod(&pod.uid, &pod.pod)?.view();
        let sandbox = view.observed.ready_sandbox().map(|sandbox| sandbox.id.clone());
        let missing = || StreamError::NotRunning(format!("sandbox of pod {}_{} is not ready", pod.pod, pod.namespace));
        self.context.config.streams.port_forward(&sandbox.ok_or_else(missing)?, port, duplex).await
    }
}

/// The run whose log is wanted. Source: kubernetes `pkg/kubelet/kubelet_pods.go`, `validateContainerLogStatus`.
fn which_attempt(view: &View, at: &PodContainer, previous: bool) -> Result<Attempt, StreamError> {
    let (name, pod) = (&at.container, &at.pod);
    let attempts = view.observed.track(name).map(|t| t.attempts.as_slice()).unwrap_or_default();
    if previous {
        // The one that the status calls so: while a container waits to begin anew, that is its newest.
        let last =
            view.observed.reported_status(name).and_then(|status| status.last_state.clone()?.terminated?.container_id);
        let ended = last.and_then(|last| attempts.iter().find(|attempt| last.ends_with(&attempt.id)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus};
    use remora_decide::{Observed, Track};

    #[test]
    fn the_previous_run_is_the_one_that_the_status_calls_the_last() {
        let check = |last: Option<&str>, expected: Result<&str, &str>| {
            let terminated = last.map(|id| ContainerStateTerminated {
                container_id: Some(format!("remora://{id}")),
                ..Default::default()
            });
            let last_state = Some(ContainerState { terminated, ..Default::default() });
            let status = ContainerStatus { name: "c".into(), last_state, ..Default::default() };
            let mut observed = Observed::default();
            observed.reported.container_statuses = Some(vec![status]);
            let attempts = ["older", "newest"].map(|id| Attempt::new(id, AttemptState::Created)).to_vec();
            let track = Track { attempts, ..Track::default() };
            observed.tracks.insert("c".to_owned(), track);
            let view = View { pod: Arc::default(), observed };
            let at = PodContainer { namespace: "n".into(), pod: "p".into(), uid: String::new(), container: "c".into() };
            let found = which_attempt(&view, &at, true).map(|attempt| attempt.id).map_err(|error| error.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{last:?}");
        };
        // It runs, or it waits to begin anew.
        check(Some("older"), Ok("older"));
        check(Some("newest"), Ok("newest"));
        let refused = "previous terminated container \"c\" in pod \"p\" not found";
        check(None, Err(refused));
        check(Some("gone"), Err(refused));
    }
}
