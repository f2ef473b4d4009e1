//! What a wake changes in the actor's picture of the world. No IO but the reading of a termination message.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use remora_cri::ContainerStatus;
use remora_decide::{
    Attempt, AttemptState, BackOff, Happening, ImageState, Observed, ProbeResults, Sandbox, StartProblem, StopReason,
    Subject, Track, Volumes, seen_in,
};

use super::observe::container_name;
use super::wake::{ImageFailure, Outcome, ProbeNews, Probed, Wake};
use super::{Actor, Held, Hold, attempt_of};
use crate::container;
use crate::context::id_of;
use crate::volumes::sources::{self, Revision, Source};
use crate::volumes::{self, MountFailure, SetUp};

/// An object that a finalizer holds is not asked to go again for so long.
const DELETED_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(60);

impl Actor {
    pub(super) fn apply(&mut self, wake: Wake) {
        match wake {
            Wake::Pod(pod) => self.take_object(pod),
            Wake::Removed(pod) => {
                self.take_object(pod);
                self.observed.removed = true;
                self.observed.doing.remove(&Subject::Api);
                self.holds.retain(|h| h.what != Held::Subject(Subject::Api));
            }
            Wake::Mirror(mirror) => self.take_mirror(mirror.as_deref()),
            Wake::Container(status) => self.container(&status),
            Wake::ContainerGone(id) => drop_attempt(&mut self.observed, &id),
            Wake::Sandbox(sandbox) => put_sandbox(&mut self.observed, sandbox),
            Wake::Everything(adopted) => adopted.fill(&self.context, &self.pod, &mut self.observed),
            Wake::Done(outcome) => self.done(*outcome),
            Wake::Reported(result) => {
                let newer = self.report.written(*result, self.context.now());
                match newer {
                    Some(pod) if !self.observed.is_static => self.take_object(pod),
                    // The mirror that was written to may be gone by now, and another in its place.
                    Some(mirror) if is_of(&mirror, self.object.as_deref()) => self.take_mirror(Some(&mirror)),
                    _ => {}
                }
            }
            Wake::Probed(probed) => self.probed(probed),
            Wake::Source(source, revision) => self.source_changed(source, revision),
            Wake::Time => {}
        }
    }

    /// Takes an object unless a newer one is known: answers to our own writes and the watch come in any order.
    fn take_object(&mut self, pod: Arc<Pod>) {
        if revision(&pod) >= revision(&self.pod) {
            let pod = self.take_resources(pod);
            if volumes::shows_metadata(&pod) && shown(&pod) != shown(&self.pod) {
                self.refresh = Some(self.context.now());
            }
            self.pod = pod;
        }
    }

    /// From now on the status is written there. What an agent before has written in it is the beginning of what this one says.
    fn take_mirror(&mut self, mirror: Option<&Pod>) {
        let uid = mirror.and_then(|mirror| mirror.metadata.uid.clone());
        let is_new = uid.is_some() && self.object != uid;
        self.object = uid;
        let Some(mirror) = mirror else { return };
        let said = mirror.status.as_ref().filter(|status| is_new && status.start_time.is_some());
        if let Some(status) = said {
            self.observed.reported = status.clone();
        }
        self.take_object(Arc::new(seen_in(mirror, &self.pod)));
    }

    fn follow(&self, sources: BTreeSet<Source>) {
        self.context.sources.follow(&self.context, id_of(&self.pod).uid, sources, &self.wakes);
    }

    /// Volumes are made again if they were made of something else, or could not be made; containers are tried again that lacked something.
    fn source_changed(&mut self, source: Source, revision: Revision) {
        if self.used.get(&source) == Some(&revision) {
            return;
        }
        self.used.insert(source, revision);
        let now = self.context.now();
        match &mut self.observed.volumes {
            Volumes::Ready => self.refresh = Some(now),
            Volumes::Failed { retry } => *retry = now,
            Volumes::Absent => {}
        }
        let failures = self.observed.tracks.values_mut().filter_map(|track| track.failure.as_mut());
        failures.filter(|f| f.problem == StartProblem::CreateContainerConfigError).for_each(|f| f.retry = now);
    }

