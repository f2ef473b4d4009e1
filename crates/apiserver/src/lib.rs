//! The Kubernetes API server: HTTP requests → `rules` → the store, and watches back.
//!
//! What it is not: it decides nothing about objects (that is `remora-rules`), keeps nothing (`remora-store`), speaks no TLS
//! (`remora-http`), runs no container ([`remora_streaming::PodStreams`] of a node does). The binary joins them:
//! [`ApiServer::new`] makes a [`remora_http::Handler`].
//!
//! The way of a request, in [`server`]: authenticate and authorize ([`auth`]), wait for a turn ([`flow`]), route to one [`request::ApiRequest`], act
//! ([`verbs`], [`pods`], [`discovery`], [`openapi`], [`health`]), answer ([`forms`], [`response`]).
//!
//! | module | what is in it | pure |
//! |---|---|:--:|
//! | [`request`] | the enum of all requests, the route table, options, media types | ✔ |
//! | [`auth`] | who asks, and may they; tokens | but for `authn` |
//! | [`admission`], [`quota`] | what must hold around an object that is written | |
//! | [`audit`] | what is told of a request, and the log that it is told to | |
//! | [`flow`] | where requests wait when there are too many | |
//! | [`objects`] | the store, by objects: read, create, replace, remove | |
//! | [`compaction`] | forgets old history | |
//! | [`encode`], [`forms`], [`events`] | objects as bytes: stored, alone, in lists, tables and watches | ✔ |
//! | [`selection`], [`deletion`] | what a collection's selectors mean; what a DELETE does | ✔ |
//! | [`verbs`], [`pods`] | one file for each verb and each subresource of pods | |
//! | [`proxy`] | what pods and nodes serve themselves | |
//! | [`usage`] | what they use: metrics.k8s.io | |
//! | [`discovery`], [`openapi`], [`health`], [`metrics`] | about the server itself | |
//!
//! **Invariant:** GET, LIST and WATCH without selectors never decode an object; an event is encoded once for each form.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod admission;
pub mod audit;
pub mod auth;
pub mod body;
pub mod bootstrap;
pub mod compaction;
pub mod deletion;
pub mod discovery;
pub mod encode;
pub mod events;
pub mod flow;
pub mod forms;
pub mod health;
pub mod metrics;
pub mod nodes;
pub mod objects;
pub mod openapi;
pub mod pods;
pub mod protobuf;
pub mod proxy;
pub mod quota;
pub mod request;
pub mod response;
pub mod selection;
pub mod server;
pub mod services;
pub mod sizes;
pub mod usage;
pub mod verbs;

pub use auth::token::TokenKey;
pub use bootstrap::service_address;
pub use nodes::{FixedNodes, Meter, Nodes};
pub use server::{ApiServer, Config};
