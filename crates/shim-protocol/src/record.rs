//! The two records that a shim leaves on disk, each [sealed](crate::seal()), written to a temporary file, synced and renamed; and a
//! [copy](crate::copy_of) of each.

use serde::{Deserialize, Serialize};

/// The container runs, or ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StartRecord {
    /// The first process, in the host's PID namespace.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: with the pid it names a process for as long as the machine runs.
    pub pid_start_time: u64,
    /// The shim, likewise.
    pub shim_pid: i32,
    /// Nanoseconds since the Unix epoch.
    pub started_at: i64,
}

/// How the container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExitRecord {
    /// 0–255; 128 + n when ended by signal n.
    pub exit_code: i32,
    /// The signal, if that is what ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The kernel's memory controller killed a process of it.
    #[serde(default)]
    pub oom_killed: bool,
    /// Nanoseconds since the Unix epoch; none if it never started.
    pub started_at: Option<i64>,
    /// Nanoseconds since the Unix epoch.
    pub finished_at: i64,
    /// The shim ended it, since its time was up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired: Option<Expired>,
    /// Why it could not be started, if that is how it ended: nobody may have heard the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A time limit that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expired {
    /// Which one.
    pub limit: TimeLimit,
    /// What it was, in milliseconds.
    pub after_ms: u64,
}

/// The limits of [`crate::TimeLimits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TimeLimit {
    /// [`crate::TimeLimits::ttl_ms`].
    Ttl,
    /// [`crate::TimeLimits::idle_timeout_ms`].
    IdleTimeout,
}
