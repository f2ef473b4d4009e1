//! The three lists of container statuses.
//!
//! Sources: kubernetes `pkg/kubelet/kubelet_pods.go` (`convertToAPIContainerStatuses`) and the recordings.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod,
    ResourceRequirements, VolumeMount, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use remora_model::ContainerKind;

use super::time;
use crate::Now;
use crate::back_off::go_duration;
use crate::life::PodLife;
use crate::note::full_name;
use crate::observed::{Attempt, AttemptState, Exit, ImageProblem, ImageState, Observed, Track};
use crate::plan::{Wish, wish};
use crate::spec::{ContainerSpec, Desired, containers};

type Amounts = BTreeMap<String, Quantity>;

/// The statuses of a pod's containers.
pub(super) struct Lists {
    pub(super) init: Vec<ContainerStatus>,
    pub(super) ordinary: Vec<ContainerStatus>,
    pub(super) ephemeral: Vec<ContainerStatus>,
}

impl Lists {
    /// The status of one container.
    pub(super) fn find(&self, name: &str) -> Option<&ContainerStatus> {
        self.init.iter().chain(&self.ordinary).chain(&self.ephemeral).find(|s| s.name == name)
    }
}

/// Init containers in the spec's order, the others by name, as upstream sorts them.
pub(super) fn statuses(desired: &Desired<'_>, observed: &Observed, now: Now) -> Lists {
    let mut lists = Lists { init: Vec::new(), ordinary: Vec::new(), ephemeral: Vec::new() };
    for spec in containers(desired.pod) {
        let status = one(desired, observed, &spec, now);
        match spec.kind {
            ContainerKind::Init | ContainerKind::Sidecar => lists.init.push(status),
            ContainerKind::Container => lists.ordinary.push(status),
            ContainerKind::Ephemeral => lists.ephemeral.push(status),
        }
    }
    lists.ordinary.sort_by(|a, b| a.name.cmp(&b.name));
    lists.ephemeral.sort_by(|a, b| a.name.cmp(&b.name));
    lists
}

fn one(desired: &Desired<'_>, observed: &Observed, spec: &ContainerSpec<'_>, now: Now) -> ContainerStatus {
    let attempt = observed.last_attempt(spec.name).filter(|a| a.state != AttemptState::Created);
    let mut status = match &attempt {
        Some(attempt) => of_attempt(observed, spec, attempt),
        None => never_ran(desired.pod, spec),
    };
    if let Some(waiting) = waiting(desired, observed, spec, attempt.as_deref(), now) {
        let before = status.state.replace(in_waiting(waiting));
        if let Some(ended) = before.filter(|s| s.terminated.is_some()) {
            status.last_state = Some(ended);
        }
        status.ready = false;
    }
    status
}

fn never_ran(pod: &Pod, spec: &ContainerSpec<'_>) -> ContainerStatus {
    let has_init = pod.spec.as_ref().is_some_and(|s| s.init_containers.as_ref().is_some_and(|i| !i.is_empty()));
    let reason = if has_init { "PodInitializing" } else { "ContainerCreating" };
    ContainerStatus {
        name: spec.name.to_owned(),
        image: spec.image.to_owned(),
        state: Some(in_waiting(ContainerStateWaiting { reason: Some(reason.to_owned()), message: None })),
        last_state: Some(ContainerState::default()),
        started: spec.rules().reports_readiness.then_some(false),
        volume_mounts: mounts(spec.volume_mounts),
        ..ContainerStatus::default()
    }
}

fn of_attempt(observed: &Observed, spec: &ContainerSpec<'_>, attempt: &Attempt) -> ContainerStatus {
    let track = observed.track(spec.name);
    let (ready, started) = readiness(spec, track, attempt);
    let requests = spec.resources.and_then(|r| r.requests.clone());
    ContainerStatus {
        name: spec.name.to_owned(),
        image: attempt.image.clone(),
        image_id: attempt.image_ref.clone(),
        container_id: Some(container_id(observed, attempt)),
        state: Some(state(observed, attempt)),
        last_state: Some(before(observed, spec.name, track, attempt)),
        restart_count: i32::try_from(attempt.restart_count).unwrap_or(i32::MAX),
        ready,
        started: spec.rules().reports_readiness.then_some(started),
        resources: Some(resources(observed, spec, attempt)),
        allocated_resources: requests.filter(|r| !r.is_empty()),
        volume_mounts: mounts(spec.volume_mounts),
        ..ContainerStatus::default()
    }
}

/// What it has: of cpu and memory what the running instance was given, else what was allocated.
fn resources(observed: &Observed, spec: &ContainerSpec<'_>, attempt: &Attempt) -> ResourceRequirements {
    let allocated = spec.resources.map(|r| ResourceRequirements { claims: None, ..r.clone() }).unwrap_or_default();
    let running = Some(attempt).filter(|a| a.is_running() && spec.rules().resizable);
    let Some(actual) = running.and_then(|a| observed.resize.actual(spec.name, &a.id)) else { return allocated };
    let with_actual = |allocated: Option<Amounts>, actual: &Option<Amounts>| {
        let is_resizable = |(name, _): &(&String, &Quantity)| matches!(name.as_str(), "cpu" | "memory");
        let others = allocated.iter().flatten().filter(|entry| !is_resizable(entry));
        let given = actual.iter().flatten().filter(is_resizable);
        let all: Amounts = others.chain(given).map(|(name, amount)| (name.clone(), amount.clone())).collect();
        Some(all).filter(|all| !all.is_empty())
    };
    ResourceRequirements {
        claims: None,
        limits: with_actual(allocated.limits, &actual.limits),
        requests: with_actual(allocated.requests, &actual.requests),
    }
}

