//! Layers: from a tar of changes to a folder that overlayfs can use (OCI image spec, "Image Layer Filesystem Changeset").
//!
//! `decompress` → `remora_archive` (headers, limits) → `entry` (what a header means; pure) → `unpack` (writes it), which asks `merged`
//! where a path leads over the layers below.

mod decompress;
mod entry;
mod merged;
mod unpack;

pub(crate) use decompress::decompress;
pub(crate) use entry::{Entry, Kind, relative};
pub(crate) use remora_archive::{EntryReader, TarError, Type};
pub(crate) use unpack::unpack;

use std::io;
use std::path::PathBuf;

use crate::Digest;

/// What images may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all blobs of one image as they are transferred.
    pub image_bytes: u64,
    /// Bytes of one layer once unpacked.
    pub layer_bytes: u64,
    /// Files, folders and links in one layer.
    pub layer_entries: u64,
    /// How many times its compressed size a layer may become, beyond the first 64 MiB.
    pub expansion: u64,
}

impl Default for Limits {
    /// 64 GiB per image, 32 GiB and 2 million entries per layer, 250-fold expansion.
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        Limits { image_bytes: 64 * GIB, layer_bytes: 32 * GIB, layer_entries: 2_000_000, expansion: 250 }
    }
}

impl Limits {
    /// How large a layer may become that is `compressed` bytes long.
    fn unpacked(&self, compressed: u64) -> u64 {
        const FREE: u64 = 64 << 20;
        self.layer_bytes.min(compressed.saturating_mul(self.expansion).saturating_add(FREE))
    }
}

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The tar is damaged, hostile or of a kind that is not understood.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// An entry that may not be written.
    #[error("entry {path:?}: {problem}")]
    Entry {
        /// Its path as the archive has it.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Larger than allowed: a compression bomb, or just large.
    #[error("larger than {limit} bytes once unpacked")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// More entries than allowed.
    #[error("more than {limit} files")]
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// The content is not what the image's config says.
    #[error("wrong diff id calculated on extraction {actual}, expected {expected}")]
    DiffId {
        /// What was unpacked.
        actual: Digest,
        /// What the config says.
        expected: Digest,
    },
    /// The compressed stream is damaged.
    #[error("cannot read")]
    Read {
        /// What the decoder said.
        #[source]
        source: io::Error,
    },
    /// Writing it.
    #[error("{}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl LayerError {
    pub(crate) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> LayerError {
        let path = path.into();
        move |source| LayerError::Write { path, source }
    }

    pub(crate) fn entry(path: &std::path::Path, problem: &'static str) -> LayerError {
        LayerError::Entry { path: path.display().to_string(), problem }
    }
}