    fn container(&mut self, status: &ContainerStatus) {
        let track = self.observed.track(container_name(&status.labels));
        let known = track.and_then(|t| t.attempts.iter().find(|a| a.id == status.id));
        match known {
            Some(known) => {
                let attempt = attempt_of(&self.context, &self.pod, status, &known.sandbox);
                put_attempt(&mut self.observed, container_name(&status.labels), attempt);
            }
            // One that is not known yet is being started: the outcome of the start brings it with its sandbox, and may
            // be older than this.
            None => {
                self.early.retain(|s| s.id != status.id);
                self.early.push(status.clone());
            }
        }
    }

    /// A start's outcome, and what has become of the container since.
    fn started(&mut self, container: &str, attempt: Attempt) {
        let (id, sandbox) = (attempt.id.clone(), attempt.sandbox.clone());
        put_attempt(&mut self.observed, container, attempt);
        if let Some(at) = self.early.iter().position(|s| s.id == id) {
            let status = self.early.swap_remove(at);
            let newer = attempt_of(&self.context, &self.pod, &status, &sandbox);
            put_attempt(&mut self.observed, container, newer);
        }
        if !self.observed.doing.iter().any(|s| matches!(s, Subject::Start(_))) {
            self.early.clear();
        }
    }

    fn probed(&mut self, Probed { container, id, news }: Probed) {
        let Some(track) = self.observed.tracks.get_mut(&container) else { return };
        if track.last().is_none_or(|a| a.id != id) {
            return;
        }
        match news {
            ProbeNews::Started => track.probes.started = true,
            ProbeNews::Ready(ready) => track.probes.ready = ready,
            ProbeNews::MustStop(reason) => track.probes.must_stop = Some((id, reason)),
        }
    }

