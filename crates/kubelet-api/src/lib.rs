//! The kubelet's HTTP API: what a node answers at its own port, 10250 on most clusters. kube-apiserver asks it for logs and sessions,
//! Prometheus and metrics-server for metrics.
//!
//! What it is not: it runs no pod and keeps nothing. All that it says comes from the node agent ([`Agent`], [`PodStreams`]), and who may
//! ask is the API server's word ([`Access`]). Called by the binary, which gives it listeners.
//!
//! | module | what is in it | pure |
//! |---|---|:--:|
//! | `endpoint` | a method and a path → what is asked for, and the rights that it takes | ✔ |
//! | [`access`] | who asks, and whether they may: certificate, token, the API server's reviews | |
//! | [`agent`] | what a node agent tells | |
//! | `server` | the way of one request | |
//! | `sessions` | exec, attach, port-forward, run, logs | |
//! | `pods` | pods, and what of them cannot be had | |
//! | `summary`, `metrics` | what is used, as JSON and in Prometheus' text format | ✔ |
//!
//! Source of paths, words and rights: kubernetes v1.34 `pkg/kubelet/server`.
//!
//! **Invariant:** nothing is answered before the API server has said that who asks may have it; who shows neither certificate nor token is
//! refused without asking.

#![forbid(unsafe_code)]

pub mod access;
pub mod agent;
mod answer;
mod endpoint;
mod metrics;
mod pods;
mod server;
mod sessions;
mod summary;

pub use access::{Access, ApiAccess};
pub use agent::{Agent, AgentError, Parts, ProbeCount};
#[cfg(doc)]
use remora_streaming::PodStreams;
pub use server::{Config, KubeletApi, limits};
