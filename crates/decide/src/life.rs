//! The part of its life that a pod is in.
//!
//! ```text
//!   Syncing ──deleted, removed, deadline, evicted, all containers done──▶ Terminating ──nothing runs──▶ Terminated
//! ```
//! No way leads back: a pod that has begun to end never starts a container again.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use crate::Now;
use crate::note::Happening;
use crate::observed::Observed;
use crate::spec::Desired;
use crate::status::{Phase, computed_phase};
use crate::storage::excess;

/// What an evicted pod gets, in seconds. Source: kubernetes `pkg/kubelet/eviction`, `immediateEvictionGracePeriodSeconds`.
const EVICTION_GRACE: i64 = 1;

/// Where a pod stands on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PodLife {
    /// Its containers are to run.
    #[default]
    Syncing,
    /// Its containers are to stop.
    Terminating {
        /// Why.
        cause: TerminationCause,
        /// When the last of them must be gone.
        kill_by: Timestamp,
        /// The API no longer has it.
        removed: bool,
    },
    /// None of its containers runs, nor does its sandbox.
    Terminated {
        /// Why it ended.
        cause: TerminationCause,
        /// The API no longer has it.
        removed: bool,
    },
}

/// Why a pod ends. The first cause stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminationCause {
    /// Its ordinary containers are done.
    Finished,
    /// Somebody deleted it.
    Deleted,
    /// `activeDeadlineSeconds` has passed.
    DeadlineExceeded,
    /// It takes more of the node than it may.
    Evicted,
}

impl PodLife {
    /// Why it ends, if it does.
    pub(crate) fn cause(&self) -> Option<TerminationCause> {
        match self {
            Self::Syncing => None,
            Self::Terminating { cause, .. } | Self::Terminated { cause, .. } => Some(*cause),
        }
    }
}

impl TerminationCause {
    /// The pod has failed, however its containers end.
    pub(crate) fn is_failure(self) -> bool {
        matches!(self, Self::DeadlineExceeded | Self::Evicted)
    }
}

/// What happens to a pod. Each may be told any number of times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LifeEvent {
    /// Its ordinary containers are done; what still runs has so long.
    Finished {
        /// When it must be gone.
        kill_by: Timestamp,
    },
    /// A deletion with grace.
    Deleted {
        /// When the grace ends that begins now. Told again it never ends later; a later, shorter deletion brings it forward.
        kill_by: Timestamp,
    },
    /// The API has dropped it.
    Removed {
        /// When it must be gone.
        kill_by: Timestamp,
    },
    /// `activeDeadlineSeconds` has passed.
    DeadlineExceeded {
        /// When it must be gone.
        kill_by: Timestamp,
    },
    /// It takes more of the node than it may.
    Evicted {
        /// When it must be gone.
        kill_by: Timestamp,
    },
    /// Nothing of it runs any more.
    AllStopped,
}

/// The life after an event.
pub fn next(life: PodLife, event: LifeEvent) -> PodLife {
    use LifeEvent::*;
    use PodLife::{Syncing, Terminated, Terminating};
    let terminating = |cause, kill_by, removed| Terminating { cause, kill_by, removed };
    match (life, event) {
        (Syncing, Finished { kill_by }) => terminating(TerminationCause::Finished, kill_by, false),
        (Syncing, Deleted { kill_by }) => terminating(TerminationCause::Deleted, kill_by, false),
        (Syncing, Removed { kill_by }) => terminating(TerminationCause::Deleted, kill_by, true),
        (Syncing, DeadlineExceeded { kill_by }) => terminating(TerminationCause::DeadlineExceeded, kill_by, false),
        (Syncing, Evicted { kill_by }) => terminating(TerminationCause::Evicted, kill_by, false),
        (Syncing, AllStopped) => Syncing,
        (Terminating { cause, kill_by: old, removed }, Deleted { kill_by }) => {
            terminating(cause, old.min(kill_by), removed)
        }
        (Terminating { cause, kill_by: old, .. }, Removed { kill_by }) => terminating(cause, old.min(kill_by), true),
        (Terminating { cause, removed, .. }, AllStopped) => Terminated { cause, removed },
        (Terminated { cause, .. }, Removed { .. }) => Terminated { cause, removed: true },
        (life, Finished { .. } | Deleted { .. } | DeadlineExceeded { .. } | Evicted { .. } | AllStopped) => life,
    }
}

/// What has happened, as far as the pod and the world tell.
pub fn life_events(desired: &Desired<'_>, observed: &Observed, now: Now) -> Vec<LifeEvent> {
    let pod = desired.pod;
    let mut events = Vec::new();
    if let Some(deadline) = active_deadline(pod, observed)
        && deadline <= now
        && !is_done(desired, observed, now)
    {
        events.push(LifeEvent::DeadlineExceeded { kill_by: with_grace(pod, now) });
    }
    if excess(pod, observed).is_some() && !is_done(desired, observed, now) {
        events.push(LifeEvent::Evicted { kill_by: after(EVICTION_GRACE, now) });
    }
    if is_done(desired, observed, now) {
        events.push(LifeEvent::Finished { kill_by: with_grace(pod, now) });
    }
    if pod.metadata.deletion_timestamp.is_some() {
        let kill_by = after(pod.metadata.deletion_grace_period_seconds.unwrap_or_default(), now);
        events.push(LifeEvent::Deleted { kill_by });
    }
    if observed.removed {
        // Only a deletion with grace 0 lets a bound pod vanish before our eyes: what still runs has no grace. The file of a static pod just goes, and
        // of what went while no agent looked nobody knows how it was asked to.
        let has_grace = observed.is_static || observed.is_left;
        let kill_by = if has_grace { with_grace(pod, now) } else { now };
        events.push(LifeEvent::Removed { kill_by });
    }
    if nothing_runs(observed) {
        events.push(LifeEvent::AllStopped);
    }
    events
}

