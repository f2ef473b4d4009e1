//! The actor of one pod: the only owner of its state. A wake, then: life, status, plan, actions; nothing else.

mod apply;
mod execute;
mod observe;
mod report;
mod resize;
mod wake;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use remora_decide::{
    Action, Desired, Observed, Plan, PodLife, Subject, Volumes, life_events, next, plan, status, told_of_end,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use observe::{Adopted, attempt_of, sandbox_of};
pub(crate) use resize::need;
pub(crate) use wake::{ImageFailure, ProbeNews, Probed, Wake};

use crate::context::{Context, id_of};
use crate::probes::Probes;
use crate::volumes::sources::Used;

/// How many wakes may wait. Senders wait when it is full; the actor never waits for a sender.
const WAKES: usize = 64;

/// The way to an actor, and what it shows of its pod.
#[derive(Clone)]
pub(crate) struct Handle {
    wakes: mpsc::Sender<Wake>,
    seen: watch::Receiver<Arc<View>>,
}

/// A pod as its actor last saw it, for those who only read.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) pod: Arc<Pod>,
    pub(crate) observed: Observed,
}

impl Handle {
    /// Wakes the actor. One that has ended needs no wake.
    pub(crate) async fn wake(&self, wake: Wake) {
        // An actor ends only when its pod is gone: nobody is left to be told.
        let _ = self.wakes.send(wake).await;
    }

    /// The pod as it is now.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.seen.borrow())
    }

    /// Sees every change of the pod.
    pub(crate) fn views(&self) -> watch::Receiver<Arc<View>> {
        self.seen.clone()
    }

    /// Whether the actor has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.wakes.is_closed()
    }

    /// Resolves when the actor has ended.
    pub(crate) async fn ended(&self) {
        self.wakes.closed().await;
    }
}

/// Where a pod comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The API has the pod itself.
    Api,
    /// A file has it; the API has a mirror of it, or none yet.
    File,
    /// Neither has it any more: it went while no agent looked, and the runtime still runs it.
    Runtime,
}

/// Starts the actor of a pod, with what the runtime already has of it.
pub(crate) fn start(context: &Context, pod: Pod, origin: Origin, adopted: Adopted) -> Handle {
    let (wakes, inbox) = mpsc::channel(WAKES);
    let mut pod = pod;
    let mut observed = adopted.into_observed(context, &pod);
    let kept = resize::adopt(context, &mut pod, &mut observed);
    let pod = Arc::new(pod);
    observed.is_static = origin == Origin::File;
    observed.is_left = origin == Origin::Runtime;
    let object = pod.metadata.uid.clone().filter(|_| origin == Origin::Api);
    let view = Arc::new(View { pod: Arc::clone(&pod), observed: observed.clone() });
    let (show, seen) = watch::channel(view);
    // Until when the tokens in them are good, only the agent that wrote them knew.
    let refresh = (observed.volumes == Volumes::Ready).then(|| context.now());
    let actor = Actor {
        probes: Probes::new(context.clone(), wakes.downgrade()),
        context: context.clone(),
        wakes: wakes.downgrade(),
        show,
        pod,
        object,
        life: PodLife::Syncing,
        ending: CancellationToken::new(),
        observed,
        report: report::Report::default(),
        early: Vec::new(),
        holds: Vec::new(),
        failures: Vec::new(),
        refresh,
        used: Used::default(),
        kept,
        claimed: false,
        forgotten: false,
    };
    context.tasks.spawn(actor.run(inbox));
    Handle { wakes, seen }
}

struct Actor {
    context: Context,
    /// For the tasks that carry out actions. Weak: the router's handle keeps the actor alive, not its own work.
    wakes: mpsc::WeakSender<Wake>,
    show: watch::Sender<Arc<View>>,
    pod: Arc<Pod>,
    /// The UID of the API's object that tells of the pod: its own, or that of its mirror, if there is one.
    object: Option<String>,
    life: PodLife,
    /// Cancelled when the pod begins to end: what would hold that up is given up.
    ending: CancellationToken,
    observed: Observed,
    report: report::Report,
    /// States of containers whose start has not reported yet.
    early: Vec<remora_cri::ContainerStatus>,
    /// Subjects whose last action failed: not tried again before then.
    holds: Vec<Hold>,
    /// How often in a row actions on a subject have failed.
    failures: Vec<(Subject, u32)>,
    /// When volumes must be written anew: a token runs out, or what they are made of has changed.
    refresh: Option<Timestamp>,
    /// What they were made of.
    used: Used,
    probes: Probes,
    /// What is written down of the pod's resources.
    kept: Option<resize::Kept>,
    /// The node knows what the pod has of it.
    claimed: bool,
    forgotten: bool,
}

