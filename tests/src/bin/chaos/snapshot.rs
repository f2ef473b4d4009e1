//! What is seen at one moment: the other half of the truth. Types only; `observe` fills them, `invariants` judges them.

use std::collections::{BTreeMap, BTreeSet};

/// Everything that can be seen of the node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Pods of the API, by name.
    pub(crate) pods: BTreeMap<String, PodView>,
    /// How often each container began, by `pod.container`. Read before the pods.
    pub(crate) starts: BTreeMap<String, u32>,
    pub(crate) disk: Disk,
    pub(crate) kernel: Kernel,
}

/// A pod in the API.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodView {
    pub(crate) uid: String,
    pub(crate) going: bool,
    pub(crate) ready: bool,
    pub(crate) phase: String,
    pub(crate) ephemerals: Vec<String>,
    pub(crate) containers: BTreeMap<String, ContainerView>,
}

/// A container in a pod's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContainerView {
    /// Without `remora://`; empty if it never had one.
    pub(crate) id: String,
    pub(crate) restart_count: i64,
    pub(crate) state: State,
    /// How the one before ended.
    pub(crate) last: Option<Ended>,
}

/// Its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Unknown,
    Waiting(String),
    Running,
    Ended(Ended),
}

/// An end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) id: String,
    pub(crate) code: i32,
    pub(crate) reason: String,
    /// The node's words, as evidence.
    pub(crate) message: String,
}

/// The node's folders.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) sandboxes: Vec<SandboxView>,
    /// Container → sandbox, by the records.
    pub(crate) containers: BTreeMap<String, String>,
    /// Folders below RUN.
    pub(crate) running_sandboxes: BTreeSet<String>,
    pub(crate) running_containers: BTreeSet<String>,
    /// Containers that the low-level runtime remembers.
    pub(crate) low_level: BTreeSet<String>,
    /// Sandboxes that hold an address.
    pub(crate) addresses: BTreeSet<String>,
    /// UIDs that have a folder of volumes.
    pub(crate) volumes: BTreeSet<String>,
    /// UIDs that have a folder of logs.
    pub(crate) logs: BTreeSet<String>,
}

/// A sandbox by its record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SandboxView {
    pub(crate) id: String,
    /// From its cgroup's name.
    pub(crate) pod: String,
    /// It has an address and a network namespace, and has not been stopped.
    pub(crate) connected: bool,
}

/// What the kernel holds for the node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kernel {
    /// Below the node's folders.
    pub(crate) mounts: Vec<String>,
    /// Containers and sandboxes that have a shim; one entry for each shim.
    pub(crate) shims: Vec<String>,
    /// Command lines of `remora-create` that run.
    pub(crate) creators: Vec<String>,
    pub(crate) cgroups: Vec<CgroupView>,
    /// Interfaces of pods on the node's side.
    pub(crate) interfaces: BTreeSet<String>,
}

/// One cgroup of the node, in one hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CgroupView {
    /// Relative to the node's own.
    pub(crate) path: String,
    /// Processes in it, not below it.
    pub(crate) processes: usize,
}
