//! The Container Runtime Interface, v1: its messages and its two services as traits.
//!
//! The node agent speaks to a container runtime through [`RuntimeService`] and [`ImageService`], whether the runtime is
//! Remora's own (a direct call) or another one behind a socket. No IO here: only words.
//!
//! **Invariant:** nothing here knows Kubernetes' API objects, nor how a container is made.

#![forbid(unsafe_code)]

pub mod annotations;
mod cgroup;
mod error;
pub mod labels;
mod messages;
mod services;

pub use cgroup::{SLICE, expand_slice, slice_part, slice_path};
pub use error::{Code, Error};
pub use messages::*;
pub use services::{ContainerEvents, ImageService, RuntimeService};
