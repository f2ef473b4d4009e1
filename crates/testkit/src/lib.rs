//! What tests of whole services share: fakes of the seams, a clock that follows tokio's, pods in few words.
//!
//! Only ever a dev-dependency. The fakes are honest: what CRI forbids they refuse, what it promises they keep.

#![forbid(unsafe_code)]

pub mod behaviours;
mod clock;
mod etcd;
mod pod;
mod program;
pub mod recorded;
mod runtime;
mod streams;

pub use clock::paused_clock;
pub use etcd::{Etcd, EtcdTls, free_port};
pub use pod::{container, ephemeral_patch, pod};
pub use program::{End, Program, Start};
pub use runtime::FakeRuntime;
