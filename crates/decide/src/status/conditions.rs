//! `status.conditions`, in upstream's order: PodReadyToStartContainers, Initialized, Ready, ContainersReady, PodScheduled, which nobody else says of a
//! static pod.
//!
//! Source: kubernetes `pkg/kubelet/status/generate.go`.

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition};
use remora_model::ContainerKind;

use super::containers::Lists;
use super::{Phase, time};
use crate::Now;
use crate::observed::{Observed, Volumes};
use crate::plan::initialized;
use crate::spec::{ContainerSpec, Desired, containers};

/// The conditions that a node agent owns, and after them all others that the API has.
pub(super) fn conditions(
    desired: &Desired<'_>,
    observed: &Observed,
    phase: Phase,
    lists: &Lists,
    now: Now,
) -> Vec<PodCondition> {
    let can_start = observed.ready_sandbox().is_some() && observed.volumes == Volumes::Ready;
    let containers_ready = containers_ready(desired, phase, lists);
    let of_resize = resize_conditions(observed, phase);
    let mut all = vec![
        Answer::of(can_start).named("PodReadyToStartContainers"),
        initialized_condition(desired, observed, phase, lists).named("Initialized"),
        ready(desired, observed, &containers_ready).named("Ready"),
        containers_ready.named("ContainersReady"),
    ];
    if observed.is_static {
        all.push(Answer::of(true).named("PodScheduled"));
    }
    all.extend(others(desired, &all));
    for condition in &mut all {
        condition.observed_generation = desired.pod.metadata.generation;
        condition.last_transition_time = transition(desired, observed, condition, now);
    }
    of_resize.into_iter().chain(all).collect()
}

const RESIZE_PENDING: &str = "PodResizePending";
const RESIZE_IN_PROGRESS: &str = "PodResizeInProgress";

/// They are there only while they are true, and tell of the generation that was judged.
fn resize_conditions(observed: &Observed, phase: Phase) -> Vec<PodCondition> {
    let resize = &observed.resize;
    if matches!(phase, Phase::Succeeded | Phase::Failed) {
        return Vec::new();
    }
    let one = |name: &str, (reason, message): (&str, &str), generation, judged, since| PodCondition {
        type_: name.to_owned(),
        status: "True".to_owned(),
        reason: some(reason),
        message: some(message),
        observed_generation: generation,
        last_probe_time: Some(time(judged)),
        last_transition_time: Some(time(since)),
    };
    let pending = resize.pending.as_ref();
    let pending = pending.map(|p| one(RESIZE_PENDING, (&p.reason, &p.message), p.generation, p.judged, p.since));
    let in_progress = resize.in_progress.as_ref().map(|p| {
        let reason = if p.error.is_empty() { "" } else { "Error" };
        one(RESIZE_IN_PROGRESS, (reason, &p.error), p.generation, p.since, p.since)
    });
    pending.into_iter().chain(in_progress).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// A condition without its name and times.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    status: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Answer {
    fn of(status: bool) -> Self {
        Self { status, reason: None, message: None }
    }

    fn because(status: bool, reason: &'static str, message: Option<String>) -> Self {
        Self { status, reason: Some(reason), message }
    }

    fn named(self, name: &str) -> PodCondition {
        PodCondition {
            type_: name.to_owned(),
            status: if self.status { "True" } else { "False" }.to_owned(),
            reason: self.reason.map(str::to_owned),
            message: self.message,
            ..PodCondition::default()
        }
    }
}

fn initialized_condition(desired: &Desired<'_>, observed: &Observed, phase: Phase, lists: &Lists) -> Answer {
    if phase == Phase::Succeeded {
        return Answer::because(true, "PodCompleted", None);
    }
    if initialized(desired, observed) {
        return Answer::of(true);
    }
    let is_done = |c: &ContainerSpec<'_>, s: &ContainerStatus| match c.kind {
        ContainerKind::Sidecar => s.started == Some(true),
        _ => s.ready,
    };
    let of_init = |c: &ContainerSpec<'_>| matches!(c.kind, ContainerKind::Init | ContainerKind::Sidecar);
    let incomplete = names(desired, lists, of_init, |c, s| !is_done(c, s));
    match incomplete.is_empty() {
        true => Answer::of(true),
        false => Answer::because(false, "ContainersNotInitialized", Some(sentence("incomplete", &incomplete))),
    }
}

fn containers_ready(desired: &Desired<'_>, phase: Phase, lists: &Lists) -> Answer {
    match phase {
        Phase::Succeeded => return Answer::because(false, "PodCompleted", None),
        Phase::Failed => return Answer::because(false, "PodFailed", None),
        Phase::Pending | Phase::Running => {}
    }
    let unready = names(desired, lists, |c| c.rules().counts_for_readiness, |_, s| !s.ready);
    match unready.is_empty() {
        true => Answer::of(true),
        false => Answer::because(false, "ContainersNotReady", Some(sentence("unready", &unready))),
    }
}

fn ready(desired: &Desired<'_>, observed: &Observed, containers_ready: &Answer) -> Answer {
    if !containers_ready.status {
        return containers_ready.clone();
    }
    let gates = desired.pod.spec.iter().flat_map(|s| s.readiness_gates.iter().flatten());
    let problems: Vec<String> =
        gates.filter_map(|gate| gate_problem(desired, observed, &gate.condition_type)).collect();
    match problems.is_empty() {
        true => Answer::of(true),
        false => Answer::because(false, "ReadinessGatesNotReady", Some(problems.join(", "))),
    }
}

fn gate_problem(desired: &Desired<'_>, observed: &Observed, gate: &str) -> Option<String> {
    match known(desired, observed, gate) {
        None => Some(format!("corresponding condition of pod readiness gate {gate:?} does not exist.")),
        Some(c) if c.status != "True" => {
            Some(format!("the status of pod readiness gate {gate:?} is not \"True\", but {}", c.status))
        }
        Some(_) => None,
    }
}

fn names<'a>(
    desired: &Desired<'a>,
    lists: &Lists,
    which: impl Fn(&ContainerSpec<'_>) -> bool,
    is_bad: impl Fn(&ContainerSpec<'_>, &ContainerStatus) -> bool,
) -> Vec<&'a str> {
    containers(desired.pod)
        .filter(|c| which(c) && lists.find(c.name).is_some_and(|s| is_bad(c, s)))
        .map(|c| c.name)
        .collect()
}

fn sentence(what: &str, names: &[&str]) -> String {
    format!("containers with {what} status: [{}]", names.join(" "))
}

/// Conditions of others: PodScheduled, readiness gates.
fn others(desired: &Desired<'_>, ours: &[PodCondition]) -> Vec<PodCondition> {
    let in_api = desired.pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let is_ours =
        |name: &str| [RESIZE_PENDING, RESIZE_IN_PROGRESS].contains(&name) || ours.iter().any(|o| o.type_ == name);
    in_api.filter(|c| !is_ours(&c.type_)).cloned().collect()
}

fn transition(
    desired: &Desired<'_>,
    observed: &Observed,
    condition: &PodCondition,
    now: Now,
) -> Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time> {
    match known(desired, observed, &condition.type_) {
        Some(before) if before.status == condition.status && before.last_transition_time.is_some() => {
            before.last_transition_time.clone()
        }
        _ => Some(time(now)),
    }
}

/// A condition as it was last said by us, else as the API has it.
fn known<'a>(desired: &Desired<'a>, observed: &'a Observed, name: &str) -> Option<&'a PodCondition> {
    let in_api = desired.pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    observed.reported.conditions.iter().flatten().chain(in_api).find(|c| c.type_ == name)
}
