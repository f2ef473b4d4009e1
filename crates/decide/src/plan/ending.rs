//! A pod that ends: everything is stopped, then taken down, then forgotten.

use jiff::{SignedDuration, Timestamp};

use crate::Now;
use crate::action::{Action, Plan, StopReason};
use crate::observed::{Attempt, Observed, Volumes};
use crate::spec::{ContainerSpec, Desired, containers};

/// What a sidecar gets at least when the others have used up the grace.
/// Source: kubernetes `pkg/kubelet/kuberuntime`, `minimumGracePeriodInSeconds`.
const LEAST_GRACE: SignedDuration = SignedDuration::from_secs(2);

/// Stops all containers at once with what is left of the grace; sidecars after the others, in reverse order.
pub(super) fn terminating(desired: &Desired<'_>, observed: &Observed, kill_by: Timestamp, now: Now) -> Plan {
    let mut plan = Plan::default();
    let mut later_runs = false;
    let specs: Vec<ContainerSpec<'_>> = containers(desired.pod).collect();
    let (last, first): (Vec<_>, Vec<_>) =
        specs.iter().partition::<Vec<&ContainerSpec<'_>>, _>(|s| s.rules().stops_last);
    for spec in &first {
        for attempt in live(observed, spec.name) {
            later_runs |= spec.rules().counts_for_phase;
            stop(&mut plan, spec.name, attempt, kill_by);
        }
    }
    for spec in last.iter().rev() {
        if later_runs && kill_by > now {
            plan.wake_at(kill_by);
            break;
        }
        for attempt in live(observed, spec.name) {
            later_runs = true;
            let least = now.saturating_add(LEAST_GRACE).unwrap_or(now);
            let by = if attempt.stopping.is_none() && kill_by > now { kill_by.max(least) } else { kill_by };
            stop(&mut plan, spec.name, attempt, by);
        }
    }
    let unknown = observed.attempts().filter(|(name, a)| a.is_running() && specs.iter().all(|s| s.name != *name));
    for (name, attempt) in unknown {
        stop(&mut plan, name, attempt, kill_by);
    }
    if plan.actions.is_empty() && !observed.is_busy() && observed.attempts().all(|(_, a)| !is_live(a)) {
        stop_sandboxes(&mut plan, observed);
    }
    plan
}

/// Takes down what is left. A pod that is still in the API keeps its ended containers, for their logs.
pub(super) fn terminated(desired: &Desired<'_>, observed: &Observed, removed: bool) -> Plan {
    let mut plan = Plan::default();
    // One that an agent before has left standing: it was killed, or could not.
    if !removed {
        stop_sandboxes(&mut plan, observed);
    }
    if observed.volumes != Volumes::Absent {
        plan.actions.push(Action::TearDownVolumes);
    } else if !removed && desired.pod.metadata.deletion_timestamp.is_some() && observed.status_written {
        plan.actions.push(Action::DeletePodFromApi);
    } else if removed {
        let all = observed.sandboxes.iter().map(|s| Action::RemoveSandbox { id: s.id.clone() });
        plan.actions.extend(all);
        if plan.actions.is_empty() && !observed.is_busy() {
            plan.actions.push(Action::Forget);
        }
    }
    plan
}

fn stop_sandboxes(plan: &mut Plan, observed: &Observed) {
    let standing = observed.sandboxes.iter().filter(|s| s.wants_stop());
    plan.actions.extend(standing.map(|s| Action::StopSandbox { id: s.id.clone() }));
}

fn live<'a>(observed: &'a Observed, name: &str) -> impl Iterator<Item = &'a Attempt> {
    observed.track(name).into_iter().flat_map(|t| &t.attempts).filter(|a| is_live(a))
}

fn is_live(attempt: &Attempt) -> bool {
    attempt.is_running() || attempt.stopping.is_some()
}

fn stop(plan: &mut Plan, name: &str, attempt: &Attempt, by: Timestamp) {
    if attempt.is_running() && attempt.stopping.is_none_or(|before| by < before) {
        let (container, id) = (name.to_owned(), attempt.id.clone());
        plan.actions.push(Action::StopContainer { container, id, by, reason: StopReason::PodEnds });
    }
}
