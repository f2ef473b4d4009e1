//! Imports images from archives: docker-archive (`docker save`) and OCI layouts.
//!
//! `parts` makes the files of an archive reachable by name, `contents` reads which images they are, and this file unpacks
//! and enters them one after the other.

mod contents;
mod parts;

use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use self::contents::Found;
pub(crate) use self::contents::{CONTAINERD_NAME, REF_NAME, blob_name};
use self::parts::Parts;
use crate::error::FetchError;
use crate::pull::{set_state, unpack_in_order};
use crate::store::{Durable, NewImage, blocking};
use crate::{Digest, Error, Image, ImageStore, LayerProgress, LayerState, Progress};

/// Where an import comes from.
pub enum ImportSource {
    /// A tar file (docker-archive or OCI layout, plain, gzip or zstd), or the folder of an OCI layout.
    Path(PathBuf),
    /// The same tar as a stream, such as stdin; read once, front to back, on a blocking thread.
    Stream(Box<dyn Read + Send>),
}

impl fmt::Debug for ImportSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImportSource::Path(path) => f.debug_tuple("Path").field(path).finish(),
            ImportSource::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl fmt::Display for ImportSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImportSource::Path(path) => write!(f, "{}", path.display()),
            ImportSource::Stream(_) => f.write_str("the stream"),
        }
    }
}

pub(crate) async fn import(
    store: &ImageStore,
    source: ImportSource,
    progress: watch::Sender<Progress>,
) -> Result<Vec<Image>, Error> {
    let from = source.to_string();
    let imported = import_all(store, source, &progress).await;
    imported.map_err(|source| Error::Import { from, source: Arc::new(source) })
}

async fn import_all(
    store: &ImageStore,
    source: ImportSource,
    progress: &watch::Sender<Progress>,
) -> Result<Vec<Image>, FetchError> {
    let opener = store.clone();
    let (parts, found) = blocking(move || {
        let parts = Parts::open(&opener, source)?;
        let found = contents::read(&parts)?;
        Ok::<_, FetchError>((parts, found))
    })
    .await?;
    let mut images: Vec<Image> = Vec::new();
    for found in found {
        let image = import_one(store, found, progress).await?;
        images.retain(|known| known.id != image.id);
        images.push(image);
    }
    // The archive's files are needed until here.
    drop(parts);
    Ok(images)
}

async fn import_one(store: &ImageStore, found: Found, progress: &watch::Sender<Progress>) -> Result<Image, FetchError> {
    let layers = Digest::chain_ids(&found.diff_ids);
    let _pin = store.pin(&layers);
    announce(store, &found, &layers, progress);
    for (index, (blob, diff_id)) in found.layers.iter().zip(&found.diff_ids).enumerate() {
        if store.has_layer(&layers[index]) {
            continue;
        }
        set_state(progress, index, LayerState::Unpacking);
        unpack_in_order(store, blob.path.clone(), *diff_id, &layers[..index]).await?;
        set_state(progress, index, LayerState::Done);
    }
    let documents = found.config_bytes.len() + found.manifest_bytes.as_ref().map_or(0, Vec::len);
    let image = NewImage {
        size: documents as u64 + found.layers.iter().map(|layer| layer.size).sum::<u64>(),
        config: found.config,
        config_bytes: found.config_bytes,
        manifest_bytes: found.manifest_bytes,
        targets: found.targets,
        names: found.names,
        layers,
    };
    Ok(store.commit(image, Durable::Before).await?)
}

fn announce(store: &ImageStore, found: &Found, chain: &[Digest], progress: &watch::Sender<Progress>) {
    let layers = found.layers.iter().zip(&found.diff_ids).zip(chain);
    let layer = |((blob, diff_id), chain): ((&parts::Part, &Digest), &Digest)| LayerProgress {
        digest: *diff_id,
        done: blob.size,
        total: blob.size,
        state: if store.has_layer(chain) { LayerState::Present } else { LayerState::Downloaded },
    };
    let reference = found.names.first().map(ToString::to_string).unwrap_or_default();
    progress.send_replace(Progress { reference, layers: layers.map(layer).collect() });
}
