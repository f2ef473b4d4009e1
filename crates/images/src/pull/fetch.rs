//! A whole pull: resolve, manifest, config, layers, commit.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use oci_spec::image::ImageConfiguration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::Credentials;
use super::blob::{BlobFile, fetch_blob};
use super::client::Target;
use super::resolve::{FetchedDocument, Resolved, fetch_document, resolve, targets};
use crate::error::FetchError;
use crate::manifest::{self, Descriptor, Document, Manifest, Platform};
use crate::reference::Version;
use crate::store::{Durable, NewImage, blocking};
use crate::{Digest, Error, Image, ImageStore, LayerProgress, LayerState, Progress, Reference};

/// Layers that are transferred at once: containerd's and Docker's number.
const PARALLEL: usize = 3;
/// An index may point at an index, but not for ever.
const MAX_DEPTH: usize = 4;

pub(super) async fn pull(
    store: ImageStore,
    reference: Reference,
    credentials: Option<Credentials>,
    progress: watch::Sender<Progress>,
) -> Result<Image, Error> {
    let targets = targets(store.client(), &reference, credentials.as_ref());
    let resolved = resolve(store.client(), &reference, &targets).await;
    let resolved =
        resolved.map_err(|source| Error::Resolve { image: reference.to_string(), source: Arc::new(source) })?;
    let names = names(&reference, resolved.digest);
    if let Some(record) = store.by_target(&resolved.digest) {
        return store.name(record.id, names.into_iter().collect()).await;
    }
    let fetch = Fetch { store: &store, targets: Arc::new(targets), progress: Arc::new(progress) };
    let fetched = fetch.run(resolved, names).await;
    fetched.map_err(|source| Error::Pull { image: reference.to_string(), source: Arc::new(source) })
}

/// What the image is called afterwards: as asked for, and by digest.
fn names(reference: &Reference, digest: Digest) -> BTreeSet<Reference> {
    let by_digest = reference.at(digest);
    match reference.version() {
        Version::Tag(_) => BTreeSet::from([reference.clone(), by_digest]),
        Version::Digest(_) => BTreeSet::from([by_digest]),
    }
}

struct Fetch<'a> {
    store: &'a ImageStore,
    targets: Arc<Vec<Target>>,
    progress: Arc<watch::Sender<Progress>>,
}

/// All of an image but its layers.
struct Plan {
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    config: ImageConfiguration,
    config_bytes: Vec<u8>,
    diff_ids: Vec<Digest>,
    targets: BTreeSet<Digest>,
}

impl Fetch<'_> {
    async fn run(&self, resolved: Resolved, names: BTreeSet<Reference>) -> Result<Image, FetchError> {
        let plan = self.plan(resolved).await?;
        let layers = Digest::chain_ids(&plan.diff_ids);
        let size = self.check_size(&plan)?;
        let _pin = self.store.pin(&layers);
        self.fetch_layers(&plan.manifest.layers, &plan.diff_ids, &layers).await?;
        let image = NewImage {
            config: plan.config,
            config_bytes: plan.config_bytes,
            manifest_bytes: Some(plan.manifest_bytes),
            targets: plan.targets,
            names,
            layers,
            size,
        };
        Ok(self.store.commit(image, Durable::Soon).await?)
    }

    async fn plan(&self, resolved: Resolved) -> Result<Plan, FetchError> {
        let mut targets = BTreeSet::new();
        let mut digest = resolved.digest;
        let mut known = resolved.document;
        for _ in 0..MAX_DEPTH {
            targets.insert(digest);
            let document = match known.take() {
                Some(document) => document,
                None => self.document(&digest).await?,
            };
            match Document::parse(&document.bytes, &document.media_type)? {
                Document::Index(index) => digest = index.choose(&Platform::host())?.digest,
                Document::Manifest(manifest) => return self.config(manifest, document.bytes, targets).await,
            }
        }
        Err(FetchError::Archive("indexes point at indexes too often".into()))
    }

    async fn config(
        &self,
        manifest: Manifest,
        manifest_bytes: Vec<u8>,
        targets: BTreeSet<Digest>,
    ) -> Result<Plan, FetchError> {
        let path = self.store.temporary_path("ingest");
        let file = fetch_blob(self.store.client(), &self.targets, &manifest.config, path, |_| {}).await?;
        let config_bytes = tokio::fs::read(&file.0).await;
        let config_bytes = config_bytes.map_err(FetchError::io(format!("read {}", file.0.display())))?;
        let (config, diff_ids) = manifest::parse_config(&config_bytes, manifest.layers.len())?;
        Ok(Plan { manifest, manifest_bytes, config, config_bytes, diff_ids, targets })
    }

    /// A manifest or index by digest, from the first endpoint that has it right.
    async fn document(&self, digest: &Digest) -> Result<FetchedDocument, FetchError> {
        let mut first: Option<FetchError> = None;
        for target in self.targets.iter() {
            match fetch_document(self.store.client(), target, &digest.to_string()).await {
                Ok(document) if Digest::of(&document.bytes) == *digest => return Ok(document),
                Ok(document) => {
                    let actual = Digest::of(&document.bytes);
                    first.get_or_insert(FetchError::Digest { actual, expected: *digest });
                }
                Err(error) => drop(first.get_or_insert(error.into())),
            }
        }
        Err(first.unwrap_or_else(|| FetchError::Archive(format!("{digest}: no endpoint"))))
    }

    fn check_size(&self, plan: &Plan) -> Result<u64, FetchError> {
        let layers = plan.manifest.layers.iter().fold(0u64, |sum, layer| sum.saturating_add(layer.size));
        let size = layers.saturating_add((plan.manifest_bytes.len() + plan.config_bytes.len()) as u64);
        let limit = self.store.config().limits.image_bytes;
        match size > limit {
            true => Err(FetchError::TooLarge { size, limit }),
            false => Ok(size),
        }
    }

    async fn fetch_layers(
        &self,
        blobs: &[Descriptor],
        diff_ids: &[Digest],
        chain: &[Digest],
    ) -> Result<(), FetchError> {
        let missing: Vec<bool> = chain.iter().map(|chain| !self.store.has_layer(chain)).collect();
        self.announce(blobs, &missing);
        let mut downloads = Downloads::start(self, blobs, &missing);
        let unpacked = self.unpack_layers(&mut downloads, diff_ids, chain, &missing).await;
        // Those that still run would leave their files behind when they are only told to end.
        downloads.tasks.shutdown().await;
        unpacked
    }

    async fn unpack_layers(
        &self,
        downloads: &mut Downloads,
        diff_ids: &[Digest],
        chain: &[Digest],
        missing: &[bool],
    ) -> Result<(), FetchError> {
        for (index, diff_id) in diff_ids.iter().enumerate().filter(|(index, _)| missing[*index]) {
            let blob = downloads.next(index).await?;
            set_state(&self.progress, index, LayerState::Unpacking);
            unpack_in_order(self.store, blob.0.clone(), *diff_id, &chain[..index]).await?;
            set_state(&self.progress, index, LayerState::Done);
        }
        Ok(())
    }

    fn announce(&self, blobs: &[Descriptor], missing: &[bool]) {
        let layer = |(blob, missing): (&Descriptor, &bool)| LayerProgress {
            digest: blob.digest,
            done: if *missing { 0 } else { blob.size },
            total: blob.size,
            state: if *missing { LayerState::Waiting } else { LayerState::Present },
        };
        self.progress.send_modify(|progress| progress.layers = blobs.iter().zip(missing).map(layer).collect());
    }
}

