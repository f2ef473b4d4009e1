//! A copy of a pod to debug in, and the pod of a node session (source: kubectl `pkg/cmd/debug/debug.go`). Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, HostPathVolumeSource, Pod, PodSpec, Toleration, Volume, VolumeMount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::choose::{self, ImageChoice};
use crate::plan::{check, is_reference, variable};
use crate::profile::LEGACY_WARNING;
use crate::{DebugRequest, Facts, MADE_FOR_A_SESSION, MAKER, PlanError, Profile, TargetChoice, custom};

/// The API has a deadline for pods, and nothing about use.
const NO_IDLE: &str = "--idle-timeout is for debug containers in a running pod: copies and node sessions know --ttl";

/// What a copy keeps of its original, and what it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyRequest {
    /// The copy's name.
    pub name: String,
    /// On the original's node.
    pub same_node: bool,
    /// All containers see each other's processes; none leaves it as it is, or the profile's choice.
    pub share_processes: Option<bool>,
    /// New images by container; `*` is every container.
    pub set_images: BTreeMap<String, String>,
    /// What stays.
    pub keep: Keep,
}

/// What a copy keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Labels: a service would send it requests, a controller would count it.
    pub labels: bool,
    /// Annotations.
    pub annotations: bool,
    /// Liveness probes.
    pub liveness: bool,
    /// Readiness probes.
    pub readiness: bool,
    /// Startup probes.
    pub startup: bool,
    /// Init containers.
    pub init_containers: bool,
}

/// A pod to be created.
#[derive(Clone, Debug, PartialEq)]
pub struct PodPlan {
    /// The pod.
    pub pod: Pod,
    /// The container to attach to; none if only images are changed.
    pub container: Option<String>,
    /// Things worth saying before it is created.
    pub notices: Vec<String>,
}

/// Plans a copy of a pod.
///
/// # Errors
/// [`PlanError`] for what can be told without asking a server.
pub fn copy(request: &DebugRequest, copy: &CopyRequest, pod: &Pod, suffix: &str) -> Result<PodPlan, PlanError> {
    check(request)?;
    check_copy(request, copy)?;
    let profile = request.profile.unwrap_or_default();
    let mut copied = skeleton(pod, copy, profile, request.limits.ttl);
    let spec = copied.spec.get_or_insert_default();
    for container in &mut spec.containers {
        let image = copy.set_images.get(&container.name).or_else(|| copy.set_images.get("*"));
        container.image = image.cloned().or(container.image.take());
    }
    let mut notices: Vec<String> =
        (profile == Profile::Legacy).then(|| LEGACY_WARNING.to_owned()).into_iter().collect();
    let existing = request.name.as_ref().and_then(|name| spec.containers.iter().position(|c| c.name == *name));
    let index = match existing {
        Some(index) => index,
        // Only images are changed: nothing is added, and no profile is applied.
        None if request.image.is_none() && !copy.set_images.is_empty() => {
            return Ok(PodPlan { pod: copied, container: None, notices });
        }
        None if request.image.is_none() => {
            return Err(PlanError::Copy("you must specify image when creating new container"));
        }
        None => {
            spec.containers.push(fresh(request, suffix, &mut notices));
            spec.containers.len() - 1
        }
    };
    if profile != Profile::Legacy {
        spec.share_process_namespace.get_or_insert(true);
    }
    let container = &mut spec.containers[index];
    fill(container, request);
    container.security_context = profile.in_a_pod(container.security_context.take());
    let name = container.name.clone();
    *container = custom::applied(container, request.custom.as_ref())?;
    Ok(PodPlan { pod: copied, container: Some(name), notices })
}

fn check_copy(request: &DebugRequest, copy: &CopyRequest) -> Result<(), PlanError> {
    let words = !request.command.is_empty();
    if let Some(image) = copy.set_images.values().find(|image| !is_reference(image)) {
        return Err(PlanError::ImageName(image.clone()));
    }
    if request.image.is_none() && copy.set_images.is_empty() && !words {
        return Err(PlanError::Copy("you must specify --image, --set-image or command arguments."));
    }
    if words && request.name.is_none() && request.image.is_none() {
        return Err(PlanError::Copy("you must specify an existing container or a new image when specifying args."));
    }
    if request.limits.idle.is_some() {
        return Err(PlanError::Copy(NO_IDLE));
    }
    if matches!(request.target, TargetChoice::Named(_)) {
        return Err(PlanError::Copy("--target is incompatible with --copy-to. Use --share-processes instead."));
    }
    Ok(())
}