    fn done(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::VolumesUp(set_up) => self.volumes_up(set_up),
            Outcome::VolumesDown(result) => {
                if self.settle(Subject::Volumes, result) {
                    self.observed.volumes = Volumes::Absent;
                    self.refresh = None;
                }
            }
            Outcome::Measured(measured) => {
                self.observed.doing.remove(&Subject::Storage);
                self.observed.storage = Some(measured);
            }
            Outcome::SandboxCreated(result) => self.sandbox_created(result),
            Outcome::SandboxStopped { id, result } => {
                if self.settle(Subject::Sandbox, result) {
                    self.observed.sandboxes.iter_mut().filter(|s| s.id == id).for_each(Sandbox::stopped);
                }
            }
            Outcome::SandboxRemoved { id, result } => {
                if self.settle(Subject::Sandbox, result) {
                    self.observed.sandboxes.retain(|s| s.id != id);
                    self.observed.tracks.values_mut().for_each(|t| t.attempts.retain(|a| a.sandbox != id));
                }
            }
            Outcome::Image { container, result } => self.image(container, result),
            Outcome::Started { container, back_off, result } => {
                self.observed.doing.remove(&Subject::Start(container.clone()));
                let track = self.observed.tracks.entry(container.clone()).or_default();
                track.image = ImageState::Unknown;
                match result {
                    Ok(attempt) => {
                        *track = Track { failure: None, back_off, probes: ProbeResults::default(), ..track.clone() };
                        self.started(&container, attempt);
                    }
                    Err(failure) => {
                        let lacks = failure.problem == StartProblem::CreateContainerConfigError;
                        track.failure = Some(failure);
                        if lacks && let Some((_, spec)) = container::find(&self.pod, &container) {
                            self.follow(sources::of_environment(&self.pod, &spec));
                        }
                    }
                }
            }
            Outcome::Resized { done, result } => self.resized(done, result),
            Outcome::Stopped { container, id, by, result } => self.stopped(container, id, by, result),
            Outcome::Removed { container, id, result } => {
                if self.settle(Subject::Start(container), result) {
                    drop_attempt(&mut self.observed, &id);
                }
            }
            Outcome::Deleted(result) => {
                // Done once is enough: the watch will say that it is gone, unless a finalizer holds it.
                if self.settle(Subject::Api, result) {
                    self.observed.doing.insert(Subject::Api);
                    let until = self.context.now().saturating_add(DELETED_AGAIN_AFTER).unwrap_or(Timestamp::MAX);
                    self.holds.push(Hold { until, what: Held::Subject(Subject::Api) });
                }
            }
        }
    }

    fn volumes_up(&mut self, SetUp { refresh, used, failure }: SetUp) {
        let was_ready = self.observed.volumes == Volumes::Ready;
        self.follow(sources::of_pod(&self.pod));
        // What was asked for meanwhile is still to be done.
        self.refresh = self.refresh.into_iter().chain(refresh).min();
        match failure {
            None => {
                self.used = used;
                self.settle(Subject::Volumes, Ok(()));
                self.observed.volumes = Volumes::Ready;
            }
            Some(MountFailure { step, volume, message }) => {
                self.used.extend(used);
                self.context.tell(&self.pod, &Happening::MountFailed { step, volume, message });
                let retry =
                    self.failed(&Subject::Volumes, SignedDuration::from_millis(500), SignedDuration::from_secs(122));
                self.observed.doing.remove(&Subject::Volumes);
                // A refresh that failed leaves the old files, with which containers can live for a while.
                if was_ready {
                    self.refresh = self.refresh.into_iter().chain([retry]).min();
                } else {
                    self.observed.volumes = Volumes::Failed { retry };
                }
            }
        }
    }

    fn sandbox_created(&mut self, result: Result<Sandbox, String>) {
        self.observed.doing.remove(&Subject::Sandbox);
        match result {
            Ok(sandbox) => {
                self.settle(Subject::Sandbox, Ok(()));
                self.observed.sandbox_retry = None;
                self.observed.resize.sandbox_made();
                put_sandbox(&mut self.observed, sandbox);
            }
            Err(message) => {
                self.context.tell(&self.pod, &Happening::SandboxFailed { message });
                let retry = self.failed(&Subject::Sandbox, SignedDuration::from_secs(1), SignedDuration::from_secs(20));
                self.observed.sandbox_retry = Some(retry);
            }
        }
    }

    fn image(&mut self, container: String, result: Result<String, ImageFailure>) {
        let now = self.context.now();
        self.observed.doing.remove(&Subject::Image(container.clone()));
        let track = self.observed.tracks.entry(container).or_default();
        track.image = match result {
            Ok(image_ref) => ImageState::Ready { image_ref },
            Err(ImageFailure { problem, message }) => {
                let before = match &track.image {
                    ImageState::Failed { back_off, .. } => Some(*back_off),
                    _ => None,
                };
                let back_off = BackOff::after(before, now, now);
                ImageState::Failed { problem, message, at: now, back_off, announced: false }
            }
        };
    }

    fn stopped(&mut self, container: String, id: String, by: Timestamp, result: Result<Option<Attempt>, String>) {
        match result {
            Ok(Some(attempt)) => {
                let known = self.observed.track(&container).and_then(|t| t.attempts.iter().find(|a| a.id == id));
                let sandbox = known.map(|a| a.sandbox.clone()).unwrap_or_default();
                put_attempt(&mut self.observed, &container, Attempt { sandbox, ..attempt });
            }
            Ok(None) => drop_attempt(&mut self.observed, &id),
            Err(message) => {
                self.context.tell(&self.pod, &Happening::KillFailed { message });
                let until = self.context.now().saturating_add(SignedDuration::from_secs(2)).unwrap_or(by);
                self.holds.push(Hold { until, what: Held::Stop { container, id } });
                return;
            }
        }
        release_stop(&mut self.observed, &container, &id);
    }

    /// Ends an action on a subject: at once if it succeeded, else only after a while. Whether it succeeded.
    pub(super) fn settle(&mut self, subject: Subject, result: Result<(), String>) -> bool {
        match result {
            Ok(()) => {
                self.failures.retain(|(s, _)| *s != subject);
                self.observed.doing.remove(&subject);
                true
            }
            Err(error) => {
                let until = self.failed(&subject, SignedDuration::from_secs(1), SignedDuration::from_secs(60));
                tracing::warn!(?subject, error, pod = self.pod.metadata.name, "an action failed, it will be repeated");
                self.holds.push(Hold { until, what: Held::Subject(subject) });
                false
            }
        }
    }

    /// Counts a failure; when to try again: `first`, doubled with every failure in a row.
    fn failed(&mut self, subject: &Subject, first: SignedDuration, longest: SignedDuration) -> Timestamp {
        let before = self.failures.iter().position(|(s, _)| s == subject);
        let count = match before {
            Some(at) => {
                self.failures[at].1 += 1;
                self.failures[at].1
            }
            None => {
                self.failures.push((subject.clone(), 0));
                0
            }
        };
        let wait = (first * (1 << count.min(10))).min(longest);
        self.context.now().saturating_add(wait).unwrap_or(Timestamp::MAX)
    }

    pub(super) fn release_holds(&mut self, now: Timestamp) {
        let (over, still) = std::mem::take(&mut self.holds).into_iter().partition(|h: &Hold| h.until <= now);
        self.holds = still;
        for hold in over {
            match hold.what {
                Held::Subject(subject) => {
                    self.observed.doing.remove(&subject);
                }
                Held::Stop { container, id } => release_stop(&mut self.observed, &container, &id),
            }
        }
    }

    pub(super) fn note_stop(&mut self, container: &str, id: &str, by: Timestamp, reason: StopReason) {
        let track = self.observed.tracks.get_mut(container);
        if let Some(attempt) = track.and_then(|t| t.attempts.iter_mut().find(|a| a.id == id)) {
            attempt.stopping = Some(by);
            attempt.stop_reason = Some(attempt.stop_reason.unwrap_or(reason));
        }
    }
}

