//! The machine as the API sees it: its Node object, its lease, what it has.

mod facts;
mod lease;
mod object;

pub(crate) use facts::{Machine, PODS, memory_bytes};
pub(crate) use lease::renew;
pub(crate) use object::register;
