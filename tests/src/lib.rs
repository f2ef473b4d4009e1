//! Helpers shared by the suites in `tests/`: the node under test, the stock clients, masks for what differs from run to run, and what a node weighs.
//!
//! `cargo xtask test` starts the node and names it in `REMORA_TEST_NODE`; without it, suites that need a node say loudly
//! that they are skipped, or fail if `REMORA_REQUIRE_ROOT` is set.

#![forbid(unsafe_code)]

pub mod cluster;
mod going;
pub mod mask;
pub mod memory;
mod node;

pub use going::Going;
pub use node::{Client, Done, TestNode, say};
