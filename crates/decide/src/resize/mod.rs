//! Resizing in place (KEP-1287): what a pod's containers are to have, what the node has allocated to them, and what they have.
//!
//! ```text
//!   asked ──the node has room──▶ allocated ──the runtime has done it, or the container is restarted──▶ actuated
//!     └── it has not: PodResizePending       └── until then: PodResizeInProgress
//! ```
//! **Invariant:** the pod of [`crate::Desired`] has the allocated resources, whatever its spec in the API asks for: see [`with_resources`].
//!
//! Sources: kubernetes `pkg/kubelet/allocation`, `pkg/kubelet/kuberuntime/kuberuntime_manager.go` (`doPodResizeAction`).

mod amounts;
mod room;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};

pub use amounts::{Amounts, pod_amounts};
pub use room::{Ask, Claim, Need, Verdict, verdict};

use crate::Now;
use crate::observed::Observed;
use crate::spec::{ContainerSpec, containers};

/// Resources of those containers that can be resized, by name.
pub type Resources = BTreeMap<String, ResourceRequirements>;

/// Where a pod's resources stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resize {
    /// What the spec asks for, where that is not what was allocated.
    pub asked: Option<Resources>,
    /// What the node has promised.
    pub allocated: Resources,
    /// What instances have that have something else. All others have what was allocated.
    pub actuated: BTreeMap<String, Actuated>,
    /// What the pod's cgroup has, if something else than was allocated.
    pub pod: Option<Amounts>,
    /// Why what is asked for is not allocated.
    pub pending: Option<Pending>,
    /// What was allocated has not all been done yet.
    pub in_progress: Option<InProgress>,
}

/// What one instance of a container has.
#[derive(Clone, Debug, PartialEq)]
pub struct Actuated {
    /// The runtime's id.
    pub id: String,
    /// What it was last given.
    pub resources: ResourceRequirements,
}

/// The condition `PodResizePending`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// `Deferred` or `Infeasible`.
    pub reason: String,
    /// The whole sentence.
    pub message: String,
    /// The generation that was judged.
    pub generation: Option<i64>,
    /// Since when it has this reason.
    pub since: Timestamp,
    /// When it was last judged to something new.
    pub judged: Timestamp,
}

/// The condition `PodResizeInProgress`.
#[derive(Clone, Debug, PartialEq)]
pub struct InProgress {
    /// Why it has not been done; empty as long as nothing has failed.
    pub error: String,
    /// The generation that was allocated.
    pub generation: Option<i64>,
    /// Since when it goes on, or fails.
    pub since: Timestamp,
}

/// One step of a resize. They are taken in their order: what a pod's cgroup has is never less than what those in it have.
#[derive(Clone, Debug, PartialEq)]
pub enum ResizeStep {
    /// The pod as a whole.
    Pod(Amounts),
    /// One running container.
    Container {
        /// The container.
        container: String,
        /// The runtime's id.
        id: String,
        /// What it is to have.
        resources: ResourceRequirements,
    },
}

/// What a pod's spec asks for.
pub fn resources_of(pod: &Pod) -> Resources {
    let resizable = containers(pod).filter(|c| c.rules().resizable);
    resizable.map(|c| (c.name.to_owned(), c.resources.cloned().unwrap_or_default())).collect()
}

/// Gives a pod's containers these resources.
pub fn with_resources(pod: &mut Pod, resources: &Resources) {
    let Some(spec) = &mut pod.spec else { return };
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        if let Some(allocated) = resources.get(&container.name) {
            container.resources = Some(allocated.clone());
        }
    }
}

impl Resize {
    /// Takes what the pod's spec asks for now. What is met for the first time is allocated as it is.
    pub fn ask(&mut self, asked: Resources) {
        if self.allocated.is_empty() {
            self.allocated = asked;
            return;
        }
        let differs =
            asked.iter().any(|(name, resources)| self.allocated.get(name).is_none_or(|had| !same(had, resources)));
        self.asked = differs.then_some(asked);
        if self.asked.is_none() {
            self.pending = None;
        }
    }

    /// What an instance has.
    pub fn actual(&self, name: &str, id: &str) -> Option<&ResourceRequirements> {
        let own = self.actuated.get(name).filter(|actuated| actuated.id == id).map(|actuated| &actuated.resources);
        own.or_else(|| self.allocated.get(name))
    }

    /// Whether an instance has something else than was allocated.
    pub(crate) fn is_behind(&self, name: &str, id: &str) -> bool {
        let (had, allocated) = (self.actual(name, id), self.allocated.get(name));
        had.map(Amounts::of) != allocated.map(Amounts::of)
    }

