//! What a container uses.
//!
//! Field names and numbers are those of `runtime.v1` in k8s.io/cri-api v0.34 (`pkg/apis/runtime/v1/api.proto`), which also
//! documents each field; Windows' messages are left out. Enumerations are held as `i32`, as prost does: use the accessors.

use std::collections::BTreeMap;

use super::*;

/// CRI `UInt64Value`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UInt64Value {
    /// `value`
    #[prost(uint64, tag = "1")]
    pub value: u64,
}

/// CRI `ContainerStatsRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerStatsRequest {
    /// `container_id`
    #[prost(string, tag = "1")]
    pub container_id: String,
}

/// CRI `ContainerStatsResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerStatsResponse {
    /// `stats`
    #[prost(message, optional, tag = "1")]
    pub stats: Option<ContainerStats>,
}

/// CRI `ListContainerStatsRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListContainerStatsRequest {
    /// `filter`
    #[prost(message, optional, tag = "1")]
    pub filter: Option<ContainerStatsFilter>,
}

/// CRI `ContainerStatsFilter`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerStatsFilter {
    /// `id`
    #[prost(string, tag = "1")]
    pub id: String,
    /// `pod_sandbox_id`
    #[prost(string, tag = "2")]
    pub pod_sandbox_id: String,
    /// `label_selector`
    #[prost(btree_map = "string, string", tag = "3")]
    pub label_selector: BTreeMap<String, String>,
}

/// CRI `ListContainerStatsResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListContainerStatsResponse {
    /// `stats`
    #[prost(message, repeated, tag = "1")]
    pub stats: Vec<ContainerStats>,
}

/// CRI `ContainerAttributes`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerAttributes {
    /// `id`
    #[prost(string, tag = "1")]
    pub id: String,
    /// `metadata`
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<ContainerMetadata>,
    /// `labels`
    #[prost(btree_map = "string, string", tag = "3")]
    pub labels: BTreeMap<String, String>,
    /// `annotations`
    #[prost(btree_map = "string, string", tag = "4")]
    pub annotations: BTreeMap<String, String>,
}

/// CRI `ContainerStats`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerStats {
    /// `attributes`
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<ContainerAttributes>,
    /// `cpu`
    #[prost(message, optional, tag = "2")]
    pub cpu: Option<CpuUsage>,
    /// `memory`
    #[prost(message, optional, tag = "3")]
    pub memory: Option<MemoryUsage>,
    /// `writable_layer`
    #[prost(message, optional, tag = "4")]
    pub writable_layer: Option<FilesystemUsage>,
    /// `swap`
    #[prost(message, optional, tag = "5")]
    pub swap: Option<SwapUsage>,
    /// `io`
    #[prost(message, optional, tag = "6")]
    pub io: Option<IoUsage>,
}

/// CRI `CpuUsage`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CpuUsage {
    /// `timestamp`
    #[prost(int64, tag = "1")]
    pub timestamp: i64,
    /// `usage_core_nano_seconds`
    #[prost(message, optional, tag = "2")]
    pub usage_core_nano_seconds: Option<UInt64Value>,
    /// `usage_nano_cores`
    #[prost(message, optional, tag = "3")]
    pub usage_nano_cores: Option<UInt64Value>,
}

/// CRI `MemoryUsage`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MemoryUsage {
    /// `timestamp`
    #[prost(int64, tag = "1")]
    pub timestamp: i64,
    /// `working_set_bytes`
    #[prost(message, optional, tag = "2")]
    pub working_set_bytes: Option<UInt64Value>,
    /// `available_bytes`
    #[prost(message, optional, tag = "3")]
    pub available_bytes: Option<UInt64Value>,
    /// `usage_bytes`
    #[prost(message, optional, tag = "4")]
    pub usage_bytes: Option<UInt64Value>,
    /// `rss_bytes`
    #[prost(message, optional, tag = "5")]
    pub rss_bytes: Option<UInt64Value>,
    /// `page_faults`
    #[prost(message, optional, tag = "6")]
    pub page_faults: Option<UInt64Value>,
    /// `major_page_faults`
    #[prost(message, optional, tag = "7")]
    pub major_page_faults: Option<UInt64Value>,
}

/// CRI `IoUsage`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IoUsage {
    /// `timestamp`
    #[prost(int64, tag = "1")]
    pub timestamp: i64,
}

/// CRI `SwapUsage`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SwapUsage {
    /// `timestamp`
    #[prost(int64, tag = "1")]
    pub timestamp: i64,
    /// `swap_available_bytes`
    #[prost(message, optional, tag = "2")]
    pub swap_available_bytes: Option<UInt64Value>,
    /// `swap_usage_bytes`
    #[prost(message, optional, tag = "3")]
    pub swap_usage_bytes: Option<UInt64Value>,
}
