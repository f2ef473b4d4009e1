//! Writes a layer's entries into a folder. Blocking: the store calls it off the async executor.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use remora_archive::Header;
use remora_sys::inode::{self, Node};

use super::entry::Attributes;
use super::merged::{Below, Folder, Merged, look};
use super::{Entry, EntryReader, Kind, LayerError, Limits, decompress};
use crate::Digest;
use crate::digest::Hasher;

/// Zeros of this length become holes.
const PAGE: usize = 4096;
const BUFFER: usize = 128 * 1024;

/// An unpacked layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// Digest of the uncompressed archive.
    pub(crate) diff_id: Digest,
    /// Bytes of all files.
    pub(crate) bytes: u64,
    /// Files and folders.
    pub(crate) inodes: u64,
}

/// Unpacks a layer, compressed or not, of `size` bytes into the empty folder `upper`, over `lowers`, top first.
pub(crate) fn unpack(
    layer: impl io::BufRead + Send,
    size: u64,
    upper: &Path,
    lowers: &[PathBuf],
    limits: &Limits,
) -> Result<Unpacked, LayerError> {
    let limit = limits.unpacked(size);
    let plain = decompress(layer).map_err(|source| LayerError::Read { source })?;
    let mut entries = EntryReader::new(Metered { stream: plain, hasher: Hasher::default(), passed: 0, limit });
    let mut writer = Writer::new(upper, lowers, limits);
    let written = writer.write_all(&mut entries);
    let mut rest = entries.into_stream();
    // A reader that hit its limit answers with an error of the tar; the limit is what people need to know.
    let exceeded = rest.passed > limit;
    written.map_err(|error| if exceeded { LayerError::TooLarge { limit } } else { error })?;
    // What follows the archive's end is part of the digest.
    io::copy(&mut rest, &mut io::sink()).map_err(|source| match rest.passed > limit {
        true => LayerError::TooLarge { limit },
        false => LayerError::Read { source },
    })?;
    writer.finish()?;
    Ok(Unpacked { diff_id: rest.hasher.finish(), bytes: writer.bytes, inodes: writer.inodes })
}

/// Digests what passes, and ends with an error behind the limit.
struct Metered<R> {
    stream: R,
    hasher: Hasher,
    passed: u64,
    limit: u64,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.passed += count as u64;
        match self.passed > self.limit {
            true => Err(io::Error::other("larger than allowed")),
            false => Ok(count),
        }
    }
}

struct Writer<'a> {
    tree: Merged,
    limits: &'a Limits,
    /// Times of folders, set last: writing into a folder changes its time.
    folder_times: Vec<(PathBuf, (i64, u32))>,
    bytes: u64,
    inodes: u64,
    entries: u64,
    buffer: Vec<u8>,
}

impl<'a> Writer<'a> {
    fn new(upper: &Path, lowers: &[PathBuf], limits: &'a Limits) -> Self {
        Writer {
            tree: Merged::new(upper, lowers),
            limits,
            folder_times: Vec::new(),
            bytes: 0,
            inodes: 0,
            entries: 0,
            buffer: vec![0; BUFFER],
        }
    }

    fn write_all<R: Read>(&mut self, entries: &mut EntryReader<R>) -> Result<(), LayerError> {
        while let Some(header) = entries.next()? {
            self.entries += 1;
            if self.entries > self.limits.layer_entries {
                return Err(LayerError::TooMany { limit: self.limits.layer_entries });
            }
            let data = Data { stored: header.stored, sparse: header.sparse.clone() };
            self.write(header, data, entries)?;
        }
        Ok(())
    }

