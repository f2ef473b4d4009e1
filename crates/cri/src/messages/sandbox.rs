//! Pod sandboxes: what the containers of a pod share.
//!
//! Field names and numbers are those of `runtime.v1` in k8s.io/cri-api v0.34 (`pkg/apis/runtime/v1/api.proto`), which also
//! documents each field; Windows' messages are left out. Enumerations are held as `i32`, as prost does: use the accessors.

use std::collections::BTreeMap;

use super::*;

/// CRI `DNSConfig`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DNSConfig {
    /// `servers`
    #[prost(string, repeated, tag = "1")]
    pub servers: Vec<String>,
    /// `searches`
    #[prost(string, repeated, tag = "2")]
    pub searches: Vec<String>,
    /// `options`
    #[prost(string, repeated, tag = "3")]
    pub options: Vec<String>,
}

/// CRI `Protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Protocol {
    /// `TCP`
    Tcp = 0,
    /// `UDP`
    Udp = 1,
    /// `SCTP`
    Sctp = 2,
}

/// CRI `PortMapping`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PortMapping {
    /// `protocol`
    #[prost(enumeration = "Protocol", tag = "1")]
    pub protocol: i32,
    /// `container_port`
    #[prost(int32, tag = "2")]
    pub container_port: i32,
    /// `host_port`
    #[prost(int32, tag = "3")]
    pub host_port: i32,
    /// `host_ip`
    #[prost(string, tag = "4")]
    pub host_ip: String,
}

/// CRI `LinuxSandboxSecurityContext`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxSandboxSecurityContext {
    /// `namespace_options`
    #[prost(message, optional, tag = "1")]
    pub namespace_options: Option<NamespaceOption>,
    /// `selinux_options`
    #[prost(message, optional, tag = "2")]
    pub selinux_options: Option<SELinuxOption>,
    /// `run_as_user`
    #[prost(message, optional, tag = "3")]
    pub run_as_user: Option<Int64Value>,
    /// `run_as_group`
    #[prost(message, optional, tag = "8")]
    pub run_as_group: Option<Int64Value>,
    /// `readonly_rootfs`
    #[prost(bool, tag = "4")]
    pub readonly_rootfs: bool,
    /// `supplemental_groups`
    #[prost(int64, repeated, tag = "5")]
    pub supplemental_groups: Vec<i64>,
    /// `supplemental_groups_policy`
    #[prost(enumeration = "SupplementalGroupsPolicy", tag = "11")]
    pub supplemental_groups_policy: i32,
    /// `privileged`
    #[prost(bool, tag = "6")]
    pub privileged: bool,
    /// `seccomp`
    #[prost(message, optional, tag = "9")]
    pub seccomp: Option<SecurityProfile>,
    /// `apparmor`
    #[prost(message, optional, tag = "10")]
    pub apparmor: Option<SecurityProfile>,
    /// `seccomp_profile_path`
    #[prost(string, tag = "7")]
    pub seccomp_profile_path: String,
}

/// CRI `LinuxPodSandboxConfig`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxPodSandboxConfig {
    /// `cgroup_parent`
    #[prost(string, tag = "1")]
    pub cgroup_parent: String,
    /// `security_context`
    #[prost(message, optional, tag = "2")]
    pub security_context: Option<LinuxSandboxSecurityContext>,
    /// `sysctls`
    #[prost(btree_map = "string, string", tag = "3")]
    pub sysctls: BTreeMap<String, String>,
    /// `overhead`
    #[prost(message, optional, tag = "4")]
    pub overhead: Option<LinuxContainerResources>,
    /// `resources`
    #[prost(message, optional, tag = "5")]
    pub resources: Option<LinuxContainerResources>,
}

/// CRI `PodSandboxMetadata`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxMetadata {
    /// `name`
    #[prost(string, tag = "1")]
    pub name: String,
    /// `uid`
    #[prost(string, tag = "2")]
    pub uid: String,
    /// `namespace`
    #[prost(string, tag = "3")]
    pub namespace: String,
    /// `attempt`
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
}

/// CRI `PodSandboxConfig`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxConfig {
    /// `metadata`
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<PodSandboxMetadata>,
    /// `hostname`
    #[prost(string, tag = "2")]
    pub hostname: String,
    /// `log_directory`
    #[prost(string, tag = "3")]
    pub log_directory: String,
    /// `dns_config`
    #[prost(message, optional, tag = "4")]
    pub dns_config: Option<DNSConfig>,
    /// `port_mappings`
    #[prost(message, repeated, tag = "5")]
    pub port_mappings: Vec<PortMapping>,
    /// `labels`
    #[prost(btree_map = "string, string", tag = "6")]
    pub labels: BTreeMap<String, String>,
    /// `annotations`
    #[prost(btree_map = "string, string", tag = "7")]
    pub annotations: BTreeMap<String, String>,
    /// `linux`
    #[prost(message, optional, tag = "8")]
    pub linux: Option<LinuxPodSandboxConfig>,
}

/// CRI `RunPodSandboxRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RunPodSandboxRequest {
    /// `config`
    #[prost(message, optional, tag = "1")]
    pub config: Option<PodSandboxConfig>,
    /// `runtime_handler`
    #[prost(string, tag = "2")]
    pub runtime_handler: String,
}

