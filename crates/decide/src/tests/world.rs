//! A world made of data: plans are carried out at once, containers end when a script says so. Used by the tests of this
//! crate only; nothing here runs anything.

use crate::{
    Action, Attempt, AttemptState, BackOff, Desired, Exit, ImageProblem, ImageState, Measured, Observed, Plan, PodLife,
    ResizeStep, Root, Sandbox, Size, StartFailure, StartProblem, Track, Volumes, container_hash, containers, features,
    life_events, next, plan, resources_of, status,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Value, json};

pub(super) struct World {
    pub(super) pod: Pod,
    pub(super) life: PodLife,
    pub(super) seen: Observed,
    pub(super) now: Timestamp,
    /// Images that cannot be pulled.
    pub(super) missing_images: Vec<String>,
    pub(super) forgotten: bool,
    /// What volumes take of the disk.
    pub(super) usage: std::collections::BTreeMap<String, u64>,
    starts: std::collections::BTreeMap<String, u32>,
    ids: u32,
}

/// A pod from a short JSON: `{"restartPolicy": …, "init": [...], "containers": [...], "ephemeral": [...]}`. A container is
/// a name or an object; its image is `busybox:1`, its grace period 30 s.
pub(super) fn pod(spec: Value) -> Pod {
    let list = |key: &str| -> Vec<Value> {
        let entries = spec[key].as_array().cloned().unwrap_or_default();
        entries.into_iter().map(|e| container(&e)).collect()
    };
    let value = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "generation": 1},
        "spec": {
            "restartPolicy": spec["restartPolicy"].as_str().unwrap_or("Always"),
            "activeDeadlineSeconds": spec["activeDeadlineSeconds"],
            "terminationGracePeriodSeconds": 30,
            "initContainers": list("init"),
            "containers": list("containers"),
            "ephemeralContainers": list("ephemeral"),
            "volumes": spec["volumes"],
        },
    });
    serde_json::from_value(value).unwrap()
}

fn container(entry: &Value) -> Value {
    let mut c = json!({"image": "busybox:1", "imagePullPolicy": "IfNotPresent"});
    match entry {
        Value::String(name) => c["name"] = json!(name),
        other => c.as_object_mut().unwrap().extend(other.as_object().unwrap().clone()),
    }
    c
}

impl World {
    pub(super) fn new(pod: Pod) -> Self {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let (missing_images, forgotten) = (Vec::new(), false);
        let (usage, starts) = Default::default();
        let mut seen = Observed { host_ips: vec!["10.0.0.1".into()], runtime: "remora".into(), ..Observed::default() };
        seen.resize.ask(resources_of(&pod));
        Self { pod, life: PodLife::Syncing, seen, now, missing_images, forgotten, usage, starts, ids: 0 }
    }

    /// One look: life, status, plan; the status is taken by the API at once.
    pub(super) fn look(&mut self) -> Plan {
        let desired = Desired { pod: &self.pod, life: &self.life };
        let events = life_events(&desired, &self.seen, self.now);
        self.life = events.into_iter().fold(self.life.clone(), next);
        let desired = Desired { pod: &self.pod, life: &self.life };
        self.seen.reported = status(&desired, &self.seen, self.now);
        self.pod.status = Some(self.seen.reported.clone());
        self.seen.status_written = true;
        plan(&Desired { pod: &self.pod, life: &self.life }, &self.seen, self.now)
    }

    /// Looks and acts until nothing is left to do; each plan as text.
    pub(super) fn settle(&mut self) -> Vec<String> {
        let mut plans = Vec::new();
        for _ in 0..100 {
            let plan = self.look();
            if plan.actions.is_empty() {
                return plans;
            }
            plans.push(plan.actions.iter().map(|action| in_words(action, self.now)).collect::<Vec<_>>().join(", "));
            for action in plan.actions {
                self.carry_out(action);
            }
            if self.forgotten {
                return plans;
            }
        }
        panic!("never at rest: {:?}", &plans[90..]);
    }

    /// How often each container was started.
    pub(super) fn started(&self) -> std::collections::BTreeMap<String, u32> {
        self.starts.clone()
    }

    pub(super) fn status(&self) -> &PodStatus {
        &self.seen.reported
    }

    pub(super) fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    pub(super) fn exit(&mut self, name: &str, code: i32) {
        let now = self.now;
        if let Some(attempt) = self.seen.tracks.get_mut(name).and_then(|t| t.attempts.last_mut()) {
            end(attempt, code, now);
        }
    }

