//! Containers: configuration, life cycle, status, events, log reopening.
//!
//! Field names and numbers are those of `runtime.v1` in k8s.io/cri-api v0.34 (`pkg/apis/runtime/v1/api.proto`), which also
//! documents each field; Windows' messages are left out. Enumerations are held as `i32`, as prost does: use the accessors.

use std::collections::BTreeMap;

use super::*;

/// CRI `MountPropagation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MountPropagation {
    /// `PROPAGATION_PRIVATE`
    Private = 0,
    /// `PROPAGATION_HOST_TO_CONTAINER`
    HostToContainer = 1,
    /// `PROPAGATION_BIDIRECTIONAL`
    Bidirectional = 2,
}

/// CRI `Mount`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Mount {
    /// `container_path`
    #[prost(string, tag = "1")]
    pub container_path: String,
    /// `host_path`
    #[prost(string, tag = "2")]
    pub host_path: String,
    /// `readonly`
    #[prost(bool, tag = "3")]
    pub readonly: bool,
    /// `selinux_relabel`
    #[prost(bool, tag = "4")]
    pub selinux_relabel: bool,
    /// `propagation`
    #[prost(enumeration = "MountPropagation", tag = "5")]
    pub propagation: i32,
    /// `uidMappings`
    #[prost(message, repeated, tag = "6")]
    pub uid_mappings: Vec<IDMapping>,
    /// `gidMappings`
    #[prost(message, repeated, tag = "7")]
    pub gid_mappings: Vec<IDMapping>,
    /// `recursive_read_only`
    #[prost(bool, tag = "8")]
    pub recursive_read_only: bool,
    /// `image`
    #[prost(message, optional, tag = "9")]
    pub image: Option<ImageSpec>,
    /// `image_sub_path`
    #[prost(string, tag = "10")]
    pub image_sub_path: String,
}

/// CRI `KeyValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeyValue {
    /// `key`
    #[prost(string, tag = "1")]
    pub key: String,
    /// `value`
    #[prost(string, tag = "2")]
    pub value: String,
}

/// CRI `LinuxContainerResources`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxContainerResources {
    /// `cpu_period`
    #[prost(int64, tag = "1")]
    pub cpu_period: i64,
    /// `cpu_quota`
    #[prost(int64, tag = "2")]
    pub cpu_quota: i64,
    /// `cpu_shares`
    #[prost(int64, tag = "3")]
    pub cpu_shares: i64,
    /// `memory_limit_in_bytes`
    #[prost(int64, tag = "4")]
    pub memory_limit_in_bytes: i64,
    /// `oom_score_adj`
    #[prost(int64, tag = "5")]
    pub oom_score_adj: i64,
    /// `cpuset_cpus`
    #[prost(string, tag = "6")]
    pub cpuset_cpus: String,
    /// `cpuset_mems`
    #[prost(string, tag = "7")]
    pub cpuset_mems: String,
    /// `hugepage_limits`
    #[prost(message, repeated, tag = "8")]
    pub hugepage_limits: Vec<HugepageLimit>,
    /// `unified`
    #[prost(btree_map = "string, string", tag = "9")]
    pub unified: BTreeMap<String, String>,
    /// `memory_swap_limit_in_bytes`
    #[prost(int64, tag = "10")]
    pub memory_swap_limit_in_bytes: i64,
}

/// CRI `HugepageLimit`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HugepageLimit {
    /// `page_size`
    #[prost(string, tag = "1")]
    pub page_size: String,
    /// `limit`
    #[prost(uint64, tag = "2")]
    pub limit: u64,
}

