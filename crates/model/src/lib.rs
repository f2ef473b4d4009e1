//! The words that all of Remora shares: kinds, object keys, API statuses, field errors, the canonical form of objects.
//!
//! What it is not: it decides nothing (that is `rules` and `decide`), reads no clock, does no IO.
//! Called by every crate that speaks Kubernetes.
//!
//! | module | what is in it |
//! |---|---|
//! | [`kinds`] | one table of every kind that is served, for routing, discovery and storage |
//! | [`key`] | which object: kind, namespace, name, and its key in the store |
//! | [`container`] | the four kinds of containers in a pod |
//! | [`status`] | errors as clients see them (`metav1.Status`) |
//! | [`field`] | paths and errors of fields, worded as upstream's `field.Error` |
//! | [`schema`] | how Go writes each type as JSON: the data behind canonical form and strategic merge |
//! | [`canonical`] | brings a JSON object into v1.34's canonical form |
//! | [`quantity`] | `resource.Quantity`: exact parsing, comparison, canonical text |
//! | [`node_selector`] | what a requirement of a node selector means |
//! | [`json`] | bounded JSON parsing with duplicate keys reported |
//! | [`usage`] | what a node, its pods and their containers use |
#![forbid(unsafe_code)]

pub mod canonical;
pub mod container;
pub mod field;
pub mod json;
pub mod key;
pub mod kinds;
pub mod node_selector;
pub mod quantity;
pub mod schema;
pub mod status;
pub mod text;
pub mod usage;

pub use container::ContainerKind;
pub use field::{FieldError, FieldErrorType, Path};
pub use key::ObjectKey;
pub use kinds::Kind;
pub use status::Status;
