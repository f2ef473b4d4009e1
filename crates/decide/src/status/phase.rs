//! `status.phase`: the pod in one word.

use remora_model::ContainerKind;

use crate::Now;
use crate::life::{PodLife, TerminationCause};
use crate::observed::{AttemptState, Observed};
use crate::plan::{Wish, initialized, passed, wish};
use crate::spec::{Desired, RestartPolicy, containers, restart_policy};

/// The pod's phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not all containers have been started.
    Pending,
    /// At least one runs, or will again.
    Running,
    /// All are done, each with 0.
    Succeeded,
    /// All are done, not each with 0.
    Failed,
}

impl Phase {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }
}

/// What the containers that count make of the pod, whether or not others still run.
pub(crate) fn computed_phase(desired: &Desired<'_>, observed: &Observed, now: Now) -> Phase {
    let ending = !matches!(desired.life, PodLife::Syncing);
    match init_phase(desired, observed) {
        Some(Phase::Pending) if !ending => return Phase::Pending,
        Some(_) => return Phase::Failed,
        None => {}
    }
    let mut counts = Counts::default();
    for spec in containers(desired.pod).filter(|c| c.rules().counts_for_phase) {
        match observed.last_attempt(spec.name).map(|a| a.state.clone()) {
            None | Some(AttemptState::Created) => counts.waiting += 1,
            Some(AttemptState::Running { .. }) => counts.running += 1,
            Some(AttemptState::Exited(_)) if !ending && wish(desired, observed, &spec, now) != Wish::Done => {
                counts.restarting += 1;
            }
            Some(AttemptState::Exited(exit)) if exit.code == 0 => counts.succeeded += 1,
            Some(AttemptState::Exited(_)) => counts.failed += 1,
        }
    }
    counts.phase(ending)
}

/// A phase that is for good is told only once nothing of the pod runs any more.
pub(crate) fn shown_phase(desired: &Desired<'_>, observed: &Observed, now: Now) -> Phase {
    let in_api = desired.pod.status.as_ref().and_then(|s| s.phase.as_deref());
    let failed = desired.life.cause().is_some_and(TerminationCause::is_failure);
    let phase = match in_api {
        Some("Succeeded") => return Phase::Succeeded,
        Some("Failed") => return Phase::Failed,
        _ if failed => Phase::Failed,
        _ => computed_phase(desired, observed, now),
    };
    let still_runs = observed.attempts().any(|(_, a)| a.is_running());
    match phase {
        Phase::Succeeded | Phase::Failed if still_runs || matches!(desired.life, PodLife::Syncing) => {
            if in_api == Some("Running") || still_runs { Phase::Running } else { Phase::Pending }
        }
        Phase::Succeeded | Phase::Failed => phase,
        other => other,
    }
}

/// None once the ordinary containers may start; Failed if they never will.
fn init_phase(desired: &Desired<'_>, observed: &Observed) -> Option<Phase> {
    if initialized(desired, observed) {
        return None;
    }
    for spec in containers(desired.pod) {
        match spec.kind {
            ContainerKind::Init | ContainerKind::Sidecar if passed(observed, &spec) => {}
            ContainerKind::Init if has_failed_for_good(desired, observed, spec.name) => return Some(Phase::Failed),
            ContainerKind::Init | ContainerKind::Sidecar => return Some(Phase::Pending),
            ContainerKind::Container | ContainerKind::Ephemeral => break,
        }
    }
    None
}

fn has_failed_for_good(desired: &Desired<'_>, observed: &Observed, name: &str) -> bool {
    restart_policy(desired.pod) == RestartPolicy::Never
        && observed.last_attempt(name).is_some_and(|a| matches!(&a.state, AttemptState::Exited(e) if e.code != 0))
}

#[derive(Default)]
struct Counts {
    waiting: usize,
    running: usize,
    restarting: usize,
    succeeded: usize,
    failed: usize,
}

impl Counts {
    fn phase(&self, ending: bool) -> Phase {
        match self {
            Self { waiting: 1.., .. } if !ending => Phase::Pending,
            Self { running: 1.., .. } | Self { restarting: 1.., .. } => Phase::Running,
            Self { waiting: 1.., .. } | Self { failed: 1.., .. } => Phase::Failed,
            Self { succeeded: 1.., .. } => Phase::Succeeded,
            _ => Phase::Pending,
        }
    }
}
