//! The books: which images are here and what they are called. `images.json` on disk, a map in memory.
//!
//! The file bears the digest of what it says, and `copy-images.json` says the same: books that the disk has spoiled are set aside, and the copy
//! takes their place. Images come from afar, and names stand nowhere else: when both are spoiled the store is not opened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_spec::image::ImageConfiguration;
use remora_sys::file;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::layers::LayerMeta;
use crate::reference::Version;
use crate::{Digest, Error, Image, Reference};

const FILE: &str = "images.json";
const COPY: &str = "copy-images.json";
const SET_ASIDE: &str = "damaged-images.json";
/// Of the file's form. The first had no digest.
const VERSION: u32 = 2;
/// Shorter beginnings of ids are more likely a mistyped name.
const SHORTEST_ID: usize = 6;

/// One image.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) id: Digest,
    /// Digests that registries know it by: its manifest's, and those of indexes that led to it.
    pub(crate) targets: BTreeSet<Digest>,
    pub(crate) names: BTreeSet<Reference>,
    /// ChainIDs, bottom first.
    pub(crate) layers: Vec<Digest>,
    pub(crate) size: u64,
    /// Bytes of its blobs that are kept.
    pub(crate) blob_bytes: u64,
    /// Blobs that are its own: config and manifest.
    pub(crate) blobs: Vec<Digest>,
    /// The boot in which it came, as long as it is not known to be on the disk.
    pub(crate) unsettled: Option<String>,
    pub(crate) config: Arc<ImageConfiguration>,
}

impl Record {
    pub(crate) fn to_image(&self) -> Image {
        let named = |wants_tag: bool| {
            let is_wanted = move |name: &&Reference| matches!(name.version(), Version::Tag(_)) == wants_tag;
            self.names.iter().filter(is_wanted).map(Reference::to_string).collect()
        };
        Image {
            id: self.id,
            repo_tags: named(true),
            repo_digests: named(false),
            size: self.size,
            config: self.config.clone(),
            layers: self.layers.clone(),
        }
    }
}

/// All images.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    images: BTreeMap<Digest, Record>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BooksFile {
    version: u32,
    /// Of the bytes of `images` as they stand here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    /// [`RecordFile`]s.
    images: Box<RawValue>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RecordFile {
    id: Digest,
    targets: BTreeSet<Digest>,
    names: BTreeSet<Reference>,
    layers: Vec<Digest>,
    size: u64,
    blob_bytes: u64,
    blobs: Vec<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unsettled: Option<String>,
}

impl Books {
    /// Reads the books, or their copy. An image whose layers or config are gone is left out, as if it had been removed: it can be pulled
    /// again. So is one of an earlier boot that may not have reached the disk.
    pub(crate) fn read(root: &Path, layers: &BTreeMap<Digest, LayerMeta>, boot: Option<&str>) -> Result<Self, Error> {
        let mut books = Books::default();
        for record in read_either(root)? {
            let id = record.id;
            if record.unsettled.as_deref().is_some_and(|came_in| Some(came_in) != boot) {
                tracing::warn!(image = %id, "image left out: the machine stopped before it was on the disk");
                continue;
            }
            match record.layers.iter().find(|layer| !layers.contains_key(layer)) {
                Some(layer) => tracing::warn!(image = %id, %layer, "image left out: its layer is gone"),
                None => match load(root, record) {
                    Some(record) => drop(books.images.insert(id, record)),
                    None => tracing::warn!(image = %id, "image left out: its config is gone"),
                },
            }
        }
        Ok(books)
    }

    /// Writes the books durably, then their copy. Blocking.
    pub(crate) fn write(&self, root: &Path) -> Result<(), Error> {
        let records: Vec<RecordFile> = self.images.values().map(to_file).collect();
        write(root, &records)
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.images.values()
    }

    /// As [`crate::ImageStore::image`].
    pub(crate) fn find(&self, name: &str) -> Result<&Record, Error> {
        let not_found = || Error::NotFound { name: name.to_owned() };
        if let Ok(id) = name.parse::<Digest>() {
            return self.images.get(&id).ok_or_else(not_found);
        }
        let reference = Reference::parse(name);
        if let Ok(reference) = &reference
            && let Some(record) = self.images.values().find(|record| record.names.contains(reference))
        {
            return Ok(record);
        }
        if let Some(record) = self.by_id_beginning(name)? {
            return Ok(record);
        }
        reference?;
        Err(not_found())
    }

