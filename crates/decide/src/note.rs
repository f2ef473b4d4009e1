//! What people are told in events: reason and words for everything that happens to a pod.
//!
//! Source: kubernetes `pkg/kubelet/events/event.go` and the recordings in `reference/behaviours`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::action::StopReason;
use crate::observed::{ImageProblem, StartProblem};

/// One event for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Normal or Warning.
    pub kind: NoteType,
    /// `Pulled`, `Created`, …
    pub reason: &'static str,
    /// The sentence.
    pub message: String,
    /// The container that it is about, if one.
    pub container: Option<String>,
}

/// An event's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteType {
    /// As wanted.
    Normal,
    /// Somebody may have to act.
    Warning,
}

impl NoteType {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Something that people may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// The image was there already.
    ImagePresent { container: String, image: String },
    /// A pull has begun.
    Pulling { container: String, image: String },
    /// A pull has ended well. Durations as people read them.
    Pulled { container: String, image: String, took: String, waited: String, bytes: u64 },
    /// The image could not be had.
    ImageFailed { container: String, image: String, problem: ImageProblem, message: String },
    /// The next pull waits.
    PullBackOff { container: String, image: String },
    /// A container was created.
    Created { container: String },
    /// A container was started.
    Started { container: String },
    /// A start made no running container.
    StartFailed { container: String, problem: StartProblem, message: String },
    /// A container is asked to end.
    Stopping { container: String, reason: StopReason },
    /// A container crashed and waits for its restart.
    CrashBackOff { container: String },
    /// The sandbox could not be made.
    SandboxFailed { message: String },
    /// The sandbox died.
    SandboxChanged,
    /// A volume could not be set up. `step` is `MountVolume.SetUp` or what else a kubelet calls it.
    MountFailed { step: &'static str, volume: String, message: String },
    /// A probe failed. `probe` is `Liveness`, `Readiness` or `Startup`.
    Unhealthy { container: String, probe: &'static str, output: String },
    /// A postStart hook failed.
    PostStartFailed { container: String },
    /// A preStop hook failed.
    PreStopFailed { container: String },
    /// `activeDeadlineSeconds` has passed.
    DeadlineExceeded,
    /// It takes more of the node than it may.
    Evicted { message: String },
    /// A container could not be stopped.
    KillFailed { message: String },
    /// Everything has what was allocated to it.
    ResizeCompleted,
}

/// The notes for a happening, in order.
pub fn notes(what: &Happening, pod: &Pod) -> Vec<Note> {
    use Happening as H;
    match what {
        H::ImagePresent { container, image } => {
            vec![normal("Pulled", container, format!("Container image {image:?} already present on machine"))]
        }
        H::Pulling { container, image } => vec![normal("Pulling", container, format!("Pulling image {image:?}"))],
        H::Pulled { container, image, took, waited, bytes } => {
            let message = format!(
                "Successfully pulled image {image:?} in {took} ({waited} including waiting). Image size: {bytes} bytes."
            );
            vec![normal("Pulled", container, message)]
        }
        H::ImageFailed { container, image, problem, message } => image_failed(container, image, *problem, message),
        H::PullBackOff { container, image } => vec![
            normal("BackOff", container, format!("Back-off pulling image {image:?}")),
            warning("Failed", container, "Error: ImagePullBackOff".to_owned()),
        ],
        H::Created { container } => vec![normal("Created", container, format!("Created container: {container}"))],
        H::Started { container } => vec![normal("Started", container, format!("Started container {container}"))],
        H::StartFailed { container, message, .. } => vec![warning("Failed", container, format!("Error: {message}"))],
        H::Stopping { container, reason } => vec![normal("Killing", container, stopping(container, *reason))],
        H::CrashBackOff { container } => {
            let message = format!("Back-off restarting failed container {container} in pod {}", full_name(pod));
            vec![warning("BackOff", container, message)]
        }
        H::Unhealthy { container, probe, output } => {
            vec![warning("Unhealthy", container, format!("{probe} probe failed: {output}"))]
        }
        H::PostStartFailed { container } => {
            vec![warning("FailedPostStartHook", container, "PostStartHook failed".to_owned())]
        }
        H::PreStopFailed { container } => {
            vec![warning("FailedPreStopHook", container, "PreStopHook failed".to_owned())]
        }
        H::SandboxFailed { .. }
        | H::SandboxChanged
        | H::MountFailed { .. }
        | H::DeadlineExceeded
        | H::ResizeCompleted
        | H::Evicted { .. }
        | H::KillFailed { .. } => {
            vec![of_pod(what, pod)]
        }
    }
}

/// `name_namespace(uid)`, as kubelets name pods in messages.
pub(crate) fn full_name(pod: &Pod) -> String {
    let m = &pod.metadata;
    let part = |p: &Option<String>| p.clone().unwrap_or_default();
    format!("{}_{}({})", part(&m.name), part(&m.namespace), part(&m.uid))
}

fn normal(reason: &'static str, container: &str, message: String) -> Note {
    Note { kind: NoteType::Normal, reason, message, container: Some(container.to_owned()) }
}

fn warning(reason: &'static str, container: &str, message: String) -> Note {
    Note { kind: NoteType::Warning, ..normal(reason, container, message) }
}

fn image_failed(container: &str, image: &str, problem: ImageProblem, message: &str) -> Vec<Note> {
    let (reason, text) = match problem {
        ImageProblem::ErrImagePull => ("Failed", format!("Failed to pull image {image:?}: {message}")),
        ImageProblem::ErrImageNeverPull => ("ErrImageNeverPull", message.to_owned()),
        ImageProblem::InvalidImageName | ImageProblem::ImageInspectError => ("InspectFailed", message.to_owned()),
    };
    vec![warning(reason, container, text), warning("Failed", container, format!("Error: {}", problem.as_str()))]
}

fn stopping(container: &str, reason: StopReason) -> String {
    match reason {
        StopReason::PodEnds | StopReason::SandboxChanged => format!("Stopping container {container}"),
        StopReason::DefinitionChanged => format!("Container {container} definition changed, will be restarted"),
        StopReason::LivenessProbe => format!("Container {container} failed liveness probe, will be restarted"),
        StopReason::StartupProbe => format!("Container {container} failed startup probe, will be restarted"),
        StopReason::PostStartHook => "FailedPostStartHook".to_owned(),
        StopReason::Resized => format!("Container {container} resize requires restart"),
    }
}

/// With what every container has now, as JSON.
fn resize_completed(pod: &Pod) -> String {
    let list = |containers: &[Container]| {
        // Names and amounts are of letters that JSON and Rust write alike.
        let one =
            |c: &Container| format!("{{\"name\":{:?},\"resources\":{}}}", c.name, resources_json(c.resources.as_ref()));
        containers.iter().map(one).collect::<Vec<_>>().join(",")
    };
    let spec = pod.spec.as_ref();
    let init = spec.and_then(|s| s.init_containers.as_deref()).unwrap_or_default();
    let ordinary = spec.map(|s| s.containers.as_slice()).unwrap_or_default();
    let lists = [("initContainers", init), ("containers", ordinary)];
    let lists = lists.iter().filter(|(_, containers)| !containers.is_empty());
    let fields: Vec<String> = lists.map(|(name, containers)| format!("\"{name}\":[{}]", list(containers))).collect();
    format!("Pod resize completed: {{{}}}", fields.join(","))
}

/// In the order of Go's fields.
fn resources_json(resources: Option<&ResourceRequirements>) -> String {
    let lists = resources.into_iter().flat_map(|r| [("limits", r.limits.as_ref()), ("requests", r.requests.as_ref())]);
    let lists = lists.filter_map(|(name, list)| Some((name, list.filter(|list| !list.is_empty())?)));
    let amounts = |list: &BTreeMap<String, Quantity>| {
        list.iter().map(|(name, amount)| format!("{name:?}:{:?}", amount.0)).collect::<Vec<_>>().join(",")
    };
    let fields: Vec<String> = lists.map(|(name, list)| format!("\"{name}\":{{{}}}", amounts(list))).collect();
    format!("{{{}}}", fields.join(","))
}

fn of_pod(what: &Happening, pod: &Pod) -> Note {
    let (kind, reason, message) = match what {
        Happening::SandboxFailed { message } => {
            (NoteType::Warning, "FailedCreatePodSandBox", format!("Failed to create pod sandbox: {message}"))
        }
        Happening::SandboxChanged => {
            let message = "Pod sandbox changed, it will be killed and re-created.";
            (NoteType::Normal, "SandboxChanged", message.to_owned())
        }
        Happening::MountFailed { step, volume, message } => {
            (NoteType::Warning, "FailedMount", format!("{step} failed for volume {volume:?} : {message}"))
        }
        Happening::Evicted { message } => (NoteType::Warning, "Evicted", message.clone()),
        Happening::KillFailed { message } => {
            (NoteType::Warning, "FailedKillPod", format!("error killing pod: {message}"))
        }
        Happening::ResizeCompleted => (NoteType::Normal, "ResizeCompleted", resize_completed(pod)),
        _ => {
            let message = "Pod was active on the node longer than the specified deadline";
            (NoteType::Normal, "DeadlineExceeded", message.to_owned())
        }
    };
    Note { kind, reason, message, container: None }
}
