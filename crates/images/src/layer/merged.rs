//! Where a path of a layer leads, over the layers below: overlayfs' view, without a mount.
//!
//! A layer may speak of `lib/x` where a layer below has `lib → usr/lib`, or of `a/b/c` without speaking of `a`. The first has
//! to land in `usr/lib`; the folders of the second have to look as below, because overlayfs shows the topmost folder's mode
//! and owner. Links are resolved as in a root of its own: nothing leads out of the layer.
//!
//! **Invariant:** only the unpacking thread writes below `upper`, so that what was looked at stays as it was.

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Component, Path, PathBuf};

use remora_sys::inode;

use super::LayerError;

pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";
/// The kernel's limit (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// A layer that is being written, and the layers below it.
pub(crate) struct Merged {
    upper: PathBuf,
    /// Top first.
    lowers: Vec<PathBuf>,
    /// Folders asked for → where they are. Emptied whenever a folder goes.
    known: HashMap<PathBuf, Folder>,
}

/// A folder of the layer and the folders below that shine through it.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    /// Relative to the layer. Every part of it is a folder.
    path: PathBuf,
    lowers: Vec<PathBuf>,
}

/// What the layers below show under a name.
pub(crate) enum Below {
    Nothing,
    Folder(Metadata),
    Link(PathBuf),
    Other(PathBuf),
}

impl Merged {
    pub(crate) fn new(upper: &Path, lowers: &[PathBuf]) -> Self {
        Merged { upper: upper.to_owned(), lowers: lowers.to_vec(), known: HashMap::new() }
    }

    /// The folder of this path, with links followed. Made where the layer has not got it.
    pub(crate) fn folder(&mut self, path: &Path) -> Result<Folder, LayerError> {
        if let Some(folder) = self.known.get(path) {
            return Ok(folder.clone());
        }
        let folder = self.walk(path)?;
        self.known.insert(path.to_owned(), folder.clone());
        Ok(folder)
    }

    /// Where a name of a folder is on disk.
    pub(crate) fn place(&self, folder: &Folder, name: &OsStr) -> PathBuf {
        self.upper.join(&folder.path).join(name)
    }

    /// The layer's root folder on disk.
    pub(crate) fn root(&self) -> &Path {
        &self.upper
    }

    /// The folder itself on disk.
    pub(crate) fn disk(&self, folder: &Folder) -> PathBuf {
        self.upper.join(&folder.path)
    }

    /// What the layers below show under this name.
    pub(crate) fn below(&self, folder: &Folder, name: &OsStr) -> Result<Below, LayerError> {
        for lower in &folder.lowers {
            let path = lower.join(name);
            let Some(metadata) = look(&path)? else { continue };
            return Ok(match metadata.file_type() {
                _ if inode::is_whiteout(&metadata) => Below::Nothing,
                kind if kind.is_dir() => Below::Folder(metadata),
                kind if kind.is_symlink() => Below::Link(path),
                _ => Below::Other(path),
            });
        }
        Ok(Below::Nothing)
    }