/// CRI `LinuxContainerSecurityContext`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxContainerSecurityContext {
    /// `capabilities`
    #[prost(message, optional, tag = "1")]
    pub capabilities: Option<Capability>,
    /// `privileged`
    #[prost(bool, tag = "2")]
    pub privileged: bool,
    /// `namespace_options`
    #[prost(message, optional, tag = "3")]
    pub namespace_options: Option<NamespaceOption>,
    /// `selinux_options`
    #[prost(message, optional, tag = "4")]
    pub selinux_options: Option<SELinuxOption>,
    /// `run_as_user`
    #[prost(message, optional, tag = "5")]
    pub run_as_user: Option<Int64Value>,
    /// `run_as_group`
    #[prost(message, optional, tag = "12")]
    pub run_as_group: Option<Int64Value>,
    /// `run_as_username`
    #[prost(string, tag = "6")]
    pub run_as_username: String,
    /// `readonly_rootfs`
    #[prost(bool, tag = "7")]
    pub readonly_rootfs: bool,
    /// `supplemental_groups`
    #[prost(int64, repeated, tag = "8")]
    pub supplemental_groups: Vec<i64>,
    /// `supplemental_groups_policy`
    #[prost(enumeration = "SupplementalGroupsPolicy", tag = "17")]
    pub supplemental_groups_policy: i32,
    /// `no_new_privs`
    #[prost(bool, tag = "11")]
    pub no_new_privs: bool,
    /// `masked_paths`
    #[prost(string, repeated, tag = "13")]
    pub masked_paths: Vec<String>,
    /// `readonly_paths`
    #[prost(string, repeated, tag = "14")]
    pub readonly_paths: Vec<String>,
    /// `seccomp`
    #[prost(message, optional, tag = "15")]
    pub seccomp: Option<SecurityProfile>,
    /// `apparmor`
    #[prost(message, optional, tag = "16")]
    pub apparmor: Option<SecurityProfile>,
    /// `apparmor_profile`
    #[prost(string, tag = "9")]
    pub apparmor_profile: String,
    /// `seccomp_profile_path`
    #[prost(string, tag = "10")]
    pub seccomp_profile_path: String,
}

/// CRI `LinuxContainerConfig`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxContainerConfig {
    /// `resources`
    #[prost(message, optional, tag = "1")]
    pub resources: Option<LinuxContainerResources>,
    /// `security_context`
    #[prost(message, optional, tag = "2")]
    pub security_context: Option<LinuxContainerSecurityContext>,
}

/// CRI `LinuxContainerUser`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LinuxContainerUser {
    /// `uid`
    #[prost(int64, tag = "1")]
    pub uid: i64,
    /// `gid`
    #[prost(int64, tag = "2")]
    pub gid: i64,
    /// `supplemental_groups`
    #[prost(int64, repeated, tag = "3")]
    pub supplemental_groups: Vec<i64>,
}

/// CRI `ContainerMetadata`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerMetadata {
    /// `name`
    #[prost(string, tag = "1")]
    pub name: String,
    /// `attempt`
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
}

/// CRI `Device`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Device {
    /// `container_path`
    #[prost(string, tag = "1")]
    pub container_path: String,
    /// `host_path`
    #[prost(string, tag = "2")]
    pub host_path: String,
    /// `permissions`
    #[prost(string, tag = "3")]
    pub permissions: String,
}

/// CRI `CDIDevice`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CDIDevice {
    /// `name`
    #[prost(string, tag = "1")]
    pub name: String,
}

/// CRI `ContainerConfig`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerConfig {
    /// `metadata`
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<ContainerMetadata>,
    /// `image`
    #[prost(message, optional, tag = "2")]
    pub image: Option<ImageSpec>,
    /// `command`
    #[prost(string, repeated, tag = "3")]
    pub command: Vec<String>,
    /// `args`
    #[prost(string, repeated, tag = "4")]
    pub args: Vec<String>,
    /// `working_dir`
    #[prost(string, tag = "5")]
    pub working_dir: String,
    /// `envs`
    #[prost(message, repeated, tag = "6")]
    pub envs: Vec<KeyValue>,
    /// `mounts`
    #[prost(message, repeated, tag = "7")]
    pub mounts: Vec<Mount>,
    /// `devices`
    #[prost(message, repeated, tag = "8")]
    pub devices: Vec<Device>,
    /// `labels`
    #[prost(btree_map = "string, string", tag = "9")]
    pub labels: BTreeMap<String, String>,
    /// `annotations`
    #[prost(btree_map = "string, string", tag = "10")]
    pub annotations: BTreeMap<String, String>,
    /// `log_path`
    #[prost(string, tag = "11")]
    pub log_path: String,
    /// `stdin`
    #[prost(bool, tag = "12")]
    pub stdin: bool,
    /// `stdin_once`
    #[prost(bool, tag = "13")]
    pub stdin_once: bool,
    /// `tty`
    #[prost(bool, tag = "14")]
    pub tty: bool,
    /// `linux`
    #[prost(message, optional, tag = "15")]
    pub linux: Option<LinuxContainerConfig>,
    /// `CDI_devices`
    #[prost(message, repeated, tag = "17")]
    pub cdi_devices: Vec<CDIDevice>,
    /// `stop_signal`
    #[prost(enumeration = "Signal", tag = "18")]
    pub stop_signal: i32,
}