/// Puts a container's newer state in its place. States only go forward: answers may overtake one another.
fn put_attempt(observed: &mut Observed, name: &str, new: Attempt) {
    let track = observed.tracks.entry(name.to_owned()).or_default();
    match track.attempts.iter_mut().find(|a| a.id == new.id) {
        Some(old) if age(&old.state) > age(&new.state) => {}
        Some(old) => {
            let (stopping, stop_reason) = (old.stopping, old.stop_reason);
            *old = Attempt { stopping: stopping.filter(|_| new.is_running()), stop_reason, ..new };
        }
        None => track.attempts.push(new),
    }
}

fn age(state: &AttemptState) -> u8 {
    match state {
        AttemptState::Created => 0,
        AttemptState::Running { .. } => 1,
        AttemptState::Exited(_) => 2,
    }
}

fn put_sandbox(observed: &mut Observed, new: Sandbox) {
    match observed.sandboxes.iter_mut().find(|s| s.id == new.id) {
        Some(old) if old.ready || !new.ready => *old = new,
        // A stopped sandbox never comes back.
        Some(_) => {}
        None => observed.sandboxes.insert(0, new),
    }
}

fn drop_attempt(observed: &mut Observed, id: &str) {
    observed.tracks.values_mut().for_each(|t| t.attempts.retain(|a| a.id != id));
}

fn release_stop(observed: &mut Observed, container: &str, id: &str) {
    let track = observed.tracks.get_mut(container);
    if let Some(attempt) = track.and_then(|t| t.attempts.iter_mut().find(|a| a.id == id)) {
        attempt.stopping = None;
    }
}

/// Whether an answer is of the object that tells of the pod now.
fn is_of(answer: &Pod, object: Option<&str>) -> bool {
    object.is_some() && answer.metadata.uid.as_deref() == object
}

/// What a downward API volume can show of an object that may change.
fn shown(pod: &Pod) -> [Option<&BTreeMap<String, String>>; 2] {
    [pod.metadata.labels.as_ref(), pod.metadata.annotations.as_ref()]
}

/// Revisions of one server grow; those of others are opaque and then equal here, so that the last to come wins.
fn revision(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|r| r.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    #[test]
    fn a_late_answer_of_a_mirror_that_is_gone_is_of_no_object() {
        let mirror = |uid: Option<&str>| Pod {
            metadata: ObjectMeta { uid: uid.map(str::to_owned), ..ObjectMeta::default() },
            ..Pod::default()
        };
        for (answer, object, expected) in [
            (Some("new"), Some("new"), true),
            (Some("old"), Some("new"), false),
            (Some("old"), None, false),
            (None, None, false),
        ] {
            assert_eq!(is_of(&mirror(answer), object), expected, "{answer:?} for {object:?}");
        }
    }
}
