//! Rounds, one after the other: load with a fault in the middle, then everything is looked at until it is as it must be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::Api;
use kube::api::{DeleteParams, ListParams, LogParams};
use tokio::time::{sleep, timeout};

use crate::faults::{Struck, strike};
use crate::invariants::{
    INVARIANTS, Invariant, LogExpectation, When, expected_log, expected_previous_log, log, terminal_may_be_lost,
};
use crate::load::{Done, carry_out};
use crate::machine::{Machine, kill};
use crate::observe::{look, view};
use crate::schedule::{Fault, Round};
use crate::show;
use crate::snapshot::{ContainerView, Snapshot, State};
use crate::terminal::Terminal;
use crate::world::{Answer, Before, Hit, HitKind, World};

/// Everything must have settled by then.
const SETTLED: Duration = Duration::from_secs(60);
/// What is left over in the kernel or in a folder goes without an event to wait for: it is looked at again after so long.
const AGAIN: Duration = Duration::from_millis(100);
/// A log may be that far behind what was said.
const LOG_CATCHES_UP: Duration = Duration::from_secs(5);

/// A run.
pub(crate) struct Runner {
    machine: Arc<Machine>,
    pods: Api<Pod>,
    world: World,
    terminals: Vec<Terminal>,
    daemon: i32,
    begun: Instant,
}

impl Runner {
    pub(crate) async fn new(machine: Machine) -> Result<Runner> {
        let client = kube::Client::try_default().await.context("reading KUBECONFIG")?;
        let pods = Api::default_namespaced(client);
        let daemon = machine.daemon().await?;
        let machine = Arc::new(machine);
        Ok(Runner { machine, pods, world: World::default(), terminals: Vec::new(), daemon, begun: Instant::now() })
    }

