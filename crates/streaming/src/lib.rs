//! Exec, attach and log streams: the traits by which services hand them to each other, and their framing on the wire.
//!
//! What it is not: it runs nothing and knows no pod; it carries bytes between a client and a [`Stdio`]. Followed logs need no
//! framing: they are plain chunked HTTP, the API server's.
//! Callers: the API server (as the server of WebSocket sessions), node and runtime (through the traits).
//!
//! | module | what is in it | pure |
//! |---|---|:--:|
//! | `seam` | the traits and the types that cross them | |
//! | [`negotiate`](mod@negotiate) | a request's headers → a protocol, or why not | ✔ |
//! | [`protocol`] | channels, and the messages on them | ✔ |
//! | `ending` | how a session's end is told to its client | ✔ |
//! | `stdio` | the ends of a session as readers and writers | |
//! | [`session`] | one WebSocket connection | |
//!
//! A session's way: [`negotiate()`] → answer 101 → [`accept`] → hand [`Stdio`] to a [`PodStreams`] → [`Session::finish`].
//! SPDY will be another way to the same [`Stdio`].
#![forbid(unsafe_code)]

mod ending;
pub mod negotiate;
pub mod protocol;
mod seam;
pub mod session;
mod stdio;

pub use negotiate::{Refusal, Upgrade, negotiate};
pub use protocol::Protocol;
pub use seam::{
    ContainerStreams, ExecOptions, LogChunks, LogOptions, LogStream, PodContainer, PodStreams, Reader, SessionEnd,
    Stdio, StreamError, TerminalSize, Writer,
};
pub use session::{ClientGone, Session, Wanted, accept};
