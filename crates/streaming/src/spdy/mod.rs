//! SPDY/3.1 as Kubernetes' clients speak it: the server's end of one connection with many streams.
//!
//! There is no kept crate for it (decision 0002). Written for the one other end there is, moby/spdystream: it knows no flow control, so
//! what a service does not read stops the whole connection, as there. Nothing is unbounded: not the streams, not what a stream holds,
//! not what waits to be sent, not what a header block unfolds to.
//!
//! | module | what is in it | pure |
//! |---|---|:--:|
//! | [`frame`] | frames, from bytes and to bytes | ✔ |
//! | [`headers`] | header blocks, bounded while they unfold | ✔ |
//! | `connection` | one connection: a task that reads and writes its frames | |
//! | `stream` | one stream, as a reader and a writer | |
//! | `remote_command` | which streams are a session's [`Stdio`](crate::Stdio) | |

mod connection;
pub mod frame;
pub mod headers;
mod remote_command;
mod stream;
mod table;

pub(crate) use connection::{Connection, serve};
pub(crate) use remote_command::RemoteCommand;
pub use remote_command::{NoStreams, accept};
pub(crate) use stream::{Offer, Stream};