/// CRI `Signal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Signal {
    /// `RUNTIME_DEFAULT`
    RuntimeDefault = 0,
    /// `SIGABRT`
    Sigabrt = 1,
    /// `SIGALRM`
    Sigalrm = 2,
    /// `SIGBUS`
    Sigbus = 3,
    /// `SIGCHLD`
    Sigchld = 4,
    /// `SIGCLD`
    Sigcld = 5,
    /// `SIGCONT`
    Sigcont = 6,
    /// `SIGFPE`
    Sigfpe = 7,
    /// `SIGHUP`
    Sighup = 8,
    /// `SIGILL`
    Sigill = 9,
    /// `SIGINT`
    Sigint = 10,
    /// `SIGIO`
    Sigio = 11,
    /// `SIGIOT`
    Sigiot = 12,
    /// `SIGKILL`
    Sigkill = 13,
    /// `SIGPIPE`
    Sigpipe = 14,
    /// `SIGPOLL`
    Sigpoll = 15,
    /// `SIGPROF`
    Sigprof = 16,
    /// `SIGPWR`
    Sigpwr = 17,
    /// `SIGQUIT`
    Sigquit = 18,
    /// `SIGSEGV`
    Sigsegv = 19,
    /// `SIGSTKFLT`
    Sigstkflt = 20,
    /// `SIGSTOP`
    Sigstop = 21,
    /// `SIGSYS`
    Sigsys = 22,
    /// `SIGTERM`
    Sigterm = 23,
    /// `SIGTRAP`
    Sigtrap = 24,
    /// `SIGTSTP`
    Sigtstp = 25,
    /// `SIGTTIN`
    Sigttin = 26,
    /// `SIGTTOU`
    Sigttou = 27,
    /// `SIGURG`
    Sigurg = 28,
    /// `SIGUSR1`
    Sigusr1 = 29,
    /// `SIGUSR2`
    Sigusr2 = 30,
    /// `SIGVTALRM`
    Sigvtalrm = 31,
    /// `SIGWINCH`
    Sigwinch = 32,
    /// `SIGXCPU`
    Sigxcpu = 33,
    /// `SIGXFSZ`
    Sigxfsz = 34,
    /// `SIGRTMIN`
    Sigrtmin = 35,
    /// `SIGRTMINPLUS1`
    Sigrtminplus1 = 36,
    /// `SIGRTMINPLUS2`
    Sigrtminplus2 = 37,
    /// `SIGRTMINPLUS3`
    Sigrtminplus3 = 38,
    /// `SIGRTMINPLUS4`
    Sigrtminplus4 = 39,
    /// `SIGRTMINPLUS5`
    Sigrtminplus5 = 40,
    /// `SIGRTMINPLUS6`
    Sigrtminplus6 = 41,
    /// `SIGRTMINPLUS7`
    Sigrtminplus7 = 42,
    /// `SIGRTMINPLUS8`
    Sigrtminplus8 = 43,
    /// `SIGRTMINPLUS9`
    Sigrtminplus9 = 44,
    /// `SIGRTMINPLUS10`
    Sigrtminplus10 = 45,
    /// `SIGRTMINPLUS11`
    Sigrtminplus11 = 46,
    /// `SIGRTMINPLUS12`
    Sigrtminplus12 = 47,
    /// `SIGRTMINPLUS13`
    Sigrtminplus13 = 48,
    /// `SIGRTMINPLUS14`
    Sigrtminplus14 = 49,
    /// `SIGRTMINPLUS15`
    Sigrtminplus15 = 50,
    /// `SIGRTMAXMINUS14`
    Sigrtmaxminus14 = 51,
    /// `SIGRTMAXMINUS13`
    Sigrtmaxminus13 = 52,
    /// `SIGRTMAXMINUS12`
    Sigrtmaxminus12 = 53,
    /// `SIGRTMAXMINUS11`
    Sigrtmaxminus11 = 54,
    /// `SIGRTMAXMINUS10`
    Sigrtmaxminus10 = 55,
    /// `SIGRTMAXMINUS9`
    Sigrtmaxminus9 = 56,
    /// `SIGRTMAXMINUS8`
    Sigrtmaxminus8 = 57,
    /// `SIGRTMAXMINUS7`
    Sigrtmaxminus7 = 58,
    /// `SIGRTMAXMINUS6`
    Sigrtmaxminus6 = 59,
    /// `SIGRTMAXMINUS5`
    Sigrtmaxminus5 = 60,
    /// `SIGRTMAXMINUS4`
    Sigrtmaxminus4 = 61,
    /// `SIGRTMAXMINUS3`
    Sigrtmaxminus3 = 62,
    /// `SIGRTMAXMINUS2`
    Sigrtmaxminus2 = 63,
    /// `SIGRTMAXMINUS1`
    Sigrtmaxminus1 = 64,
    /// `SIGRTMAX`
    Sigrtmax = 65,
}

