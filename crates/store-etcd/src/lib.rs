//! etcd as an [`Engine`](remora_store::Engine): keys below a prefix, followed by one watch.
//!
//! - [`config`]: where it is and how one gets in;
//! - `messages`, `convert`, `watching`, `errors`: etcd's words (pure);
//! - `connection`: gRPC over a connection that one can see break;
//! - `link` and `news`: the task that keeps a connection and a watch, and what it tells;
//! - `engine`: requests.
//!
//! A crate of its own, so that gRPC is below nothing but the main program.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod config;
mod connection;
mod convert;
mod engine;
mod errors;
mod link;
mod messages;
mod news;
mod watching;

pub use config::{Address, AddressError, Endpoint, EtcdConfig, Login, TlsFiles};
pub use engine::EtcdEngine;