    pub(super) fn fail_probe(&mut self, name: &str, reason: crate::StopReason) {
        let Some(track) = self.seen.tracks.get_mut(name) else { return };
        track.probes.must_stop = track.last().map(|a| (a.id.clone(), reason));
    }

    /// The next agent has what the runtime lists and what the API says, and begins from there.
    pub(super) fn restart_agent(&mut self) {
        self.life = PodLife::Syncing;
        for track in self.seen.tracks.values_mut() {
            let back_off = track.last().and_then(|last| BackOff::of_restart_count(last.restart_count, self.now));
            *track = Track { attempts: std::mem::take(&mut track.attempts), back_off, ..Track::default() };
            track.attempts.iter_mut().for_each(|attempt| (attempt.stopping, attempt.stop_reason) = (None, None));
        }
    }

    pub(super) fn delete(&mut self, grace: i64) {
        self.pod.metadata.deletion_timestamp = Some((self.now + SignedDuration::from_secs(grace)).into());
        self.pod.metadata.deletion_grace_period_seconds = Some(grace);
    }

    pub(super) fn sandbox_dies(&mut self) {
        self.seen.sandboxes[0].ready = false;
        let now = self.now;
        for attempt in self.seen.tracks.values_mut().flat_map(|t| &mut t.attempts) {
            end(attempt, 137, now);
        }
    }

    pub(super) fn add_ephemeral(&mut self, entry: Value) {
        let added = serde_json::from_value(container(&entry)).unwrap();
        let spec = self.pod.spec.as_mut().unwrap();
        spec.ephemeral_containers.get_or_insert_default().push(added);
        self.pod.metadata.generation = self.pod.metadata.generation.map(|g| g + 1);
    }

    /// Asks for other resources of a container; the node has room for them.
    pub(super) fn resize(&mut self, name: &str, resources: Value) {
        let mut asked = resources_of(&self.pod);
        asked.insert(name.to_owned(), serde_json::from_value(resources).unwrap());
        self.pod.metadata.generation = self.pod.metadata.generation.map(|g| g + 1);
        self.seen.resize.ask(asked);
        self.seen.allocate(&mut self.pod, self.now);
    }

    pub(super) fn carry_out(&mut self, action: Action) {
        match action {
            Action::SetUpVolumes => self.seen.volumes = Volumes::Ready,
            Action::TearDownVolumes => self.seen.volumes = Volumes::Absent,
            Action::MeasureStorage => {
                let volumes = self.usage.iter().map(|(name, bytes)| (name.clone(), Size::Exactly(*bytes))).collect();
                self.seen.storage = Some(Measured { at: self.now, volumes, ..Measured::default() });
            }
            Action::CreateSandbox { attempt } => {
                let id = self.id("sandbox");
                self.seen.resize.sandbox_made();
                self.seen.sandboxes.insert(0, Sandbox { id, attempt, ready: true, ips: vec!["10.1.0.2".into()] });
            }
            Action::StopSandbox { id } => {
                self.seen.sandboxes.iter_mut().filter(|s| s.id == id).for_each(Sandbox::stopped);
            }
            Action::RemoveSandbox { id } => {
                self.seen.sandboxes.retain(|s| s.id != id);
                self.seen.tracks.values_mut().for_each(|t| t.attempts.retain(|a| a.sandbox != id));
            }
            Action::EnsureImage { container, image, .. } => self.ensure_image(container, image),
            Action::StartContainer { .. } => self.start(action),
            Action::StopContainer { container, id, by, reason } => {
                let now = self.now;
                let track = self.seen.tracks.get_mut(&container).unwrap();
                let attempt = track.attempts.iter_mut().find(|a| a.id == id).unwrap();
                attempt.stop_reason = Some(reason);
                assert!(by >= now || reason == crate::StopReason::PodEnds, "a stop in the past");
                end(attempt, 137, now);
            }
            Action::Resize { steps, .. } => steps.into_iter().for_each(|step| self.seen.resize.done(step, &self.pod)),
            Action::RemoveContainer { container, id } => {
                self.seen.tracks.get_mut(&container).unwrap().attempts.retain(|a| a.id != id);
            }
            Action::Announce(what) => self.seen.announced(&what),
            Action::DeletePodFromApi => self.seen.removed = true,
            Action::Forget => self.forgotten = true,
        }
    }