fn skeleton(pod: &Pod, copy: &CopyRequest, profile: Profile, ttl: Option<Duration>) -> Pod {
    let keep = &copy.keep;
    let mut spec = pod.spec.clone().unwrap_or_default();
    spec.ephemeral_containers = None;
    spec.share_process_namespace = copy.share_processes.or(spec.share_process_namespace);
    spec.node_name = spec.node_name.filter(|_| copy.same_node);
    spec.active_deadline_seconds = ttl.map(deadline).or(spec.active_deadline_seconds);
    // `legacy` is as kubectl was at first: only labels go.
    let all = profile == Profile::Legacy;
    spec.init_containers = spec.init_containers.filter(|_| all || keep.init_containers);
    for container in &mut spec.containers {
        container.liveness_probe = container.liveness_probe.take().filter(|_| all || keep.liveness);
        container.readiness_probe = container.readiness_probe.take().filter(|_| all || keep.readiness);
        container.startup_probe = container.startup_probe.take().filter(|_| all || keep.startup);
    }
    let metadata = ObjectMeta {
        name: Some(copy.name.clone()),
        namespace: pod.metadata.namespace.clone(),
        labels: pod.metadata.labels.clone().filter(|_| !all && keep.labels),
        annotations: pod.metadata.annotations.clone().filter(|_| all || keep.annotations),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec: Some(spec), status: None }
}

fn fresh(request: &DebugRequest, suffix: &str, notices: &mut Vec<String>) -> Container {
    let name = request.name.clone().unwrap_or_else(|| {
        notices.push(format!("Defaulting debug container name to debugger-{suffix}."));
        format!("debugger-{suffix}")
    });
    Container { name, termination_message_policy: Some("File".to_owned()), ..Container::default() }
}

/// What the user gave, over what is there.
fn fill(container: &mut Container, request: &DebugRequest) {
    if !request.command.is_empty() && request.as_arguments {
        container.args = Some(request.command.clone());
    } else if !request.command.is_empty() {
        container.command = Some(request.command.clone());
        container.args = None;
    }
    if !request.env.is_empty() {
        container.env = Some(request.env.clone());
    }
    container.image = request.image.clone().or(container.image.take());
    container.image_pull_policy = request.image_pull_policy.clone().or(container.image_pull_policy.take());
    container.stdin = request.stdin.then_some(true);
    container.tty = request.tty.then_some(true);
    container.working_dir = request.working_dir.clone().or(container.working_dir.take());
}

/// Plans the pod of a node session: in the host's namespaces, with its files at `/host`.
///
/// # Errors
/// [`PlanError`] for what can be told without asking a server.
pub fn node_pod(request: &DebugRequest, node: &str, facts: &Facts, suffix: &str) -> Result<PodPlan, PlanError> {
    check(request)?;
    if request.limits.idle.is_some() {
        return Err(PlanError::Copy(NO_IDLE));
    }
    let profile = request.profile.unwrap_or_default();
    let image = choose::image(request.image.as_deref(), &facts.images, &facts.default_image);
    let (name, pod_name) =
        (request.name.clone().unwrap_or_else(|| "debugger".to_owned()), format!("node-debugger-{node}-{suffix}"));
    let has_host = |profile: Profile| matches!(profile, Profile::General | Profile::Legacy | Profile::Sysadmin);
    let mut container = Container {
        name: name.clone(),
        termination_message_policy: Some("File".to_owned()),
        security_context: profile.on_a_node(),
        volume_mounts: has_host(profile).then(|| vec![mount("host-root", "/host")]),
        // The end of the session's connection is the end of its input: a shell whose client has vanished ends by itself.
        stdin_once: (request.stdin && request.attach).then_some(true),
        ..Container::default()
    };
    fill(&mut container, &DebugRequest { image: Some(image.name.clone()), ..request.clone() });
    if image.choice != ImageChoice::Named {
        container.image_pull_policy.get_or_insert_with(|| "IfNotPresent".to_owned());
    }
    if let Some(user) = &facts.user {
        container.env.get_or_insert_default().push(variable(MAKER, user));
    }
    let namespaces = (has_host(profile) || profile == Profile::Netadmin).then_some(true);
    let spec = PodSpec {
        containers: vec![custom::applied(&container, request.custom.as_ref())?],
        node_name: Some(node.to_owned()),
        restart_policy: Some("Never".to_owned()),
        tolerations: Some(vec![Toleration { operator: Some("Exists".to_owned()), ..Toleration::default() }]),
        volumes: has_host(profile).then(|| vec![host_root()]),
        host_network: namespaces,
        host_pid: namespaces,
        host_ipc: namespaces,
        active_deadline_seconds: request.limits.ttl.map(deadline),
        // Nobody waits for a tool to end politely.
        termination_grace_period_seconds: Some(1),
        ..PodSpec::default()
    };
    let labels = [(MADE_FOR_A_SESSION.to_owned(), "remora-debug".to_owned())];
    let metadata = ObjectMeta { name: Some(pod_name.clone()), labels: Some(labels.into()), ..ObjectMeta::default() };
    let notices = vec![format!("Creating debugging pod {pod_name} with container {name} on node {node}.")];
    Ok(PodPlan { pod: Pod { metadata, spec: Some(spec), status: None }, container: Some(name), notices })
}

/// The API's own limit for pods, in seconds.
fn deadline(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX).max(1)
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

fn host_root() -> Volume {
    let host_path = Some(HostPathVolumeSource { path: "/".to_owned(), type_: None });
    Volume { name: "host-root".to_owned(), host_path, ..Volume::default() }
}
