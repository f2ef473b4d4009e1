//! The wish: the pod's spec, seen the same way for all four kinds of containers.

use std::hash::Hasher;

use fnv::FnvHasher;
use k8s_openapi::api::core::v1::{
    Container, ContainerResizePolicy, EnvVar, EphemeralContainer, Pod, ResourceRequirements, VolumeMount,
};
use remora_model::ContainerKind;

use crate::action::StopReason;
use crate::kinds::{KindRules, rules_of};
use crate::life::PodLife;

/// What is wanted: the pod as the API has it, and the part of its life that it is in.
#[derive(Clone, Copy, Debug)]
pub struct Desired<'a> {
    /// The newest object seen.
    pub pod: &'a Pod,
    /// From [`crate::next`].
    pub life: &'a PodLife,
}

/// `spec.restartPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// The default.
    Always,
    /// Only after an exit code other than 0.
    OnFailure,
    /// Not at all.
    Never,
}

/// `imagePullPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Ask the registry before every start.
    Always,
    /// Only if it is not on this machine.
    IfNotPresent,
    /// Not at all.
    Never,
}

/// One container of a pod, whatever list it stands in.
#[derive(Clone, Copy, Debug)]
pub struct ContainerSpec<'a> {
    /// Its kind.
    pub kind: ContainerKind,
    /// Its name, unique in the pod.
    pub name: &'a str,
    /// As written in the spec.
    pub image: &'a str,
    /// When to pull.
    pub pull: PullPolicy,
    /// `targetContainerName`, where it is set.
    pub target: Option<&'a str>,
    /// `env`.
    pub env: &'a [EnvVar],
    /// `resources`.
    pub resources: Option<&'a ResourceRequirements>,
    /// `resizePolicy`.
    pub resize_policy: &'a [ContainerResizePolicy],
    /// `volumeMounts`.
    pub volume_mounts: &'a [VolumeMount],
    /// Whether it counts as started only once a probe says so.
    pub has_startup_probe: bool,
    /// Whether it counts as ready only once a probe says so.
    pub has_readiness_probe: bool,
    /// `terminationGracePeriodSeconds` of its liveness probe.
    pub liveness_grace: Option<i64>,
    /// `terminationGracePeriodSeconds` of its startup probe.
    pub startup_grace: Option<i64>,
}

impl ContainerSpec<'_> {
    /// The rules of its kind.
    pub fn rules(&self) -> KindRules {
        rules_of(self.kind)
    }

    /// The grace that a stop for this reason has, if it is another one than the pod's.
    pub(crate) fn grace_of(&self, reason: StopReason) -> Option<i64> {
        match reason {
            StopReason::LivenessProbe => self.liveness_grace,
            StopReason::StartupProbe => self.startup_grace,
            _ => None,
        }
    }
}

/// All containers of a pod: init containers and sidecars in their order, containers, ephemeral containers.
pub fn containers(pod: &Pod) -> impl Iterator<Item = ContainerSpec<'_>> {
    let spec = pod.spec.as_ref();
    let init = spec.and_then(|s| s.init_containers.as_deref()).unwrap_or_default();
    let ordinary = spec.map(|s| s.containers.as_slice()).unwrap_or_default();
    let ephemeral = spec.and_then(|s| s.ephemeral_containers.as_deref()).unwrap_or_default();
    init.iter()
        .map(|c| of_container(ContainerKind::of_init(c.restart_policy.as_deref()), c))
        .chain(ordinary.iter().map(|c| of_container(ContainerKind::Container, c)))
        .chain(ephemeral.iter().map(of_ephemeral))
}

/// The pod's restart policy.
pub fn restart_policy(pod: &Pod) -> RestartPolicy {
    match pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()) {
        Some("Never") => RestartPolicy::Never,
        Some("OnFailure") => RestartPolicy::OnFailure,
        _ => RestartPolicy::Always,
    }
}

/// A hash of what cannot change in a running container: another image means another container.
/// FNV-1a: the same on every machine and in every version of us, which std's hasher does not promise.
/// Source: kubernetes `pkg/kubelet/container/helpers.go`, `HashContainer`, which takes name and image.
pub fn container_hash(spec: &ContainerSpec<'_>) -> String {
    let mut hash = FnvHasher::default();
    hash.write(spec.name.as_bytes());
    hash.write(&[0]);
    hash.write(spec.image.as_bytes());
    format!("{:x}", hash.finish())
}

fn of_container(kind: ContainerKind, c: &Container) -> ContainerSpec<'_> {
    let image = c.image.as_deref().unwrap_or_default();
    ContainerSpec {
        kind,
        name: &c.name,
        image,
        pull: pull_policy(c.image_pull_policy.as_deref(), image),
        target: None,
        env: c.env.as_deref().unwrap_or_default(),
        resources: c.resources.as_ref(),
        resize_policy: c.resize_policy.as_deref().unwrap_or_default(),
        volume_mounts: c.volume_mounts.as_deref().unwrap_or_default(),
        has_startup_probe: c.startup_probe.is_some(),
        has_readiness_probe: c.readiness_probe.is_some(),
        liveness_grace: c.liveness_probe.as_ref().and_then(|p| p.termination_grace_period_seconds),
        startup_grace: c.startup_probe.as_ref().and_then(|p| p.termination_grace_period_seconds),
    }
}

fn of_ephemeral(c: &EphemeralContainer) -> ContainerSpec<'_> {
    let image = c.image.as_deref().unwrap_or_default();
    ContainerSpec {
        kind: ContainerKind::Ephemeral,
        name: &c.name,
        image,
        pull: pull_policy(c.image_pull_policy.as_deref(), image),
        target: c.target_container_name.as_deref().filter(|t| !t.is_empty()),
        env: c.env.as_deref().unwrap_or_default(),
        resources: c.resources.as_ref(),
        resize_policy: &[],
        volume_mounts: c.volume_mounts.as_deref().unwrap_or_default(),
        has_startup_probe: false,
        has_readiness_probe: false,
        liveness_grace: None,
        startup_grace: None,
    }
}

/// The API server sets the policy; without it, the default by tag.
fn pull_policy(policy: Option<&str>, image: &str) -> PullPolicy {
    match policy {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        Some("IfNotPresent") => PullPolicy::IfNotPresent,
        _ if image.ends_with(":latest") => PullPolicy::Always,
        _ if crate::with_default_tag(image).is_ok_and(|full| full != image) => PullPolicy::Always,
        _ => PullPolicy::IfNotPresent,
    }
}
