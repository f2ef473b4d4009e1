//! Carrying out actions: each in a task of its own, which reports how it ended. No decision is made here but in which
//! order the runtime is asked.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use remora_cri::{
    Code, ContainerState, ContainerStatus, ContainerStatusRequest, CreateContainerRequest, Error as CriError,
    PodSandboxStatusRequest, RemoveContainerRequest, RemovePodSandboxRequest, RunPodSandboxRequest,
    StartContainerRequest, StopContainerRequest, StopPodSandboxRequest, UpdateContainerResourcesRequest,
    UpdatePodSandboxResourcesRequest,
};
use remora_decide::{
    Action, Attempt, AttemptState, Exit, Happening, Observed, ResizeStep, Sandbox, StartFailure, StartProblem,
    StopReason, Subject, Volumes,
};
use tokio_util::sync::CancellationToken;

use super::wake::{Outcome, Wake};
use super::{Actor, attempt_of, sandbox_of};
use crate::container::{self, StartOrder};
use crate::context::{Context, id_of};
use crate::{logs, probes, sandbox, users, volumes};

/// A start that failed is tried again after this time, as a kubelet's failed sync is.
const RETRY_START: SignedDuration = SignedDuration::from_secs(10);

impl Actor {
    /// Lets a task carry out an action and report its outcome.
    pub(super) fn spawn(&mut self, action: Action, now: Timestamp) {
        let Some(wakes) = self.wakes.upgrade() else { return };
        if let Action::StopContainer { container, id, by, reason } = &action {
            self.note_stop(container, id, *by, *reason);
        }
        let (context, pod) = (self.context.clone(), Arc::clone(&self.pod));
        let sandbox_ips = self.observed.ready_sandbox().map(|s| s.ips.clone()).unwrap_or_default();
        let (tasks, ending) = (context.tasks.clone(), self.ending.clone());
        let log = old_log(&self.observed, &action).map(|log| context.log_folder(&pod).join(log));
        tasks.spawn(async move {
            let outcome = carry_out(&context, &pod, action, sandbox_ips, &ending, now).await;
            if let (Some(log), Outcome::Removed { result: Ok(()), .. }) = (log, &outcome)
                && let Err(error) = logs::remove(&log)
            {
                tracing::warn!(log = %log.display(), %error, "the log of a removed container stays behind");
            }
            // The actor may have ended meanwhile: then nobody needs the outcome.
            let _ = wakes.send(Wake::Done(Box::new(outcome))).await;
        });
    }

    /// Writes tokens anew before they run out.
    pub(super) fn refresh_volumes(&mut self, now: Timestamp) {
        let due = self.refresh.is_some_and(|at| at <= now) && self.observed.volumes == Volumes::Ready;
        if due && self.observed.doing.insert(Subject::Volumes) {
            self.refresh = None;
            self.spawn(Action::SetUpVolumes, now);
        }
    }

    /// Removes what the pod has left on the disk and ends the actor.
    pub(super) fn forget(&mut self) {
        for folder in [self.context.pod_folder(&self.pod), self.context.log_folder(&self.pod)] {
            if let Err(error) = std::fs::remove_dir_all(&folder)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(folder = %folder.display(), %error, "a pod's folder stays behind");
            }
        }
        self.forgotten = true;
    }
}

/// The log that goes with a container which is removed, below the pod's log folder: that of its run, unless another is of the same number.
fn old_log(observed: &Observed, action: &Action) -> Option<String> {
    let Action::RemoveContainer { container, id } = action else { return None };
    let attempts = &observed.track(container)?.attempts;
    let number = attempts.iter().find(|a| a.id == *id)?.restart_count;
    let alone = attempts.iter().filter(|a| a.restart_count == number).count() == 1;
    alone.then(|| container::log_path(container, number))
}