    fn write<R: Read>(&mut self, header: Header, data: Data, entries: &mut EntryReader<R>) -> Result<(), LayerError> {
        let Entry { path, kind, attributes } = Entry::new(header)?;
        let name = match (path.file_name(), &kind) {
            (_, Kind::Ignored) => return Ok(()),
            (_, Kind::Opaque) => {
                let folder = self.tree.folder(&path)?;
                let disk = self.tree.disk(&folder);
                return self.tree.make_opaque(&disk);
            }
            (None, _) => {
                let root = self.tree.root().to_owned();
                return self.set_attributes(&root, &kind, &attributes);
            }
            (Some(name), _) => name.to_owned(),
        };
        let folder = self.tree.folder(path.parent().unwrap_or(Path::new("")))?;
        let place = self.tree.place(&folder, &name);
        if kind == Kind::Whiteout {
            return self.hide(&folder, &name, &place);
        }
        let was_hidden = self.make_room(&place, kind == Kind::Directory)?;
        self.inodes += 1;
        match &kind {
            Kind::Directory => self.make_directory(&place, was_hidden)?,
            Kind::File => self.make_file(&place, &data, entries)?,
            Kind::HardLink(target) => return self.make_hard_link(&path, target, &place),
            Kind::Symlink(target) => symlink(target, &place).map_err(LayerError::write(&place))?,
            Kind::Character(major, minor) => make_node(&place, Node::Character(*major, *minor))?,
            Kind::Block(major, minor) => make_node(&place, Node::Block(*major, *minor))?,
            Kind::Fifo => make_node(&place, Node::Fifo)?,
            Kind::Whiteout | Kind::Opaque | Kind::Ignored => {}
        }
        self.set_attributes(&place, &kind, &attributes)
    }

    /// A whiteout speaks of the layers below only: what this layer has under the name stays (image spec, "Whiteouts").
    fn hide(&mut self, folder: &Folder, name: &OsStr, place: &Path) -> Result<(), LayerError> {
        match look(place)? {
            Some(metadata) if metadata.is_dir() => self.tree.make_opaque(place),
            Some(_) => Ok(()),
            None => match self.tree.below(folder, name)? {
                Below::Nothing => Ok(()),
                _ => make_node(place, inode::WHITEOUT),
            },
        }
    }

    /// Removes what an earlier entry, or a copy for one, put in the place, unless both are folders. Says whether this layer
    /// hid the name before.
    fn make_room(&mut self, place: &Path, wants_folder: bool) -> Result<bool, LayerError> {
        let Some(there) = look(place)? else { return Ok(false) };
        match (there.is_dir(), wants_folder) {
            (true, true) => {}
            (true, false) => {
                fs::remove_dir_all(place).map_err(LayerError::write(place))?;
                self.folder_times.retain(|(path, _)| !path.starts_with(place));
                self.tree.forget();
            }
            (false, _) => fs::remove_file(place).map_err(LayerError::write(place))?,
        }
        Ok(inode::is_whiteout(&there))
    }

