//! Requests: one enum of all that the API server can be asked, and the pure functions that read it from method, path,
//! query and headers. Nothing here touches the store; [`crate::server`] authorizes by [`RequestInfo`], then asks
//! [`ApiRequest::route`], then acts.

mod info;
pub mod media;
pub mod options;
mod query;
mod route;

pub use info::{RequestInfo, ResourceInfo};
pub use media::{Accepted, Encoding, Form};
pub use options::{ListOptions, Match, PatchOptions, WatchOptions, WriteOptions};
pub use query::Query;
pub use route::{ApiRequest, Collection, Discovery, OpenApi, Part, Refusal, SessionKind};
