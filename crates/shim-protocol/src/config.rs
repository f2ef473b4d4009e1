//! How a shim is told what it owns: `shim.json` in the bundle, written by the runtime before it spawns the shim.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything a shim needs to know. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShimConfig {
    /// The container's id, as the low-level runtime knows it.
    pub container_id: String,
    /// The OCI bundle: `config.json`, `rootfs/`.
    pub bundle: PathBuf,
    /// Where the shim listens. May be longer than `sun_path`: bind and connect go through the folder's file descriptor.
    pub socket: PathBuf,
    /// [`crate::StartRecord`] is written here once the container runs; its [copy](crate::copy_of) into the bundle.
    pub start_record: PathBuf,
    /// [`crate::ExitRecord`] is written here, durably, before anybody is told of the exit; likewise.
    pub exit_record: PathBuf,
    /// The low-level runtime, called with the command line that OCI runtimes share.
    pub runtime: LowLevelRuntime,
    /// What the container's first process has as standard streams.
    pub stdio: StdioConfig,
    /// The log in CRI's format (`<RFC 3339 nano> stdout|stderr F|P <line>`), or none.
    pub log_path: Option<PathBuf>,
    /// When a log is set aside and begun anew; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_limit: Option<LogLimit>,
    /// The container's own cgroup, in each hierarchy that has one: whatever is left in them when it ends is killed.
    pub cgroups: CgroupPaths,
    /// How many bytes of a terminal's or stream's latest output are kept for those who attach later.
    pub replay_bytes: usize,
    /// When the shim ends the container of its own accord; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<TimeLimits>,
}

/// How much of a log is kept. Held by the shim, which writes it: a log must not fill the disk while the daemon is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogLimit {
    /// The size at which a file is set aside.
    pub bytes: u64,
    /// How many there are at most, the one that is being written among them.
    pub files: usize,
}

/// How long a container may go on, and how it is ended then. Kept by the shim, since the daemon may not be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimeLimits {
    /// Milliseconds from the start.
    pub ttl_ms: Option<u64>,
    /// Milliseconds in which no byte goes to or comes from a client, whether or not one is attached.
    pub idle_timeout_ms: Option<u64>,
    /// The signal that asks the first process to end.
    pub stop_signal: i32,
    /// Milliseconds from there to SIGKILL.
    pub grace_ms: u64,
}

/// An OCI runtime binary: `remora-create`, `runc` or `crun`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LowLevelRuntime {
    /// The binary.
    pub path: PathBuf,
    /// Its `--root`: where it keeps its own state.
    pub root: PathBuf,
    /// Further arguments that go before the command, such as `--systemd-cgroup`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}

/// Standard streams of a container's first process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StdioConfig {
    /// One terminal for all three.
    pub tty: bool,
    /// Keep standard input open; without it, it is `/dev/null`.
    pub stdin: bool,
    /// Close standard input for good when the first attached client leaves or closes it.
    pub stdin_once: bool,
}

/// Folders of one cgroup. cgroup v2: one path. cgroup v1: one per hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CgroupPaths(pub Vec<PathBuf>);
