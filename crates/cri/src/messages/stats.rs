//! What containers and sandboxes use.
//!
//! Field names and numbers are those of `runtime.v1` in k8s.io/cri-api v0.34 (`pkg/apis/runtime/v1/api.proto`), which also
//! documents each field; Windows' messages and pressure stalls (`PsiStats`) are left out. Enumerations are held as `i32`, as prost does: use the accessors.

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

/// CRI `PodSandboxStatsRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxStatsRequest {
    /// `pod_sandbox_id`
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
}

/// CRI `PodSandboxStatsResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxStatsResponse {
    /// `stats`
    #[prost(message, optional, tag = "1")]
    pub stats: Option<PodSandboxStats>,
}

/// CRI `PodSandboxStatsFilter`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxStatsFilter {
    /// `id`
    #[prost(string, tag = "1")]
    pub id: String,
    /// `label_selector`
    #[prost(btree_map = "string, string", tag = "2")]
    pub label_selector: BTreeMap<String, String>,
}

/// CRI `ListPodSandboxStatsRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListPodSandboxStatsRequest {
    /// `filter`
    #[prost(message, optional, tag = "1")]
    pub filter: Option<PodSandboxStatsFilter>,
}

/// CRI `ListPodSandboxStatsResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListPodSandboxStatsResponse {
    /// `stats`
    #[prost(message, repeated, tag = "1")]
    pub stats: Vec<PodSandboxStats>,
}

/// CRI `PodSandboxAttributes`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxAttributes {
    /// `id`
    #[prost(string, tag = "1")]
    pub id: String,
    /// `metadata`
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<PodSandboxMetadata>,
    /// `labels`
    #[prost(btree_map = "string, string", tag = "3")]
    pub labels: BTreeMap<String, String>,
    /// `annotations`
    #[prost(btree_map = "string, string", tag = "4")]
    pub annotations: BTreeMap<String, String>,
}

/// CRI `PodSandboxStats`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxStats {
    /// `attributes`
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<PodSandboxAttributes>,
    /// `linux`
    #[prost(message, optional, tag = "2")]
    pub linux: Option<LinuxPodSandboxStats>,
}

/// CRI `LinuxPodSandboxStats`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxPodSandboxStats {
    /// `cpu`
    #[prost(message, optional, tag = "1")]
    pub cpu: Option<CpuUsage>,
    /// `memory`
    #[prost(message, optional, tag = "2")]
    pub memory: Option<MemoryUsage>,
    /// `network`
    #[prost(message, optional, tag = "3")]
    pub network: Option<NetworkUsage>,
    /// `process`
    #[prost(message, optional, tag = "4")]
    pub process: Option<ProcessUsage>,
    /// `containers`
    #[prost(message, repeated, tag = "5")]
    pub containers: Vec<ContainerStats>,
    /// `io`
    #[prost(message, optional, tag = "6")]
    pub io: Option<IoUsage>,
}

/// CRI `NetworkUsage`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NetworkUsage {
    /// `timestamp`
    #[prost(int64, tag = "1")]
    pub timestamp: i64,
    /// `default_interface`
    #[prost(message, optional, tag = "2")]
    pub default_interface: Option<NetworkInterfaceUsage>,
    /// `interfaces`
    #[prost(message, repeated, tag = "3")]
    pub interfaces: Vec<NetworkInterfaceUsage>,
}

/// CRI `NetworkInterfaceUsage`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NetworkInterfaceUsage {
    /// `name`
    #[prost(string, tag = "1")]
    pub name: String,
    /// `rx_bytes`
    #[prost(message, optional, tag = "2")]
    pub rx_bytes: Option<UInt64Value>,
    /// `rx_errors`
    #[prost(message, optional, tag = "3")]
    pub rx_errors: Option<UInt64Value>,
    /// `tx_bytes`
    #[prost(message, optional, tag = "4")]
    pub tx_bytes: Option<UInt64Value>,
    /// `tx_errors`
    #[prost(message, optional, tag = "5")]
    pub tx_errors: Option<UInt64Value>,
}

/// CRI `ProcessUsage`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProcessUsage {
    /// `timestamp`
    #[prost(int64, tag = "1")]
    pub timestamp: i64,
    /// `process_count`
    #[prost(message, optional, tag = "2")]
    pub process_count: Option<UInt64Value>,
}
