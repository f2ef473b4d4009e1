//! What a debug session is, on any cluster: an ephemeral container, planned, added, awaited and attached to.
//!
//! [`plan`](plan()) decides and is pure; [`Session`] carries it out through a `kube::Client`. The command line parses and prints.

#![forbid(unsafe_code)]

mod plan;
mod progress;
mod session;

pub use plan::{DebugPlan, DebugRequest, EnvVar, PlanError, Profile, default_container, plan};
pub use progress::{Progress, Waiting, progress};
pub use session::{Session, SessionError};
