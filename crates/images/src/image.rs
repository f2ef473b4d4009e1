//! What an image is to those who ask, and what a container holds of it.

use std::path::PathBuf;
use std::sync::Arc;

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use crate::Digest;

/// An image that is here, whole and unpacked.
#[derive(Clone, Debug)]
pub struct Image {
    /// Digest of its config: CRI's image id.
    pub id: Digest,
    /// Full names with tags, such as `docker.io/library/busybox:latest`, sorted.
    pub repo_tags: Vec<String>,
    /// Full names with the digest of the manifest, such as `docker.io/library/busybox@sha256:…`, sorted. Empty for an
    /// image that was imported without one.
    pub repo_digests: Vec<String>,
    /// Bytes of manifest, config and layers as they were transferred: what CRI calls its size.
    pub size: u64,
    /// Command, environment, user, working directory, stop signal and so on.
    pub config: Arc<ImageConfiguration>,
    /// ChainIDs of its layers, bottom first.
    pub layers: Vec<Digest>,
}

impl Image {
    /// What a container's status shows as `imageID`: the first repo digest, or the id of an image that has none.
    ///
    /// Source: containerd `internal/cri/server/container_status.go`, which Kubernetes shows unchanged.
    pub fn image_ref(&self) -> String {
        self.repo_digests.first().cloned().unwrap_or_else(|| self.id.to_string())
    }
}

/// A hold on the layers of one image: as long as it lasts, they stay, whatever happens to the image.
///
/// It belongs to the record of its holder (a container), which hands all of them to [`crate::ImageStore::open`] after a
/// restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerLease {
    /// Who holds it: a container's id.
    pub holder: String,
    /// The image's id when it was taken.
    pub image: Digest,
    /// ChainIDs, bottom first.
    pub layers: Vec<Digest>,
    /// Folders for overlayfs' `lowerdir`, top first, at least one. Read-only for everyone.
    pub lowerdirs: Vec<PathBuf>,
}

/// What the store takes on its file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The store's folder.
    pub path: PathBuf,
    /// Bytes of all files, as they were unpacked, and of blobs.
    pub bytes: u64,
    /// Files and folders.
    pub inodes: u64,
}
