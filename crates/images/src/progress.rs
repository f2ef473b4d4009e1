//! How far a pull or an import is, for people who wait. Only words.

use crate::Digest;

/// A snapshot of a pull or an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is being fetched, as a full name; empty until it is known.
    pub reference: String,
    /// One entry per layer, bottom first; empty until the manifest is here.
    pub layers: Vec<LayerProgress>,
}

impl Progress {
    /// Bytes transferred and bytes to transfer, over all layers.
    pub fn bytes(&self) -> (u64, u64) {
        self.layers.iter().fold((0, 0), |(done, total), layer| (done + layer.done, total + layer.total))
    }
}

/// How far one layer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerProgress {
    /// Digest of the blob, or of the uncompressed layer when it came from a docker-archive.
    pub digest: Digest,
    /// Bytes transferred.
    pub done: u64,
    /// Bytes to transfer.
    pub total: u64,
    /// What happens to it now.
    pub state: LayerState,
}

/// The life of a layer that is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerState {
    /// Waits for a free connection.
    Waiting,
    /// Bytes are coming.
    Downloading,
    /// Complete and checked; waits for the layers below it.
    Downloaded,
    /// Its files are written.
    Unpacking,
    /// Unpacked.
    Done,
    /// Was here before.
    Present,
}
