//! The probes of one running container: startup first, then liveness and readiness beside each other.
//!
//! Source: kubernetes `pkg/kubelet/prober/worker.go`. A probe is a clock by its nature: this is no polling for events.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use remora_decide::{Attempt, AttemptState, Happening, StopReason};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::check::Check;
use crate::actor::{ProbeNews, Probed, Wake};
use crate::context::Context;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// Starts the worker of a container that has probes.
pub(super) fn start(
    context: &Context,
    pod: &Pod,
    spec: &Container,
    attempt: &Attempt,
    ip: &str,
    wakes: &mpsc::WeakSender<Wake>,
    stop: &CancellationToken,
) {
    let since = match attempt.state {
        AttemptState::Running { since } => since,
        AttemptState::Created | AttemptState::Exited(_) => context.now(),
    };
    let one = |kind, probe: &Option<Probe>| {
        let probe = probe.clone()?;
        let check = Check::of_probe(&probe, spec, ip)?;
        Some(Worker {
            context: context.clone(),
            pod: pod.clone(),
            container: spec.name.clone(),
            id: attempt.id.clone(),
            since,
            wakes: wakes.clone(),
            kind,
            probe,
            check,
        })
    };
    let startup = one(Kind::Startup, &spec.startup_probe);
    let others: Vec<Worker> = [(Kind::Liveness, &spec.liveness_probe), (Kind::Readiness, &spec.readiness_probe)]
        .into_iter()
        .filter_map(|(kind, probe)| one(kind, probe))
        .collect();
    if startup.is_none() && others.is_empty() {
        return;
    }
    let stop = stop.clone();
    context.tasks.spawn(async move {
        let work = async {
            if let Some(startup) = startup
                && !startup.until_started().await
            {
                return;
            }
            futures::future::join_all(others.into_iter().map(Worker::forever)).await;
        };
        // Cancel-safe: a look that is dropped has told nothing yet.
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    });
}

struct Worker {
    context: Context,
    pod: Pod,
    container: String,
    id: String,
    /// When the container began.
    since: Timestamp,
    wakes: mpsc::WeakSender<Wake>,
    kind: Kind,
    probe: Probe,
    check: Check,
}

impl Worker {
    /// Whether the container has started, before it failed too often.
    async fn until_started(self) -> bool {
        self.initial_delay().await;
        let (mut failures, mut clock) = (0, clock(&self.probe));
        loop {
            clock.tick().await;
            match self.look().await {
                Ok(()) => {
                    self.tell(ProbeNews::Started).await;
                    return true;
                }
                Err(()) => failures += 1,
            }
            if failures >= self.probe.failure_threshold.unwrap_or(3) {
                self.tell(ProbeNews::MustStop(StopReason::StartupProbe)).await;
                return false;
            }
        }
    }

    async fn forever(self) {
        self.initial_delay().await;
        let (mut good, mut bad, mut ready) = (0, 0, false);
        let mut clock = clock(&self.probe);
        loop {
            clock.tick().await;
            match self.look().await {
                Ok(()) => (good, bad) = (good + 1, 0),
                Err(()) => (good, bad) = (0, bad + 1),
            }
            let fails = bad >= self.probe.failure_threshold.unwrap_or(3);
            let succeeds = good >= self.probe.success_threshold.unwrap_or(1);
            match self.kind {
                Kind::Readiness if succeeds && !ready => {
                    ready = true;
                    self.tell(ProbeNews::Ready(true)).await;
                }
                Kind::Readiness if fails && ready => {
                    ready = false;
                    self.tell(ProbeNews::Ready(false)).await;
                }
                Kind::Liveness if fails => {
                    self.tell(ProbeNews::MustStop(StopReason::LivenessProbe)).await;
                    return;
                }
                _ => {}
            }
        }
    }

    async fn look(&self) -> Result<(), ()> {
        let limit = seconds(self.probe.timeout_seconds, 1);
        let seen = self.check.run(&self.context, &self.id, limit).await;
        self.context.probe_counts.count(&self.pod, &self.container, self.kind.word(), seen.is_ok());
        seen.map_err(|output| {
            let (container, probe) = (self.container.clone(), self.kind.word());
            self.context.tell(&self.pod, &Happening::Unhealthy { container, probe, output });
        })
    }

    /// It counts from the container's start, however long the startup probe took.
    async fn initial_delay(&self) {
        let age = Duration::try_from(self.context.now().duration_since(self.since)).unwrap_or_default();
        tokio::time::sleep(seconds(self.probe.initial_delay_seconds, 0).saturating_sub(age)).await;
    }

    async fn tell(&self, news: ProbeNews) {
        if let Some(wakes) = self.wakes.upgrade() {
            let probed = Probed { container: self.container.clone(), id: self.id.clone(), news };
            // The actor ends only when its pod is gone.
            let _ = wakes.send(Wake::Probed(probed)).await;
        }
    }
}

/// Ticks at once, then once a period, however long looks take: a tick that came during one is made up for after it, others are left out, as by
/// upstream's ticker.
fn clock(probe: &Probe) -> Interval {
    // No clock ticks without a pause; the API takes no such period.
    let mut clock = interval(seconds(probe.period_seconds, 10).max(Duration::from_secs(1)));
    clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
    clock
}

fn seconds(wanted: Option<i32>, usual: u64) -> Duration {
    Duration::from_secs(wanted.and_then(|s| u64::try_from(s).ok()).unwrap_or(usual))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, sleep};

    #[tokio::test(start_paused = true)]
    async fn a_probes_period_does_not_grow_by_the_time_that_its_looks_take() {
        let probe = Probe { period_seconds: Some(10), ..Probe::default() };
        let (mut clock, begin) = (clock(&probe), Instant::now());
        for (at, look) in [(0, 3), (10, 9), (20, 15), (35, 1), (40, 45), (85, 1), (90, 0)] {
            clock.tick().await;
            assert_eq!(begin.elapsed().as_secs(), at);
            sleep(Duration::from_secs(look)).await;
        }
    }
}
