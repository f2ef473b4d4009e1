//! Resizing in place: what the node allocates to the pod, and what the next agent must know of it. The deciding is in [`remora_decide`].
//!
//! **Invariant:** the actor's pod has the resources that were allocated. What its spec in the API asks for is in
//! [`Resize::asked`](remora_decide::Resize), while that is something else.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition, ResourceRequirements};
use remora_decide::{
    Actuated, Amounts, Ask, Claim, InProgress, Need, Observed, Pending, PodLife, QosClass, Resize, ResizeStep,
    Resources, Subject, Verdict, pod_amounts, qos_class, resources_of, with_resources,
};
use serde::{Deserialize, Serialize};

use super::Actor;
use crate::context::{Context, id_of};
use crate::volumes;

/// In the pod's folder.
const FILE: &str = "resources.json";
/// Where the kubelet notes that a pod comes from a file of the node's.
const SOURCE_ANNOTATION: &str = "kubernetes.io/config.source";

/// What is written down. It need not outlive a crash of the machine: no container does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Kept {
    allocated: Resources,
    /// Of instances that have something else.
    actuated: BTreeMap<String, KeptContainer>,
    /// What the pod's cgroup has, if something else.
    pod: Option<KeptPod>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct KeptContainer {
    id: String,
    resources: ResourceRequirements,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct KeptPod {
    cpu_request: Option<i64>,
    cpu_limit: Option<i64>,
    memory_limit: Option<i64>,
}

impl Kept {
    fn of(resize: &Resize) -> Self {
        let container = |a: &Actuated| KeptContainer { id: a.id.clone(), resources: a.resources.clone() };
        let pod = |pod: Amounts| KeptPod {
            cpu_request: pod.cpu_request,
            cpu_limit: pod.cpu_limit,
            memory_limit: pod.memory_limit,
        };
        Self {
            allocated: resize.allocated.clone(),
            actuated: resize.actuated.iter().map(|(name, a)| (name.clone(), container(a))).collect(),
            pod: resize.pod.map(pod),
        }
    }

    fn put(self, resize: &mut Resize) {
        let Kept { allocated, actuated, pod } = self;
        let container = |KeptContainer { id, resources }| Actuated { id, resources };
        resize.allocated = allocated;
        resize.actuated = actuated.into_iter().map(|(name, kept)| (name, container(kept))).collect();
        resize.pod = pod.map(|KeptPod { cpu_request, cpu_limit, memory_limit }| Amounts {
            cpu_request,
            cpu_limit,
            memory_request: None,
            memory_limit,
        });
    }

    /// None if there is none. One that cannot be read is as good as none: then the pod has what its spec asks for.
    fn read(folder: &Path) -> Option<Self> {
        let path = folder.join(FILE);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            read => read,
        };
        let kept = bytes.and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from));
        let unread = |error| tracing::warn!(path = %path.display(), %error, "what was allocated to a pod is not known");
        kept.map_err(unread).ok()
    }

    fn write(&self, folder: &Path) -> io::Result<()> {
        let next = folder.join(format!("{FILE}.next"));
        std::fs::write(&next, serde_json::to_vec(self)?)?;
        std::fs::rename(next, folder.join(FILE))
    }
}

/// What the agent before has left: what was allocated, and what it has told of it.
pub(super) fn adopt(context: &Context, pod: &mut Pod, observed: &mut Observed) -> Option<Kept> {
    let kept = Kept::read(&context.pod_folder(pod));
    let resize = &mut observed.resize;
    if let Some(kept) = kept.clone() {
        kept.put(resize);
    }
    resize.ask(resources_of(pod));
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    for condition in conditions {
        match condition.type_.as_str() {
            "PodResizePending" if resize.asked.is_some() => resize.pending = Some(pending(condition)),
            "PodResizeInProgress" => resize.in_progress = Some(in_progress(condition)),
            _ => {}
        }
    }
    if resize.in_progress.is_none() && (!resize.actuated.is_empty() || resize.pod.is_some()) {
        // The agent before had no time left to say so.
        let generation = pod.metadata.generation;
        resize.in_progress = Some(InProgress { error: String::new(), generation, since: context.now() });
    }
    if resize.asked.is_some() {
        with_resources(pod, &observed.resize.allocated);
    }
    kept
}

fn pending(condition: &PodCondition) -> Pending {
    let (judged, since) = times(condition);
    Pending {
        reason: condition.reason.clone().unwrap_or_default(),
        message: condition.message.clone().unwrap_or_default(),
        generation: condition.observed_generation,
        since,
        judged,
    }
}

fn in_progress(condition: &PodCondition) -> InProgress {
    let error = condition.message.clone().unwrap_or_default();
    InProgress { error, generation: condition.observed_generation, since: times(condition).1 }
}

fn times(condition: &PodCondition) -> (Timestamp, Timestamp) {
    let of = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    };
    (of(&condition.last_probe_time), of(&condition.last_transition_time))
}

impl Actor {
    /// A pod as the API has it: what it asks for is noted, and it is given what is allocated.
    pub(super) fn take_resources(&mut self, mut pod: Arc<Pod>) -> Arc<Pod> {
        let resize = &mut self.observed.resize;
        resize.ask(resources_of(&pod));
        if resize.asked.is_some() {
            with_resources(Arc::make_mut(&mut pod), &resize.allocated);
        }
        pod
    }