/// `(ready, started)`. An init container that has ended well is ready; an ephemeral container never is.
fn readiness(spec: &ContainerSpec<'_>, track: Option<&Track>, attempt: &Attempt) -> (bool, bool) {
    let probes = track.map(|t| &t.probes);
    match &attempt.state {
        AttemptState::Running { .. } => {
            let started = !spec.has_startup_probe || probes.is_some_and(|p| p.started);
            let probed = !spec.has_readiness_probe || probes.is_some_and(|p| p.ready);
            (started && probed && spec.rules().counts_for_readiness, started)
        }
        AttemptState::Exited(exit) => (spec.kind == ContainerKind::Init && exit.code == 0, false),
        AttemptState::Created => (false, false),
    }
}

/// Why a container waits although it may have run before: an image, a failed start, the crash back-off.
fn waiting(
    desired: &Desired<'_>,
    observed: &Observed,
    spec: &ContainerSpec<'_>,
    attempt: Option<&Attempt>,
    now: Now,
) -> Option<ContainerStateWaiting> {
    if !matches!(desired.life, PodLife::Syncing) || attempt.is_some_and(Attempt::is_running) {
        return None;
    }
    let wish = wish(desired, observed, spec, now);
    if let Wish::Wait { delay, .. } = wish {
        let name = spec.name;
        let pod = full_name(desired.pod);
        let message = format!("back-off {} restarting failed container={name} pod={pod}", go_duration(delay));
        return Some(reason("CrashLoopBackOff", message));
    }
    let track = observed.track(spec.name)?;
    if !matches!(wish, Wish::Start { .. } | Wish::Renew { .. }) {
        return None;
    }
    match (&track.image, &track.failure) {
        (ImageState::Failed { problem, message, announced, .. }, _) => {
            Some(image_failed(spec, *problem, message, *announced))
        }
        (_, Some(failure)) => Some(reason(failure.problem.as_str(), failure.message.clone())),
        _ => None,
    }
}

fn image_failed(
    spec: &ContainerSpec<'_>,
    problem: ImageProblem,
    message: &str,
    announced: bool,
) -> ContainerStateWaiting {
    if problem == ImageProblem::ErrImagePull && announced {
        let text = format!("Back-off pulling image {:?}: {}: {message}", spec.image, problem.as_str());
        return reason("ImagePullBackOff", text);
    }
    reason(problem.as_str(), message.to_owned())
}

fn reason(reason: &str, message: String) -> ContainerStateWaiting {
    ContainerStateWaiting { reason: Some(reason.to_owned()), message: Some(message) }
}

fn in_waiting(waiting: ContainerStateWaiting) -> ContainerState {
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn state(observed: &Observed, attempt: &Attempt) -> ContainerState {
    match &attempt.state {
        AttemptState::Running { since } => {
            let running = ContainerStateRunning { started_at: Some(time(*since)) };
            ContainerState { running: Some(running), ..ContainerState::default() }
        }
        AttemptState::Exited(exit) => terminated(observed, attempt, exit),
        AttemptState::Created => ContainerState::default(),
    }
}

fn terminated(observed: &Observed, attempt: &Attempt, exit: &Exit) -> ContainerState {
    let terminated = ContainerStateTerminated {
        container_id: Some(container_id(observed, attempt)),
        exit_code: exit.code,
        finished_at: Some(time(exit.finished)),
        message: Some(exit.message.clone()).filter(|m| !m.is_empty()),
        reason: Some(exit.reason.clone()).filter(|r| !r.is_empty()),
        signal: None,
        started_at: Some(time(exit.started.unwrap_or(jiff::Timestamp::UNIX_EPOCH))),
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

/// How the attempt before this one ended: from the runtime, else as it was said before.
fn before(observed: &Observed, name: &str, track: Option<&Track>, attempt: &Attempt) -> ContainerState {
    let attempts = track.map(|t| t.attempts.as_slice()).unwrap_or_default();
    let older = attempts.iter().rev().find(|a| a.id != attempt.id).map(Cow::Borrowed);
    if let Some(older) = older
        && let AttemptState::Exited(exit) = &older.state
    {
        return terminated(observed, &older, exit);
    }
    let said = observed.reported_status(name).filter(|s| s.restart_count > 0 && attempt.restart_count > 0);
    said.and_then(|s| s.last_state.clone()).unwrap_or_default()
}

fn container_id(observed: &Observed, attempt: &Attempt) -> String {
    format!("{}://{}", observed.runtime, attempt.id)
}

fn mounts(mounts: &[VolumeMount]) -> Option<Vec<VolumeMountStatus>> {
    let list: Vec<_> = mounts.iter().map(mount).collect();
    (!list.is_empty()).then_some(list)
}

/// `recursiveReadOnly` is told of read-only mounts only; no runtime of ours makes mounts recursively read-only.
fn mount(mount: &VolumeMount) -> VolumeMountStatus {
    let read_only = mount.read_only.filter(|r| *r);
    VolumeMountStatus {
        mount_path: mount.mount_path.clone(),
        name: mount.name.clone(),
        read_only,
        recursive_read_only: read_only.map(|_| "Disabled".to_owned()),
    }
}