/// What people are told of a pod that the node ends by itself.
pub fn told_of_end(desired: &Desired<'_>, observed: &Observed) -> Option<Happening> {
    match desired.life.cause()? {
        TerminationCause::DeadlineExceeded => Some(Happening::DeadlineExceeded),
        TerminationCause::Evicted => excess(desired.pod, observed).map(|message| Happening::Evicted { message }),
        TerminationCause::Finished | TerminationCause::Deleted => None,
    }
}

/// When `activeDeadlineSeconds` ends, counted from the pod's start time.
pub(crate) fn active_deadline(pod: &Pod, observed: &Observed) -> Option<Timestamp> {
    let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
    let start = observed.reported.start_time.as_ref()?.0;
    start.checked_add(SignedDuration::from_secs(seconds)).ok()
}

/// Now and the pod's own grace period.
pub(crate) fn with_grace(pod: &Pod, now: Now) -> Timestamp {
    after(pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30), now)
}

/// The end of a grace that begins now: it counts from when the node hears of it, and is never less than a second. The deletion timestamp is
/// for people: it is cut to a second, and by another machine's clock. Source: kubernetes `pkg/kubelet/pod_workers.go`,
/// `calculateEffectiveGracePeriod`.
pub(crate) fn after(seconds: i64, now: Now) -> Timestamp {
    now.saturating_add(SignedDuration::from_secs(seconds.max(1))).unwrap_or(Timestamp::MAX)
}

/// The ordinary containers are done, or the API says that they once were: such a pod is never run again.
fn is_done(desired: &Desired<'_>, observed: &Observed, now: Now) -> bool {
    let in_api = desired.pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(in_api, Some("Succeeded" | "Failed")) || computed_phase(desired, observed, now).is_terminal()
}

fn nothing_runs(observed: &Observed) -> bool {
    !observed.is_busy()
        && observed.sandboxes.iter().all(|s| !s.ready)
        && observed.attempts().all(|(_, a)| !a.is_running() && a.stopping.is_none())
}

impl Phase {
    fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn check(events: &[LifeEvent], expected: PodLife) {
        let life = events.iter().cloned().fold(PodLife::Syncing, next);
        assert_eq!(life, expected, "after {events:?}");
    }

    #[test]
    fn a_second_shorter_deletion_brings_the_end_forward_and_never_back() {
        use LifeEvent::Deleted;
        let cause = TerminationCause::Deleted;
        check(
            &[Deleted { kill_by: at(30) }, Deleted { kill_by: at(5) }, Deleted { kill_by: at(60) }],
            PodLife::Terminating { cause, kill_by: at(5), removed: false },
        );
    }

    #[test]
    fn the_first_cause_stays() {
        check(
            &[
                LifeEvent::DeadlineExceeded { kill_by: at(9) },
                LifeEvent::Deleted { kill_by: at(4) },
                LifeEvent::AllStopped,
            ],
            PodLife::Terminated { cause: TerminationCause::DeadlineExceeded, removed: false },
        );
    }

    #[test]
    fn a_pod_that_has_ended_does_not_come_back() {
        let cause = TerminationCause::Finished;
        let ended = [LifeEvent::Finished { kill_by: at(1) }, LifeEvent::AllStopped];
        check(&ended, PodLife::Terminated { cause, removed: false });
        let [a, b] = ended;
        check(&[a, b, LifeEvent::Removed { kill_by: at(2) }], PodLife::Terminated { cause, removed: true });
    }

    #[test]
    fn only_what_the_api_drops_before_our_eyes_has_no_grace() {
        let pod = serde_json::json!({"metadata": {"name": "web"}, "spec": {"containers": [], "terminationGracePeriodSeconds": 7}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        for (is_static, is_left, kill_by) in [(false, false, at(0)), (true, false, at(7)), (false, true, at(7))] {
            let observed = Observed { removed: true, is_static, is_left, ..Observed::default() };
            let events = life_events(&Desired { pod: &pod, life: &PodLife::Syncing }, &observed, at(0));
            assert!(events.contains(&LifeEvent::Removed { kill_by }), "{is_static}, {is_left}: {events:?}");
        }
    }

    #[test]
    fn the_grace_of_a_deletion_counts_from_when_the_node_hears_of_it() {
        let now: Timestamp = "2026-01-01T00:00:00.95Z".parse().unwrap();
        // What the API server wrote is past already by the node's clock.
        for (grace, kill_by) in
            [(1, "2026-01-01T00:00:01.95Z"), (30, "2026-01-01T00:00:30.95Z"), (0, "2026-01-01T00:00:01.95Z")]
        {
            let pod = serde_json::json!({
                "metadata": {"name": "web", "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace},
                "spec": {"containers": [], "terminationGracePeriodSeconds": 30},
            });
            let pod: Pod = serde_json::from_value(pod).unwrap();
            let observed = Observed::default();
            let events = life_events(&Desired { pod: &pod, life: &PodLife::Syncing }, &observed, now);
            let kill_by = kill_by.parse().unwrap();
            assert!(events.contains(&LifeEvent::Deleted { kill_by }), "{grace}: {events:?}");
        }
    }
}