/// CRI `RunPodSandboxResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RunPodSandboxResponse {
    /// `pod_sandbox_id`
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
}

/// CRI `StopPodSandboxRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StopPodSandboxRequest {
    /// `pod_sandbox_id`
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
}

/// CRI `StopPodSandboxResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StopPodSandboxResponse {}

/// CRI `RemovePodSandboxRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RemovePodSandboxRequest {
    /// `pod_sandbox_id`
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
}

/// CRI `RemovePodSandboxResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RemovePodSandboxResponse {}

/// CRI `PodSandboxStatusRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxStatusRequest {
    /// `pod_sandbox_id`
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
    /// `verbose`
    #[prost(bool, tag = "2")]
    pub verbose: bool,
}

/// CRI `PodIP`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodIP {
    /// `ip`
    #[prost(string, tag = "1")]
    pub ip: String,
}

/// CRI `PodSandboxNetworkStatus`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxNetworkStatus {
    /// `ip`
    #[prost(string, tag = "1")]
    pub ip: String,
    /// `additional_ips`
    #[prost(message, repeated, tag = "2")]
    pub additional_ips: Vec<PodIP>,
}

/// CRI `LinuxPodSandboxStatus`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxPodSandboxStatus {
    /// `namespaces`
    #[prost(message, optional, tag = "1")]
    pub namespaces: Option<Namespace>,
}

/// CRI `PodSandboxState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum PodSandboxState {
    /// `SANDBOX_READY`
    Ready = 0,
    /// `SANDBOX_NOTREADY`
    Notready = 1,
}

/// CRI `PodSandboxStatus`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxStatus {
    /// `id`
    #[prost(string, tag = "1")]
    pub id: String,
    /// `metadata`
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<PodSandboxMetadata>,
    /// `state`
    #[prost(enumeration = "PodSandboxState", tag = "3")]
    pub state: i32,
    /// `created_at`
    #[prost(int64, tag = "4")]
    pub created_at: i64,
    /// `network`
    #[prost(message, optional, tag = "5")]
    pub network: Option<PodSandboxNetworkStatus>,
    /// `linux`
    #[prost(message, optional, tag = "6")]
    pub linux: Option<LinuxPodSandboxStatus>,
    /// `labels`
    #[prost(btree_map = "string, string", tag = "7")]
    pub labels: BTreeMap<String, String>,
    /// `annotations`
    #[prost(btree_map = "string, string", tag = "8")]
    pub annotations: BTreeMap<String, String>,
    /// `runtime_handler`
    #[prost(string, tag = "9")]
    pub runtime_handler: String,
}

/// CRI `PodSandboxStatusResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxStatusResponse {
    /// `status`
    #[prost(message, optional, tag = "1")]
    pub status: Option<PodSandboxStatus>,
    /// `info`
    #[prost(btree_map = "string, string", tag = "2")]
    pub info: BTreeMap<String, String>,
    /// `containers_statuses`
    #[prost(message, repeated, tag = "3")]
    pub containers_statuses: Vec<ContainerStatus>,
    /// `timestamp`
    #[prost(int64, tag = "4")]
    pub timestamp: i64,
}

/// CRI `PodSandboxStateValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxStateValue {
    /// `state`
    #[prost(enumeration = "PodSandboxState", tag = "1")]
    pub state: i32,
}

/// CRI `PodSandboxFilter`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandboxFilter {
    /// `id`
    #[prost(string, tag = "1")]
    pub id: String,
    /// `state`
    #[prost(message, optional, tag = "2")]
    pub state: Option<PodSandboxStateValue>,
    /// `label_selector`
    #[prost(btree_map = "string, string", tag = "3")]
    pub label_selector: BTreeMap<String, String>,
}

/// CRI `ListPodSandboxRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListPodSandboxRequest {
    /// `filter`
    #[prost(message, optional, tag = "1")]
    pub filter: Option<PodSandboxFilter>,
}

/// CRI `PodSandbox`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PodSandbox {
    /// `id`
    #[prost(string, tag = "1")]
    pub id: String,
    /// `metadata`
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<PodSandboxMetadata>,
    /// `state`
    #[prost(enumeration = "PodSandboxState", tag = "3")]
    pub state: i32,
    /// `created_at`
    #[prost(int64, tag = "4")]
    pub created_at: i64,
    /// `labels`
    #[prost(btree_map = "string, string", tag = "5")]
    pub labels: BTreeMap<String, String>,
    /// `annotations`
    #[prost(btree_map = "string, string", tag = "6")]
    pub annotations: BTreeMap<String, String>,
    /// `runtime_handler`
    #[prost(string, tag = "7")]
    pub runtime_handler: String,
}

/// CRI `ListPodSandboxResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListPodSandboxResponse {
    /// `items`
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<PodSandbox>,
}

/// CRI `UpdatePodSandboxResourcesRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdatePodSandboxResourcesRequest {
    /// `pod_sandbox_id`
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
    /// `overhead`
    #[prost(message, optional, tag = "2")]
    pub overhead: Option<LinuxContainerResources>,
    /// `resources`
    #[prost(message, optional, tag = "3")]
    pub resources: Option<LinuxContainerResources>,
}

/// CRI `UpdatePodSandboxResourcesResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdatePodSandboxResourcesResponse {}
