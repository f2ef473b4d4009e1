//! Namespaces, users, capabilities and security profiles, as sandboxes and containers use them.
//!
//! Field names and numbers are those of `runtime.v1` in k8s.io/cri-api v0.34 (`pkg/apis/runtime/v1/api.proto`), which also
//! documents each field; Windows' messages are left out. Enumerations are held as `i32`, as prost does: use the accessors.

/// CRI `IDMapping`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IDMapping {
    /// `host_id`
    #[prost(uint32, tag = "1")]
    pub host_id: u32,
    /// `container_id`
    #[prost(uint32, tag = "2")]
    pub container_id: u32,
    /// `length`
    #[prost(uint32, tag = "3")]
    pub length: u32,
}

/// CRI `NamespaceMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum NamespaceMode {
    /// `POD`
    Pod = 0,
    /// `CONTAINER`
    Container = 1,
    /// `NODE`
    Node = 2,
    /// `TARGET`
    Target = 3,
}

/// CRI `UserNamespace`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UserNamespace {
    /// `mode`
    #[prost(enumeration = "NamespaceMode", tag = "1")]
    pub mode: i32,
    /// `uids`
    #[prost(message, repeated, tag = "2")]
    pub uids: Vec<IDMapping>,
    /// `gids`
    #[prost(message, repeated, tag = "3")]
    pub gids: Vec<IDMapping>,
}

/// CRI `NamespaceOption`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NamespaceOption {
    /// `network`
    #[prost(enumeration = "NamespaceMode", tag = "1")]
    pub network: i32,
    /// `pid`
    #[prost(enumeration = "NamespaceMode", tag = "2")]
    pub pid: i32,
    /// `ipc`
    #[prost(enumeration = "NamespaceMode", tag = "3")]
    pub ipc: i32,
    /// `target_id`
    #[prost(string, tag = "4")]
    pub target_id: String,
    /// `userns_options`
    #[prost(message, optional, tag = "5")]
    pub userns_options: Option<UserNamespace>,
}

/// CRI `SupplementalGroupsPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum SupplementalGroupsPolicy {
    /// `Merge`
    Merge = 0,
    /// `Strict`
    Strict = 1,
}

/// CRI `Int64Value`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Int64Value {
    /// `value`
    #[prost(int64, tag = "1")]
    pub value: i64,
}

/// CRI `SecurityProfile`: a seccomp or AppArmor profile.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SecurityProfile {
    /// `profile_type`
    #[prost(enumeration = "ProfileType", tag = "1")]
    pub profile_type: i32,
    /// `localhost_ref`
    #[prost(string, tag = "2")]
    pub localhost_ref: String,
}

/// CRI `SecurityProfile.ProfileType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ProfileType {
    /// `RuntimeDefault`
    RuntimeDefault = 0,
    /// `Unconfined`
    Unconfined = 1,
    /// `Localhost`
    Localhost = 2,
}

/// CRI `Namespace`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Namespace {
    /// `options`
    #[prost(message, optional, tag = "2")]
    pub options: Option<NamespaceOption>,
}

/// CRI `SELinuxOption`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SELinuxOption {
    /// `user`
    #[prost(string, tag = "1")]
    pub user: String,
    /// `role`
    #[prost(string, tag = "2")]
    pub role: String,
    /// `type`
    #[prost(string, tag = "3")]
    pub r#type: String,
    /// `level`
    #[prost(string, tag = "4")]
    pub level: String,
}

/// CRI `Capability`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Capability {
    /// `add_capabilities`
    #[prost(string, repeated, tag = "1")]
    pub add_capabilities: Vec<String>,
    /// `drop_capabilities`
    #[prost(string, repeated, tag = "2")]
    pub drop_capabilities: Vec<String>,
    /// `add_ambient_capabilities`
    #[prost(string, repeated, tag = "3")]
    pub add_ambient_capabilities: Vec<String>,
}