    fn ensure_image(&mut self, container: String, image: String) {
        let now = self.now;
        let missing = self.missing_images.contains(&image);
        let track = self.seen.tracks.entry(container).or_default();
        track.image = if missing {
            let before = match &track.image {
                ImageState::Failed { back_off, .. } => Some(*back_off),
                _ => None,
            };
            let back_off = BackOff::after(before, now, now);
            let (problem, message) = (ImageProblem::ErrImagePull, "no such image".to_owned());
            ImageState::Failed { problem, message, at: now, back_off, announced: false }
        } else {
            ImageState::Ready { image_ref: "sha256:1".into() }
        };
    }

    fn start(&mut self, action: Action) {
        let Action::StartContainer { container, sandbox, restart_count, back_off, target, .. } = action else { return };
        let now = self.now;
        let id = self.id(&container);
        let started = container.clone();
        let spec_hash = containers(&self.pod).find(|c| c.name == container).map(|c| container_hash(&c)).unwrap();
        let root = containers(&self.pod).find(|c| c.name == container).and_then(|c| features(&c).ok()?.root);
        let target_runs = target.as_ref().is_none_or(|t| match root {
            Some(Root::Crashed) => t.ended.is_some(),
            _ => self.seen.track(&t.container).and_then(|t| t.last()).is_some_and(Attempt::is_running),
        });
        let track = self.seen.tracks.entry(container).or_default();
        track.image = ImageState::Unknown;
        if !target_runs {
            let retry = now + SignedDuration::from_secs(10);
            let problem = StartProblem::CreateContainerError;
            track.failure = Some(StartFailure { problem, message: "target is not running".into(), at: now, retry });
            return;
        }
        track.failure = None;
        track.back_off = back_off;
        *self.starts.entry(started).or_default() += 1;
        track.attempts.push(Attempt {
            id,
            sandbox,
            restart_count,
            state: AttemptState::Running { since: now },
            image: "docker.io/library/busybox:1".into(),
            image_ref: "sha256:1".into(),
            spec_hash,
            root_of: match root {
                Some(Root::Crashed) => target.and_then(|t| t.ended),
                Some(Root::Target) => target.and_then(|t| t.id),
                None => None,
            },
            stopping: None,
            stop_reason: None,
        });
    }

    fn id(&mut self, what: &str) -> String {
        self.ids += 1;
        format!("{what}-{}", self.ids)
    }
}

fn end(attempt: &mut Attempt, code: i32, now: Timestamp) {
    if let AttemptState::Running { since } = attempt.state {
        let reason = if code == 0 { "Completed" } else { "Error" }.to_owned();
        attempt.state =
            AttemptState::Exited(Exit { code, reason, message: String::new(), started: Some(since), finished: now });
        attempt.stopping = None;
    }
}

/// An action as a test says it. A stop has the pod's 30 s, unless it says so.
pub(super) fn in_words(action: &Action, now: Timestamp) -> String {
    use crate::Happening as H;
    match action {
        Action::SetUpVolumes => "volumes".into(),
        Action::TearDownVolumes => "take volumes down".into(),
        Action::MeasureStorage => "measure".into(),
        Action::CreateSandbox { attempt: 0 } => "sandbox".into(),
        Action::CreateSandbox { attempt } => format!("sandbox #{attempt}"),
        Action::EnsureImage { container, .. } => format!("image of {container}"),
        Action::StartContainer { container, restart_count: 0, target: Some(t), .. } => {
            format!("start {container} in {}", t.container)
        }
        Action::StartContainer { container, restart_count: 0, .. } => format!("start {container}"),
        Action::StartContainer { container, restart_count, .. } => format!("start {container} #{restart_count}"),
        Action::StopContainer { container, by, .. } => match by.duration_since(now).as_secs() {
            30 => format!("stop {container}"),
            other => format!("stop {container} within {other} s"),
        },
        Action::Resize { steps, .. } => {
            let name = |step: &ResizeStep| match step {
                ResizeStep::Pod(_) => "the pod".to_owned(),
                ResizeStep::Container { container, .. } => container.clone(),
            };
            format!("resize {}", steps.iter().map(name).collect::<Vec<_>>().join(" then "))
        }
        Action::RemoveContainer { container, .. } => format!("remove old {container}"),
        Action::StopSandbox { .. } => "stop sandbox".into(),
        Action::RemoveSandbox { .. } => "remove sandbox".into(),
        Action::Announce(H::CrashBackOff { container }) => format!("say that {container} crashes"),
        Action::Announce(H::PullBackOff { container, .. }) => format!("say that {container}'s image waits"),
        Action::Announce(H::ResizeCompleted) => "say that it is resized".into(),
        Action::Announce(other) => format!("say {other:?}"),
        Action::DeletePodFromApi => "delete pod".into(),
        Action::Forget => "forget".into(),
    }
}