    /// What pods may ask for beside the default. crun is not among them: it refuses hybrid cgroups.
    ///
    /// # Errors
    /// The node does not answer.
    pub(crate) async fn runtime_classes(&self) -> Result<&'static [&'static str]> {
        let classes: Api<RuntimeClass> = Api::all(self.pods.clone().into_client());
        let offered = classes.get_opt("runc").await.context("looking for runtime class runc")?;
        Ok(if offered.is_some() { &["runc"] } else { &[] })
    }

    /// One round; what was wrong after it.
    ///
    /// # Errors
    /// The round itself could not be played.
    pub(crate) async fn round(&mut self, round: &Round) -> Result<Vec<String>> {
        self.begun = Instant::now();
        let before = look(&self.machine, &self.pods).await?;
        self.remember(&before);
        let (lies, struck) = self.play(round).await?;
        self.note(round, struck);
        if round.fault.ends_daemon() {
            self.terminals.iter_mut().for_each(Terminal::lose_connection);
            if let Err(error) = self.start_again().await {
                return Ok(vec![format!("the node does not start: {error:#}")]);
            }
        }
        let (settled, wrong) = self.settle().await;
        let mut wrong = [lies, wrong].concat();
        if wrong.is_empty() {
            wrong.extend(self.logs(&settled).await);
            wrong.extend(self.ask_terminals(&settled).await);
        }
        self.learn_from(&settled);
        Ok(wrong)
    }

    fn say(&self, line: &str) {
        show(&format!("  {:>7.3} s {line}", self.begun.elapsed().as_secs_f64()));
    }

    fn remember(&mut self, seen: &Snapshot) {
        self.world.before.clear();
        for (pod, view) in seen.pods.iter().filter(|(_, view)| !view.going) {
            for (name, container) in view.containers.iter().filter(|(_, c)| c.state == State::Running) {
                let before = Before { id: container.id.clone(), restart_count: container.restart_count };
                self.world.before.insert((pod.clone(), name.clone()), before);
            }
        }
    }

    /// The load, and the fault in the middle of it.
    async fn play(&mut self, round: &Round) -> Result<(Vec<String>, Struck)> {
        let marks = self.machine.marks.display().to_string();
        let orders: Vec<_> =
            round.steps.iter().filter_map(|timed| Some((timed.after, self.world.order(&timed.step)?))).collect();
        if round.fault.fills_disk() {
            self.world.on_full_disk.extend(self.world.pods.keys().cloned());
        }
        let this = &*self;
        let load = join_all(orders.into_iter().map(|(after, order)| {
            let marks = marks.clone();
            async move {
                sleep(after).await;
                this.say(&format!("{order:?}"));
                let done = carry_out(&this.pods, &marks, order).await;
                this.say(&format!("{:?}: {}", done.order, done.said));
                done
            }
        }));
        let fault = async {
            let struck = strike(&this.machine, round, this.daemon).await;
            if let Ok(struck) = &struck {
                this.say(&format!("FAULT {}:{}", round.fault, struck.said));
            }
            struck
        };
        let (done, struck) = tokio::join!(load, fault);
        Ok((done.into_iter().filter_map(|done| self.learn(done, round)).collect(), struck?))
    }

    fn learn(&mut self, done: Done, round: &Round) -> Option<String> {
        self.world.learn(&done.order, done.answer);
        if let (true, crate::world::Order::Create(plan)) = (round.fault.fills_disk(), &done.order) {
            self.world.on_full_disk.insert(plan.name.clone());
        }
        self.terminals.extend(done.terminal);
        done.lie
    }

    /// Whom the fault has hit. A pause process has a shim too: with it goes the sandbox.
    fn note(&mut self, round: &Round, mut struck: Struck) {
        for hit in struck.hits {
            match struck.pods.remove(&hit.id) {
                Some(pod) => drop(self.world.broken.insert(pod)),
                None => drop(self.world.hits.insert(hit)),
            }
        }
        if round.fault == Fault::Reboot {
            let shells = self.terminals.iter().map(|terminal| terminal.id.clone());
            self.world.hits.extend(shells.map(|id| Hit { id, what: HitKind::Reboot }));
        }
    }

    async fn start_again(&mut self) -> Result<()> {
        self.machine.up().await?;
        self.daemon = self.machine.daemon().await?;
        self.say("the node is ready again");
        Ok(())
    }

    /// Looks until nothing is wrong, something is wrong for good, or the time is up.
    async fn settle(&self) -> (Snapshot, Vec<String>) {
        let begun = Instant::now();
        loop {
            let looked = timeout(SETTLED, look(&self.machine, &self.pods)).await;
            let (seen, for_good, not_yet) = match looked {
                Ok(Ok(seen)) => {
                    let (for_good, not_yet) = self.judge(&seen);
                    (seen, for_good, not_yet)
                }
                Ok(Err(error)) => (Snapshot::default(), Vec::new(), vec![format!("{error:#}")]),
                Err(_) => (Snapshot::default(), Vec::new(), vec!["the API does not answer".to_owned()]),
            };
            if !for_good.is_empty() {
                return (seen, for_good);
            }
            if not_yet.is_empty() || begun.elapsed() > SETTLED {
                return (seen, not_yet);
            }
            sleep(AGAIN).await;
        }
    }

    /// What can never be right again, and what is not yet right.
    fn judge(&self, seen: &Snapshot) -> (Vec<String>, Vec<String>) {
        let wrong = |when: When| {
            let of_that_kind = INVARIANTS.iter().filter(move |invariant| invariant.when == when);
            of_that_kind.flat_map(|Invariant { name, check, .. }| {
                check(&self.world, seen).into_iter().map(move |evidence| format!("{name}: {evidence}"))
            })
        };
        (wrong(When::Always).collect(), wrong(When::InTheEnd).collect())
    }

    async fn logs(&self, seen: &Snapshot) -> Vec<String> {
        let mut wrong = Vec::new();
        for model in self.world.pods.values().filter(|model| model.deleted.is_none()) {
            let pod = &model.plan.name;
            let Some(view) = seen.pods.get(pod).filter(|view| !view.going) else { continue };
            for (name, container) in view.containers.iter().filter(|(_, container)| !container.id.is_empty()) {
                let now = expected_log(&self.world, model, name, container, self.said(pod, name));
                let before = expected_previous_log(&self.world, model, name, container);
                for (expected, previous) in [(now, false), (before, true)] {
                    let Some(expected) = expected else { continue };
                    let verdict = self.log(pod, name, previous, &expected).await;
                    if previous && self.has_another_last_run(pod, name, container).await {
                        continue;
                    }
                    if let Err(why) = verdict {
                        let which = if previous { " --previous" } else { "" };
                        wrong.push(format!("logs have no hole and no double line: {pod}/{name}{which}: {why}"));
                    }
                }
            }
        }
        wrong
    }

    /// What is wrong with one, after it had the time to catch up.
    async fn log(&self, pod: &str, container: &str, previous: bool, expected: &LogExpectation) -> Result<(), String> {
        let began = Instant::now();
        let params = LogParams { container: Some(container.to_owned()), previous, ..LogParams::default() };
        loop {
            let verdict = match self.pods.logs(pod, &params).await {
                Ok(text) => log(&text, expected),
                Err(error) => Err(format!("{error:#}")),
            };
            if verdict.is_ok() || began.elapsed() > LOG_CATCHES_UP {
                return verdict;
            }
            sleep(AGAIN).await;
        }
    }

    /// Whether another run is the previous one since it was looked at: an end becomes that while the container waits to begin anew, and keeps its id
    /// meanwhile. One of which nothing can be learned has the same.
    async fn has_another_last_run(&self, pod: &str, container: &str, before: &ContainerView) -> bool {
        let Ok(now) = self.pods.get(pod).await else { return false };
        let now = serde_json::to_value(now).map(|pod| view(&pod)).unwrap_or_default();
        now.containers.get(container).is_some_and(|now| now.last != before.last)
    }

    /// The number that a counter has last printed.
    fn said(&self, pod: &str, container: &str) -> u32 {
        let path = self.machine.marks.join(format!("{pod}.{container}.said"));
        // Written at this very moment, it may be empty.
        std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    async fn ask_terminals(&mut self, seen: &Snapshot) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut kept = Vec::new();
        for mut terminal in std::mem::take(&mut self.terminals) {
            let view = seen.pods.get(&terminal.pod).filter(|view| !view.going);
            let container = view.and_then(|view| view.containers.get(terminal.container()));
            let there = view.zip(container).filter(|(view, container)| {
                let lost =
                    terminal_may_be_lost(&self.world, &view.uid, &terminal.pod, terminal.container(), &terminal.id);
                container.id == terminal.id && container.state == State::Running && !lost
            });
            if there.is_none() {
                continue;
            }
            match terminal.still_knows(&self.pods).await {
                Ok(()) => kept.push(terminal),
                Err(error) => {
                    let Terminal { pod, how, variable, .. } = &terminal;
                    wrong.push(format!("a terminal goes on where it was: {pod} {how:?} {variable}: {error:#}"));
                }
            }
        }
        self.terminals = kept;
        wrong
    }

    /// What was not answered is known by now.
    fn learn_from(&mut self, seen: &Snapshot) {
        self.world.forget(|model| !seen.pods.contains_key(&model.plan.name));
        for model in self.world.pods.values_mut() {
            let Some(view) = seen.pods.get(&model.plan.name) else { continue };
            model.created = Answer::Yes;
            if !view.going && model.deleted == Some(Answer::Unknown) {
                model.deleted = None;
            }
            model.ephemerals.retain_mut(|ephemeral| {
                ephemeral.added = Answer::Yes;
                view.ephemerals.contains(&ephemeral.plan.name)
            });
        }
    }

    /// After a failure: another daemon and no pods, so that the next round is judged by itself.
    ///
    /// # Errors
    /// The node cannot get rid of them.
    pub(crate) async fn begin_anew(&mut self) -> Result<()> {
        kill([self.daemon])?;
        self.start_again().await?;
        self.terminals.clear();
        self.world = World::default();
        let all = ListParams::default().labels("chaos=yes");
        let now = DeleteParams::default().grace_period(0);
        timeout(SETTLED, self.pods.delete_collection(&now, &all)).await.context("pods cannot be deleted")??;
        let (_, wrong) = self.settle().await;
        anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }

    /// `remora down` with all that runs; what it left.
    ///
    /// # Errors
    /// It failed.
    pub(crate) async fn down(&mut self) -> Result<Vec<String>> {
        self.terminals.clear();
        self.machine.down().await?;
        let left = self.machine.left()?;
        Ok(left.into_iter().map(|left| format!("down leaves nothing: {left}")).collect())
    }

    /// The end of the daemon's log, as evidence.
    pub(crate) fn daemon_log(&self) -> String {
        let text = std::fs::read(self.machine.data.join("remora.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}
