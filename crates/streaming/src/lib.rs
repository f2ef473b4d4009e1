//! Exec, attach, port-forward and log streams: the traits by which services hand them to each other, and their framing on the wire.
//!
//! What it is not: it runs nothing and knows no pod; it carries bytes between a client and a [`Stdio`]. Most logs need no framing: they are
//! plain chunked HTTP, the API server's.
//! Callers: the API server (as the server of sessions), node and runtime (through the traits).
//!
//! | module | what is in it | pure |
//! |---|---|:--:|
//! | `seam` | the traits and the types that cross them | |
//! | [`negotiate`](mod@negotiate) | a request's headers → a protocol, or why not | ✔ |
//! | [`protocol`] | channels, and the messages on them | ✔ |
//! | `ending` | how a session's end is told to its client | ✔ |
//! | `stdio` | the ends of a session as readers and writers | |
//! | [`session`] | a session, and one WebSocket connection | |
//! | [`spdy`] | one SPDY connection, and sessions over it | frames |
//! | `joined` | a session, joined with the node for as long as both sides want | |
//! | [`messages`] | bytes that only a server sends, over WebSocket: a log | |
//! | [`port_forward`] | connections to a pod's ports, over SPDY or WebSocket | |
//!
//! A session's way: [`negotiate()`] → answer 101 → [`Joined::run`]: [`accept`] or [`spdy::accept`] → hand [`Stdio`] to a [`PodStreams`] →
//! [`Session::finish`]. A port-forward's: [`negotiate_forward`] → answer 101 → [`port_forward::serve`].
#![forbid(unsafe_code)]

mod ending;
mod joined;
pub mod messages;
pub mod negotiate;
pub mod port_forward;
pub mod protocol;
mod seam;
pub mod session;
pub mod spdy;
mod stdio;

pub use joined::{Joined, Work};
pub use negotiate::{Carrier, ForwardProtocol, Refusal, Upgrade, negotiate, negotiate_forward, negotiate_messages};
pub use protocol::Protocol;
pub use seam::{
    ContainerStreams, Duplex, ExecOptions, LogChunks, LogOptions, LogStream, PodContainer, PodName, PodStreams, Reader,
    SessionEnd, Stdio, StreamError, TerminalSize, Writer,
};
pub use session::{ClientGone, Session, Wanted, accept};
