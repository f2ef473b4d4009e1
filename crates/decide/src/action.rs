//! What can be done to a pod: data, carried out by the node agent.

use jiff::Timestamp;

use crate::back_off::BackOff;
use crate::note::Happening;
use crate::resize::ResizeStep;
use crate::spec::PullPolicy;

/// What to do now, in this order, and when to look again even if nothing happens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// May run at the same time: no two have the same [`Subject`]. They are begun in this order.
    pub actions: Vec<Action>,
    /// The next moment at which time alone changes the plan or the status.
    pub look_again: Option<Timestamp>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the pod's folders and all its volumes.
    SetUpVolumes,
    /// Look how large its volumes with limits are.
    MeasureStorage,
    /// Make a sandbox.
    CreateSandbox {
        /// How many the pod had before.
        attempt: u32,
    },
    /// Find the image of a container's next start, pulling it if the policy says so.
    EnsureImage {
        /// The container.
        container: String,
        /// As in the spec.
        image: String,
        /// Its pull policy.
        pull: PullPolicy,
    },
    /// Create and start a container.
    StartContainer {
        /// The container.
        container: String,
        /// The sandbox to put it in.
        sandbox: String,
        /// What [`Action::EnsureImage`] has found.
        image_ref: String,
        /// How often one of this name was restarted before.
        restart_count: u32,
        /// Its crash back-off from now on.
        back_off: Option<BackOff>,
        /// Whose processes it joins.
        target: Option<Target>,
    },
    /// Ask a container to end, and kill it if it has not by then.
    StopContainer {
        /// The container.
        container: String,
        /// The runtime's id.
        id: String,
        /// When it must be gone.
        by: Timestamp,
        /// Why.
        reason: StopReason,
    },
    /// Give running containers, and the pod as a whole, other resources.
    Resize {
        /// The sandbox that they stand in.
        sandbox: String,
        /// In this order; those after one that fails are not taken.
        steps: Vec<ResizeStep>,
    },
    /// Remove a container that does not run.
    RemoveContainer {
        /// The container.
        container: String,
        /// The runtime's id.
        id: String,
    },
    /// Stop a sandbox: its network is given back.
    StopSandbox {
        /// The runtime's id.
        id: String,
    },
    /// Remove a sandbox with all its containers.
    RemoveSandbox {
        /// The runtime's id.
        id: String,
    },
    /// Tell people.
    Announce(Happening),
    /// Take the volumes down.
    TearDownVolumes,
    /// Delete the pod from the API with grace 0: all of it is gone here.
    DeletePodFromApi,
    /// Remove the pod's logs and end its actor.
    Forget,
}

/// The container that an ephemeral container aims at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub container: String,
    /// The runtime's id of its newest instance; none if it has never been started.
    pub id: Option<String>,
    /// The id of the instance that has ended last; none if none has, or the runtime does not have it any more.
    pub ended: Option<String>,
}

/// Why a container is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The pod ends.
    PodEnds,
    /// Its image was changed in the spec.
    DefinitionChanged,
    /// Its sandbox is gone.
    SandboxChanged,
    /// Its liveness probe failed.
    LivenessProbe,
    /// Its startup probe failed.
    StartupProbe,
    /// Its postStart hook failed.
    PostStartHook,
    /// It is to have other resources, and its policy is `RestartContainer`.
    Resized,
}

/// What an action is about. At most one action per subject is under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The volumes.
    Volumes,
    /// How large the volumes are.
    Storage,
    /// The sandboxes.
    Sandbox,
    /// The image of a container.
    Image(String),
    /// The start, or the removal, of a container.
    Start(String),
    /// The resources of what runs.
    Resources,
    /// The pod in the API.
    Api,
    /// The pod's actor.
    Actor,
}

impl Action {
    /// What it is about. None: it may be begun although another one runs (a second stop shortens the first).
    pub fn subject(&self) -> Option<Subject> {
        Some(match self {
            Self::SetUpVolumes | Self::TearDownVolumes => Subject::Volumes,
            Self::MeasureStorage => Subject::Storage,
            Self::CreateSandbox { .. } | Self::StopSandbox { .. } | Self::RemoveSandbox { .. } => Subject::Sandbox,
            Self::EnsureImage { container, .. } => Subject::Image(container.clone()),
            Self::StartContainer { container, .. } | Self::RemoveContainer { container, .. } => {
                Subject::Start(container.clone())
            }
            Self::Resize { .. } => Subject::Resources,
            Self::StopContainer { .. } | Self::Announce(_) => return None,
            Self::DeletePodFromApi => Subject::Api,
            Self::Forget => Subject::Actor,
        })
    }
}

impl Plan {
    /// Asks to be asked again at a time, or earlier.
    pub(crate) fn wake_at(&mut self, at: Timestamp) {
        self.look_again = Some(self.look_again.map_or(at, |before| before.min(at)));
    }
}
