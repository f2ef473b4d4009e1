//! Images: references, pulls, and what the image file system holds.
//!
//! Field names and numbers are those of `runtime.v1` in k8s.io/cri-api v0.34 (`pkg/apis/runtime/v1/api.proto`), which also
//! documents each field; Windows' messages are left out. Enumerations are held as `i32`, as prost does: use the accessors.

use std::collections::BTreeMap;

use super::*;

/// CRI `ImageSpec`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ImageSpec {
    /// `image`
    #[prost(string, tag = "1")]
    pub image: String,
    /// `annotations`
    #[prost(btree_map = "string, string", tag = "2")]
    pub annotations: BTreeMap<String, String>,
    /// `user_specified_image`
    #[prost(string, tag = "18")]
    pub user_specified_image: String,
    /// `runtime_handler`
    #[prost(string, tag = "19")]
    pub runtime_handler: String,
}

/// CRI `ImageFilter`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ImageFilter {
    /// `image`
    #[prost(message, optional, tag = "1")]
    pub image: Option<ImageSpec>,
}

/// CRI `ListImagesRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListImagesRequest {
    /// `filter`
    #[prost(message, optional, tag = "1")]
    pub filter: Option<ImageFilter>,
}

/// CRI `Image`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Image {
    /// `id`
    #[prost(string, tag = "1")]
    pub id: String,
    /// `repo_tags`
    #[prost(string, repeated, tag = "2")]
    pub repo_tags: Vec<String>,
    /// `repo_digests`
    #[prost(string, repeated, tag = "3")]
    pub repo_digests: Vec<String>,
    /// `size`
    #[prost(uint64, tag = "4")]
    pub size: u64,
    /// `uid`
    #[prost(message, optional, tag = "5")]
    pub uid: Option<Int64Value>,
    /// `username`
    #[prost(string, tag = "6")]
    pub username: String,
    /// `spec`
    #[prost(message, optional, tag = "7")]
    pub spec: Option<ImageSpec>,
    /// `pinned`
    #[prost(bool, tag = "8")]
    pub pinned: bool,
}

/// CRI `ListImagesResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ListImagesResponse {
    /// `images`
    #[prost(message, repeated, tag = "1")]
    pub images: Vec<Image>,
}

/// CRI `ImageStatusRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ImageStatusRequest {
    /// `image`
    #[prost(message, optional, tag = "1")]
    pub image: Option<ImageSpec>,
    /// `verbose`
    #[prost(bool, tag = "2")]
    pub verbose: bool,
}

/// CRI `ImageStatusResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ImageStatusResponse {
    /// `image`
    #[prost(message, optional, tag = "1")]
    pub image: Option<Image>,
    /// `info`
    #[prost(btree_map = "string, string", tag = "2")]
    pub info: BTreeMap<String, String>,
}

/// CRI `AuthConfig`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AuthConfig {
    /// `username`
    #[prost(string, tag = "1")]
    pub username: String,
    /// `password`
    #[prost(string, tag = "2")]
    pub password: String,
    /// `auth`
    #[prost(string, tag = "3")]
    pub auth: String,
    /// `server_address`
    #[prost(string, tag = "4")]
    pub server_address: String,
    /// `identity_token`
    #[prost(string, tag = "5")]
    pub identity_token: String,
    /// `registry_token`
    #[prost(string, tag = "6")]
    pub registry_token: String,
}

/// CRI `PullImageRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PullImageRequest {
    /// `image`
    #[prost(message, optional, tag = "1")]
    pub image: Option<ImageSpec>,
    /// `auth`
    #[prost(message, optional, tag = "2")]
    pub auth: Option<AuthConfig>,
    /// `sandbox_config`
    #[prost(message, optional, tag = "3")]
    pub sandbox_config: Option<PodSandboxConfig>,
}

/// CRI `PullImageResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PullImageResponse {
    /// `image_ref`
    #[prost(string, tag = "1")]
    pub image_ref: String,
}

/// CRI `RemoveImageRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RemoveImageRequest {
    /// `image`
    #[prost(message, optional, tag = "1")]
    pub image: Option<ImageSpec>,
}

/// CRI `RemoveImageResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RemoveImageResponse {}

/// CRI `ImageFsInfoRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ImageFsInfoRequest {}

/// CRI `FilesystemIdentifier`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FilesystemIdentifier {
    /// `mountpoint`
    #[prost(string, tag = "1")]
    pub mountpoint: String,
}

/// CRI `FilesystemUsage`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FilesystemUsage {
    /// `timestamp`
    #[prost(int64, tag = "1")]
    pub timestamp: i64,
    /// `fs_id`
    #[prost(message, optional, tag = "2")]
    pub fs_id: Option<FilesystemIdentifier>,
    /// `used_bytes`
    #[prost(message, optional, tag = "3")]
    pub used_bytes: Option<UInt64Value>,
    /// `inodes_used`
    #[prost(message, optional, tag = "4")]
    pub inodes_used: Option<UInt64Value>,
}

/// CRI `ImageFsInfoResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ImageFsInfoResponse {
    /// `image_filesystems`
    #[prost(message, repeated, tag = "1")]
    pub image_filesystems: Vec<FilesystemUsage>,
    /// `container_filesystems`
    #[prost(message, repeated, tag = "2")]
    pub container_filesystems: Vec<FilesystemUsage>,
}
