//! The image store: what is here, what is held, how it comes and goes.
//!
//! ```text
//! blobs/sha256/…     manifests and configs
//! layers/…/fs        unpacked layers, by ChainID        (layers/…/layer.json: what it is)
//! empty              what an image without layers stands on
//! boot               the boot of the machine in which it was last open
//! images.json        the books: images and their names  (written whole, renamed into place)
//! copy-images.json   the same once more, for when the disk has spoiled them  (damaged-images.json: what it made of them)
//! ingest/, tmp/      what is on its way in or out; emptied when the store is opened
//! ```
//!
//! Compressed layers are dropped once they are unpacked. What is not in the books does not exist: a crash at any point leaves
//! at most something in `ingest`, `tmp`, or a layer that nobody needs, and opening removes all three.

mod books;
mod commit;
mod garbage;
mod layers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use remora_sys::file::{self, FolderLock};
use tokio::sync::watch;

use crate::pull::{Client, SharedPulls};
use crate::{
    Credentials, Digest, Error, Image, ImportSource, LayerLease, Limits, Progress, Pull, Reference, Registries, Usage,
};

use self::books::Books;
pub(crate) use self::books::Record;
pub(crate) use self::commit::{Durable, NewImage};
use self::layers::LayerMeta;

const EMPTY: &str = "empty";

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
    inner: Arc<Inner>,
}

struct Inner {
    config: StoreConfig,
    client: Client,
    pulls: SharedPulls,
    state: Mutex<State>,
    /// Held while the books or the set of layers change on disk, always on a blocking thread and never across an await.
    writing: Mutex<()>,
    /// Names of temporary files: numbers, from zero each time the store is opened.
    next_temporary: AtomicU64,
    _lock: FolderLock,
}

/// What is known in memory. Locked for moments, never across IO or an await.
#[derive(Default)]
struct State {
    books: Books,
    layers: BTreeMap<Digest, LayerMeta>,
    leases: BTreeMap<String, LayerLease>,
    /// Layers that pulls and imports under way count on, and how many do.
    pins: BTreeMap<Digest, usize>,
}

impl ImageStore {
    /// Opens or makes the store. `leases` are those of all containers that still exist (after a reboot they hold nothing any
    /// more); layers that neither an image nor a
    /// lease needs, and leftovers of interrupted pulls, are removed.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Damaged`], [`Error::Newer`] (nothing is changed then), [`Error::Io`].
    pub async fn open(config: StoreConfig, leases: Vec<LayerLease>) -> Result<Self, Error> {
        let store = blocking(move || Self::open_now(config, leases)).await?;
        store.collect_garbage().await?;
        store.settle();
        Ok(store)
    }

    fn open_now(config: StoreConfig, leases: Vec<LayerLease>) -> Result<Self, Error> {
        let root = &config.root;
        make_folder(root)?;
        let lock = file::lock_folder(root).map_err(|error| Error::io(root)(error.source))?;
        let lock = lock.ok_or_else(|| Error::Locked { path: root.clone() })?;
        for name in ["blobs", "blobs/sha256", "layers", EMPTY] {
            make_folder(&root.join(name))?;
        }
        let layers = layers::read_all(&root.join("layers"))?;
        let boot = commit::boot_id();
        let books = Books::read(root, &layers, boot.as_deref())?;
        for name in ["ingest", "tmp"] {
            empty_folder(&root.join(name))?;
        }
        let leases = if is_same_boot(root, boot.as_deref())? { leases } else { Vec::new() };
        let leases = leases.into_iter().map(|lease| (lease.holder.clone(), lease)).collect();
        let state = Mutex::new(State { books, layers, leases, pins: BTreeMap::new() });
        let client = Client::new(config.registries.clone());
        let pulls = SharedPulls::default();
        let inner = Inner {
            config,
            client,
            pulls,
            state,
            writing: Mutex::new(()),
            next_temporary: AtomicU64::new(0),
            _lock: lock,
        };
        Ok(ImageStore { inner: Arc::new(inner) })
    }

    /// Pulls an image, unless it is here with the digest that the registry answers now. Callers that pull the same name at
    /// once share one pull; it ends when all of them let go.
    pub fn pull(&self, name: &str, credentials: Option<Credentials>) -> Pull {
        self.inner.pulls.pull(self, name, credentials)
    }

    /// Imports the images of a docker-archive (`docker save`) or of an OCI layout, a folder or a tar of it, compressed or
    /// not. Progress goes to `progress`.
    ///
    /// # Errors
    /// [`Error::Import`]; images of the archive that were complete before stay.
    pub async fn import(&self, source: ImportSource, progress: watch::Sender<Progress>) -> Result<Vec<Image>, Error> {
        crate::import::import(self, source, progress).await
    }

    /// All images, by id.
    pub fn list(&self) -> Vec<Image> {
        self.state().books.records().map(Record::to_image).collect()
    }

