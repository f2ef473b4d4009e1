//! The world as the node agent sees it: the argument of every decision. Built from CRI answers and from the outcome of
//! earlier actions; nothing here looks anything up.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, PodStatus};

use crate::action::{StopReason, Subject};
use crate::back_off::BackOff;
use crate::note::Happening;
use crate::resize::Resize;
use crate::storage::Measured;

/// One pod's world.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The node's addresses, for the status.
    pub host_ips: Vec<String>,
    /// The runtime's name, as in `containerID: name://…`.
    pub runtime: String,
    /// The pod's volumes.
    pub volumes: Volumes,
    /// What was last found of the volumes that may only get so large.
    pub storage: Option<Measured>,
    /// The pod's sandboxes, newest first.
    pub sandboxes: Vec<Sandbox>,
    /// When to try again to make one, after a failure.
    pub sandbox_retry: Option<Timestamp>,
    /// What is known of each container, by name.
    pub tracks: BTreeMap<String, Track>,
    /// What its containers are to have, and have.
    pub resize: Resize,
    /// What was last said of the pod: by us, or in the API when the pod was first met.
    pub reported: PodStatus,
    /// Whether the API holds `reported`.
    pub status_written: bool,
    /// The API no longer has the pod; the file of a static pod is gone.
    pub removed: bool,
    /// The pod is a file of this node's. What the API has is a picture of it, which may come and go.
    pub is_static: bool,
    /// Only the runtime has it: its object or its file went while no agent looked.
    pub is_left: bool,
    /// What is being done at this moment.
    pub doing: BTreeSet<Subject>,
}

/// The pod's volumes, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Volumes {
    /// Not set up, or torn down.
    #[default]
    Absent,
    /// Every volume is there.
    Ready,
    /// At least one could not be set up.
    Failed {
        /// When to try again.
        retry: Timestamp,
    },
}

/// A sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// How many the pod had before.
    pub attempt: u32,
    /// Containers can start in it.
    pub ready: bool,
    /// The addresses that it holds; none with the node's network, or once it is stopped.
    pub ips: Vec<String>,
}

impl Sandbox {
    /// Whether it must be stopped before it may be left alone: one that has broken still holds what the network gave it.
    pub fn wants_stop(&self) -> bool {
        self.ready || !self.ips.is_empty()
    }

    /// What is left of it once it is stopped.
    pub fn stopped(&mut self) {
        self.ready = false;
        self.ips.clear();
    }
}

/// What is known of one container name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Track {
    /// The runtime's containers of this name, oldest first.
    pub attempts: Vec<Attempt>,
    /// The image for the next start.
    pub image: ImageState,
    /// Why the last try to start it made no container.
    pub failure: Option<StartFailure>,
    /// The wait after crashes.
    pub back_off: Option<BackOff>,
    /// For which restart count the crash back-off has been announced.
    pub announced: Option<u32>,
    /// What probes say about the newest attempt.
    pub probes: ProbeResults,
}

/// One container in the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The runtime's id.
    pub id: String,
    /// The sandbox that it stands in.
    pub sandbox: String,
    /// How often a container of this name was restarted before.
    pub restart_count: u32,
    /// Its state.
    pub state: AttemptState,
    /// The image's name as the runtime resolved it.
    pub image: String,
    /// The image's id or digest.
    pub image_ref: String,
    /// [`crate::container_hash`] of the spec that it was made from.
    pub spec_hash: String,
    /// The id of the container whose root it stands on, if not on its image's, or whose image's files it is shown.
    pub root_of: Option<String>,
    /// A stop is under way that ends by then, at the latest with a kill.
    pub stopping: Option<Timestamp>,
    /// Why we stopped it, if we did.
    pub stop_reason: Option<StopReason>,
}

impl Attempt {
    /// One of which nothing more is known.
    pub fn new(id: impl Into<String>, state: AttemptState) -> Attempt {
        Attempt {
            id: id.into(),
            sandbox: String::new(),
            restart_count: 0,
            state,
            image: String::new(),
            image_ref: String::new(),
            spec_hash: String::new(),
            root_of: None,
            stopping: None,
            stop_reason: None,
        }
    }
}

/// A container's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptState {
    /// Made, not started.
    Created,
    /// Started.
    Running {
        /// Since then.
        since: Timestamp,
    },
    /// Ended, or could not be started.
    Exited(Exit),
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code; 128 + n for signal n.
    pub code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, …
    pub reason: String,
    /// Termination message, or the runtime's words.
    pub message: String,
    /// None if it never ran.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Timestamp,
}

/// Whether the image for a container's next start is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ImageState {
    /// Not asked.
    #[default]
    Unknown,
    /// On this machine.
    Ready {
        /// What to create the container from.
        image_ref: String,
    },
    /// It could not be had.
    Failed {
        /// What kind of failure.
        problem: ImageProblem,
        /// The whole sentence.
        message: String,
        /// When.
        at: Timestamp,
        /// The wait before the next try.
        back_off: BackOff,
        /// Whether the back-off has been announced.
        announced: bool,
    },
}

/// Why an image could not be had. The words are those of `state.waiting.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageProblem {
    /// The registry or the unpacking failed.
    ErrImagePull,
    /// It is not here and may not be pulled.
    ErrImageNeverPull,
    /// No image can have such a name.
    InvalidImageName,
    /// The image service did not answer.
    ImageInspectError,
}

