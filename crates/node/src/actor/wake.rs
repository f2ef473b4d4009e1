//! Why an actor looks again: a closed list.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use remora_cri::ContainerStatus;
use remora_decide::{Attempt, BackOff, ImageProblem, Measured, ResizeStep, Sandbox, StartFailure, StopReason};

use super::observe::Adopted;
use super::report::Written;
use crate::volumes::SetUp;
use crate::volumes::sources::{Revision, Source};

/// What wakes an actor.
#[derive(Debug)]
pub(crate) enum Wake {
    /// The object changed.
    Pod(Arc<Pod>),
    /// The API has dropped the object; this was its last state.
    Removed(Arc<Pod>),
    /// The mirror of this static pod as the API has it now; none if it has none.
    Mirror(Option<Arc<Pod>>),
    /// A container's state, after an event of the runtime.
    Container(Box<ContainerStatus>),
    /// The runtime no longer has a container.
    ContainerGone(String),
    /// The sandbox has died or come back.
    Sandbox(Sandbox),
    /// All that the runtime has, after a gap in its events.
    Everything(Box<Adopted>),
    /// An action has ended.
    Done(Box<Outcome>),
    /// The status has been written, or not.
    Reported(Box<Result<Written, kube::Error>>),
    /// A probe or hook has something to say.
    Probed(Probed),
    /// Something that its volumes are made of is in this revision now.
    Source(Source, Revision),
    /// A moment that a decision named.
    Time,
}

/// News from a probe.
#[derive(Debug)]
pub(crate) struct Probed {
    pub(crate) container: String,
    pub(crate) id: String,
    pub(crate) news: ProbeNews,
}

/// What a probe found out.
#[derive(Debug)]
pub(crate) enum ProbeNews {
    Started,
    Ready(bool),
    MustStop(StopReason),
}

/// How an action ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    VolumesUp(SetUp),
    VolumesDown(Result<(), String>),
    Measured(Measured),
    SandboxCreated(Result<Sandbox, String>),
    SandboxStopped { id: String, result: Result<(), String> },
    SandboxRemoved { id: String, result: Result<(), String> },
    Image { container: String, result: Result<String, ImageFailure> },
    Started { container: String, back_off: Option<BackOff>, result: Result<Attempt, StartFailure> },
    Stopped { container: String, id: String, by: Timestamp, result: Result<Option<Attempt>, String> },
    Resized { done: Vec<ResizeStep>, result: Result<(), String> },
    Removed { container: String, id: String, result: Result<(), String> },
    Deleted(Result<(), String>),
}

/// Why an image could not be had.
#[derive(Debug)]
pub(crate) struct ImageFailure {
    pub(crate) problem: ImageProblem,
    pub(crate) message: String,
}
