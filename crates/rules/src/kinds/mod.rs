//! The rules of kinds other than pods, one file each.

pub mod config;
pub mod event;
pub mod lease;
pub mod namespace;
pub mod node;
pub mod rbac;
pub mod runtime_class;