async fn carry_out(
    context: &Context,
    pod: &Pod,
    action: Action,
    sandbox_ips: Vec<String>,
    ending: &CancellationToken,
    now: Timestamp,
) -> Outcome {
    match action {
        Action::SetUpVolumes => Outcome::VolumesUp(volumes::set_up(context, pod, &sandbox_ips).await),
        Action::MeasureStorage => Outcome::Measured(volumes::measure(context, pod).await),
        Action::TearDownVolumes => Outcome::VolumesDown(volumes::tear_down(context, pod).await),
        Action::CreateSandbox { attempt } => Outcome::SandboxCreated(create_sandbox(context, pod, attempt).await),
        Action::StopSandbox { id } => {
            let request = StopPodSandboxRequest { pod_sandbox_id: id.clone() };
            let result = context.config.runtime.stop_pod_sandbox(request).await;
            Outcome::SandboxStopped { id, result: result.map_err(in_words) }
        }
        Action::RemoveSandbox { id } => {
            let request = RemovePodSandboxRequest { pod_sandbox_id: id.clone() };
            let result = context.config.runtime.remove_pod_sandbox(request).await;
            Outcome::SandboxRemoved { id, result: result.map_err(in_words) }
        }
        Action::EnsureImage { container, image, pull } => {
            let result = container::image::ensure(context, pod, &container, &image, pull).await;
            Outcome::Image { container, result }
        }
        Action::StartContainer { container, sandbox, image_ref, restart_count, back_off, target } => {
            let order =
                StartOrder { container: container.clone(), sandbox, image_ref, restart_count, target, sandbox_ips };
            let result = start(context, pod, &order, ending).await;
            let result = result.map_err(|failed| failed.failure(context, pod, &container));
            Outcome::Started { container, back_off, result }
        }
        Action::StopContainer { container, id, by, reason } => {
            let order = StopOrder { container: &container, id: &id, by, reason };
            let result = stop(context, pod, &order, &sandbox_ips, now).await.map_err(in_words);
            Outcome::Stopped { container, id, by, result }
        }
        Action::Resize { sandbox, steps } => {
            let mut done = Vec::new();
            let result = resize(context, &sandbox, steps, &mut done).await;
            Outcome::Resized { done, result }
        }
        Action::RemoveContainer { container, id } => {
            let request = RemoveContainerRequest { container_id: id.clone() };
            let result = context.config.runtime.remove_container(request).await.map_err(in_words);
            Outcome::Removed { container, id, result }
        }
        Action::DeletePodFromApi => Outcome::Deleted(delete(context, pod).await),
        // Both are done by the actor itself.
        Action::Announce(_) | Action::Forget => Outcome::Deleted(Ok(())),
    }
}

async fn create_sandbox(context: &Context, pod: &Pod, attempt: u32) -> Result<Sandbox, String> {
    let handler = sandbox::handler(context, pod).await.map_err(|e| e.to_string())?;
    users::allot(context, pod, &handler).await.map_err(|e| e.to_string())?;
    let config = sandbox::config(context, pod, attempt).map_err(|e| e.to_string())?;
    let runtime = &context.config.runtime;
    let request = RunPodSandboxRequest { config: Some(config), runtime_handler: handler };
    let id = runtime.run_pod_sandbox(request).await.map_err(in_words)?.pod_sandbox_id;
    let request = PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false };
    let status = runtime.pod_sandbox_status(request).await.map_err(in_words)?.status;
    Ok(sandbox_of(&status.ok_or_else(|| format!("sandbox \"{id}\" has no status"))?))
}

/// Why a start made no container, and at which step.
struct Failed(StartProblem, String);

impl Failed {
    fn failure(self, context: &Context, pod: &Pod, container: &str) -> StartFailure {
        let Self(problem, message) = self;
        let told = Happening::StartFailed { container: container.to_owned(), problem, message: message.clone() };
        context.tell(pod, &told);
        let at = context.now();
        StartFailure { problem, message, at, retry: at.saturating_add(RETRY_START).unwrap_or(at) }
    }
}

