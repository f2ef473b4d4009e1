//! Pods: what is filled in, what is allowed, what may change. Ephemeral containers, the heart of Remora, are in
//! [`ephemeral`]; everything else treats them as one more list of containers.

pub mod admission;
pub mod amounts;
pub mod binding;
pub mod columns;
pub mod containers;
pub mod create;
pub mod defaults;
pub mod deletion;
mod diff;
pub mod ephemeral;
pub mod eviction;
pub mod gates;
pub mod limits;
pub mod log;
pub mod port_forward;
pub mod priority;
pub mod references;
pub mod resize;
pub mod runtime_class;
pub mod static_pod;
pub mod status;
pub mod update;
pub mod validation;
