//! What the runtime and a container's shim say to each other, and what the shim leaves on disk.
//!
//! ```text
//! runtime ── spawns ──▶ remora-shim CONFIG   (config: shim.json in the bundle; fd 3: a pipe on which one Report is written)
//! runtime ── connects ─▶ shim.sock           one connection per request:
//!     ▶ Request frame    ◀ Reply frame        then, for Exec and Attach, stream frames both ways until Exit
//! ```
//!
//! A frame is: kind (1 byte), length (4 bytes, big endian), payload. Payloads of control frames are JSON; those of data
//! frames are raw bytes. Both sides are ours and the socket is 0600, yet lengths are checked: see [`MAX_CONTROL`], [`MAX_DATA`].
//!
//! **Invariant:** no IO here: [`encode`] and [`Decoder`] work on byte slices, so that the shim (blocking, no tokio) and the
//! runtime (tokio) share them.

#![forbid(unsafe_code)]

mod config;
mod frame;
mod message;
mod record;
mod seal;

pub use config::{CgroupPaths, LogLimit, LowLevelRuntime, ShimConfig, StdioConfig, TimeLimits};
pub use frame::{Decoder, Frame, FrameError, MAX_CONTROL, MAX_DATA, encode};
pub use message::{
    AttachRequest, ExecRequest, Failure, FailureKind, ProcessState, Reply, Report, Request, TerminalSize,
};
pub use record::{ExitRecord, Expired, StartRecord, TimeLimit};
pub use seal::{SealError, copy_of, seal, unseal};