/// What waits after a failure.
#[derive(Clone, Debug)]
struct Hold {
    until: Timestamp,
    what: Held,
}

#[derive(Clone, Debug, PartialEq)]
enum Held {
    Subject(Subject),
    Stop { container: String, id: String },
}

impl Actor {
    async fn run(mut self, mut inbox: mpsc::Receiver<Wake>) {
        while !self.forgotten {
            let look_again = self.look();
            if self.forgotten {
                break;
            }
            // Both arms are cancel-safe: recv loses nothing, a deadline can be computed again.
            let wake = tokio::select! {
                biased;
                () = self.context.stop.cancelled() => break,
                wake = inbox.recv() => wake,
                () = sleep_until(&self.context, look_again) => Some(Wake::Time),
            };
            let Some(wake) = wake else { break };
            self.apply(wake);
            while let Ok(wake) = inbox.try_recv() {
                self.apply(wake);
            }
        }
        self.probes.stop_all();
        self.context.sources.leave(id_of(&self.pod).uid);
        self.context.probe_counts.forget(id_of(&self.pod).uid);
        self.context.claims.leave(id_of(&self.pod).uid);
    }

    /// One look: decides, begins what is decided, and says when to look again.
    fn look(&mut self) -> Option<Timestamp> {
        let now = self.context.now();
        self.release_holds(now);
        self.allocate(now);
        self.keep_resources();
        let mut plan = self.decide(now);
        // What was announced is part of the status: decide again, once per announcement.
        while plan.actions.iter().any(|a| matches!(a, Action::Announce(_))) {
            plan.actions.drain(..).for_each(|action| self.begin(action, now));
            plan = self.decide(now);
        }
        plan.actions.drain(..).for_each(|action| self.begin(action, now));
        self.refresh_volumes(now);
        self.probes.sync(&self.pod, &self.observed, &self.life);
        self.write_status();
        self.show();
        let holds = self.holds.iter().map(|h| h.until);
        let can_refresh = self.observed.volumes == Volumes::Ready && !self.observed.doing.contains(&Subject::Volumes);
        let refresh = self.refresh.filter(|_| can_refresh);
        plan.look_again.into_iter().chain(holds).chain(refresh).chain(self.report.retry()).min()
    }

    fn decide(&mut self, now: Timestamp) -> Plan {
        self.live(now);
        let desired = Desired { pod: &self.pod, life: &self.life };
        self.observed.reported = status(&desired, &self.observed, now);
        self.observed.status_written = self.report.is_written(&self.pod, &self.observed.reported);
        plan(&desired, &self.observed, now)
    }

    fn live(&mut self, now: Timestamp) {
        let desired = Desired { pod: &self.pod, life: &self.life };
        let events = life_events(&desired, &self.observed, now);
        let before = self.life.clone();
        self.life = events.into_iter().fold(before.clone(), next);
        if self.life != PodLife::Syncing {
            self.ending.cancel();
        }
        let desired = Desired { pod: &self.pod, life: &self.life };
        if before == PodLife::Syncing
            && let Some(what) = told_of_end(&desired, &self.observed)
        {
            self.context.tell(&self.pod, &what);
        }
    }

    /// Begins an action: notes that it is being done, and lets a task do it.
    fn begin(&mut self, action: Action, now: Timestamp) {
        if let Some(subject) = action.subject() {
            self.observed.doing.insert(subject);
        }
        tracing::debug!(pod = id_of(&self.pod).name, ?action, "begin");
        match action {
            Action::Announce(what) => {
                self.context.tell(&self.pod, &what);
                self.observed.announced(&what);
            }
            Action::Forget => self.forget(),
            action => self.spawn(action, now),
        }
    }

    fn show(&self) {
        let view = View { pod: Arc::clone(&self.pod), observed: self.observed.clone() };
        self.show.send_replace(Arc::new(view));
    }
}

/// Never, if there is no such moment.
pub(crate) async fn sleep_until(context: &Context, at: Option<Timestamp>) {
    match at {
        None => std::future::pending().await,
        Some(at) => {
            let wait = at.duration_since(context.now());
            // A moment in the past is now; a tick more, so that the clock has passed it.
            let wait = std::time::Duration::try_from(wait).unwrap_or_default();
            tokio::time::sleep(wait + std::time::Duration::from_millis(1)).await;
        }
    }
}