/// CRI `CreateContainerRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateContainerRequest {
    /// `pod_sandbox_id`
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
    /// `config`
    #[prost(message, optional, tag = "2")]
    pub config: Option<ContainerConfig>,
    /// `sandbox_config`
    #[prost(message, optional, tag = "3")]
    pub sandbox_config: Option<PodSandboxConfig>,
}

/// CRI `CreateContainerResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateContainerResponse {
    /// `container_id`
    #[prost(string, tag = "1")]
    pub container_id: String,
}

/// CRI `StartContainerRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StartContainerRequest {
    /// `container_id`
    #[prost(string, tag = "1")]
    pub container_id: String,
}

/// CRI `StartContainerResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StartContainerResponse {}

/// CRI `StopContainerRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StopContainerRequest {
    /// `container_id`
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// `timeout`
    #[prost(int64, tag = "2")]
    pub timeout: i64,
}

/// CRI `StopContainerResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StopContainerResponse {}

/// CRI `RemoveContainerRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RemoveContainerRequest {
    /// `container_id`
    #[prost(string, tag = "1")]
    pub container_id: String,
}

/// CRI `RemoveContainerResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RemoveContainerResponse {}

/// CRI `ContainerState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ContainerState {
    /// `CONTAINER_CREATED`
    Created = 0,
    /// `CONTAINER_RUNNING`
    Running = 1,
    /// `CONTAINER_EXITED`
    Exited = 2,
    /// `CONTAINER_UNKNOWN`
    Unknown = 3,
}

/// CRI `ContainerStateValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerStateValue {
    /// `state`
    #[prost(enumeration = "ContainerState", tag = "1")]
    pub state: i32,
}

/// CRI `ContainerFilter`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerFilter {
    /// `id`
    #[prost(string, tag = "1")]
    pub id: String,
    /// `state`
    #[prost(message, optional, tag = "2")]
    pub state: Option<ContainerStateValue>,
    /// `pod_sandbox_id`
    #[prost(string, tag = "3")]
    pub pod_sandbox_id: String,
    /// `label_selector`
    #[prost(btree_map = "string, string", tag = "4")]
    pub label_selector: BTreeMap<String, String>,
}

/// CRI `ListContainersRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListContainersRequest {
    /// `filter`
    #[prost(message, optional, tag = "1")]
    pub filter: Option<ContainerFilter>,
}

/// CRI `Container`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Container {
    /// `id`
    #[prost(string, tag = "1")]
    pub id: String,
    /// `pod_sandbox_id`
    #[prost(string, tag = "2")]
    pub pod_sandbox_id: String,
    /// `metadata`
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<ContainerMetadata>,
    /// `image`
    #[prost(message, optional, tag = "4")]
    pub image: Option<ImageSpec>,
    /// `image_ref`
    #[prost(string, tag = "5")]
    pub image_ref: String,
    /// `state`
    #[prost(enumeration = "ContainerState", tag = "6")]
    pub state: i32,
    /// `created_at`
    #[prost(int64, tag = "7")]
    pub created_at: i64,
    /// `labels`
    #[prost(btree_map = "string, string", tag = "8")]
    pub labels: BTreeMap<String, String>,
    /// `annotations`
    #[prost(btree_map = "string, string", tag = "9")]
    pub annotations: BTreeMap<String, String>,
    /// `image_id`
    #[prost(string, tag = "10")]
    pub image_id: String,
}

/// CRI `ListContainersResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListContainersResponse {
    /// `containers`
    #[prost(message, repeated, tag = "1")]
    pub containers: Vec<Container>,
}

/// CRI `ContainerStatusRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerStatusRequest {
    /// `container_id`
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// `verbose`
    #[prost(bool, tag = "2")]
    pub verbose: bool,
}