/// Unpacks one layer on a blocking thread.
pub(crate) async fn unpack_in_order(
    store: &ImageStore,
    blob: PathBuf,
    diff_id: Digest,
    below: &[Digest],
) -> Result<(), FetchError> {
    let (store, below) = (store.clone(), below.to_vec());
    blocking(move || store.unpack_layer(&blob, diff_id, &below)).await
}

pub(crate) fn set_state(progress: &watch::Sender<Progress>, index: usize, state: LayerState) {
    progress.send_modify(|progress| {
        if let Some(layer) = progress.layers.get_mut(index) {
            layer.state = state;
        }
    });
}

/// Downloads that run beside the unpacking. Dropping this ends them.
struct Downloads {
    tasks: JoinSet<(usize, Result<BlobFile, FetchError>)>,
    /// Those that came before their turn.
    early: HashMap<usize, BlobFile>,
}

impl Downloads {
    fn start(fetch: &Fetch<'_>, blobs: &[Descriptor], missing: &[bool]) -> Self {
        let mut tasks = JoinSet::new();
        let slots = Arc::new(Semaphore::new(PARALLEL));
        for (index, blob) in blobs.iter().enumerate().filter(|(index, _)| missing[*index]) {
            let (store, targets, progress) = (fetch.store.clone(), fetch.targets.clone(), fetch.progress.clone());
            let (blob, slots) = (blob.clone(), slots.clone());
            tasks.spawn(async move {
                // The semaphore is never closed; a permit is only missing if it were.
                let _slot = slots.acquire_owned().await;
                (index, download(&store, &targets, &progress, index, &blob).await)
            });
        }
        Downloads { tasks, early: HashMap::new() }
    }

    /// The blob of this layer. Any download that fails fails the pull at once.
    async fn next(&mut self, wanted: usize) -> Result<BlobFile, FetchError> {
        loop {
            if let Some(blob) = self.early.remove(&wanted) {
                return Ok(blob);
            }
            match self.tasks.join_next().await {
                Some(Ok((index, result))) => drop(self.early.insert(index, result?)),
                Some(Err(error)) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(cancelled) => return Err(FetchError::Archive(cancelled.to_string())),
                },
                None => return Err(FetchError::Archive(format!("layer {wanted} was not fetched"))),
            }
        }
    }
}

async fn download(
    store: &ImageStore,
    targets: &[Target],
    progress: &watch::Sender<Progress>,
    index: usize,
    blob: &Descriptor,
) -> Result<BlobFile, FetchError> {
    set_state(progress, index, LayerState::Downloading);
    let report = |done| {
        progress.send_modify(|progress| {
            if let Some(layer) = progress.layers.get_mut(index) {
                layer.done = done;
            }
        });
    };
    let file = fetch_blob(store.client(), targets, blob, store.temporary_path("ingest"), report).await?;
    set_state(progress, index, LayerState::Downloaded);
    Ok(file)
}
