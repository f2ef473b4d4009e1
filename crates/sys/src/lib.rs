//! System calls in words: mounts, namespaces, processes, sockets, durable files, cgroups, users.
//!
//! Each module wraps what the kernel offers in the shape that Remora needs it. Nothing here decides anything, knows a pod or a
//! container, or is async: calls that may wait say so, and those who run on an async runtime move them to a blocking thread.
//! Called by `runtime`, `images`, `network`, `node`, `shim` and `create`.

mod error;

pub mod apparmor;
pub mod cgroup;
mod disk_usage;
pub mod file;
pub mod inode;
pub mod inotify;
pub mod interfaces;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod process;
pub mod rootfs;
pub mod signal;
pub mod socket;
pub mod spawn;
pub mod tree;
pub mod user_namespace;
pub mod users;
pub mod vacate;

pub use disk_usage::{DiskUsage, KeptByFolder, disk_usage};
pub use error::{Error, Result};
