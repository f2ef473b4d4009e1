//! Exec, attach and port-forward requests. Answers of Exec and Attach carry a URL on the wire.
//!
//! Field names and numbers are those of `runtime.v1` in k8s.io/cri-api v0.34 (`pkg/apis/runtime/v1/api.proto`), which also
//! documents each field; Windows' messages are left out. Enumerations are held as `i32`, as prost does: use the accessors.

/// CRI `ExecSyncRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecSyncRequest {
    /// `container_id`
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// `cmd`
    #[prost(string, repeated, tag = "2")]
    pub cmd: Vec<String>,
    /// `timeout`
    #[prost(int64, tag = "3")]
    pub timeout: i64,
}

/// CRI `ExecSyncResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecSyncResponse {
    /// `stdout`
    #[prost(bytes = "vec", tag = "1")]
    pub stdout: Vec<u8>,
    /// `stderr`
    #[prost(bytes = "vec", tag = "2")]
    pub stderr: Vec<u8>,
    /// `exit_code`
    #[prost(int32, tag = "3")]
    pub exit_code: i32,
}

/// CRI `ExecRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecRequest {
    /// `container_id`
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// `cmd`
    #[prost(string, repeated, tag = "2")]
    pub cmd: Vec<String>,
    /// `tty`
    #[prost(bool, tag = "3")]
    pub tty: bool,
    /// `stdin`
    #[prost(bool, tag = "4")]
    pub stdin: bool,
    /// `stdout`
    #[prost(bool, tag = "5")]
    pub stdout: bool,
    /// `stderr`
    #[prost(bool, tag = "6")]
    pub stderr: bool,
}

/// CRI `ExecResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ExecResponse {
    /// `url`
    #[prost(string, tag = "1")]
    pub url: String,
}

/// CRI `AttachRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AttachRequest {
    /// `container_id`
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// `stdin`
    #[prost(bool, tag = "2")]
    pub stdin: bool,
    /// `tty`
    #[prost(bool, tag = "3")]
    pub tty: bool,
    /// `stdout`
    #[prost(bool, tag = "4")]
    pub stdout: bool,
    /// `stderr`
    #[prost(bool, tag = "5")]
    pub stderr: bool,
}

/// CRI `AttachResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AttachResponse {
    /// `url`
    #[prost(string, tag = "1")]
    pub url: String,
}

/// CRI `PortForwardRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PortForwardRequest {
    /// `pod_sandbox_id`
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
    /// `port`
    #[prost(int32, repeated, tag = "2")]
    pub port: Vec<i32>,
}

/// CRI `PortForwardResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PortForwardResponse {
    /// `url`
    #[prost(string, tag = "1")]
    pub url: String,
}
