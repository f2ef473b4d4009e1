//! A pod that is to run: volumes and sandbox, then its containers, each when its kind may.

use jiff::Timestamp;

use super::resizing::{Resizing, resizing};
use super::{Wish, initialized, passed, wish};
use crate::Now;
use crate::action::{Action, Plan, StopReason, Subject, Target};
use crate::features::{Root, features};
use crate::kinds::Starts;
use crate::life::{active_deadline, after, with_grace};
use crate::note::Happening;
use crate::observed::{Attempt, AttemptState, ImageProblem, ImageState, Observed, StartFailure, Volumes};
use crate::spec::{ContainerSpec, Desired, RestartPolicy, containers, restart_policy};
use crate::storage::next_measure;

/// A failed pull is first reported as such, then as back-off: long enough for a watcher to see both.
const BACK_OFF_SHOWN_AFTER: jiff::SignedDuration = jiff::SignedDuration::from_secs(1);
/// How many ended containers of a name are kept beside the newest, for `logs --previous`.
const KEPT: usize = 1;

pub(super) fn plan(desired: &Desired<'_>, observed: &Observed, now: Now) -> Plan {
    let mut p = Planner { desired, observed, now, resizing: resizing(desired, observed), plan: Plan::default() };
    p.volumes();
    p.sandbox();
    if observed.volumes == Volumes::Ready
        && let Some(sandbox) = observed.ready_sandbox()
    {
        p.containers(&sandbox.id);
        p.resize(&sandbox.id);
        p.old_attempts();
        p.old_sandboxes();
        p.storage();
    }
    if let Some(deadline) = active_deadline(desired.pod, observed) {
        p.plan.wake_at(deadline);
    }
    p.plan
}

struct Planner<'a> {
    desired: &'a Desired<'a>,
    observed: &'a Observed,
    now: Now,
    resizing: Resizing,
    plan: Plan,
}

