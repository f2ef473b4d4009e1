//! What the runtime found out before it asked for a spec: the image's configuration, the host, the sandbox.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Capabilities;

use crate::{AppArmor, ResolvedUser, UserNamespace};

/// The part of an image's configuration that a container inherits (OCI image spec, `config`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// Default arguments, or the program if there is no entrypoint.
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Empty is `/`.
    pub working_dir: String,
    /// `user`, `uid`, `user:group`, …; empty is root.
    pub user: String,
    /// `SIGTERM`, `15`, …; empty is SIGTERM.
    pub stop_signal: String,
}

/// Facts about host, sandbox and container that need IO to know.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The container's id.
    pub container_id: String,
    /// The sandbox's id.
    pub sandbox_id: String,
    /// Where the root file system is mounted.
    pub rootfs: PathBuf,
    /// As [`crate::resolve_user`] found it.
    pub user: ResolvedUser,
    /// The container's cgroup, from the hierarchy's root.
    pub cgroups_path: PathBuf,
    /// Which hierarchy holds the controllers.
    pub cgroup_version: CgroupVersion,
    /// How the container is joined to its sandbox.
    pub namespaces: NamespacePaths,
    /// Which ids of the host the pod's are; none: the host's own.
    pub user_namespace: Option<UserNamespace>,
    /// Files of the sandbox that every container sees.
    pub files: SandboxFiles,
    /// The name that the sandbox's UTS namespace has; `HOSTNAME` in the environment.
    pub hostname: String,
    /// What this host may hand out (its own bounding set).
    pub held_capabilities: Capabilities,
    /// What AppArmor can do on this host.
    pub apparmor: AppArmor,
    /// `oom_score_adj` cannot be set below this value, because CAP_SYS_RESOURCE is missing. None: any value can be set.
    pub oom_score_adj_floor: Option<i32>,
    /// Swap is accounted for (`memory.memsw.*` or `memory.swap.*` exist).
    pub swap_controller: bool,
    /// The hugetlb controller exists.
    pub hugetlb_controller: bool,
    /// Device nodes behind each `host_path` of the request (a folder gives several), and under [`Facts::ALL_DEVICES`] all of
    /// the host's for a privileged container.
    pub devices: BTreeMap<String, Vec<HostDevice>>,
    /// The text of the Localhost seccomp profile, if one is asked for.
    pub localhost_seccomp: Option<String>,
}

impl Facts {
    /// The key of [`Facts::devices`] for everything below `/dev`.
    pub const ALL_DEVICES: &str = "/dev";
}

/// Files of a sandbox, bound into each of its containers unless a CRI mount already covers the place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxFiles {
    /// `/dev/shm`.
    pub shm: PathBuf,
    /// Those below `/etc`; none where the root has the sandbox's already.
    pub etc: Option<EtcFiles>,
}

/// Files of a sandbox below `/etc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcFiles {
    /// `/etc/hosts`.
    pub hosts: PathBuf,
    /// `/etc/hostname`.
    pub hostname: PathBuf,
    /// `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
}

impl EtcFiles {
    /// Where they are seen.
    pub(crate) const PLACES: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

    /// In the order of [`EtcFiles::PLACES`].
    pub(crate) fn sources(&self) -> [&Path; 3] {
        [&self.hostname, &self.hosts, &self.resolv_conf]
    }
}

/// The layout of `/sys/fs/cgroup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupVersion {
    /// A hierarchy per controller, also in hybrid mode.
    V1,
    /// One hierarchy.
    V2,
}

/// How to come to a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Join {
    /// Stay in the host's.
    Host,
    /// A new one of its own.
    New,
    /// That of this path (`/proc/PID/ns/pid`, a pinned file).
    Path(PathBuf),
}

/// Where a container's shared namespaces come from. The mount namespace is always its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespacePaths {
    /// Network.
    pub network: Join,
    /// System V IPC and POSIX message queues.
    pub ipc: Join,
    /// Host name.
    pub uts: Join,
    /// Processes.
    pub pid: Join,
    /// Users and groups. It owns the others.
    pub user: Join,
}

/// A device node as the host has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDevice {
    /// Its path on the host.
    pub path: PathBuf,
    /// Character or block.
    pub kind: HostDeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Kinds of device nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostDeviceKind {
    /// Character device.
    Char,
    /// Block device.
    Block,
}
