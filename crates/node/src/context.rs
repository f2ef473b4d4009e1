//! What all actors share: configuration, recorder of events, tasks. Cheap to clone.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use remora_cri::CgroupDriver;
use remora_decide::{Happening, notes};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::claims::Claims;
use crate::config::Config;
use crate::container::services::KeptServices;
use crate::events::Recorder;
use crate::machine::Machine;
use crate::mounts::Mounts;
use crate::probes::ProbeCounts;
use crate::volumes::sources::Sources;

/// Shared by everything of one node agent.
#[derive(Clone)]
pub(crate) struct Context(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) config: Config,
    /// Mounting for volumes.
    pub(crate) mounts: Arc<dyn Mounts>,
    pub(crate) recorder: Recorder,
    /// What this machine has.
    pub(crate) machine: Machine,
    /// Who has how much of it.
    pub(crate) claims: Claims,
    /// The right to allot a range of the host's ids to a pod; see `users`.
    pub(crate) ranges: Mutex<()>,
    /// The runtime's name, as in `containerID: name://…`.
    pub(crate) runtime_name: String,
    /// Its name and version, `remora://0.1.0`.
    pub(crate) runtime_version: String,
    /// Whose cgroups are: pods' are named accordingly.
    pub(crate) cgroup_driver: CgroupDriver,
    /// Word of changes of what volumes are made of.
    pub(crate) sources: Sources,
    /// What services there were when they were last listed.
    pub(crate) services: KeptServices,
    /// How probes went.
    pub(crate) probe_counts: ProbeCounts,
    /// Every task; shutdown waits for them.
    pub(crate) tasks: TaskTracker,
    /// Cancelled at shutdown: begin nothing new.
    pub(crate) stop: CancellationToken,
}

impl Deref for Context {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Context {
    pub(crate) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.config.clock)()
    }

    /// Tells people what happened to a pod.
    pub(crate) fn tell(&self, pod: &Pod, what: &Happening) {
        for note in notes(what, pod) {
            self.recorder.pod(pod, &note);
        }
    }

    pub(crate) fn pod_folder(&self, pod: &Pod) -> PathBuf {
        self.config.pod_folder(id_of(pod).uid)
    }

    pub(crate) fn log_folder(&self, pod: &Pod) -> PathBuf {
        let id = id_of(pod);
        self.config.log_folder(id.namespace, id.name, id.uid)
    }
}

/// The three names of a pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PodId<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) uid: &'a str,
}

/// A pod's names; the API never sends an object without them.
pub(crate) fn id_of(pod: &Pod) -> PodId<'_> {
    let m = &pod.metadata;
    PodId {
        namespace: m.namespace.as_deref().unwrap_or_default(),
        name: m.name.as_deref().unwrap_or_default(),
        uid: m.uid.as_deref().unwrap_or_default(),
    }
}
