//! Which images an archive holds.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::image::ImageConfiguration;

use super::parts::{Part, Parts};
use crate::error::FetchError;
use crate::manifest::{self, Descriptor, Document, Index, MAX_CONFIG, MAX_MANIFEST, Manifest, Platform};
use crate::{Digest, Error, Reference};

/// The full name, as containerd writes it.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// A tag, or a name that may be short (image spec, "Pre-Defined Annotation Keys").
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// An index may point at an index, but not for ever.
const MAX_DEPTH: usize = 4;

/// An image of an archive.
pub(super) struct Found {
    pub(super) config: ImageConfiguration,
    pub(super) config_bytes: Vec<u8>,
    pub(super) manifest_bytes: Option<Vec<u8>>,
    pub(super) diff_ids: Vec<Digest>,
    pub(super) layers: Vec<Part>,
    pub(super) names: BTreeSet<Reference>,
    pub(super) targets: BTreeSet<Digest>,
}

/// Docker 25 and later write both lists; the OCI one says more.
pub(super) fn read(parts: &Parts) -> Result<Vec<Found>, FetchError> {
    if parts.find("index.json")?.is_some() {
        return read_layout(parts);
    }
    if parts.find("manifest.json")?.is_some() {
        return read_docker(parts);
    }
    Err(FetchError::Archive("neither a docker-archive (manifest.json) nor an OCI layout (index.json)".into()))
}

fn read_docker(parts: &Parts) -> Result<Vec<Found>, FetchError> {
    let list = manifest::parse_archive(&parts.read("manifest.json", MAX_MANIFEST)?)?;
    let read = |image: manifest::ArchiveImage| {
        let config_bytes = parts.read(&image.config, MAX_CONFIG)?;
        let (config, diff_ids) = manifest::parse_config(&config_bytes, image.layers.len())?;
        let layers: Result<Vec<Part>, FetchError> = image.layers.iter().map(|name| parts.get(name)).collect();
        let names = image.repo_tags.unwrap_or_default();
        let names: Result<BTreeSet<Reference>, _> = names.iter().map(|name| Reference::parse(name)).collect();
        Ok(Found {
            config,
            config_bytes,
            manifest_bytes: None,
            diff_ids,
            layers: layers?,
            names: names.map_err(Error::from)?,
            targets: BTreeSet::new(),
        })
    };
    list.into_iter().map(read).collect()
}

fn read_layout(parts: &Parts) -> Result<Vec<Found>, FetchError> {
    let index = Index::parse(&parts.read("index.json", MAX_MANIFEST)?)?;
    let machine = Platform::host();
    let fits = |entry: &&Descriptor| {
        let platform = entry.platform.as_ref();
        platform.is_none_or(|of| of.os == machine.os && of.architecture == machine.architecture)
    };
    let found: Result<Vec<Found>, FetchError> =
        index.manifests.iter().filter(fits).map(|entry| read_entry(parts, entry, &machine)).collect();
    let found = found?;
    match found.is_empty() {
        true => Err(manifest::ManifestError::NoPlatform { platform: machine.to_string() }.into()),
        false => Ok(found),
    }
}

fn read_entry(parts: &Parts, entry: &Descriptor, machine: &Platform) -> Result<Found, FetchError> {
    let names = names(entry.annotations.as_ref())?;
    let mut targets = BTreeSet::new();
    let mut entry = entry.clone();
    for _ in 0..MAX_DEPTH {
        targets.insert(entry.digest);
        let bytes = read_blob(parts, &entry.digest, MAX_MANIFEST)?;
        match Document::parse(&bytes, &entry.media_type)? {
            Document::Index(index) => entry = index.choose(machine)?.clone(),
            Document::Manifest(manifest) => return read_manifest(parts, manifest, bytes, names, targets),
        }
    }
    Err(FetchError::Archive("indexes point at indexes too often".into()))
}

fn read_manifest(
    parts: &Parts,
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    names: BTreeSet<Reference>,
    targets: BTreeSet<Digest>,
) -> Result<Found, FetchError> {
    let config_bytes = read_blob(parts, &manifest.config.digest, MAX_CONFIG)?;
    let (config, diff_ids) = manifest::parse_config(&config_bytes, manifest.layers.len())?;
    // A layer's own digest need not be checked: its DiffID will be, and the config's digest was.
    let layers: Result<Vec<Part>, FetchError> =
        manifest.layers.iter().map(|layer| parts.get(&blob_name(&layer.digest))).collect();
    let manifest_bytes = Some(manifest_bytes);
    Ok(Found { config, config_bytes, manifest_bytes, diff_ids, layers: layers?, names, targets })
}

fn read_blob(parts: &Parts, digest: &Digest, limit: u64) -> Result<Vec<u8>, FetchError> {
    let bytes = parts.read(&blob_name(digest), limit)?;
    match Digest::of(&bytes) {
        actual if actual == *digest => Ok(bytes),
        actual => Err(FetchError::Digest { actual, expected: *digest }),
    }
}

/// Where a layout keeps a blob.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A `ref.name` without colon and slash is a tag of nothing: such an image has an id only.
fn names(annotations: Option<&BTreeMap<String, String>>) -> Result<BTreeSet<Reference>, FetchError> {
    let Some(annotations) = annotations else { return Ok(BTreeSet::new()) };
    let full = annotations.get(CONTAINERD_NAME);
    let name = full.or_else(|| annotations.get(REF_NAME).filter(|name| name.contains([':', '/'])));
    let parsed: Result<BTreeSet<Reference>, _> = name.into_iter().map(|name| Reference::parse(name)).collect();
    Ok(parsed.map_err(Error::from)?)
}
