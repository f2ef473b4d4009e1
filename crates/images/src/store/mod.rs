//! The image store: what is here, what is leased, how it comes and goes.

use std::path::PathBuf;
use std::sync::Arc;

use crate::{Credentials, Error, Image, ImportSource, LayerLease, Limits, Progress, Pull, Registries, Usage};
use tokio::sync::watch;

/// How a store is set up.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Its folder, on a file system that overlayfs can use as a lower layer. Made with mode 0700.
    pub root: PathBuf,
    /// Where registries are.
    pub registries: Registries,
    /// What images may cost.
    pub limits: Limits,
}

/// All images of this machine, unpacked. Clones are handles to the same store.
#[derive(Clone)]
pub struct ImageStore {
    inner: Arc<()>,
}

impl ImageStore {
    /// Opens or makes the store. `leases` are those of all containers that still exist; layers that neither an image nor a
    /// lease needs, and leftovers of interrupted pulls, are removed.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Damaged`] (nothing is changed then), [`Error::Io`].
    pub async fn open(config: StoreConfig, leases: Vec<LayerLease>) -> Result<Self, Error> {
        unimplemented!("{:?} {leases:?}", config)
    }

    /// Pulls an image, unless it is here with the digest that the registry answers now. Callers that pull the same name at
    /// once share one pull; it ends when all of them let go.
    pub fn pull(&self, name: &str, credentials: Option<Credentials>) -> Pull {
        unimplemented!("{name} {credentials:?} {:?}", self.inner)
    }

    /// Imports the images of a docker-archive (`docker save`) or of an OCI layout, a folder or a tar of it, compressed or
    /// not. Progress goes to `progress`.
    pub async fn import(&self, source: ImportSource, progress: watch::Sender<Progress>) -> Result<Vec<Image>, Error> {
        unimplemented!("{source:?} {progress:?}")
    }

    /// All images, by id.
    pub fn list(&self) -> Vec<Image> {
        unimplemented!()
    }

    /// An image by name, repo digest, id (`sha256:…`, with or without the algorithm) or the beginning of its id.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`], [`Error::Reference`].
    pub fn image(&self, name: &str) -> Result<Image, Error> {
        unimplemented!("{name}")
    }

    /// Removes an image with all its names. Layers that containers hold stay until they are released.
    ///
    /// # Errors
    /// [`Error::NotFound`] (CRI's call makes that a success), [`Error::Io`].
    pub async fn remove(&self, name: &str) -> Result<Image, Error> {
        unimplemented!("{name}")
    }

    /// Holds the layers of an image for a container, until [`release`](ImageStore::release). Store the lease in the
    /// container's record before the layers are used. A second lease of the same holder replaces the first.
    ///
    /// # Errors
    /// As [`image`](ImageStore::image).
    pub fn lease(&self, image: &str, holder: &str) -> Result<LayerLease, Error> {
        unimplemented!("{image} {holder}")
    }

    /// Gives a holder's layers back. Layers that nothing needs any more are removed. Unknown holders are no error.
    pub async fn release(&self, holder: &str) -> Result<(), Error> {
        unimplemented!("{holder}")
    }

    /// What the store takes on disk, from its own books: no walk.
    pub fn usage(&self) -> Usage {
        unimplemented!()
    }
}
