//! What every client can do on a real node: each stock kubectl, command by command, in [`rows`]; the clients of other [`languages`] step by step.
//!
//! `cargo xtask test` starts the node. Every client works in a namespace of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod kube_rs;
mod languages;
mod matrix;
mod proxy;
mod row;
mod rows;
