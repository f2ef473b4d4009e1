//! A fetched image enters the books: blobs first, then the name; and everything goes to the disk, before or soon after.
//!
//! Unpacked files are written without waiting for the disk, and waiting for all of them takes as long as the machine is busy.
//! A pulled image is used at once, and its record says of which boot it is until all of it is on the disk: after a power cut
//! an image of an earlier boot that still says so is taken for gone, and pulled again. An import waits.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, Weak};

use oci_spec::image::ImageConfiguration;
use remora_sys::inode;

use super::books::blob_path;
use super::{ImageStore, Inner, Record, blocking};
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

/// When an image is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    /// Before anybody sees it: it may exist nowhere else.
    Before,
    /// Soon after: it can be pulled again.
    Soon,
}

/// Names this boot of the machine; None where the kernel does not tell.
pub(crate) fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

impl ImageStore {
    /// Makes the image visible.
    pub(crate) async fn commit(&self, image: NewImage, durable: Durable) -> Result<Image, Error> {
        let store = self.clone();
        let image = blocking(move || store.commit_now(image, durable)).await?;
        self.settle();
        Ok(image)
    }

    fn commit_now(&self, image: NewImage, durable: Durable) -> Result<Image, Error> {
        let writing = self.writing();
        let root = &self.config().root;
        let id = Digest::of(&image.config_bytes);
        let mut blobs = Vec::new();
        let mut blob_bytes = 0;
        for bytes in std::iter::once(&image.config_bytes).chain(&image.manifest_bytes) {
            let digest = Digest::of(bytes);
            let path = blob_path(root, &digest);
            fs::write(&path, bytes).map_err(Error::io(&path))?;
            blob_bytes += bytes.len() as u64;
            blobs.push(digest);
        }
        let unsettled = match (durable, boot_id()) {
            (Durable::Soon, Some(boot)) => Some(boot),
            _ => {
                inode::sync_file_system(root).map_err(|error| Error::io(root)(error.source))?;
                None
            }
        };
        let record = Record {
            id,
            targets: image.targets,
            names: image.names,
            layers: image.layers,
            size: image.size,
            blob_bytes,
            blobs,
            unsettled,
            config: Arc::new(image.config),
        };
        self.change_books(&writing, |books| books.add(record))?;
        drop(writing);
        self.image(&id.to_string())
    }

    /// Brings images that are not known to be on the disk there, in the background. Does not keep the store open.
    pub(super) fn settle(&self) {
        let unsettled: Vec<Digest> = {
            let state = self.state();
            state.books.records().filter(|record| record.unsettled.is_some()).map(|record| record.id).collect()
        };
        if unsettled.is_empty() {
            return;
        }
        let (root, store) = (self.config().root.clone(), Arc::downgrade(&self.inner));
        // Nobody waits for it: when it fails, the record goes on saying that the image is not safe yet.
        drop(tokio::task::spawn_blocking(move || {
            let synced = inode::sync_file_system(&root).map_err(|error| Error::io(&root)(error.source));
            if let Err(error) = synced.and_then(|()| mark_settled(&store, &unsettled)) {
                tracing::warn!(error = %crate::error::chain(&error), "pulled images are not on the disk yet");
            }
        }));
    }
}

fn mark_settled(store: &Weak<Inner>, images: &[Digest]) -> Result<(), Error> {
    let Some(inner) = store.upgrade() else { return Ok(()) };
    let store = ImageStore { inner };
    store.change_books(&store.writing(), |books| books.settle(images))
}
