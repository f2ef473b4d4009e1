//! Remora's container runtime: CRI on one machine, by way of shims and an OCI runtime.
//!
//! ```text
//! node ── cri::RuntimeService, streaming::ContainerStreams ──▶ Runtime
//!   sandbox/    namespaces pinned on files, network, cgroup, shared files        (network, sys)
//!   container/  image layers → overlay → bundle → shim → exit                     (images, oci-config, sys)
//!   cgroup/     who makes cgroups: folders of ours, or units of systemd's          (sys)
//!   shim/       the other end of a shim's socket                                  (shim-protocol)
//!   record      what is written down, so that the next daemon adopts what runs    (recovery, teardown)
//! ```
//!
//! A container's shim owns its terminal, log and exit record and outlives the daemon: [`Runtime::close`] (or `kill -9`) leaves all
//! containers running, and the next [`Runtime::open`] finds them. [`Runtime::teardown`] leaves nothing.
//!
//! **Invariant:** nothing here knows the Kubernetes API; a pod is a CRI sandbox. No state is polled: exits, starts and removals are
//! seen as events.

#![forbid(unsafe_code)]

mod cgroup;
mod config;
mod container;
#[cfg(feature = "contract")]
pub mod contract;
mod error;
mod events;
mod exec;
mod host;
mod identity;
mod images;
mod low_level;
mod port_forward;
mod record;
mod recovery;
mod runtime;
mod sandbox;
mod service;
mod shim;
mod stats;
mod streams;
mod table;
mod task;
mod teardown;
mod users;

pub use cgroup::{detect_cgroup_driver, require_systemd};
pub use config::{Handler, RuntimeConfig};
pub use error::Error;
pub use images::{Images, LeasedImage};
pub use recovery::leases;
pub use runtime::Runtime;

pub(crate) use runtime::Inner;
