//! Exec, attach and log streams: the traits by which services hand them to each other, and their framing on the wire.
//!
//! Callers: the API server (as the server of WebSocket sessions), node and runtime (through the traits).

#![forbid(unsafe_code)]

mod seam;

pub use seam::{
    ContainerStreams, ExecOptions, LogChunks, LogOptions, LogStream, PodContainer, PodStreams, Reader, SessionEnd,
    Stdio, StreamError, TerminalSize, Writer,
};
