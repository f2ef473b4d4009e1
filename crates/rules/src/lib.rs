//! What the API allows, decided without IO, clock or chance: decoding into form, defaults, validation, what may change,
//! patches, selectors, deletion, and what kubectl shows. The API server asks; nothing here knows of HTTP or the store.
//!
//! The heart is one table of [`strategy::Strategy`], by kind and subresource. Where to look:
//!
//! | question | module |
//! |---|---|
//! | what happens to a body | [`decode`], then [`strategy`] |
//! | what a pod may be | [`pod::validation`], [`pod::defaults`], [`pod::admission`] |
//! | ephemeral containers | [`pod::ephemeral`] |
//! | what other kinds may be | [`kinds`], [`metadata`] |
//! | Pod Security Standards | [`pod_security`] |
//! | resource quotas, limit ranges | [`quota`], [`pod::limits`] |
//! | who may do what | [`rbac`] |
//! | who waits when there are too many requests | [`flow`] |
//! | what is told of a request in the audit log | [`audit`] |
//! | PATCH | [`patch`] |
//! | who manages which field, server-side apply | [`managed`] |
//! | disruption budgets | [`disruption`] |
//! | how many replicas | [`scale`] |
//! | DELETE | [`delete`] |
//! | queries | [`selector`], [`pod::log`] |
//! | where a proxied request goes | [`proxy`] |
//! | `kubectl get` | [`table`] |
//!
//! Everything is checked against recorded answers of Kubernetes v1.34 (`tests/recorded.rs`).
#![forbid(unsafe_code)]

pub mod audit;
pub mod decode;
pub mod delete;
pub mod disruption;
pub mod flow;
pub mod int_or_percent;
pub mod kinds;
pub mod managed;
pub mod metadata;
pub mod object;
pub mod patch;
pub mod pod;
pub mod pod_security;
pub mod proxy;
pub mod quota;
pub mod rbac;
pub mod scale;
pub mod selector;
pub mod strategy;
pub mod table;
pub mod time;
