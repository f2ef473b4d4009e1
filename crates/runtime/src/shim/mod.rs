//! The runtime's side of a shim: starting one, asking it, and carrying a client's streams to it.

mod connection;
mod session;
mod spawn;

pub(crate) use connection::{Connection, ask};
pub(crate) use session::{Collected, collect, relay};
pub(crate) use spawn::{Ahead, ShimFiles, spawn};
