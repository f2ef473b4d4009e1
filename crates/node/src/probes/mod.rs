//! Hooks and probes: what the pod asks to be run in, or asked of, its containers.

mod check;
mod hooks;
mod tally;
mod worker;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use remora_decide::{AttemptState, Observed, PodLife};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) use hooks::{post_start, pre_stop};
pub(crate) use tally::ProbeCounts;
pub use tally::ProbeTally;

use crate::actor::Wake;
use crate::container;
use crate::context::Context;

/// The probe workers of one pod: one per running container that has probes.
pub(crate) struct Probes {
    context: Context,
    wakes: mpsc::WeakSender<Wake>,
    /// By container id.
    running: BTreeMap<String, CancellationToken>,
}

impl Probes {
    pub(crate) fn new(context: Context, wakes: mpsc::WeakSender<Wake>) -> Self {
        Self { context, wakes, running: BTreeMap::new() }
    }

    /// Starts workers for containers that run now, ends those of containers that do not.
    pub(crate) fn sync(&mut self, pod: &Pod, observed: &Observed, life: &PodLife) {
        let syncing = *life == PodLife::Syncing;
        let newest = observed.tracks.iter().filter_map(|(name, track)| Some((name, track.last()?)));
        let alive: Vec<_> =
            newest.filter(|(_, a)| syncing && matches!(a.state, AttemptState::Running { .. })).collect();
        self.running.retain(|id, stop| {
            let stays = alive.iter().any(|(_, a)| a.id == *id);
            if !stays {
                stop.cancel();
            }
            stays
        });
        for (name, attempt) in alive {
            if self.running.contains_key(&attempt.id) {
                continue;
            }
            let Some((_, spec)) = container::find(pod, name) else { continue };
            let stop = self.context.stop.child_token();
            let ips = observed.ready_sandbox().map(|s| s.ips.as_slice()).unwrap_or_default();
            let ip = check::pod_ip(pod, ips, &self.context);
            worker::start(&self.context, pod, &spec, attempt, &ip, &self.wakes, &stop);
            self.running.insert(attempt.id.clone(), stop);
        }
    }

    /// Ends all workers.
    pub(crate) fn stop_all(&mut self) {
        self.running.values().for_each(CancellationToken::cancel);
        self.running.clear();
    }
}