    /// Says what the pod has, and asks for what it is to have. Not while something is being started: that has what was allocated before.
    pub(super) fn allocate(&mut self, now: Timestamp) {
        let uid = id_of(&self.pod).uid;
        match self.life {
            PodLife::Syncing => {}
            PodLife::Terminating { .. } => return,
            PodLife::Terminated { .. } => return self.context.claims.leave(uid),
        }
        let resize = &self.observed.resize;
        let is_quiet = resize.asked.is_none() && resize.in_progress.is_none();
        let is_starting = self.observed.doing.iter().any(|s| matches!(s, Subject::Start(_) | Subject::Sandbox));
        if is_quiet && self.claimed || is_starting && resize.asked.is_some() {
            return;
        }
        self.claimed = is_quiet;
        let asks = resize.asked.as_ref().map(|asked| self.ask(asked, now));
        let verdict = match (static_pod(&self.pod), &asks) {
            (Some(why), Some(_)) => Verdict::Infeasible(why),
            _ => self.context.claims.settle(uid, Claim { holds: self.holds(), asks: asks.clone() }, &self.wakes),
        };
        let generation = self.pod.metadata.generation;
        match verdict {
            Verdict::Fits if asks.is_some() => {
                self.observed.allocate(Arc::make_mut(&mut self.pod), now);
                if volumes::shows_resources(&self.pod) {
                    self.refresh = Some(now);
                }
            }
            Verdict::Fits => {}
            Verdict::Deferred(message) => self.observed.resize.refuse("Deferred", message, generation, now),
            Verdict::Infeasible(message) => self.observed.resize.refuse("Infeasible", message, generation, now),
        }
    }

    /// What was allocated, or what it still has, whichever is more.
    fn holds(&self) -> Need {
        let allocated = need(&self.pod);
        let actuated = &self.observed.resize.actuated;
        if actuated.is_empty() {
            return allocated;
        }
        let running = |name: &str| self.observed.track(name).and_then(|t| t.last()).filter(|a| a.is_running());
        let has = |(name, a): &(&String, &Actuated)| running(name).is_some_and(|attempt| attempt.id == a.id);
        let actual = actuated.iter().filter(has).map(|(name, a)| (name.clone(), a.resources.clone())).collect();
        let actual = need(&with(&self.pod, &actual));
        Need { cpu: allocated.cpu.max(actual.cpu), memory: allocated.memory.max(actual.memory) }
    }

    fn ask(&self, asked: &Resources, now: Timestamp) -> Ask {
        Ask {
            need: need(&with(&self.pod, asked)),
            priority: self.pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0),
            guaranteed: qos_class(&self.pod) == QosClass::Guaranteed,
            since: self.observed.resize.pending.as_ref().map_or(now, |pending| pending.since),
        }
    }

    /// Writes down what the next agent must know, if it has changed and the pod has a folder: before that nothing of it runs.
    pub(super) fn keep_resources(&mut self) {
        let kept = Kept::of(&self.observed.resize);
        let folder = self.context.pod_folder(&self.pod);
        if kept.allocated.is_empty() || self.kept.as_ref() == Some(&kept) || !folder.is_dir() {
            return;
        }
        match kept.write(&folder) {
            Ok(()) => self.kept = Some(kept),
            Err(error) => {
                let pod = id_of(&self.pod).name;
                tracing::warn!(pod, %error, "what is allocated to a pod cannot be written down");
            }
        }
    }

    /// The steps of a resize that were taken, and why the next was not.
    pub(super) fn resized(&mut self, done: Vec<ResizeStep>, result: Result<(), String>) {
        for step in done {
            self.observed.resize.done(step, &self.pod);
        }
        if let Err(error) = &result {
            let now = self.context.now();
            self.observed.resize.failed(error.clone(), self.pod.metadata.generation, now);
        }
        self.settle(Subject::Resources, result);
    }
}

/// What a pod asks for as it is written.
pub(crate) fn need(pod: &Pod) -> Need {
    let amounts = pod_amounts(pod);
    Need { cpu: amounts.cpu_request.unwrap_or(0), memory: amounts.memory_request.unwrap_or(0) }
}

fn with(pod: &Pod, resources: &Resources) -> Pod {
    // Only what amounts are made of: a pod's volumes and environment may be large.
    let spec = pod.spec.as_ref().map(|spec| k8s_openapi::api::core::v1::PodSpec {
        containers: spec.containers.clone(),
        init_containers: spec.init_containers.clone(),
        overhead: spec.overhead.clone(),
        ..Default::default()
    });
    let mut pod = Pod { spec, ..Pod::default() };
    with_resources(&mut pod, resources);
    pod
}

fn static_pod(pod: &Pod) -> Option<String> {
    let source = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(SOURCE_ANNOTATION));
    let is_static = source.is_some_and(|source| source != "api");
    is_static.then(|| "In-place resize of static-pods is not supported".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_down_is_read_again_and_damage_is_as_good_as_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Kept::read(folder.path()), None);
        let resources =
            |cpu: &str| -> ResourceRequirements { serde_json::from_value(json!({"requests": {"cpu": cpu}})).unwrap() };
        let resize = Resize {
            allocated: [("c".to_owned(), resources("2"))].into(),
            actuated: [("c".to_owned(), Actuated { id: "1".to_owned(), resources: resources("1") })].into(),
            pod: Some(Amounts { cpu_request: Some(1000), ..Amounts::default() }),
            ..Resize::default()
        };
        Kept::of(&resize).write(folder.path()).unwrap();
        let mut read = Resize::default();
        Kept::read(folder.path()).unwrap().put(&mut read);
        assert_eq!(read, resize);
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(Kept::read(folder.path()), None);
    }
}