impl ImageProblem {
    /// The reason as the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ErrImagePull => "ErrImagePull",
            Self::ErrImageNeverPull => "ErrImageNeverPull",
            Self::InvalidImageName => "InvalidImageName",
            Self::ImageInspectError => "ImageInspectError",
        }
    }
}

/// Why a try to start made no container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartFailure {
    /// At which step.
    pub problem: StartProblem,
    /// The whole sentence.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// When to try again.
    pub retry: Timestamp,
}

/// The step of a start that failed. The words are those of `state.waiting.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartProblem {
    /// Its configuration cannot be made: a config map is missing, root is not allowed, the target is unknown.
    CreateContainerConfigError,
    /// The runtime refused to create it.
    CreateContainerError,
    /// It was created but could not be started, and the runtime does not know how it ended.
    RunContainerError,
}

impl StartProblem {
    /// The reason as the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreateContainerConfigError => "CreateContainerConfigError",
            Self::CreateContainerError => "CreateContainerError",
            Self::RunContainerError => "RunContainerError",
        }
    }
}

/// What probes and hooks say about the newest attempt of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeResults {
    /// The startup probe has succeeded once.
    pub started: bool,
    /// The readiness probe's last word.
    pub ready: bool,
    /// The id of a container that must go: liveness, startup or its postStart hook failed.
    pub must_stop: Option<(String, StopReason)>,
}

impl Attempt {
    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        matches!(self.state, AttemptState::Running { .. })
    }
}

impl Track {
    /// The newest container of this name.
    pub fn last(&self) -> Option<&Attempt> {
        self.attempts.last()
    }
}

impl Observed {
    /// The newest sandbox, if containers can start in it.
    pub fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|s| s.ready)
    }

    /// What is known of a container, if anything.
    pub fn track(&self, name: &str) -> Option<&Track> {
        self.tracks.get(name)
    }

    /// The newest attempt of a container. One that the runtime has forgotten, but of which the status tells, counts as
    /// ended: a container that was removed behind our back has run.
    pub fn last_attempt(&self, name: &str) -> Option<Cow<'_, Attempt>> {
        match self.track(name).and_then(Track::last) {
            Some(attempt) => Some(Cow::Borrowed(attempt)),
            None => self.reported_status(name).and_then(lost_attempt).map(Cow::Owned),
        }
    }

    /// What was last said of a container.
    pub fn reported_status(&self, name: &str) -> Option<&ContainerStatus> {
        let r = &self.reported;
        [&r.init_container_statuses, &r.container_statuses, &r.ephemeral_container_statuses]
            .into_iter()
            .flatten()
            .flatten()
            .find(|s| s.name == name)
    }

    /// Something is being made or taken down. A pull is not: its end changes nothing for a pod that ends.
    pub(crate) fn is_busy(&self) -> bool {
        self.doing.iter().any(|s| matches!(s, Subject::Volumes | Subject::Sandbox | Subject::Start(_)))
    }

    /// All containers that the runtime has, with their names.
    pub fn attempts(&self) -> impl Iterator<Item = (&str, &Attempt)> {
        self.tracks.iter().flat_map(|(name, track)| track.attempts.iter().map(move |a| (name.as_str(), a)))
    }

    /// Whether a container that has not ended has the root of this one.
    pub(crate) fn is_stood_on(&self, id: &str) -> bool {
        let stands_on = |a: &Attempt| a.root_of.as_deref() == Some(id) && !matches!(a.state, AttemptState::Exited(_));
        self.attempts().any(|(_, a)| stands_on(a))
    }

    /// Notes that something has been announced, so that the plan does not ask for it again.
    pub fn announced(&mut self, what: &Happening) {
        match what {
            Happening::CrashBackOff { container } => {
                let restarts = self.last_attempt(container).map(|a| a.restart_count);
                self.tracks.entry(container.clone()).or_default().announced = restarts;
            }
            Happening::PullBackOff { container, .. } => {
                let track = self.tracks.entry(container.clone()).or_default();
                if let ImageState::Failed { announced, .. } = &mut track.image {
                    *announced = true;
                }
            }
            Happening::ResizeCompleted => self.resize.in_progress = None,
            _ => {}
        }
    }
}

/// A container that only the status knows.
fn lost_attempt(status: &ContainerStatus) -> Option<Attempt> {
    let id = status.container_id.as_deref()?;
    let ended = |s: &Option<ContainerState>| s.as_ref().and_then(|s| s.terminated.clone());
    let exit = match ended(&status.state).or_else(|| ended(&status.last_state)) {
        Some(t) => Exit {
            code: t.exit_code,
            reason: t.reason.unwrap_or_default(),
            message: t.message.unwrap_or_default(),
            started: t.started_at.map(|t| t.0),
            finished: t.finished_at.map_or(Timestamp::UNIX_EPOCH, |t| t.0),
        },
        None => Exit {
            code: 137,
            reason: "ContainerStatusUnknown".to_owned(),
            message: "The container could not be located when the pod was deleted.  The container used to be Running"
                .to_owned(),
            started: None,
            finished: Timestamp::UNIX_EPOCH,
        },
    };
    Some(Attempt {
        restart_count: u32::try_from(status.restart_count).unwrap_or(0),
        image: status.image.clone(),
        image_ref: status.image_id.clone(),
        ..Attempt::new(id.split_once("://").map_or(id, |(_, id)| id), AttemptState::Exited(exit))
    })
}
