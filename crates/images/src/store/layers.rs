//! Unpacked layers on disk: a folder each, named by its ChainID.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ImageStore;
use crate::error::FetchError;
use crate::layer::{LayerError, unpack};
use crate::{Digest, Error};

const META: &str = "layer.json";

/// What a layer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayerMeta {
    pub(crate) chain_id: Digest,
    pub(crate) diff_id: Digest,
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

/// Reads what is there. A folder without a readable description is no layer: a machine that lost power may leave one.
pub(crate) fn read_all(folder: &Path) -> Result<BTreeMap<Digest, LayerMeta>, Error> {
    let mut layers = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let meta: Option<LayerMeta> =
            fs::read(path.join(META)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        match meta.filter(|meta| path.ends_with(meta.chain_id.hex()) && path.join("fs").is_dir()) {
            Some(meta) => drop(layers.insert(meta.chain_id, meta)),
            None => fs::remove_dir_all(&path).map_err(Error::io(&path))?,
        }
    }
    Ok(layers)
}

impl ImageStore {
    /// The folder that overlayfs uses.
    pub(crate) fn layer_folder(&self, chain: &Digest) -> PathBuf {
        self.layer_home(chain).join("fs")
    }

    pub(super) fn layer_home(&self, chain: &Digest) -> PathBuf {
        self.config().root.join("layers").join(chain.hex())
    }

    pub(crate) fn has_layer(&self, chain: &Digest) -> bool {
        self.state().layers.contains_key(chain)
    }

    /// Unpacks a blob as a layer over those below it (ChainIDs, bottom first), checks its DiffID, and lets it appear whole.
    /// Blocking. The layers have to be pinned.
    pub(crate) fn unpack_layer(&self, blob: &Path, diff_id: Digest, below: &[Digest]) -> Result<(), FetchError> {
        let chain_id = Digest::chain(below.last(), &diff_id);
        if self.has_layer(&chain_id) {
            return Ok(());
        }
        let extract = |source| FetchError::Layer { layer: diff_id, source };
        let temporary = self.temporary_folder()?;
        let upper = temporary.path.join("fs");
        let made = fs::DirBuilder::new().mode(0o755).create(&upper);
        made.and_then(|()| fs::set_permissions(&upper, fs::Permissions::from_mode(0o755)))
            .map_err(|error| extract(LayerError::write(&upper)(error)))?;
        let file = File::open(blob).map_err(FetchError::io(format!("open {}", blob.display())))?;
        let size = file.metadata().map_err(FetchError::io(format!("open {}", blob.display())))?.len();
        let lowers: Vec<PathBuf> = below.iter().rev().map(|chain| self.layer_folder(chain)).collect();
        let reader = BufReader::with_capacity(128 * 1024, file);
        let unpacked = unpack(reader, size, &upper, &lowers, &self.config().limits).map_err(extract)?;
        if unpacked.diff_id != diff_id {
            return Err(extract(LayerError::DiffId { actual: unpacked.diff_id, expected: diff_id }));
        }
        let meta = LayerMeta { chain_id, diff_id, bytes: unpacked.bytes, inodes: unpacked.inodes };
        self.publish_layer(temporary, meta)
    }

    /// Another pull may have been faster: then its layer stays and ours goes.
    fn publish_layer(&self, temporary: TemporaryFolder, meta: LayerMeta) -> Result<(), FetchError> {
        let described = temporary.path.join(META);
        let bytes = serde_json::to_vec(&meta).map_err(|error| Error::io(&described)(error.into()))?;
        fs::write(&described, bytes).map_err(Error::io(&described))?;
        let _writing = self.writing();
        if self.has_layer(&meta.chain_id) {
            return Ok(());
        }
        let home = self.layer_home(&meta.chain_id);
        fs::rename(&temporary.path, &home).map_err(Error::io(&home))?;
        self.state().layers.insert(meta.chain_id, meta);
        Ok(())
    }

    /// A new folder on the store's file system.
    pub(super) fn temporary_folder(&self) -> Result<TemporaryFolder, Error> {
        let path = self.temporary_path("tmp");
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(Error::io(&path))?;
        Ok(TemporaryFolder { path })
    }

    /// A path below `folder` that nobody else has.
    pub(crate) fn temporary_path(&self, folder: &str) -> PathBuf {
        let number = self.inner.next_temporary.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.config().root.join(folder).join(number.to_string())
    }
}

/// Goes with all that is in it, unless it was moved away.
pub(super) struct TemporaryFolder {
    pub(super) path: PathBuf,
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "left until the store is opened again");
            }
            _ => {}
        }
    }
}
