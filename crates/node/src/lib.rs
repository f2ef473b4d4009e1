//! The node agent: it runs the pods that the API assigns to this machine, and reports what becomes of them.
//!
//! ```text
//!   API ──watch──▶ pods (one router) ──▶ actor (one per pod) ──actions──▶ CRI runtime, image service, volumes
//!                                          │   ▲  ▲                           │
//!                       status, events ◀──┘   │  └──── outcome of an action ──┤
//!                                              └─────── container event ──────┘
//! ```
//! Pods come from the API, or as files from a folder (`statics`), then with a mirror in the API.
//!
//! An actor owns its pod's state. On every wake it observes, asks `remora-decide`, acts and reports; the deciding is not
//! here. No polling: a wake is a changed object, a container event, a finished action, or a moment that a decision named.
//!
//! Called by the main binary: [`Node::start`], [`Node::streams`] for the API server, [`Node::inspector`] for whoever tells what pods use,
//! [`Node::shutdown`]; [`tear_down`]
//! for `remora down`.

#![forbid(unsafe_code)]

mod actor;
mod changes;
mod claims;
mod config;
mod container;
mod context;
mod events;
mod logs;
mod machine;
mod mounts;
mod node;
mod pods;
mod probes;
mod sandbox;
mod statics;
mod stats;
mod streams;
mod users;
mod volumes;

pub use config::{Clock, Config, DebugLimits, Dns, KubernetesService, LogLimits, ReadPod, StaticPods, system_clock};
pub use mounts::{Mounts, PlainFolders, SystemMounts};
pub use node::{Node, NodeError, tear_down};
pub use probes::ProbeTally;
pub use stats::{Extent, Inspector, StatsError};