    fn make_directory(&mut self, place: &Path, was_hidden: bool) -> Result<(), LayerError> {
        match fs::create_dir(place) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(LayerError::write(place)(error)),
            _ => {}
        }
        match was_hidden {
            true => self.tree.make_opaque(place),
            false => Ok(()),
        }
    }

    fn make_file<R: Read>(&mut self, place: &Path, data: &Data, from: &mut EntryReader<R>) -> Result<(), LayerError> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(place).map_err(LayerError::write(place))?;
        match &data.sparse {
            None => self.copy(from, &file, 0, data.stored, place)?,
            Some((_, segments)) => {
                for (offset, length) in segments {
                    self.copy(from, &file, *offset, *length, place)?;
                }
            }
        }
        let size = data.sparse.as_ref().map_or(data.stored, |(size, _)| *size);
        self.bytes += size;
        if self.bytes > self.limits.layer_bytes {
            return Err(LayerError::TooLarge { limit: self.limits.layer_bytes });
        }
        file.set_len(size).map_err(LayerError::write(place))
    }

    /// Copies `length` bytes to `offset`, leaving out pages of zeros.
    fn copy<R: Read>(
        &mut self,
        from: &mut EntryReader<R>,
        mut to: &File,
        offset: u64,
        length: u64,
        place: &Path,
    ) -> Result<(), LayerError> {
        to.seek(SeekFrom::Start(offset)).map_err(LayerError::write(place))?;
        let mut left = length;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let piece = &mut self.buffer[..want];
            from.data().read_exact(piece).map_err(super::TarError::Read)?;
            write_with_holes(&mut to, piece).map_err(LayerError::write(place))?;
            left -= want as u64;
        }
        Ok(())
    }

    fn make_hard_link(&mut self, path: &Path, target: &Path, place: &Path) -> Result<(), LayerError> {
        let refuse = |problem| Err(LayerError::entry(path, problem));
        let Some(name) = target.file_name() else { return refuse("a hard link to the root") };
        let folder = self.tree.folder(target.parent().unwrap_or(Path::new("")))?;
        let source = self.tree.place(&folder, name);
        match look(&source)? {
            Some(metadata) if metadata.is_dir() => return refuse("a hard link to a folder"),
            Some(metadata) if inode::is_whiteout(&metadata) => return refuse("a hard link to nothing"),
            Some(_) => {}
            None => match self.tree.below(&folder, name)? {
                Below::Other(below) => self.copy_up(&below, &source)?,
                _ => return refuse("a hard link to nothing"),
            },
        }
        fs::hard_link(&source, place).map_err(LayerError::write(place))
    }

    /// A hard link to a file of a layer below makes this layer have the file, as overlayfs would.
    fn copy_up(&mut self, below: &Path, place: &Path) -> Result<(), LayerError> {
        use std::os::unix::fs::MetadataExt;
        let there = fs::symlink_metadata(below).map_err(LayerError::write(below))?;
        if !there.is_file() {
            return Err(LayerError::entry(place, "a hard link to a device of another layer"));
        }
        self.bytes += fs::copy(below, place).map_err(LayerError::write(place))?;
        self.inodes += 1;
        let modified = (there.mtime(), u32::try_from(there.mtime_nsec()).unwrap_or(0));
        let xattr =
            inode::xattr(below, "security.capability").map_err(|error| LayerError::write(below)(error.source))?;
        let xattrs = xattr.map(|value| ("security.capability".to_owned(), value)).into_iter().collect();
        let attributes =
            Attributes { mode: there.mode() & 0o7777, uid: there.uid(), gid: there.gid(), modified, xattrs };
        self.set_attributes(place, &Kind::File, &attributes)
    }

    /// Owner before mode, because a change of owner clears set-user-id bits and capabilities; the time last.
    fn set_attributes(&mut self, place: &Path, kind: &Kind, attributes: &Attributes) -> Result<(), LayerError> {
        lchown(place, Some(attributes.uid), Some(attributes.gid)).map_err(LayerError::write(place))?;
        if !matches!(kind, Kind::Symlink(_)) {
            let mode = fs::Permissions::from_mode(attributes.mode);
            fs::set_permissions(place, mode).map_err(LayerError::write(place))?;
        }
        for (name, value) in &attributes.xattrs {
            match inode::set_xattr(place, name, value) {
                // Links and devices cannot have user attributes, some file systems none at all; tar programs go on too.
                Err(error) if name.starts_with("user.") => tracing::debug!(%error, name, "extended attribute left out"),
                other => other.map_err(|error| LayerError::write(place)(error.source))?,
            }
        }
        match kind {
            Kind::Directory => self.folder_times.push((place.to_owned(), attributes.modified)),
            _ => set_time(place, attributes.modified)?,
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), LayerError> {
        for (path, time) in std::mem::take(&mut self.folder_times) {
            set_time(&path, time)?;
        }
        Ok(())
    }
}

/// An entry's data.
struct Data {
    stored: u64,
    sparse: Option<(u64, Vec<(u64, u64)>)>,
}

fn write_with_holes(file: &mut &File, bytes: &[u8]) -> io::Result<()> {
    let is_hole = |page: &[u8]| page.len() == PAGE && page.iter().all(|byte| *byte == 0);
    for run in bytes.chunks(PAGE).collect::<Vec<_>>().chunk_by(|a, b| is_hole(a) == is_hole(b)) {
        let length: usize = run.iter().map(|page| page.len()).sum();
        match run.first() {
            Some(first) if is_hole(first) => {
                file.seek(SeekFrom::Current(i64::try_from(length).unwrap_or(0)))?;
            }
            _ => {
                for page in run {
                    file.write_all(page)?;
                }
            }
        }
    }
    Ok(())
}

fn make_node(place: &Path, node: Node) -> Result<(), LayerError> {
    inode::make_node(place, node, 0o600).map_err(|error| LayerError::write(place)(error.source))
}

fn set_time(place: &Path, (seconds, nanoseconds): (i64, u32)) -> Result<(), LayerError> {
    inode::set_modified(place, seconds, nanoseconds).map_err(|error| LayerError::write(place)(error.source))
}