    /// An image by name, repo digest, id (`sha256:…`, with or without the algorithm) or the beginning of its id.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`], [`Error::Reference`].
    pub fn image(&self, name: &str) -> Result<Image, Error> {
        self.state().books.find(name).map(Record::to_image)
    }

    /// Removes an image with all its names. Layers that containers hold stay until they are released.
    ///
    /// # Errors
    /// [`Error::NotFound`] (CRI's call makes that a success), [`Error::Io`].
    pub async fn remove(&self, name: &str) -> Result<Image, Error> {
        let image = self.image(name)?;
        let (store, id) = (self.clone(), image.id);
        blocking(move || store.change_books(&store.writing(), |books| books.remove(&id))).await?;
        self.collect_garbage().await?;
        Ok(image)
    }

    /// Holds the layers of an image for a container, until [`release`](ImageStore::release). Store the lease in the
    /// container's record before the layers are used. A second lease of the same holder replaces the first.
    ///
    /// # Errors
    /// As [`image`](ImageStore::image).
    pub fn lease(&self, image: &str, holder: &str) -> Result<LayerLease, Error> {
        let mut state = self.state();
        let record = state.books.find(image)?;
        let mut lowerdirs: Vec<PathBuf> = record.layers.iter().rev().map(|chain| self.layer_folder(chain)).collect();
        if lowerdirs.is_empty() {
            lowerdirs.push(self.config().root.join(EMPTY));
        }
        let lease =
            LayerLease { holder: holder.to_owned(), image: record.id, layers: record.layers.clone(), lowerdirs };
        state.leases.insert(holder.to_owned(), lease.clone());
        Ok(lease)
    }

    /// Gives a holder's layers back. Layers that nothing needs any more are removed. Unknown holders are no error.
    pub async fn release(&self, holder: &str) -> Result<(), Error> {
        let was_held = self.state().leases.remove(holder).is_some();
        match was_held {
            true => self.collect_garbage().await,
            false => Ok(()),
        }
    }

    /// What the store takes on disk, from its own books: no walk.
    pub fn usage(&self) -> Usage {
        let state = self.state();
        let layers = state.layers.values();
        let (bytes, inodes) = layers.fold((0, 0), |(bytes, inodes), l| (bytes + l.bytes, inodes + l.inodes));
        let blobs: u64 = state.books.records().map(|record| record.blob_bytes).sum();
        let records = state.books.records().count() as u64;
        Usage { path: self.inner.config.root.clone(), bytes: bytes + blobs, inodes: inodes + 2 * records }
    }

    pub(crate) fn config(&self) -> &StoreConfig {
        &self.inner.config
    }

    pub(crate) fn client(&self) -> &Client {
        &self.inner.client
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The image that a reference resolves to now, if it is here: a pull has only to remember the name.
    pub(crate) fn by_target(&self, target: &Digest) -> Option<Record> {
        self.state().books.records().find(|record| record.targets.contains(target)).cloned()
    }

    /// Gives an image that is here more names; other images lose them.
    pub(crate) async fn name(&self, id: Digest, names: Vec<Reference>) -> Result<Image, Error> {
        let store = self.clone();
        blocking(move || {
            if !store.state().books.has_names(&id, &names) {
                store.change_books(&store.writing(), |books| books.name(&id, &names))?;
            }
            store.image(&id.to_string())
        })
        .await
    }

    /// The right to change books, blobs and the set of layers on disk. Blocking.
    fn writing(&self) -> MutexGuard<'_, ()> {
        self.inner.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a change to the books, on disk first. Blocking.
    fn change_books(&self, _: &MutexGuard<'_, ()>, change: impl FnOnce(&mut Books)) -> Result<(), Error> {
        let mut books = self.state().books.clone();
        change(&mut books);
        books.write(&self.inner.config.root)?;
        self.state().books = books;
        Ok(())
    }
}

/// Runs blocking work on tokio's threads for it.
pub(crate) async fn blocking<T: Send + 'static, E: Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Blocking tasks are never cancelled once they run; before, only a runtime that ends does it.
            Err(cancelled) => std::panic::panic_any(cancelled.to_string()),
        },
    }
}

/// Whether the store was open before in this boot of the machine. Containers of an earlier one run no more, and layers that
/// only they hold may be incomplete.
fn is_same_boot(root: &Path, boot: Option<&str>) -> Result<bool, Error> {
    let (path, Some(boot)) = (root.join("boot"), boot) else { return Ok(true) };
    if std::fs::read(&path).is_ok_and(|last| last == boot.as_bytes()) {
        return Ok(true);
    }
    std::fs::write(&path, boot).map_err(Error::io(&path))?;
    Ok(false)
}

fn make_folder(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io(path))
}

fn empty_folder(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(path)(error)),
        _ => {}
    }
    make_folder(path)
}
