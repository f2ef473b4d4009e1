//! Layers: from a compressed tar to a folder that overlayfs can use.

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

/// Why.
#[derive(Debug, thiserror::Error)]
#[error("")]
pub struct LayerError;