    /// Notes a step that was taken. `pod` has the allocated resources.
    pub fn done(&mut self, step: ResizeStep, pod: &Pod) {
        match step {
            ResizeStep::Pod(amounts) => self.pod = Some(amounts),
            ResizeStep::Container { container, id, resources } => {
                self.actuated.insert(container, Actuated { id, resources });
            }
        }
        self.forget_what_is_done(pod);
    }

    /// A sandbox was made, with what was allocated.
    pub fn sandbox_made(&mut self) {
        self.pod = None;
    }

    /// Judged: the node has no room.
    pub fn refuse(&mut self, reason: &str, message: String, generation: Option<i64>, now: Now) {
        let before = self.pending.take();
        let since = before.as_ref().filter(|p| p.reason == reason).map_or(now, |p| p.since);
        let same = before.filter(|p| p.reason == reason && p.message == message && p.generation == generation);
        let fresh = || Pending { reason: reason.to_owned(), message, generation, since, judged: now };
        self.pending = Some(same.unwrap_or_else(fresh));
    }

    /// A step has failed: it will be tried again.
    pub fn failed(&mut self, error: String, generation: Option<i64>, now: Now) {
        let before = self.in_progress.take();
        let generation = before.as_ref().map_or(generation, |p| p.generation);
        let since = before.filter(|p| p.error == error).map_or(now, |p| p.since);
        self.in_progress = Some(InProgress { error, generation, since });
    }

    fn forget_what_is_done(&mut self, pod: &Pod) {
        let allocated = &self.allocated;
        self.actuated
            .retain(|name, a| allocated.get(name).is_some_and(|r| Amounts::of(r) != Amounts::of(&a.resources)));
        self.pod = self.pod.filter(|had| had.of_cgroup() != pod_amounts(pod).of_cgroup());
    }
}

impl Observed {
    /// Allocates what is asked for: from here on it is the pod's. `pod` has the resources from before, and is given these.
    pub fn allocate(&mut self, pod: &mut Pod, now: Now) {
        let Some(asked) = self.resize.asked.take() else { return };
        let mut actuated = BTreeMap::new();
        for name in asked.keys() {
            let running = self.track(name).and_then(|t| t.last()).filter(|a| a.is_running());
            if let Some((id, had)) =
                running.and_then(|a| Some((a.id.clone(), self.resize.actual(name, &a.id)?.clone())))
            {
                actuated.insert(name.clone(), Actuated { id, resources: had });
            }
        }
        let had = self.ready_sandbox().map(|_| self.resize.pod.unwrap_or_else(|| pod_amounts(pod)));
        with_resources(pod, &asked);
        let resize = &mut self.resize;
        (resize.allocated, resize.actuated, resize.pod) = (asked, actuated, had);
        resize.pending = None;
        resize.in_progress = Some(InProgress { error: String::new(), generation: pod.metadata.generation, since: now });
        resize.forget_what_is_done(pod);
    }

    /// The instance of a container that is to be given what was allocated: it runs, and has something else.
    pub(crate) fn to_resize(&self, spec: &ContainerSpec<'_>) -> Option<&str> {
        let running = self.track(spec.name)?.last().filter(|a| a.is_running() && spec.rules().resizable)?;
        self.resize.is_behind(spec.name, &running.id).then_some(running.id.as_str())
    }

    /// Whether the resize of a container restarts it, by its policy for what differs.
    pub(crate) fn restarts_to_resize(&self, spec: &ContainerSpec<'_>) -> bool {
        let Some(id) = self.to_resize(spec) else { return false };
        let amounts = |of: Option<&ResourceRequirements>| of.map(Amounts::of).unwrap_or_default();
        let (had, wanted) = (amounts(self.resize.actual(spec.name, id)), amounts(self.resize.allocated.get(spec.name)));
        let of_cpu = (had.cpu_request, had.cpu_limit) != (wanted.cpu_request, wanted.cpu_limit);
        let of_memory = (had.memory_request, had.memory_limit) != (wanted.memory_request, wanted.memory_limit);
        spec.resize_policy.iter().any(|policy| {
            let concerned =
                (policy.resource_name == "cpu" && of_cpu) || (policy.resource_name == "memory" && of_memory);
            concerned && policy.restart_policy == "RestartContainer"
        })
    }
}

/// Whether two containers are to have the same, however it is written.
fn same(a: &ResourceRequirements, b: &ResourceRequirements) -> bool {
    amounts::same(&a.requests, &b.requests) && amounts::same(&a.limits, &b.limits)
}