impl Planner<'_> {
    fn volumes(&mut self) {
        match self.observed.volumes {
            Volumes::Absent => self.act(Action::SetUpVolumes),
            Volumes::Failed { retry } if retry > self.now => self.plan.wake_at(retry),
            Volumes::Failed { .. } => self.act(Action::SetUpVolumes),
            Volumes::Ready => {}
        }
    }

    fn storage(&mut self) {
        match next_measure(self.desired.pod, self.observed) {
            Some(due) if due > self.now => self.plan.wake_at(due),
            Some(_) => self.act(Action::MeasureStorage),
            None => {}
        }
    }

    fn sandbox(&mut self) {
        if self.observed.ready_sandbox().is_some() {
            return;
        }
        let old = self.observed.sandboxes.first();
        if old.is_some() && self.stop_all() {
            return;
        }
        // Also when no other follows: its address is somebody else's to have.
        if let Some(broken) = old.filter(|s| s.wants_stop()) {
            return self.act(Action::StopSandbox { id: broken.id.clone() });
        }
        if !self.wants_sandbox() {
            return;
        }
        match self.observed.sandbox_retry {
            Some(retry) if retry > self.now => self.plan.wake_at(retry),
            _ => self.act(Action::CreateSandbox { attempt: self.next_sandbox() }),
        }
    }

    /// A pod whose containers the status knows has had a sandbox, even if the runtime has forgotten it.
    fn next_sandbox(&self) -> u32 {
        let has_run = || containers(self.desired.pod).any(|c| self.observed.last_attempt(c.name).is_some());
        self.observed.sandboxes.first().map_or_else(|| u32::from(has_run()), |s| s.attempt + 1)
    }

    /// Ends what still runs in a sandbox that has died. Whether anything does.
    fn stop_all(&mut self) -> bool {
        let running: Vec<(String, Attempt)> = self
            .observed
            .attempts()
            .filter(|(_, a)| a.is_running() || a.stopping.is_some())
            .map(|(name, a)| (name.to_owned(), a.clone()))
            .collect();
        for (name, attempt) in &running {
            self.stop(name, attempt, StopReason::SandboxChanged);
        }
        !running.is_empty()
    }

    /// A first sandbox always; another one only if an ordinary container would run in it.
    fn wants_sandbox(&self) -> bool {
        let ordinary = || containers(self.desired.pod).filter(|c| c.rules().starts == Starts::AfterInit);
        let has_run = |c: &ContainerSpec<'_>| self.observed.last_attempt(c.name).is_some();
        if restart_policy(self.desired.pod) == RestartPolicy::Never {
            return !ordinary().any(|c| has_run(&c));
        }
        ordinary().any(|c| !matches!(wish(self.desired, self.observed, &c, self.now), Wish::Done))
    }

    fn containers(&mut self, sandbox: &str) {
        let initialized = initialized(self.desired, self.observed);
        let mut turn = true;
        let mut one_starts = false;
        for spec in containers(self.desired.pod) {
            let is_init_work = spec.rules().starts == Starts::InTurn && !spec.rules().counts_for_readiness;
            let may = match spec.rules().starts {
                Starts::WithSandbox => true,
                Starts::InTurn => {
                    (turn || initialized) && !(is_init_work && (initialized || passed(self.observed, &spec)))
                }
                // One after the other: a postStart hook of the first may prepare the second.
                Starts::AfterInit => (turn || initialized) && !one_starts,
            };
            if may {
                let starting = self.one(&spec, sandbox);
                one_starts |= starting && spec.rules().starts == Starts::AfterInit;
            }
            if spec.rules().starts == Starts::InTurn {
                turn = turn && passed(self.observed, &spec);
            }
        }
    }

    /// One container. Whether its start is under way.
    fn one(&mut self, spec: &ContainerSpec<'_>, sandbox: &str) -> bool {
        if self.observed.doing.contains(&Subject::Start(spec.name.to_owned())) {
            return true;
        }
        match wish(self.desired, self.observed, spec, self.now) {
            Wish::Run | Wish::Done => false,
            Wish::Stop(reason) => {
                if let Some(attempt) = self.observed.track(spec.name).and_then(|t| t.last()) {
                    self.stop(spec.name, attempt, reason);
                }
                false
            }
            Wish::Renew { id } => {
                self.act(Action::RemoveContainer { container: spec.name.to_owned(), id });
                false
            }
            Wish::Wait { until, .. } => {
                self.announce_crash(spec);
                self.plan.wake_at(until);
                false
            }
            Wish::Start { restart_count, back_off } => {
                let Some(image_ref) = self.image_of(spec) else { return false };
                // A cgroup cannot be given more than the one that it lies in has.
                if self.resizing.pod_must_grow {
                    return false;
                }
                let target = spec.target.filter(|_| spec.rules().may_target).map(|name| self.target(name));
                let (container, sandbox) = (spec.name.to_owned(), sandbox.to_owned());
                self.act(Action::StartContainer { container, sandbox, image_ref, restart_count, back_off, target });
                true
            }
        }
    }

    /// What runs is given what was allocated to it; once all of it is, that is told.
    fn resize(&mut self, sandbox: &str) {
        let steps = std::mem::take(&mut self.resizing.steps);
        let is_behind = || containers(self.desired.pod).any(|spec| self.observed.to_resize(&spec).is_some());
        if !steps.is_empty() {
            self.act(Action::Resize { sandbox: sandbox.to_owned(), steps });
        } else if self.observed.resize.in_progress.is_some() && !is_behind() {
            self.act(Action::Announce(Happening::ResizeCompleted));
        }
    }

    /// The image to start from, if it is there and no earlier failure asks to wait; else what must happen first.
    fn image_of(&mut self, spec: &ContainerSpec<'_>) -> Option<String> {
        let track = self.observed.track(spec.name);
        if let Some(failure) = track.and_then(|t| t.failure.as_ref())
            && failure.retry > self.now
            && !self.target_came_after(spec, failure)
        {
            self.plan.wake_at(failure.retry);
            return None;
        }
        match track.map(|t| &t.image).unwrap_or(&ImageState::Unknown) {
            ImageState::Ready { image_ref } => return Some(image_ref.clone()),
            ImageState::Unknown => self.ensure_image(spec),
            ImageState::Failed { at, back_off, .. } if back_off.until(*at) <= self.now => self.ensure_image(spec),
            ImageState::Failed { problem, at, back_off, announced, .. } => {
                self.plan.wake_at(back_off.until(*at));
                if *problem == ImageProblem::ErrImagePull && !announced {
                    self.announce_pull(spec, at.saturating_add(BACK_OFF_SHOWN_AFTER).unwrap_or(*at));
                }
            }
        }
        None
    }

    fn ensure_image(&mut self, spec: &ContainerSpec<'_>) {
        let (container, image) = (spec.name.to_owned(), spec.image.to_owned());
        self.act(Action::EnsureImage { container, image, pull: spec.pull });
    }

    /// A start failed for want of its target, which has come since: it runs, or has ended where its crash is what is to be looked at. No need to
    /// wait.
    fn target_came_after(&self, spec: &ContainerSpec<'_>, failure: &StartFailure) -> bool {
        let is_for_crash = features(spec).is_ok_and(|features| features.root == Some(Root::Crashed));
        let attempts = spec.target.and_then(|name| self.observed.track(name)).map(|t| t.attempts.as_slice());
        attempts.unwrap_or_default().iter().any(|attempt| match &attempt.state {
            AttemptState::Running { since } => !is_for_crash && *since > failure.at,
            AttemptState::Exited(exit) => is_for_crash && exit.finished > failure.at,
            AttemptState::Created => false,
        })
    }

    fn target(&self, name: &str) -> Target {
        let attempts = self.observed.track(name).map(|t| t.attempts.as_slice()).unwrap_or_default();
        let id = attempts.last().map(|a| a.id.clone());
        let ended = attempts.iter().rfind(|a| matches!(a.state, AttemptState::Exited(_))).map(|a| a.id.clone());
        Target { container: name.to_owned(), id, ended }
    }

    fn announce_crash(&mut self, spec: &ContainerSpec<'_>) {
        let restarts = self.observed.last_attempt(spec.name).map(|a| a.restart_count);
        if self.observed.track(spec.name).is_none_or(|t| t.announced != restarts) {
            self.act(Action::Announce(Happening::CrashBackOff { container: spec.name.to_owned() }));
        }
    }

    fn announce_pull(&mut self, spec: &ContainerSpec<'_>, from: Timestamp) {
        if from > self.now {
            self.plan.wake_at(from);
        } else {
            let (container, image) = (spec.name.to_owned(), spec.image.to_owned());
            self.act(Action::Announce(Happening::PullBackOff { container, image }));
        }
    }

    fn stop(&mut self, name: &str, attempt: &Attempt, reason: StopReason) {
        if attempt.stopping.is_none() {
            let spec = containers(self.desired.pod).find(|c| c.name == name);
            let own = spec.and_then(|c| c.grace_of(reason));
            let by = own.map_or_else(|| with_grace(self.desired.pod, self.now), |seconds| after(seconds, self.now));
            let (container, id) = (name.to_owned(), attempt.id.clone());
            self.act(Action::StopContainer { container, id, by, reason });
        }
    }

    /// All but the newest and the one before it go, once nothing stands on their roots any more.
    fn old_attempts(&mut self) {
        let observed = self.observed;
        for (name, track) in &observed.tracks {
            let keep = track.attempts.len().saturating_sub(1 + KEPT);
            for old in track.attempts[..keep].iter().filter(|a| !a.is_running() && !observed.is_stood_on(&a.id)) {
                self.act(Action::RemoveContainer { container: name.clone(), id: old.id.clone() });
            }
        }
    }

    /// A dead sandbox goes when nothing kept stands in it any more. One may have to be stopped again before: its runtime could not write down that
    /// it was, and was started anew.
    fn old_sandboxes(&mut self) {
        for old in self.observed.sandboxes.iter().skip(1) {
            let id = old.id.clone();
            if old.wants_stop() {
                self.act(Action::StopSandbox { id });
            } else if self.observed.attempts().all(|(_, a)| a.sandbox != old.id) {
                self.act(Action::RemoveSandbox { id });
            }
        }
    }

    fn act(&mut self, action: Action) {
        self.plan.actions.push(action);
    }
}
