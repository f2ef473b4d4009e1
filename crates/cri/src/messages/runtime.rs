//! The runtime itself: version, conditions, configuration.
//!
//! Field names and numbers are those of `runtime.v1` in k8s.io/cri-api v0.34 (`pkg/apis/runtime/v1/api.proto`), which also
//! documents each field; Windows' messages are left out. Enumerations are held as `i32`, as prost does: use the accessors.

use std::collections::BTreeMap;

/// CRI `VersionRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct VersionRequest {
    /// `version`
    #[prost(string, tag = "1")]
    pub version: String,
}

/// CRI `VersionResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct VersionResponse {
    /// `version`
    #[prost(string, tag = "1")]
    pub version: String,
    /// `runtime_name`
    #[prost(string, tag = "2")]
    pub runtime_name: String,
    /// `runtime_version`
    #[prost(string, tag = "3")]
    pub runtime_version: String,
    /// `runtime_api_version`
    #[prost(string, tag = "4")]
    pub runtime_api_version: String,
}

/// CRI `NetworkConfig`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NetworkConfig {
    /// `pod_cidr`
    #[prost(string, tag = "1")]
    pub pod_cidr: String,
}

/// CRI `RuntimeConfig`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeConfig {
    /// `network_config`
    #[prost(message, optional, tag = "1")]
    pub network_config: Option<NetworkConfig>,
}

/// CRI `UpdateRuntimeConfigRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateRuntimeConfigRequest {
    /// `runtime_config`
    #[prost(message, optional, tag = "1")]
    pub runtime_config: Option<RuntimeConfig>,
}

/// CRI `UpdateRuntimeConfigResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateRuntimeConfigResponse {}

/// CRI `RuntimeCondition`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeCondition {
    /// `type`
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// `status`
    #[prost(bool, tag = "2")]
    pub status: bool,
    /// `reason`
    #[prost(string, tag = "3")]
    pub reason: String,
    /// `message`
    #[prost(string, tag = "4")]
    pub message: String,
}

/// CRI `RuntimeStatus`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeStatus {
    /// `conditions`
    #[prost(message, repeated, tag = "1")]
    pub conditions: Vec<RuntimeCondition>,
}

/// CRI `StatusRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StatusRequest {
    /// `verbose`
    #[prost(bool, tag = "1")]
    pub verbose: bool,
}

/// CRI `RuntimeHandlerFeatures`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeHandlerFeatures {
    /// `recursive_read_only_mounts`
    #[prost(bool, tag = "1")]
    pub recursive_read_only_mounts: bool,
    /// `user_namespaces`
    #[prost(bool, tag = "2")]
    pub user_namespaces: bool,
}

/// CRI `RuntimeHandler`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeHandler {
    /// `name`
    #[prost(string, tag = "1")]
    pub name: String,
    /// `features`
    #[prost(message, optional, tag = "2")]
    pub features: Option<RuntimeHandlerFeatures>,
}

/// CRI `RuntimeFeatures`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeFeatures {
    /// `supplemental_groups_policy`
    #[prost(bool, tag = "1")]
    pub supplemental_groups_policy: bool,
}

/// CRI `StatusResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StatusResponse {
    /// `status`
    #[prost(message, optional, tag = "1")]
    pub status: Option<RuntimeStatus>,
    /// `info`
    #[prost(btree_map = "string, string", tag = "2")]
    pub info: BTreeMap<String, String>,
    /// `runtime_handlers`
    #[prost(message, repeated, tag = "3")]
    pub runtime_handlers: Vec<RuntimeHandler>,
    /// `features`
    #[prost(message, optional, tag = "4")]
    pub features: Option<RuntimeFeatures>,
}

/// CRI `RuntimeConfigRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeConfigRequest {}

/// CRI `RuntimeConfigResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RuntimeConfigResponse {
    /// `linux`
    #[prost(message, optional, tag = "1")]
    pub linux: Option<LinuxRuntimeConfiguration>,
}

/// CRI `LinuxRuntimeConfiguration`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxRuntimeConfiguration {
    /// `cgroup_driver`
    #[prost(enumeration = "CgroupDriver", tag = "1")]
    pub cgroup_driver: i32,
}

/// CRI `CgroupDriver`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum CgroupDriver {
    /// `SYSTEMD`
    Systemd = 0,
    /// `CGROUPFS`
    Cgroupfs = 1,
}
