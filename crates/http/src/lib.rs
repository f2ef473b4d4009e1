//! The one HTTP server of Remora: TLS, HTTP/1.1 and HTTP/2, upgrades, in-memory connectors, limits, and the certificates
//! that it shows and trusts.
//!
//! What it is not: it knows no Kubernetes object, path or Status; [`Handler`]s do. It decides who is at the other end of
//! a connection ([`Peer`]), never what that user may do.
//! Called by the API server (serves), the binary (joins listeners, connectors and handler), the node agent (asks pods, [`client`]).
//!
//! | module | what is in it |
//! |---|---|
//! | [`server`] | accepts from every listener, serves, drains |
//! | [`handler`] | what answers requests, and what watches that |
//! | [`connection`] | who is at the other end, and when it must end |
//! | [`body`] | bodies, and reading one within a limit |
//! | [`tls`], [`memory`] | the two ways in |
//! | [`client`] | one request to whoever listens: probes and hooks |
//! | [`upgrade`], [`exchange()`] | taking a connection over from HTTP, passing a request on |
//! | [`pki`] | our certificate authority and what it has signed |
#![forbid(unsafe_code)]

pub mod body;
pub mod client;
pub mod connection;
mod exchange;
mod guard;
pub mod handler;
mod identity;
mod limits;
pub mod memory;
pub mod pki;
pub mod server;
mod shutdown;
pub mod tls;
pub mod upgrade;

pub use body::{Body, BoxError, ReadBodyError, read_body};
pub use connection::{Connection, Peer};
pub use exchange::exchange;
pub use handler::{Handler, Observer, Responded};
pub use identity::User;
pub use limits::Limits;
pub use memory::{MemoryClient, MemoryConnector, MemoryConnectors, MemoryListener};
pub use pki::{Pki, PkiError};
pub use server::{Ending, Server};
pub use shutdown::Shutdown;
pub use tls::{BindError, TlsConfig, TlsListener};
