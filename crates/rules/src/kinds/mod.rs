//! The rules of kinds other than pods, one file each.

pub mod config;
pub mod deployment;
pub mod disruption_budget;
pub mod endpoints;
pub mod event;
pub mod lease;
pub mod limit_range;
pub mod namespace;
pub mod node;
pub mod persistent_volume;
pub mod persistent_volume_claim;
pub mod pod_template;
pub mod priority_class;
pub mod rbac;
pub mod replica_set;
pub mod resource_quota;
pub mod runtime_class;
pub mod service;
pub mod storage_class;