/// CRI `ContainerStatus`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerStatus {
    /// `id`
    #[prost(string, tag = "1")]
    pub id: String,
    /// `metadata`
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<ContainerMetadata>,
    /// `state`
    #[prost(enumeration = "ContainerState", tag = "3")]
    pub state: i32,
    /// `created_at`
    #[prost(int64, tag = "4")]
    pub created_at: i64,
    /// `started_at`
    #[prost(int64, tag = "5")]
    pub started_at: i64,
    /// `finished_at`
    #[prost(int64, tag = "6")]
    pub finished_at: i64,
    /// `exit_code`
    #[prost(int32, tag = "7")]
    pub exit_code: i32,
    /// `image`
    #[prost(message, optional, tag = "8")]
    pub image: Option<ImageSpec>,
    /// `image_ref`
    #[prost(string, tag = "9")]
    pub image_ref: String,
    /// `reason`
    #[prost(string, tag = "10")]
    pub reason: String,
    /// `message`
    #[prost(string, tag = "11")]
    pub message: String,
    /// `labels`
    #[prost(btree_map = "string, string", tag = "12")]
    pub labels: BTreeMap<String, String>,
    /// `annotations`
    #[prost(btree_map = "string, string", tag = "13")]
    pub annotations: BTreeMap<String, String>,
    /// `mounts`
    #[prost(message, repeated, tag = "14")]
    pub mounts: Vec<Mount>,
    /// `log_path`
    #[prost(string, tag = "15")]
    pub log_path: String,
    /// `resources`
    #[prost(message, optional, tag = "16")]
    pub resources: Option<ContainerResources>,
    /// `image_id`
    #[prost(string, tag = "17")]
    pub image_id: String,
    /// `user`
    #[prost(message, optional, tag = "18")]
    pub user: Option<ContainerUser>,
    /// `stop_signal`
    #[prost(enumeration = "Signal", tag = "19")]
    pub stop_signal: i32,
}

/// CRI `ContainerStatusResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerStatusResponse {
    /// `status`
    #[prost(message, optional, tag = "1")]
    pub status: Option<ContainerStatus>,
    /// `info`
    #[prost(btree_map = "string, string", tag = "2")]
    pub info: BTreeMap<String, String>,
}

/// CRI `ContainerResources`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerResources {
    /// `linux`
    #[prost(message, optional, tag = "1")]
    pub linux: Option<LinuxContainerResources>,
}

/// CRI `ContainerUser`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerUser {
    /// `linux`
    #[prost(message, optional, tag = "1")]
    pub linux: Option<LinuxContainerUser>,
}

/// CRI `UpdateContainerResourcesRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateContainerResourcesRequest {
    /// `container_id`
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// `linux`
    #[prost(message, optional, tag = "2")]
    pub linux: Option<LinuxContainerResources>,
    /// `annotations`
    #[prost(btree_map = "string, string", tag = "4")]
    pub annotations: BTreeMap<String, String>,
}

/// CRI `UpdateContainerResourcesResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateContainerResourcesResponse {}

/// CRI `ReopenContainerLogRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReopenContainerLogRequest {
    /// `container_id`
    #[prost(string, tag = "1")]
    pub container_id: String,
}

/// CRI `ReopenContainerLogResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReopenContainerLogResponse {}

/// CRI `GetEventsRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetEventsRequest {}

/// CRI `ContainerEventResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ContainerEventResponse {
    /// `container_id`
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// `container_event_type`
    #[prost(enumeration = "ContainerEventType", tag = "2")]
    pub container_event_type: i32,
    /// `created_at`
    #[prost(int64, tag = "3")]
    pub created_at: i64,
    /// `pod_sandbox_status`
    #[prost(message, optional, tag = "4")]
    pub pod_sandbox_status: Option<PodSandboxStatus>,
    /// `containers_statuses`
    #[prost(message, repeated, tag = "5")]
    pub containers_statuses: Vec<ContainerStatus>,
}

/// CRI `ContainerEventType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ContainerEventType {
    /// `CONTAINER_CREATED_EVENT`
    Created = 0,
    /// `CONTAINER_STARTED_EVENT`
    Started = 1,
    /// `CONTAINER_STOPPED_EVENT`
    Stopped = 2,
    /// `CONTAINER_DELETED_EVENT`
    Deleted = 3,
}
