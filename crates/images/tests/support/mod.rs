//! What the tests share: layers and archives made by the `tar` crate (not by our own writer), and a store in a folder.

#![expect(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod http;
pub(crate) mod registry;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use remora_images::{Digest, Error, Image, ImageStore, ImportSource, Limits, Progress, Registries, StoreConfig};
use remora_sys::mount;
use serde_json::json;
use tokio::sync::watch;

/// Says loudly when a test is skipped; fails when it may not be.
#[expect(clippy::print_stderr, reason = "a skipped test has to be seen")]
pub(crate) fn need_root() -> Option<()> {
    if fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
        return Some(());
    }
    let message = "SKIPPED: this test gives files to other users and needs root";
    assert!(std::env::var_os("REMORA_REQUIRE_ROOT").is_none(), "{message}");
    eprintln!("{message}");
    None
}

/// A layer's tar, entry by entry.
#[derive(Default)]
pub(crate) struct Layer {
    tar: Option<tar::Builder<Vec<u8>>>,
}

impl Layer {
    pub(crate) fn new() -> Self {
        Layer { tar: Some(tar::Builder::new(Vec::new())) }
    }

    fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(size);
        header
    }

    pub(crate) fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(path, Self::header(tar::EntryType::Directory, mode, 0), b"")
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        let header = Self::header(tar::EntryType::Regular, 0o644, content.len() as u64);
        self.entry(path, header, content.as_bytes())
    }

    pub(crate) fn owned(self, path: &str, mode: u32, uid: u64, gid: u64) -> Self {
        let mut header = Self::header(tar::EntryType::Regular, mode, 0);
        header.set_uid(uid);
        header.set_gid(gid);
        self.entry(path, header, b"")
    }

    pub(crate) fn whiteout(self, path: &str) -> Self {
        self.file(path, "")
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.link(path, target, tar::EntryType::Symlink)
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.link(path, target, tar::EntryType::Link)
    }

    fn link(mut self, path: &str, target: &str, kind: tar::EntryType) -> Self {
        let mut header = Self::header(kind, 0o777, 0);
        if let Some(tar) = &mut self.tar {
            tar.append_link(&mut header, path, target).unwrap();
        }
        self
    }

    pub(crate) fn node(self, path: &str, kind: tar::EntryType, major: u32, minor: u32) -> Self {
        let mut header = Self::header(kind, 0o600, 0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.entry(path, header, b"")
    }

    pub(crate) fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        if let Some(tar) = &mut self.tar {
            tar.append_pax_extensions(records.iter().copied()).unwrap();
        }
        self
    }

    /// Any name goes, also those that the `tar` crate would not write.
    pub(crate) fn entry(mut self, path: &str, mut header: tar::Header, content: &[u8]) -> Self {
        if let Some(tar) = &mut self.tar {
            let is_odd = path.starts_with('/') || path.contains("..");
            if is_odd {
                header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
                header.set_cksum();
                tar.append(&header, content).unwrap();
            } else {
                tar.append_data(&mut header, path, content).unwrap();
            }
        }
        self
    }

    pub(crate) fn bytes(mut self) -> Vec<u8> {
        self.tar.take().unwrap().into_inner().unwrap()
    }
}

/// A config whose layers are these (uncompressed).
pub(crate) fn config(layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["sh"], "User": "1000:1000"},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    config.to_string().into_bytes()
}

/// A docker-archive as `docker save` wrote it before version 25: `manifest.json` comes last.
pub(crate) fn docker_archive(name: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let mut archive = Layer::new();
    let mut names = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let path = format!("layer{index}/layer.tar");
        let header = Layer::header(tar::EntryType::Regular, 0o644, layer.len() as u64);
        archive = archive.entry(&path, header, layer);
        names.push(path);
    }
    let config = String::from_utf8(config(layers)).unwrap();
    let list = json!([{"Config": "config.json", "RepoTags": [name], "Layers": names}]);
    archive.file("config.json", &config).file("manifest.json", &list.to_string()).bytes()
}

/// A store in a temporary folder.
pub(crate) struct TestStore {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: ImageStore,
}

impl TestStore {
    pub(crate) async fn new() -> Self {
        Self::with(Registries::default(), Limits::default()).await
    }

    pub(crate) async fn with(registries: Registries, limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("images");
        let store = ImageStore::open(StoreConfig { root, registries, limits }, Vec::new()).await.unwrap();
        TestStore { folder, store }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("images")
    }

    pub(crate) async fn import(&self, archive: Vec<u8>) -> Result<Vec<Image>, Error> {
        let (progress, _) = watch::channel(Progress::default());
        self.store.import(ImportSource::Stream(Box::new(std::io::Cursor::new(archive))), progress).await
    }

    /// Imports layers as one image.
    pub(crate) async fn layers(&self, layers: &[LayerBytes]) -> Result<Image, Error> {
        let images = self.import(docker_archive("test", layers)).await?;
        Ok(images[0].clone())
    }

    /// Mounts an image as a container would see it, and looks.
    pub(crate) fn look<T>(&self, image: &Image, look: impl FnOnce(&Path) -> T) -> T {
        let lease = self.store.lease(&image.id.to_string(), "look").unwrap();
        let parts = ["upper", "work", "merged"].map(|name| self.folder.path().join(name));
        for part in &parts {
            let _ = fs::remove_dir_all(part);
            fs::create_dir(part).unwrap();
        }
        let upper = Some(mount::UpperLayer { upper: &parts[0], work: &parts[1], volatile: false });
        mount::overlay(mount::Overlay { lower: &lease.lowerdirs, upper }, &parts[2]).unwrap();
        let seen = look(&parts[2]);
        mount::unmount(&parts[2]).unwrap();
        seen
    }

    /// What lies in the folders that only hold what is on its way.
    pub(crate) fn leftovers(&self) -> usize {
        ["ingest", "tmp"].iter().map(|name| fs::read_dir(self.root().join(name)).unwrap().count()).sum()
    }

    pub(crate) fn layer_count(&self) -> usize {
        fs::read_dir(self.root().join("layers")).unwrap().count()
    }
}

/// A finished layer.
pub(crate) type LayerBytes = Vec<u8>;

/// An error and its causes, as people see them.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

/// All paths below a folder, sorted, with what they are.
pub(crate) fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(here) = todo.pop() {
        for entry in fs::read_dir(&here).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            let kind = entry.file_type().unwrap();
            if kind.is_symlink() {
                found.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
            } else if kind.is_dir() {
                found.push(format!("{name}/"));
                todo.push(path);
            } else {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}
