//! Builds small images from files, byte for byte the same each time: the demo's and the tests'.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use oci_spec::image::{ImageConfiguration, RootFs};
use serde_json::json;

use crate::Digest;
use crate::import::{CONTAINERD_NAME, REF_NAME, blob_name};
use crate::manifest::{ArchiveImage, Descriptor, Index, Manifest, OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST};

/// One entry of an image that is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Its path in the image, without a slash in front: `bin/sh`.
    pub path: String,
    /// Permission bits, `0o755`, with set-user-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// What it is.
    pub kind: FileKind,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A folder.
    Directory,
    /// A file and its content.
    File(Vec<u8>),
    /// Another name of an earlier entry.
    HardLink(String),
    /// A symbolic link.
    Symlink(String),
}

impl FileEntry {
    /// Root's.
    pub fn new(path: impl Into<String>, mode: u32, kind: FileKind) -> Self {
        FileEntry { path: path.into(), mode, uid: 0, gid: 0, kind }
    }
}

/// A built image of one layer.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    blobs: BTreeMap<Digest, Vec<u8>>,
    /// The layer, uncompressed: docker-archives hold it so.
    layer: Vec<u8>,
    manifest_size: u64,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Digest of its config: its id.
    pub id: Digest,
}

/// Builds an image of one gzip layer. Parent folders that are not listed are made with mode 0755. `config` needs no rootfs and
/// history; the first is filled in, the second left out.
///
/// # Errors
/// A path that tar cannot hold.
pub fn build_image(files: &[FileEntry], config: &ImageConfiguration) -> io::Result<BuiltImage> {
    let layer = layer(files)?;
    let mut config = config.clone();
    let mut rootfs = RootFs::default();
    rootfs.set_diff_ids(vec![Digest::of(&layer).to_string()]);
    config.set_rootfs(rootfs);
    // Through a sorted map: the type keeps labels, ports and volumes in hash order.
    let config = serde_json::to_vec(&serde_json::to_value(&config)?)?;
    let compressed = gzip(&layer)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(OCI_MANIFEST.into()),
        config: describe(OCI_CONFIG, &config),
        layers: vec![describe(OCI_LAYER_GZIP, &compressed)],
    };
    let manifest = serde_json::to_vec(&manifest)?;
    let (manifest_size, digest, id) = (manifest.len() as u64, Digest::of(&manifest), Digest::of(&config));
    let blobs = [manifest, config, compressed].map(|bytes| (Digest::of(&bytes), bytes));
    Ok(BuiltImage { blobs: blobs.into(), layer, manifest_size, manifest: digest, id })
}

impl BuiltImage {
    /// Of its manifest: what a registry will name it by.
    pub fn digest(&self) -> &Digest {
        &self.manifest
    }

    /// Writes it into an OCI layout folder, which is made or added to. `name` becomes its `io.containerd.image.name` and
    /// `org.opencontainers.image.ref.name`; an entry of the same name is replaced.
    ///
    /// # Errors
    /// Writing, or an `index.json` that is none.
    pub fn write_layout(&self, folder: &Path, name: &str) -> io::Result<()> {
        fs::create_dir_all(folder.join("blobs/sha256"))?;
        fs::write(folder.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string())?;
        for (digest, bytes) in &self.blobs {
            fs::write(folder.join(blob_name(digest)), bytes)?;
        }
        let path = folder.join("index.json");
        let mut index = match fs::read(&path) {
            Ok(bytes) => Index::parse(&bytes).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Index { schema_version: 2, media_type: Some(OCI_INDEX.into()), manifests: Vec::new() }
            }
            Err(error) => return Err(error),
        };
        let is_same = |entry: &Descriptor| {
            entry.annotations.as_ref().and_then(|all| all.get(CONTAINERD_NAME)).is_some_and(|other| other == name)
        };
        index.manifests.retain(|entry| !is_same(entry));
        let names = [CONTAINERD_NAME, REF_NAME].map(|key| (key.to_owned(), name.to_owned()));
        index.manifests.push(Descriptor {
            media_type: OCI_MANIFEST.into(),
            digest: self.manifest,
            size: self.manifest_size,
            platform: None,
            annotations: Some(names.into()),
        });
        fs::write(path, serde_json::to_vec(&index)?)
    }

    /// It as a docker-archive (`docker save`).
    ///
    /// # Errors
    /// None that can happen: the writer is memory.
    pub fn docker_archive(&self, names: &[&str]) -> io::Result<Vec<u8>> {
        let config_name = format!("{}.json", self.id.hex());
        let layer_name = format!("{}/layer.tar", Digest::of(&self.layer).hex());
        let list = [ArchiveImage {
            config: config_name.clone(),
            repo_tags: Some(names.iter().map(|name| (*name).to_owned()).collect()),
            layers: vec![layer_name.clone()],
        }];
        let config = self.blobs.get(&self.id).cloned().unwrap_or_default();
        let parts = [
            (config_name, config),
            (layer_name, self.layer.clone()),
            ("manifest.json".into(), serde_json::to_vec(&list)?),
        ];
        let files = parts.map(|(path, bytes)| FileEntry::new(path, 0o644, FileKind::File(bytes)));
        let mut archive = tar::Builder::new(Vec::new());
        for file in &files {
            append(&mut archive, file)?;
        }
        archive.into_inner()
    }
}

fn layer(files: &[FileEntry]) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut known: BTreeSet<PathBuf> = BTreeSet::new();
    for file in files {
        let path = Path::new(&file.path);
        let parents: Vec<&Path> = path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
        for parent in parents.into_iter().rev() {
            if known.insert(parent.to_owned()) {
                append(&mut archive, &FileEntry::new(parent.to_string_lossy(), 0o755, FileKind::Directory))?;
            }
        }
        known.insert(path.to_owned());
        append(&mut archive, file)?;
    }
    archive.into_inner()
}

fn append(archive: &mut tar::Builder<Vec<u8>>, file: &FileEntry) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(file.mode);
    header.set_uid(file.uid.into());
    header.set_gid(file.gid.into());
    header.set_mtime(0);
    header.set_size(0);
    match &file.kind {
        FileKind::Directory => {
            header.set_entry_type(tar::EntryType::Directory);
            archive.append_data(&mut header, format!("{}/", file.path), io::empty())
        }
        FileKind::File(bytes) => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, &file.path, bytes.as_slice())
        }
        FileKind::HardLink(target) => {
            header.set_entry_type(tar::EntryType::Link);
            archive.append_link(&mut header, &file.path, target)
        }
        FileKind::Symlink(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            archive.append_link(&mut header, &file.path, target)
        }
    }
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder: GzEncoder<Vec<u8>> = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn describe(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.into(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        platform: None,
        annotations: None,
    }
}
