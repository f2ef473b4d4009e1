//! A fetched image enters the books: blobs first, then everything to disk, then the name.

use std::collections::BTreeSet;
use std::sync::Arc;

use oci_spec::image::ImageConfiguration;
use remora_sys::{file, inode};

use super::books::blob_path;
use super::{ImageStore, Record, blocking};
use crate::{Digest, Error, Image, Reference};

/// An image whose layers are all unpacked.
pub(crate) struct NewImage {
    pub(crate) config: ImageConfiguration,
    pub(crate) config_bytes: Vec<u8>,
    /// The manifest, if it came with one.
    pub(crate) manifest_bytes: Option<Vec<u8>>,
    /// Digests that lead to it.
    pub(crate) targets: BTreeSet<Digest>,
    pub(crate) names: BTreeSet<Reference>,
    /// ChainIDs, bottom first.
    pub(crate) layers: Vec<Digest>,
    /// Bytes as transferred.
    pub(crate) size: u64,
}

impl ImageStore {
    /// Makes the image durable and visible.
    pub(crate) async fn commit(&self, image: NewImage) -> Result<Image, Error> {
        let store = self.clone();
        blocking(move || store.commit_now(image)).await
    }

    fn commit_now(&self, image: NewImage) -> Result<Image, Error> {
        let writing = self.writing();
        let root = &self.config().root;
        let id = Digest::of(&image.config_bytes);
        let mut blobs = Vec::new();
        let mut blob_bytes = 0;
        for bytes in std::iter::once(&image.config_bytes).chain(&image.manifest_bytes) {
            let digest = Digest::of(bytes);
            let path = blob_path(root, &digest);
            file::write_durably(&path, bytes, 0o600).map_err(|error| Error::io(&path)(error.source))?;
            blob_bytes += bytes.len() as u64;
            blobs.push(digest);
        }
        // Unpacked files were written without waiting for the disk; the name must not survive a power cut that they do not.
        inode::sync_file_system(root).map_err(|error| Error::io(root)(error.source))?;
        let record = Record {
            id,
            targets: image.targets,
            names: image.names,
            layers: image.layers,
            size: image.size,
            blob_bytes,
            blobs,
            config: Arc::new(image.config),
        };
        self.change_books(&writing, |books| books.add(record))?;
        drop(writing);
        self.image(&id.to_string())
    }
}
