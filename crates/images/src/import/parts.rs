//! The files of an archive by name: of a folder where they are, of a tar after it was read once to disk.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::ImportSource;
use crate::ImageStore;
use crate::error::FetchError;
use crate::layer::{EntryReader, LayerError, Type, decompress, relative};
use crate::pull::BlobFile;

/// `docker save` makes three files per layer.
const MAX_FILES: usize = 20_000;
/// Old archives share layers by links; none leads to another.
const MAX_LINKS: usize = 8;

/// The files of an archive.
pub(super) enum Parts {
    Folder(PathBuf),
    Tar { files: HashMap<PathBuf, (BlobFile, u64)>, links: HashMap<PathBuf, PathBuf> },
}

/// A file of an archive.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) path: PathBuf,
    pub(super) size: u64,
}

impl Parts {
    /// Blocking: reads the whole tar.
    pub(super) fn open(store: &ImageStore, source: ImportSource) -> Result<Self, FetchError> {
        match source {
            ImportSource::Path(path) if path.is_dir() => Ok(Parts::Folder(path)),
            ImportSource::Path(path) => {
                let file = File::open(&path).map_err(FetchError::io("open"))?;
                Self::spool(store, file)
            }
            ImportSource::Stream(stream) => Self::spool(store, stream),
        }
    }

    fn spool(store: &ImageStore, stream: impl Read + Send) -> Result<Self, FetchError> {
        let plain = decompress(BufReader::with_capacity(128 * 1024, stream)).map_err(FetchError::io("read"))?;
        let mut entries = EntryReader::new(plain);
        let (mut files, mut links, mut total) = (HashMap::new(), HashMap::new(), 0u64);
        let limit = store.config().limits.image_bytes;
        let wrong = |error: &dyn std::error::Error| FetchError::Archive(crate::error::chain(error));
        while let Some(header) = entries.next().map_err(|error| wrong(&error))? {
            let name = relative(&header.path).map_err(|error: LayerError| wrong(&error))?;
            if files.len() + links.len() >= MAX_FILES {
                return Err(FetchError::Archive(format!("more than {MAX_FILES} files")));
            }
            match header.kind {
                Type::File => {
                    total = total.saturating_add(header.stored);
                    if total > limit {
                        return Err(FetchError::TooLarge { size: total, limit });
                    }
                    files.insert(name, (write_part(store, entries.data())?, header.stored));
                }
                Type::Symlink | Type::HardLink => {
                    let target = Path::new(std::ffi::OsStr::from_bytes(&header.link));
                    let base = if header.kind == Type::Symlink { name.parent() } else { None };
                    links.insert(name.clone(), lexical(&base.unwrap_or(Path::new("")).join(target)));
                }
                _ => {}
            }
        }
        Ok(Parts::Tar { files, links })
    }

    /// A file by its name in the archive, or none.
    pub(super) fn find(&self, name: &str) -> Result<Option<Part>, FetchError> {
        let name = relative(name.as_bytes()).map_err(|error| FetchError::Archive(error.to_string()))?;
        match self {
            Parts::Folder(folder) => {
                let path = folder.join(&name);
                match fs::metadata(&path) {
                    Ok(metadata) if metadata.is_file() => Ok(Some(Part { path, size: metadata.len() })),
                    Ok(_) => Ok(None),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(FetchError::io(format!("open {}", path.display()))(error)),
                }
            }
            Parts::Tar { files, links } => {
                let mut name = name;
                for _ in 0..MAX_LINKS {
                    match links.get(&name) {
                        Some(target) => name = target.clone(),
                        None => break,
                    }
                }
                Ok(files.get(&name).map(|(file, size)| Part { path: file.0.clone(), size: *size }))
            }
        }
    }

    /// A file that has to be there.
    pub(super) fn get(&self, name: &str) -> Result<Part, FetchError> {
        self.find(name)?.ok_or_else(|| FetchError::Archive(format!("{name:?} is missing in the archive")))
    }

    /// The content of a small file that has to be there.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, FetchError> {
        let part = self.get(name)?;
        if part.size > limit {
            return Err(FetchError::Archive(format!("{name:?} is larger than the limit of {limit} bytes")));
        }
        fs::read(&part.path).map_err(FetchError::io(format!("read {}", part.path.display())))
    }
}

fn write_part(store: &ImageStore, mut data: impl Read) -> Result<BlobFile, FetchError> {
    let file = BlobFile(store.temporary_path("ingest"));
    let copied = File::create(&file.0).and_then(|mut to| io::copy(&mut data, &mut to));
    copied.map_err(FetchError::io(format!("write {}", file.0.display())))?;
    Ok(file)
}

/// `a/../b` is `b`. It only ever names a key of a map.
fn lexical(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            std::path::Component::Normal(name) => clean.push(name),
            std::path::Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}