async fn start(
    context: &Context,
    pod: &Pod,
    order: &StartOrder,
    ending: &CancellationToken,
) -> Result<Attempt, Failed> {
    let name = &order.container;
    let config = container::config(context, pod, order).await;
    let config = config.map_err(|e| Failed(StartProblem::CreateContainerConfigError, e.to_string()))?;
    let sandbox_config = sandbox::config(context, pod, 0);
    let sandbox_config = sandbox_config.map_err(|e| Failed(StartProblem::CreateContainerConfigError, e.to_string()))?;
    let request = CreateContainerRequest {
        pod_sandbox_id: order.sandbox.clone(),
        config: Some(config),
        sandbox_config: Some(sandbox_config),
    };
    let runtime = &context.config.runtime;
    let created = runtime.create_container(request).await;
    let id = created.map_err(|e| Failed(StartProblem::CreateContainerError, e.message))?.container_id;
    context.tell(pod, &Happening::Created { container: name.clone() });
    let started = runtime.start_container(StartContainerRequest { container_id: id.clone() }).await;
    match started {
        Ok(()) => {
            context.tell(pod, &Happening::Started { container: name.clone() });
            // Cancel-safe: a hook that is given up ends with its container, which is stopped next.
            let hook = tokio::select! {
                hook = probes::post_start(context, pod, name, &id, &order.sandbox_ips) => hook,
                () = ending.cancelled() => Ok(()),
            };
            if let Err(output) = hook {
                return Ok(failed_hook(context, pod, order, &id, &output).await);
            }
            let status =
                status_of(context, &id).await.map_err(|e| Failed(StartProblem::RunContainerError, e.message))?;
            Ok(attempt_of(context, pod, &status, &order.sandbox))
        }
        Err(error) => not_started(context, pod, order, id, error).await,
    }
}

/// A container that was created but could not be started has ended, with the runtime's words.
async fn not_started(
    context: &Context,
    pod: &Pod,
    order: &StartOrder,
    id: String,
    error: CriError,
) -> Result<Attempt, Failed> {
    let status = status_of(context, &id).await;
    let Ok(status) = status else { return Err(Failed(StartProblem::RunContainerError, error.message)) };
    let container = order.container.clone();
    let problem = StartProblem::RunContainerError;
    context.tell(pod, &Happening::StartFailed { container, problem, message: error.message.clone() });
    let mut attempt = attempt_of(context, pod, &status, &order.sandbox);
    if status.state() != ContainerState::Exited || status.reason.is_empty() {
        let finished = context.now();
        let (reason, message) = ("StartError".to_owned(), error.message);
        attempt.state = AttemptState::Exited(Exit { code: 128, reason, message, started: None, finished });
    }
    Ok(attempt)
}

/// A postStart hook that fails ends its container.
async fn failed_hook(context: &Context, pod: &Pod, order: &StartOrder, id: &str, output: &str) -> Attempt {
    tracing::debug!(container = order.container, output, "postStart hook failed");
    let container = order.container.clone();
    context.tell(pod, &Happening::PostStartFailed { container: container.clone() });
    context.tell(pod, &Happening::Stopping { container, reason: StopReason::PostStartHook });
    let timeout = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
    let stop = StopContainerRequest { container_id: id.to_owned(), timeout };
    if let Err(error) = context.config.runtime.stop_container(stop).await {
        tracing::warn!(%error, id, "a container whose postStart hook failed could not be stopped");
    }
    let status = status_of(context, id).await.unwrap_or_default();
    attempt_of(context, pod, &ContainerStatus { id: id.to_owned(), ..status }, &order.sandbox)
}

/// What a plan says about a stop.
struct StopOrder<'a> {
    container: &'a str,
    id: &'a str,
    by: Timestamp,
    reason: StopReason,
}

