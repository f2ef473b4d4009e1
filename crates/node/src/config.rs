//! What a node agent must be told. Built by the main binary and by tests.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use remora_cri::{ImageService, RuntimeService};
use remora_streaming::ContainerStreams;

/// Tells the time; in tests it follows tokio's paused clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The machine's clock.
pub fn system_clock() -> Clock {
    Arc::new(Timestamp::now)
}

/// All that a node agent needs.
#[derive(Clone)]
pub struct Config {
    /// The name of the Node object, and of `spec.nodeName`.
    pub node_name: String,
    /// The machine's addresses, the first one first in statuses.
    pub node_ips: Vec<IpAddr>,
    /// The agent's own folder: volumes, hosts files, termination messages (`pods/UID/…`).
    pub root: PathBuf,
    /// Container logs, usually `/var/log/pods`: `NAMESPACE_NAME_UID/CONTAINER/N.log`.
    pub logs: PathBuf,
    /// The cgroup below which pods stand, `/remora`: `ROOT/kubepods/CLASS/podUID`, or the slices of these names if the runtime's cgroups are systemd's.
    pub cgroup_root: String,
    /// Containers without a seccomp profile get the runtime's default one, not none (kubelet's `--seccomp-default`).
    pub seccomp_default: bool,
    /// Processes and threads of a pod; none: as many as the machine allows (kubelet's `podPidsLimit`).
    pub pod_pids_limit: Option<i64>,
    /// What an ephemeral container may use at most.
    pub debug_limits: DebugLimits,
    /// Pods that are files of this machine; none: there are none.
    pub static_pods: Option<StaticPods>,
    /// What is kept of a container's log.
    pub log_limits: LogLimits,
    /// How pods resolve names.
    pub dns: Dns,
    /// Where pods find the API; none leaves `KUBERNETES_SERVICE_HOST` out.
    pub kubernetes_service: Option<KubernetesService>,
    /// Where the node's own HTTP API listens, if it does: the Node object says so.
    pub kubelet_port: Option<u16>,
    /// The API, with the rights of `system:node:NAME`.
    pub client: kube::Client,
    /// The runtime.
    pub runtime: Arc<dyn RuntimeService>,
    /// Its images.
    pub images: Arc<dyn ImageService>,
    /// Its exec and attach.
    pub streams: Arc<dyn ContainerStreams>,
    /// The time.
    pub clock: Clock,
}

/// Pods that are files: they run whatever the API says (kubelet's `staticPodPath`).
#[derive(Clone)]
pub struct StaticPods {
    /// Each file in it is a pod, but those whose names begin with a dot. Made if it is not there.
    pub folder: PathBuf,
    /// What a file is, by its content and its path: the pod with all its defaults, or why it is none. The rules of the API are not the agent's.
    pub read: ReadPod,
}

/// Reads a pod from the bytes of the file at a path.
pub type ReadPod = Arc<dyn Fn(&[u8], &Path) -> Result<Pod, String> + Send + Sync>;

/// The ceiling of each ephemeral container: it can have no limits of its own, and must not starve or end whom it looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugLimits {
    /// In bytes; none: as much as the pod may use.
    pub memory: Option<i64>,
    /// Processes and threads; none: as many as the machine allows.
    pub pids: Option<i64>,
}

impl Default for DebugLimits {
    /// 1 GiB, which a debugger's symbols fit into, and 1024 processes.
    fn default() -> Self {
        Self { memory: Some(1 << 30), pids: Some(1024) }
    }
}

/// What is kept of a container's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// The size at which a file is set aside and another begun; none: never (kubelet's `containerLogMaxSize`).
    pub bytes: Option<i64>,
    /// How many files are kept, the one that is being written among them (kubelet's `containerLogMaxFiles`).
    pub files: u32,
}

impl Default for LogLimits {
    /// A kubelet's.
    fn default() -> Self {
        Self { bytes: Some(10 << 20), files: 5 }
    }
}

/// How pods resolve names.
#[derive(Clone, Debug, Default)]
pub struct Dns {
    /// The cluster's servers; without any, `ClusterFirst` falls back to the machine's.
    pub servers: Vec<IpAddr>,
    /// The cluster's domain, `cluster.local`.
    pub domain: String,
    /// The machine's `resolv.conf`; none for an empty one.
    pub resolv_conf: Option<PathBuf>,
}

/// The address of the `kubernetes` service, as pods see it in their environment.
#[derive(Clone, Debug)]
pub struct KubernetesService {
    /// Address or name.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Config {
    /// A pod's own folder.
    pub(crate) fn pod_folder(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }

    /// The folder of a pod's logs.
    pub(crate) fn log_folder(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.logs.join(format!("{namespace}_{name}_{uid}"))
    }
}