    fn by_id_beginning(&self, name: &str) -> Result<Option<&Record>, Error> {
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        if hex.len() < SHORTEST_ID || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let mut found = self.images.values().filter(|record| record.id.hex().starts_with(hex));
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(Error::Ambiguous { name: name.to_owned() }),
            (first, _) => Ok(first),
        }
    }

    /// Adds an image, or what is new about one that is here.
    pub(crate) fn add(&mut self, mut record: Record) {
        let names: Vec<Reference> = record.names.iter().cloned().collect();
        if let Some(known) = self.images.remove(&record.id) {
            record.targets.extend(known.targets);
            record.names.extend(known.names);
            let own = record.blobs.clone();
            record.blobs.extend(known.blobs.into_iter().filter(|blob| !own.contains(blob)));
        }
        let id = record.id;
        self.images.insert(id, record);
        self.name(&id, &names);
    }

    /// A name belongs to one image.
    pub(crate) fn name(&mut self, id: &Digest, names: &[Reference]) {
        for record in self.images.values_mut() {
            match record.id == *id {
                true => record.names.extend(names.iter().cloned()),
                false => record.names.retain(|name| !names.contains(name)),
            }
        }
    }

    pub(crate) fn has_names(&self, id: &Digest, names: &[Reference]) -> bool {
        self.images.get(id).is_some_and(|record| names.iter().all(|name| record.names.contains(name)))
    }

    /// These are on the disk.
    pub(crate) fn settle(&mut self, ids: &[Digest]) {
        for record in self.images.values_mut().filter(|record| ids.contains(&record.id)) {
            record.unsettled = None;
        }
    }

    pub(crate) fn remove(&mut self, id: &Digest) {
        self.images.remove(id);
    }
}

/// Where a manifest or config is kept.
pub(crate) fn blob_path(root: &Path, digest: &Digest) -> PathBuf {
    root.join("blobs/sha256").join(digest.hex())
}

fn to_file(record: &Record) -> RecordFile {
    RecordFile {
        id: record.id,
        targets: record.targets.clone(),
        names: record.names.clone(),
        layers: record.layers.clone(),
        size: record.size,
        blob_bytes: record.blob_bytes,
        blobs: record.blobs.clone(),
        unsettled: record.unsettled.clone(),
    }
}

/// The records of the books. Those of the copy are written back.
fn read_either(root: &Path) -> Result<Vec<RecordFile>, Error> {
    let (path, copy) = (root.join(FILE), root.join(COPY));
    let problem = match read(&path)? {
        Found::Whole(records) => return Ok(records),
        Found::Nothing => None,
        Found::Spoiled(problem) => Some(problem),
    };
    match (read(&copy)?, problem) {
        (Found::Whole(records), problem) => {
            if let Some(problem) = problem {
                let kept = root.join(SET_ASIDE);
                tracing::error!(problem, kept = %kept.display(), "the damaged books of images were set aside: their copy takes their place");
                fs::rename(&path, &kept).map_err(Error::io(&path))?;
            }
            write(root, &records)?;
            Ok(records)
        }
        (Found::Nothing | Found::Spoiled(_), Some(problem)) => Err(Error::Damaged { path, problem }),
        (Found::Spoiled(problem), None) => Err(Error::Damaged { path: copy, problem }),
        (Found::Nothing, None) => Ok(Vec::new()),
    }
}

/// What stands in the place of the books, or of their copy.
enum Found {
    Whole(Vec<RecordFile>),
    Nothing,
    /// What is wrong.
    Spoiled(String),
}

fn read(path: &Path) -> Result<Found, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(Error::io(path)(error)),
    };
    let file: BooksFile = match serde_json::from_slice(&bytes) {
        Ok(file) => file,
        Err(error) => return Ok(Found::Spoiled(error.to_string())),
    };
    if file.version > VERSION {
        return Err(Error::Newer { path: path.to_owned(), version: file.version });
    }
    let digest = Digest::of(file.images.get().as_bytes());
    if file.digest.is_some_and(|written| written != digest) || file.digest.is_none() && file.version > 1 {
        return Ok(Found::Spoiled("it is not what was written".to_owned()));
    }
    let records = serde_json::from_str(file.images.get());
    Ok(records.map_or_else(|error| Found::Spoiled(error.to_string()), Found::Whole))
}

fn write(root: &Path, records: &[RecordFile]) -> Result<(), Error> {
    let path = root.join(FILE);
    let bytes = to_raw_value(records).and_then(|images| {
        let digest = Some(Digest::of(images.get().as_bytes()));
        serde_json::to_vec(&BooksFile { version: VERSION, digest, images })
    });
    let bytes = bytes.map_err(|error| Error::io(&path)(error.into()))?;
    file::write_durably(&path, &bytes, 0o600).map_err(|error| Error::io(&path)(error.source))?;
    let copy = root.join(COPY);
    file::write_durably(&copy, &bytes, 0o600).map_err(|error| Error::io(&copy)(error.source))
}

/// None if the config is not there, or is not what its name says.
fn load(root: &Path, file: RecordFile) -> Option<Record> {
    let bytes = fs::read(blob_path(root, &file.id)).unwrap_or_default();
    if Digest::of(&bytes) != file.id {
        return None;
    }
    let config = serde_json::from_slice(&bytes).ok()?;
    Some(Record {
        id: file.id,
        targets: file.targets,
        names: file.names,
        layers: file.layers,
        size: file.size,
        blob_bytes: file.blob_bytes,
        blobs: file.blobs,
        unsettled: file.unsettled,
        config: Arc::new(config),
    })
}