/// The preStop hook, then the stop signal, then the kill: all of it until `by`.
async fn stop(
    context: &Context,
    pod: &Pod,
    order: &StopOrder<'_>,
    sandbox_ips: &[String],
    now: Timestamp,
) -> Result<Option<Attempt>, CriError> {
    let StopOrder { container, id, by, reason } = *order;
    context.tell(pod, &Happening::Stopping { container: container.to_owned(), reason });
    let left = Duration::try_from(by.duration_since(now)).unwrap_or_default();
    if !left.is_zero() && probes::pre_stop(context, pod, container, id, sandbox_ips, left).await.is_err() {
        context.tell(pod, &Happening::PreStopFailed { container: container.to_owned() });
    }
    let left = by.duration_since(context.now());
    let timeout = if left.is_positive() { (left.as_millis() as i64 + 999) / 1000 } else { 0 };
    let request = StopContainerRequest { container_id: id.to_owned(), timeout };
    match context.config.runtime.stop_container(request).await {
        Err(error) if error.code == Code::NotFound => return Ok(None),
        result => result?,
    }
    match status_of(context, id).await {
        Ok(status) => Ok(Some(attempt_of(context, pod, &status, ""))),
        Err(error) if error.code == Code::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes one step after the other, until one fails.
async fn resize(
    context: &Context,
    sandbox: &str,
    steps: Vec<ResizeStep>,
    done: &mut Vec<ResizeStep>,
) -> Result<(), String> {
    let runtime = &context.config.runtime;
    for step in steps {
        let result = match &step {
            ResizeStep::Pod(amounts) => {
                let resources = Some(container::resources_of_pod(*amounts, context.config.pod_pids_limit));
                let pod_sandbox_id = sandbox.to_owned();
                let request = UpdatePodSandboxResourcesRequest { pod_sandbox_id, resources, overhead: None };
                runtime.update_pod_sandbox_resources(request).await
            }
            ResizeStep::Container { id, resources, .. } => {
                let linux = Some(container::resources_of_running(resources));
                let request = UpdateContainerResourcesRequest { container_id: id.clone(), linux, ..Default::default() };
                runtime.update_container_resources(request).await
            }
        };
        result.map_err(|error| match error.code {
            // As a kubelet words it, which looks at the usage itself.
            Code::ResourceExhausted => format!("cannot decrease memory limits: {}", error.message),
            _ => error.message,
        })?;
        done.push(step);
    }
    Ok(())
}

async fn delete(context: &Context, pod: &Pod) -> Result<(), String> {
    let id = id_of(pod);
    let api: Api<Pod> = Api::namespaced(context.config.client.clone(), id.namespace);
    let preconditions = Preconditions { uid: Some(id.uid.to_owned()), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }.grace_period(0);
    match api.delete(id.name, &params).await {
        Ok(_) => Ok(()),
        // Gone, or another pod has its name by now.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

async fn status_of(context: &Context, id: &str) -> Result<ContainerStatus, CriError> {
    let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
    let answer = context.config.runtime.container_status(request).await?;
    answer.status.ok_or_else(|| CriError::not_found("container", id))
}

fn in_words(error: CriError) -> String {
    error.message
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_decide::Track;

    #[test]
    fn the_log_of_a_removed_run_goes_and_no_other() {
        let attempt = |(id, restart_count): &(&str, u32)| Attempt {
            restart_count: *restart_count,
            ..Attempt::new(*id, AttemptState::Created)
        };
        let check = |runs: &[(&str, u32)], id: &str, expected: Option<&str>| {
            let mut observed = Observed::default();
            let attempts = runs.iter().map(attempt).collect();
            observed.tracks.insert("web".to_owned(), Track { attempts, ..Track::default() });
            let action = Action::RemoveContainer { container: "web".to_owned(), id: id.to_owned() };
            assert_eq!(old_log(&observed, &action).as_deref(), expected, "{id} of {runs:?}");
        };
        check(&[("a", 3), ("b", 4), ("c", 5)], "a", Some("web/3.log"));
        check(&[("a", 3), ("b", 3)], "a", None);
        check(&[("a", 3)], "z", None);
        let other = Action::StopSandbox { id: "a".to_owned() };
        assert_eq!(old_log(&Observed::default(), &other), None);
    }
}