    /// Forgets where folders are: one of them was removed or made opaque.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
    }

    /// Hides everything that the layers below have in a folder.
    pub(crate) fn make_opaque(&mut self, disk: &Path) -> Result<(), LayerError> {
        self.forget();
        if self.lowers.is_empty() {
            return Ok(());
        }
        inode::set_xattr(disk, OPAQUE, b"y").map_err(|error| LayerError::write(disk)(error.source))
    }

    fn walk(&self, path: &Path) -> Result<Folder, LayerError> {
        let mut links = 0;
        let mut todo: VecDeque<OsString> = names(path);
        let mut way = vec![Folder { path: PathBuf::new(), lowers: self.visible(&self.upper, self.lowers.clone())? }];
        while let (Some(name), Some(here)) = (todo.pop_front(), way.last()) {
            if name == ".." {
                // The root's parent is the root.
                way.truncate((way.len() - 1).max(1));
                continue;
            }
            match self.step(here, &name, path)? {
                Step::Into(folder) => way.push(folder),
                Step::Link(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(LayerError::entry(path, "too many symbolic links"));
                    }
                    if target.is_absolute() {
                        way.truncate(1);
                    }
                    for name in names(&target).into_iter().rev() {
                        todo.push_front(name);
                    }
                }
            }
        }
        way.pop().ok_or_else(|| LayerError::entry(path, "leads out of the layer"))
    }

    fn step(&self, here: &Folder, name: &OsStr, asked: &Path) -> Result<Step, LayerError> {
        let disk = self.place(here, name);
        match look(&disk)? {
            Some(metadata) if metadata.is_symlink() => return read_link(&disk).map(Step::Link),
            Some(metadata) if metadata.is_dir() => return self.enter(here, name, &disk).map(Step::Into),
            Some(metadata) if inode::is_whiteout(&metadata) => {
                // Hidden by this layer, and made anew by it: what was below stays hidden.
                fs::remove_file(&disk).map_err(LayerError::write(&disk))?;
                make_folder(&disk, None)?;
                inode::set_xattr(&disk, OPAQUE, b"y").map_err(|error| LayerError::write(&disk)(error.source))?;
            }
            Some(_) => return Err(LayerError::entry(asked, "leads through something that is no folder")),
            None => match self.below(here, name)? {
                Below::Link(link) => return read_link(&link).map(Step::Link),
                Below::Other(_) => return Err(LayerError::entry(asked, "leads through something that is no folder")),
                Below::Folder(metadata) => make_folder(&disk, Some(&metadata))?,
                Below::Nothing => make_folder(&disk, None)?,
            },
        }
        self.enter(here, name, &disk).map(Step::Into)
    }

    fn enter(&self, here: &Folder, name: &OsStr, disk: &Path) -> Result<Folder, LayerError> {
        let lowers = here.lowers.iter().map(|lower| lower.join(name)).collect();
        Ok(Folder { path: here.path.join(name), lowers: self.visible(disk, lowers)? })
    }

    /// Which of these folders below shine through: not those under something opaque or under something else.
    fn visible(&self, upper: &Path, lowers: Vec<PathBuf>) -> Result<Vec<PathBuf>, LayerError> {
        let mut visible = Vec::new();
        if lowers.is_empty() || is_opaque(upper)? {
            return Ok(visible);
        }
        for lower in lowers {
            match look(&lower)? {
                None => continue,
                Some(metadata) if metadata.is_dir() => {
                    let is_last = is_opaque(&lower)?;
                    visible.push(lower);
                    if is_last {
                        break;
                    }
                }
                Some(_) => break,
            }
        }
        Ok(visible)
    }
}

enum Step {
    Into(Folder),
    Link(PathBuf),
}

/// Metadata of what is there, not of where it leads.
pub(crate) fn look(path: &Path) -> Result<Option<Metadata>, LayerError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(LayerError::write(path)(error)),
    }
}

fn is_opaque(path: &Path) -> Result<bool, LayerError> {
    let value = inode::xattr(path, OPAQUE).map_err(|error| LayerError::write(path)(error.source))?;
    Ok(value.is_some_and(|value| value == b"y"))
}

fn read_link(path: &Path) -> Result<PathBuf, LayerError> {
    fs::read_link(path).map_err(LayerError::write(path))
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

/// A folder that the layer only implies: as below if there is one, else root's.
fn make_folder(path: &Path, like: Option<&Metadata>) -> Result<(), LayerError> {
    fs::create_dir(path).map_err(LayerError::write(path))?;
    if let Some(below) = like {
        lchown(path, Some(below.uid()), Some(below.gid())).map_err(LayerError::write(path))?;
    }
    let mode = like.map_or(0o755, |below| below.mode() & 0o7777);
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(LayerError::write(path))
}
