//! Annotations of a container by which Remora's node asks Remora's runtime for what CRI has no words for.
//!
//! Other runtimes pass over them, other nodes never send them. How users ask is the node's matter (`docs/debug-on-remora.md`).

/// The container stands on another one's root file system, with its own image's files beside it: `target` (of a running container, as it
/// is) or `crashed` (of one that has ended, changes to which go into a layer of their own).
pub const ROOT: &str = "remora.dev/root";
/// The runtime's id of the container whose root that is. It must be in the same sandbox.
pub const ROOT_OF: &str = "remora.dev/root-of";
/// The container is shown the files of another one's image, as they were, at [`IMAGE`]. The runtime's id of that one, which must be in the same
/// sandbox.
pub const IMAGE_OF: &str = "remora.dev/image-of";
/// The container is ended after so many milliseconds.
pub const TTL: &str = "remora.dev/ttl-milliseconds";
/// The container is ended when for so many milliseconds no byte has gone to or come from anybody who is attached.
pub const IDLE_TIMEOUT: &str = "remora.dev/idle-timeout-milliseconds";
/// The log is set aside when it has so many bytes, and so many files of it are kept: `BYTES FILES`.
pub const LOG_LIMIT: &str = "remora.dev/log-limit";

/// [`IMAGE_OF`]: where they are.
pub const IMAGE: &str = "/dev/remora/image";
/// [`ROOT`]: of a running container.
pub const ROOT_TARGET: &str = "target";
/// [`ROOT`]: of a container that has ended.
pub const ROOT_CRASHED: &str = "crashed";
