//! What is wanted of one container, from its rules, the pod's policy and what it has done so far.

use jiff::Timestamp;
use remora_model::ContainerKind;

use crate::Now;
use crate::action::StopReason;
use crate::back_off::BackOff;
use crate::kinds::{Restarts, Starts};
use crate::observed::{Attempt, AttemptState, Exit, Observed};
use crate::spec::{ContainerSpec, Desired, RestartPolicy, container_hash, containers, restart_policy};

/// What is wanted of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It runs and may go on.
    Run,
    /// It runs and must stop.
    Stop(StopReason),
    /// It has ended for good.
    Done,
    /// It was created but never started: remove it, then start another one.
    Renew { id: String },
    /// Start it now; the crash back-off from then on.
    Start { restart_count: u32, back_off: Option<BackOff> },
    /// Start it then: it crashed. `delay` as the message says it.
    Wait { until: Timestamp, delay: jiff::SignedDuration },
}

/// What is wanted of this container.
pub(crate) fn wish(desired: &Desired<'_>, observed: &Observed, spec: &ContainerSpec<'_>, now: Now) -> Wish {
    let Some(last) = observed.last_attempt(spec.name) else {
        return Wish::Start { restart_count: 0, back_off: None };
    };
    match &last.state {
        AttemptState::Created => Wish::Renew { id: last.id.clone() },
        AttemptState::Running { .. } => running(observed, spec, &last),
        AttemptState::Exited(exit) => exited(desired, observed, spec, &last, exit, now),
    }
}

/// Whether the ordinary containers of this sandbox have begun to start: initialization is over then, for good.
pub(crate) fn initialized(desired: &Desired<'_>, observed: &Observed) -> bool {
    containers(desired.pod)
        .filter(|c| c.rules().starts == Starts::AfterInit)
        .any(|c| observed.last_attempt(c.name).is_some_and(|a| in_this_sandbox(observed, &a)))
}

/// Whether an entry of `spec.initContainers` lets the next one start.
pub(crate) fn passed(observed: &Observed, spec: &ContainerSpec<'_>) -> bool {
    let Some(last) = observed.last_attempt(spec.name) else { return false };
    match (spec.kind, &last.state) {
        (ContainerKind::Sidecar, AttemptState::Running { .. }) => is_started(observed, spec),
        (ContainerKind::Init, AttemptState::Exited(exit)) => exit.code == 0 && in_this_sandbox(observed, &last),
        _ => false,
    }
}

/// Whether a running container counts as started.
pub(crate) fn is_started(observed: &Observed, spec: &ContainerSpec<'_>) -> bool {
    !spec.has_startup_probe || observed.track(spec.name).is_some_and(|t| t.probes.started)
}

fn running(observed: &Observed, spec: &ContainerSpec<'_>, last: &Attempt) -> Wish {
    if let Some((id, reason)) = observed.track(spec.name).and_then(|t| t.probes.must_stop.as_ref())
        && *id == last.id
    {
        return Wish::Stop(*reason);
    }
    let changed = !last.spec_hash.is_empty() && last.spec_hash != container_hash(spec);
    if changed && spec.rules().restarts != Restarts::Never {
        return Wish::Stop(StopReason::DefinitionChanged);
    }
    if observed.restarts_to_resize(spec) {
        return Wish::Stop(StopReason::Resized);
    }
    Wish::Run
}

fn exited(
    desired: &Desired<'_>,
    observed: &Observed,
    spec: &ContainerSpec<'_>,
    last: &Attempt,
    exit: &Exit,
    now: Now,
) -> Wish {
    let restart_count = last.restart_count + 1;
    let of_old_sandbox = !in_this_sandbox(observed, last);
    if spec.kind == ContainerKind::Init && of_old_sandbox {
        return Wish::Start { restart_count, back_off: None };
    }
    if matches!(last.stop_reason, Some(StopReason::DefinitionChanged | StopReason::Resized)) {
        return Wish::Start { restart_count, back_off: None };
    }
    if !restarts(spec.rules().restarts, restart_policy(desired.pod), exit.code) {
        return Wish::Done;
    }
    let before = observed.track(spec.name).and_then(|t| t.back_off);
    match before.map(|b| (b.until(exit.finished), b.delay)) {
        Some((until, delay)) if until > now => Wish::Wait { until, delay },
        _ => Wish::Start { restart_count, back_off: Some(BackOff::after(before, exit.finished, now)) },
    }
}

fn restarts(rule: Restarts, policy: RestartPolicy, exit_code: i32) -> bool {
    match (rule, policy) {
        (Restarts::Never, _) => false,
        (Restarts::Always, _) => true,
        (Restarts::UntilSuccess, policy) => exit_code != 0 && policy != RestartPolicy::Never,
        (Restarts::ByPodPolicy, RestartPolicy::Always) => true,
        (Restarts::ByPodPolicy, RestartPolicy::OnFailure) => exit_code != 0,
        (Restarts::ByPodPolicy, RestartPolicy::Never) => false,
    }
}

/// Containers of a sandbox that has died belong to the past. One that only the status knows (the runtime dropped it)
/// belongs to the present if the sandbox does.
fn in_this_sandbox(observed: &Observed, attempt: &Attempt) -> bool {
    match observed.sandboxes.first() {
        Some(sandbox) => attempt.sandbox == sandbox.id || (attempt.sandbox.is_empty() && sandbox.attempt == 0),
        None => true,
    }
}
