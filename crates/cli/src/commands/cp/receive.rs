//! Makes files of an archive that a container has sent. Every byte of it is a stranger's.
//!
//! **Invariant:** nothing outside the destination is written, read or linked to. Names are judged before they are used ([`below`], [`is_inside`]),
//! and used only below an open folder that `cap-std` never leaves, whatever links an earlier entry has made.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use indicatif::{ProgressBar, ProgressStyle};
use remora_archive::{EntryReader, Header, Type};

use super::Copied;
use crate::CommandError;

/// Zeros of this length become holes.
const PAGE: usize = 4096;
const BUFFER: usize = 128 << 10;
/// A file has this at the end of its name until all of it is there.
const UNFINISHED: &str = ".remora-part";
/// Of a file's name in its folder, in bytes, almost everywhere.
const MAX_NAME: usize = 255;

/// So much of an archive is not counted: what stands around one file of the largest size that is allowed.
const ENVELOPE: u64 = 64 << 10;

/// What an archive may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
    /// Of a path, in bytes; and in folders, since each folder costs time in every path below it.
    pub(crate) path: usize,
    pub(crate) depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bytes: 64 << 30, entries: 4_000_000, path: 4095, depth: 255 }
    }
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Files(Copied),
    /// What was asked for is a link to this; nothing was written.
    Link(String),
}

/// Unpacks the archive of `name`. A file becomes `to`, or `to/typed` if `to` is a folder; what is in a folder goes below `to`.
pub(crate) fn receive(
    stream: impl Read,
    name: &str,
    typed: &str,
    to: &Path,
    limits: &Limits,
) -> Result<Received, CommandError> {
    let mut entries = EntryReader::new(Bounded { stream, left: limits.bytes.saturating_add(ENVELOPE) });
    let Some(first) = next(&mut entries)? else {
        return Err(CommandError::failed("nothing came"));
    };
    if first.kind == Type::Symlink && below(&first.path, name, limits)?.as_os_str().is_empty() {
        return Ok(Received::Link(String::from_utf8_lossy(&first.link).into_owned()));
    }
    let Destination { folder, alone, is_new } = destination(&first, name, typed, to, limits)?;
    let mut receiver = Receiver {
        folder,
        alone,
        is_new,
        name,
        limits,
        copied: Copied::default(),
        later: BTreeMap::new(),
        walked: PathBuf::new(),
        bar: bar(),
    };
    let mut count = 1;
    let mut header = Some(first);
    while let Some(entry) = header {
        if count > limits.entries {
            return Err(CommandError::failed(format_args!("more than {} files", limits.entries)));
        }
        receiver.entry(&entry, &mut entries)?;
        count += 1;
        header = next(&mut entries)?;
    }
    receiver.finish()
}

fn next(entries: &mut EntryReader<impl Read>) -> Result<Option<Header>, CommandError> {
    entries.next().map_err(|error| CommandError::caused("reading what the container sends", &error))
}

/// Fails where more comes than may: of files, but also of what stands before and between them, which nobody else counts.
struct Bounded<R> {
    stream: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.left = (self.left.checked_sub(read as u64))
            .ok_or_else(|| std::io::Error::other("more comes than --max-size allows"))?;
        Ok(read)
    }
}

/// Where it goes.
struct Destination {
    /// All is written below it.
    folder: Dir,
    /// For a file: its name there.
    alone: Option<PathBuf>,
    /// This copy has made the folder.
    is_new: bool,
}

fn destination(
    first: &Header,
    name: &str,
    typed: &str,
    to: &Path,
    limits: &Limits,
) -> Result<Destination, CommandError> {
    let is_file = first.kind == Type::File && below(&first.path, name, limits)?.as_os_str().is_empty();
    let place = |error: std::io::Error| CommandError::caused(format_args!("opening {}", to.display()), &error);
    let file = if to.is_dir() { to.join(typed) } else { to.to_owned() };
    // Links are followed: /dev/stdout is one.
    if is_file && file.metadata().is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        let special = format_args!("{} is no file: a copy would take its place", file.display());
        return Err(CommandError::failed(special)
            .hint(format_args!("write into it: remora exec POD -- cat FILE > {}", file.display())));
    }
    if is_file && !to.is_dir() {
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let alone = to.file_name().ok_or_else(|| CommandError::usage(format_args!("{} is no name", to.display())))?;
        let folder = Dir::open_ambient_dir(folder, ambient_authority()).map_err(place)?;
        return Ok(Destination { folder, alone: Some(alone.into()), is_new: false });
    }
    let is_new = !is_file && !to.exists();
    if is_new {
        std::fs::create_dir(to).map_err(place)?;
    }
    let folder = Dir::open_ambient_dir(to, ambient_authority()).map_err(place)?;
    Ok(Destination { folder, alone: is_file.then(|| typed.into()), is_new })
}

/// The part of an archive's path that is below the name that was asked for: `log/a` of `log` is `a`, `log` itself is nothing. Anything else was
/// not asked for.
fn below(path: &[u8], name: &str, limits: &Limits) -> Result<PathBuf, CommandError> {
    let shown = || String::from_utf8_lossy(path).escape_debug().to_string();
    let refuse = |why: &str| CommandError::failed(format_args!("refused: the container sent {}: {why}", shown()));
    let text = std::str::from_utf8(path).map_err(|_| refuse("its name is no text"))?;
    if text.len() > limits.path {
        return Err(refuse("its path is too long"));
    }
    if text.contains(['\0', '\\']) && (cfg!(windows) || text.contains('\0')) {
        return Err(refuse("its name cannot be one here"));
    }
    let mut pieces = Vec::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(piece) => pieces.push(piece),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(refuse("it leads out of the copy"));
            }
        }
    }
    if pieces.len() > limits.depth {
        return Err(refuse("it is too deep"));
    }
    match (name, pieces.split_first()) {
        (".", _) => Ok(pieces.iter().collect()),
        (_, Some((first, rest))) if *first == name => Ok(rest.iter().collect()),
        _ => Err(refuse("it was not asked for")),
    }
}

/// Whether a link in this folder leads to a place in the copy, whatever other links of the copy it leads through: it may go up first, as far as
/// there are folders, and then only down. `a/../..` would go up from wherever `a` leads.
fn is_inside(at: &Path, link: &str) -> bool {
    let mut folders = at.components().count().saturating_sub(1);
    let mut goes_down = false;
    for component in Path::new(link).components() {
        match component {
            Component::Normal(_) => goes_down = true,
            Component::CurDir => {}
            Component::ParentDir if folders > 0 && !goes_down => folders -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    !link.is_empty()
}

struct Receiver<'a> {
    folder: Dir,
    /// The name of the one file.
    alone: Option<PathBuf>,
    /// This copy has made `folder`.
    is_new: bool,
    name: &'a str,
    limits: &'a Limits,
    copied: Copied,
    /// Modes and times of the folders that this copy has made, set last: a folder that may not be written to is filled first. Those that
    /// were there before are the user's own, and stay as they are.
    later: BTreeMap<PathBuf, (u32, SystemTime)>,
    /// The folder that the last entry is in: a folder, below folders only. None of them can become a link any more.
    walked: PathBuf,
    bar: ProgressBar,
}

impl Receiver<'_> {
    fn entry(&mut self, header: &Header, data: &mut EntryReader<impl Read>) -> Result<(), CommandError> {
        let path = below(&header.path, self.name, self.limits)?;
        let path = match &self.alone {
            // A link of that name could come after it.
            Some(alone)
                if path.as_os_str().is_empty() && header.kind == Type::File && self.copied == Copied::default() =>
            {
                alone.clone()
            }
            Some(_) => return Err(CommandError::failed("refused: the container sent more than the one file")),
            None => path,
        };
        self.walk_to(&path)?;
        let failed = |error: std::io::Error| CommandError::caused(format_args!("writing {}", shown(&path)), &error);
        match header.kind {
            Type::Directory => self.make_folder(&path, header).map_err(failed),
            Type::File => self.make_file(&path, header, data),
            Type::Symlink => self.make_link(&path, &header.link).map_err(failed),
            Type::HardLink => self.make_hard_link(&path, &header.link),
            Type::Character | Type::Block => {
                self.copied.leave_out(&shown(&path), "a device");
                Ok(())
            }
            Type::Fifo => {
                self.copied.leave_out(&shown(&path), "a pipe");
                Ok(())
            }
        }
    }

    /// Whoever packs a real tree never finds anything behind a link. Through one, "up" would be up from where that leads, and a file would
    /// replace one of another name.
    fn walk_to(&mut self, path: &Path) -> Result<(), CommandError> {
        let Some(parent) = path.parent().filter(|parent| **parent != self.walked) else { return Ok(()) };
        let stands_behind = |above: &&Path| self.folder.symlink_metadata(above).is_ok_and(|there| !there.is_dir());
        let mut above = parent.ancestors().filter(|above| !above.as_os_str().is_empty());
        if let Some(above) = above.find(stands_behind) {
            let (path, above) = (shown(path), shown(above));
            return Err(CommandError::failed(format_args!("refused: the container sent {path}: {above} is no folder")));
        }
        self.walked = parent.to_owned();
        Ok(())
    }

    /// Whether something is there, which is a file or a link. Devices, pipes and sockets are nothing that a copy takes the place of.
    fn may_replace(&self, path: &Path) -> std::io::Result<bool> {
        match self.folder.symlink_metadata(path) {
            Ok(there) if there.is_file() || there.is_symlink() => Ok(true),
            Ok(there) if there.is_dir() => Err(std::io::ErrorKind::IsADirectory.into()),
            Ok(_) => Err(std::io::Error::other("what is there is no file")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn make_folder(&mut self, path: &Path, header: &Header) -> std::io::Result<()> {
        let is_new = match path.as_os_str().is_empty() {
            true => self.is_new,
            false => match self.folder.create_dir(path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    // Through a link that an earlier copy, or an earlier entry, has left there, nothing is written.
                    if !self.folder.symlink_metadata(path)?.is_dir() {
                        return Err(error);
                    }
                    // An archive may name a folder twice.
                    self.later.contains_key(path)
                }
                made => made.map(|()| true)?,
            },
        };
        if is_new {
            self.later.insert(path.to_owned(), (header.mode, time(header)));
        }
        Ok(())
    }

    /// Under another name until it is whole: what was there stays until then, and a link there is replaced, not followed.
    fn make_file(
        &mut self,
        path: &Path,
        header: &Header,
        data: &mut EntryReader<impl Read>,
    ) -> Result<(), CommandError> {
        let failed = |error: std::io::Error| CommandError::caused(format_args!("writing {}", shown(path)), &error);
        let unfinished = unfinished(path);
        let left = self.limits.bytes.saturating_sub(self.copied.bytes);
        let size = header.sparse.as_ref().map_or(header.stored, |(size, _)| *size);
        // A hole costs nothing on this disk, but all on the next one that it is copied to.
        if size > left {
            return Err(CommandError::failed(format_args!(
                "larger than {}: {}",
                indicatif::BinaryBytes(self.limits.bytes),
                shown(path)
            ))
            .hint("--max-size allows more"));
        }
        self.may_replace(path).map_err(failed)?;
        // Left by a copy that was interrupted.
        if self.folder.symlink_metadata(&unfinished).is_ok() {
            self.folder.remove_file(&unfinished).map_err(failed)?;
        }
        let mut options = OpenOptions::new();
        with_mode(options.write(true).create_new(true), header.mode);
        let file = self.folder.open_with(&unfinished, &options).map_err(failed)?;
        let mut file = file.into_std();
        let written = fill(&mut file, header, size, data, &self.bar);
        let finished = written.and_then(|()| {
            file.set_modified(time(header))?;
            drop(file);
            self.folder.rename(&unfinished, &self.folder, path)
        });
        if let Err(error) = finished {
            // The error is what matters; the rest of the file is named so that people see what it is.
            let _still_there = self.folder.remove_file(&unfinished);
            return Err(failed(error));
        }
        self.copied.files += 1;
        self.copied.bytes += size;
        Ok(())
    }

    fn make_link(&mut self, path: &Path, link: &[u8]) -> std::io::Result<()> {
        let inside = std::str::from_utf8(link).ok().filter(|link| is_inside(path, link));
        match inside {
            Some(link) if cfg!(unix) => {
                if self.may_replace(path)? {
                    self.folder.remove_file(path)?;
                }
                symlink(&self.folder, link, path)?;
                self.copied.files += 1;
            }
            Some(_) => self.copied.leave_out(&shown(path), "a symbolic link: it needs a right here"),
            None => {
                let to = String::from_utf8_lossy(link);
                self.copied.leave_out(&format!("{} -> {to}", shown(path)), "the link leads out of the copy");
            }
        }
        Ok(())
    }

    fn make_hard_link(&mut self, path: &Path, link: &[u8]) -> Result<(), CommandError> {
        let failed = |error: std::io::Error| CommandError::caused(format_args!("linking {}", shown(path)), &error);
        let Ok(to) = below(link, self.name, self.limits) else {
            self.copied.leave_out(&shown(path), "the link leads out of the copy");
            return Ok(());
        };
        self.walk_to(&to)?;
        match self.folder.symlink_metadata(&to) {
            Ok(there) if there.is_file() => {}
            // Of a link, it would be a name for whatever that leads to.
            Ok(_) => {
                self.copied.leave_out(&shown(path), "a hard link to something that is no file");
                return Ok(());
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.copied.leave_out(&shown(path), "a hard link to something that was left out");
                return Ok(());
            }
            Err(error) => return Err(failed(error)),
        }
        if to != path && self.may_replace(path).map_err(failed)? {
            self.folder.remove_file(path).map_err(failed)?;
        }
        self.folder.hard_link(&to, &self.folder, path).map_err(failed)?;
        self.copied.files += 1;
        Ok(())
    }

    fn finish(self) -> Result<Received, CommandError> {
        self.bar.finish_and_clear();
        // The deepest first: a folder's time changes with what is done in it.
        for (path, (mode, modified)) in self.later.iter().rev() {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            let failed = |error: std::io::Error| CommandError::caused(format_args!("setting {}", shown(path)), &error);
            finish_folder(&self.folder, path, *mode, *modified).map_err(failed)?;
        }
        Ok(Received::Files(self.copied))
    }
}

/// The name that a file has until all of it is there: always the same, so that the next copy finds what this one has left.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    if name.len() + UNFINISHED.len() > MAX_NAME {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        name = format!("{:016x}", hasher.finish()).into();
    }
    name.push(UNFINISHED);
    path.with_file_name(name)
}

/// Writes a file's data, with holes where it has zeros.
fn fill(
    file: &mut std::fs::File,
    header: &Header,
    size: u64,
    data: &mut EntryReader<impl Read>,
    bar: &ProgressBar,
) -> std::io::Result<()> {
    let whole = vec![(0, header.stored)];
    let pieces = header.sparse.as_ref().map_or(&whole, |(_, pieces)| pieces);
    let mut buffer = vec![0; BUFFER];
    for (offset, length) in pieces {
        file.seek(SeekFrom::Start(*offset))?;
        let mut left = *length;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            data.read_exact(&mut buffer[..wanted])?;
            for page in buffer[..wanted].chunks(PAGE) {
                if page.len() == PAGE && page.iter().all(|byte| *byte == 0) {
                    file.seek(SeekFrom::Current(PAGE as i64))?;
                } else {
                    file.write_all(page)?;
                }
            }
            left -= wanted as u64;
            bar.inc(wanted as u64);
        }
    }
    file.set_len(size)
}

fn shown(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string()
}

fn time(header: &Header) -> SystemTime {
    let seconds = u64::try_from(header.modified.0).unwrap_or(0);
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, header.modified.1)).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(unix)]
fn finish_folder(folder: &Dir, path: &Path, mode: u32, modified: SystemTime) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // Not `open_dir`: what that opens can be walked through, and not changed.
    let folder = folder.open(path)?.into_std();
    // It was made as open as the user's umask and the folder above it let it be: the archive may only take from that.
    let made = folder.metadata()?.permissions().mode();
    folder.set_permissions(std::fs::Permissions::from_mode(made & (mode | !0o777)))?;
    folder.set_modified(modified)
}

/// There, folders are not opened as files are, and modes mean nothing.
#[cfg(not(unix))]
fn finish_folder(_: &Dir, _: &Path, _: u32, _: SystemTime) -> std::io::Result<()> {
    Ok(())
}

/// The mode of a file that is made, less the user's umask. Nothing that came from a stranger runs as its owner (set-user-id).
#[cfg(unix)]
fn with_mode(options: &mut OpenOptions, mode: u32) {
    use cap_std::fs::OpenOptionsExt;
    options.mode(mode & 0o777);
}

#[cfg(not(unix))]
fn with_mode(_: &mut OpenOptions, _: u32) {}

#[cfg(unix)]
fn symlink(folder: &Dir, link: &str, path: &Path) -> std::io::Result<()> {
    folder.symlink(link, path)
}

#[cfg(not(unix))]
fn symlink(_: &Dir, _: &str, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// Shown on terminals only.
pub(crate) fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {binary_bytes} at {binary_bytes_per_sec}");
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One entry of an archive: its kind, path, link, and data.
    type Entry<'e> = (char, &'e str, &'e str, &'e [u8]);

    fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
        let mut archive = Vec::new();
        for (kind, path, link, data) in entries {
            let mut header = tar::Header::new_gnu();
            // The crate's own setters refuse what hostile archives have.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(tar::EntryType::new(*kind as u8));
            header.set_mode(if *kind == '5' { 0o755 } else { 0o4751 });
            header.set_mtime(1_000_000_000);
            header.set_size(data.len() as u64);
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
            header.set_cksum();
            archive.extend_from_slice(header.as_bytes());
            archive.extend_from_slice(data);
            archive.resize(archive.len().next_multiple_of(512), 0);
        }
        archive.resize(archive.len() + 1024, 0);
        archive
    }

    /// Unpacks into `to` below a fresh folder in which another file stands that must stay as it is.
    fn play(entries: &[Entry<'_>], limits: &Limits) -> (tempfile::TempDir, Result<Received, CommandError>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("outside"), "safe").unwrap();
        let received = receive(archive(entries).as_slice(), "d", "d", &folder.path().join("to"), limits);
        assert_eq!(std::fs::read_to_string(folder.path().join("outside")).unwrap(), "safe");
        (folder, received)
    }

    const FOLDER: Entry<'_> = ('5', "d", "", b"");

    #[test]
    fn a_folder_comes_with_links_modes_times_and_holes() {
        use std::os::unix::fs::MetadataExt;
        let mut holes = vec![0; 1 << 20];
        holes.extend_from_slice(b"end");
        let entries = [
            FOLDER,
            ('5', "d/sub", "", &b""[..]),
            ('0', "d/sub/a", "", b"hello"),
            ('2', "d/b", "sub/a", b""),
            ('1', "d/c", "d/sub/a", b""),
            ('0', "d/holes", "", &holes),
        ];
        let (folder, received) = play(&entries, &Limits::default());
        let Received::Files(copied) = received.unwrap() else { panic!("a link") };
        assert_eq!((copied.files, copied.bytes, copied.left_out.len()), (4, 5 + holes.len() as u64, 0));
        let to = folder.path().join("to");
        assert_eq!(std::fs::read(to.join("b")).unwrap(), b"hello");
        let file = std::fs::metadata(to.join("sub/a")).unwrap();
        assert_eq!((file.mode() & 0o7777, file.mtime(), file.nlink()), (0o751, 1_000_000_000, 2));
        let sparse = std::fs::metadata(to.join("holes")).unwrap();
        assert_eq!(std::fs::read(to.join("holes")).unwrap(), holes);
        assert!(sparse.blocks() * 512 < 1 << 20, "{} blocks", sparse.blocks());
        assert_eq!(std::fs::metadata(to.join("sub")).unwrap().mtime(), 1_000_000_000);
    }

    #[test]
    fn one_file_gets_the_name_that_was_given() {
        let (folder, received) = play(&[('0', "d", "", b"x")], &Limits::default());
        assert!(matches!(received, Ok(Received::Files(Copied { files: 1, .. }))), "{received:?}");
        assert_eq!(std::fs::read(folder.path().join("to")).unwrap(), b"x");
        let (_, linked) = play(&[('2', "d", "../else", b"")], &Limits::default());
        assert_eq!(linked, Ok(Received::Link("../else".to_owned())));
    }

    #[test]
    fn what_leads_out_is_refused() {
        let check = |entries: &[Entry<'_>], expected: &str| {
            let (_folder, received) = play(&[&[FOLDER], entries].concat(), &Limits::default());
            let error = received.expect_err(expected).message;
            assert!(error.contains(expected), "{error}");
        };
        check(&[('0', "d/../../outside", "", b"x")], "it leads out of the copy");
        check(&[('0', "../outside", "", b"x")], "it leads out of the copy");
        check(&[('0', "/etc/passwd", "", b"x")], "it leads out of the copy");
        check(&[('0', "outside", "", b"x")], "it was not asked for");
        check(&[('0', "\u{1b}[2J", "", b"x")], "\\u{1b}[2J: it was not asked for");
        check(&[('2', "d/f", "self", b""), ('5', "d/f", "", b"")], "writing f");
        let folders = [('5', "d/a", "", &b""[..]), ('5', "d/a/b", "", b""), ('2', "d/a/b/up", "../..", b"")];
        for kind in ['0', '2', '5'] {
            // By its words three folders deep, in truth in none.
            let behind = (kind, "d/a/b/up/x", "../../..", &b""[..]);
            check(&[&folders[..], &[behind]].concat(), "a/b/up is no folder");
        }
        let twice = [('0', "d/x", "", &b""[..]), ('1', "d/y", "d/a/b/up/x", b"")];
        check(&[&folders[..], &twice].concat(), "a/b/up is no folder");
    }

    #[test]
    fn links_that_lead_out_are_left_out_and_so_is_what_is_no_file() {
        let entries = [
            FOLDER,
            ('2', "d/abs", "/etc/passwd", &b""[..]),
            ('2', "d/up", "../outside", b""),
            ('1', "d/hard", "outside", b""),
            ('1', "d/hard2", "d/../../outside", b""),
            ('3', "d/dev", "", b""),
            ('6', "d/pipe", "", b""),
        ];
        let (folder, received) = play(&entries, &Limits::default());
        let Received::Files(copied) = received.unwrap() else { panic!("a link") };
        assert_eq!((copied.files, copied.left_out.len()), (0, 6), "{copied:?}");
        assert_eq!(std::fs::read_dir(folder.path().join("to")).unwrap().count(), 0);
    }

    #[test]
    fn links_that_lead_out_only_by_way_of_other_links_are_left_out_too() {
        let entries = [
            FOLDER,
            ('5', "d/a", "", &b""[..]),
            ('2', "d/a/up", "..", b""),
            // `a/up` is the copy itself, so this is the folder above it.
            ('2', "d/out", "a/up/..", b""),
            ('2', "d/in", "./a/up", b""),
        ];
        let (folder, received) = play(&entries, &Limits::default());
        let Received::Files(copied) = received.unwrap() else { panic!("a link") };
        assert_eq!((copied.files, copied.left_out.len()), (2, 1), "{copied:?}");
        let to = folder.path().join("to");
        assert!(to.join("in").is_symlink() && !to.join("out").is_symlink());
    }

    #[test]
    fn a_file_replaces_a_link_and_does_not_follow_it() {
        let entries = [FOLDER, ('2', "d/a", "b", &b""[..]), ('0', "d/a", "", b"new")];
        let (folder, received) = play(&entries, &Limits::default());
        assert!(received.is_ok(), "{received:?}");
        assert!(std::fs::symlink_metadata(folder.path().join("to/a")).unwrap().is_file());
        assert!(!folder.path().join("to/b").exists());
    }

    #[cfg(unix)]
    #[test]
    fn folders_of_the_user_keep_their_modes_and_times() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        std::fs::create_dir_all(own.join("sub")).unwrap();
        let seen = |path: &Path| {
            let metadata = std::fs::metadata(path).unwrap();
            (metadata.mode() & 0o7777, metadata.mtime() == 1_000_000_000)
        };
        for path in [own.join("sub"), own.clone()] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o2700)).unwrap();
        }
        let entries = [FOLDER, ('5', "d/sub", "", b""), ('5', "d/new", "", b""), ('5', "d/new", "", b"")];
        receive(archive(&entries).as_slice(), "d", "d", &own, &Limits::default()).unwrap();
        assert_eq!((seen(&own), seen(&own.join("sub"))), ((0o2700, false), (0o2700, false)));
        let umask = std::fs::read_to_string("/proc/self/status").unwrap();
        let umask = umask.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap().trim();
        let umask = u32::from_str_radix(umask, 8).unwrap();
        // What is made in a folder that passes its group on, passes it on.
        assert_eq!(seen(&own.join("new")), (0o2755 & !umask, true));
    }

    #[cfg(unix)]
    #[test]
    fn the_umask_holds() {
        use std::os::unix::fs::PermissionsExt;
        // The umask is the whole process': one that has it closes more than the archive does.
        if std::env::var_os("REMORA_TEST_UMASK").is_none() {
            let itself = std::env::current_exe().unwrap();
            let script = r#"umask 077 && exec "$0" --exact commands::cp::receive::tests::the_umask_holds"#;
            let mut shell = std::process::Command::new("sh");
            let ended = shell.args(["-c", script]).arg(itself).env("REMORA_TEST_UMASK", "1").output().unwrap();
            assert!(String::from_utf8_lossy(&ended.stdout).contains("1 passed"), "{ended:?}");
            return;
        }
        let (folder, received) = play(&[FOLDER, ('0', "d/a", "", b"x"), ('5', "d/sub", "", b"")], &Limits::default());
        assert!(received.is_ok(), "{received:?}");
        let mode = |path: &str| std::fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("to/a"), mode("to"), mode("to/sub")), (0o700, 0o700, 0o700));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_replaced() {
        use std::os::unix::fs::FileTypeExt;
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listens = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("socket", &link).unwrap();
        let check = |entries: &[Entry<'_>], name: &str, to: &Path| {
            let received = receive(archive(entries).as_slice(), name, name, to, &Limits::default());
            let error = received.expect_err(name).message;
            assert!(error.contains("is no file"), "{error}");
            assert!(socket.symlink_metadata().unwrap().file_type().is_socket() && link.is_symlink(), "{entries:?}");
        };
        check(&[('0', "d", "", b"x")], "d", &socket);
        check(&[('0', "d", "", b"x")], "d", &link);
        check(&[('0', "link", "", b"x")], "link", folder.path());
        check(&[FOLDER, ('0', "d/socket", "", b"x")], "d", folder.path());
        check(&[FOLDER, ('2', "d/socket", "x", b"")], "d", folder.path());
        check(&[FOLDER, ('0', "d/x", "", b""), ('1', "d/socket", "d/x", b"")], "d", folder.path());
    }

    #[test]
    fn a_file_that_was_asked_for_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("f");
        for more in [('2', "d", "secret", &b""[..]), ('1', "d", "d", b""), ('0', "d", "", b"more"), ('3', "d", "", b"")]
        {
            let entries = archive(&[('0', "d", "", b"asked for"), more]);
            let received = receive(entries.as_slice(), "d", "d", &to, &Limits::default());
            let error = received.expect_err("a second entry").message;
            assert!(error.contains("more than the one file"), "{error}");
            assert_eq!(std::fs::read_to_string(&to).unwrap(), "asked for");
            assert!(!to.is_symlink());
        }
    }

    #[test]
    fn a_hard_link_to_what_was_left_out_is_left_out_too() {
        let entries = [
            FOLDER,
            ('2', "d/a", "/etc/passwd", &b""[..]),
            ('1', "d/b", "d/a", b""),
            ('1', "d/c", "d/b", b""),
            ('0', "d/e", "", b"x"),
        ];
        let (_folder, received) = play(&entries, &Limits::default());
        let Received::Files(copied) = received.unwrap() else { panic!("a link") };
        assert_eq!((copied.files, copied.left_out.len()), (1, 3), "{copied:?}");
    }

    #[test]
    fn names_may_be_as_long_as_the_disk_allows() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("from");
        std::fs::create_dir(&from).unwrap();
        let (one, other) = ("n".repeat(254) + "1", "n".repeat(254) + "2");
        std::fs::write(from.join(&one), "1").unwrap();
        std::fs::write(from.join(&other), "2").unwrap();
        let mut bytes = Vec::new();
        crate::commands::cp::send::send(&mut bytes, &from, "d").unwrap();
        let to = folder.path().join("to");
        receive(bytes.as_slice(), "d", "d", &to, &Limits::default()).unwrap();
        assert_eq!(std::fs::read_to_string(to.join(&one)).unwrap(), "1");
        assert_eq!(std::fs::read_to_string(to.join(&other)).unwrap(), "2");
        assert_eq!(std::fs::read_dir(&to).unwrap().count(), 2);
    }

    #[test]
    fn limits_hold() {
        let small = Limits { bytes: 10, entries: 3, path: 100, depth: 3 };
        let check = |entries: &[Entry<'_>], expected: &str| {
            let (_folder, received) = play(&[&[FOLDER], entries].concat(), &small);
            let error = received.expect_err(expected).message;
            assert!(error.contains(expected), "{error}");
        };
        check(&[('0', "d/a", "", b"12345678"), ('0', "d/b", "", b"123")], "larger than 10 B");
        check(&[('0', "d/a", "", b""), ('0', "d/b", "", b""), ('0', "d/c", "", b"")], "more than 3 files");
        check(&[('5', "d/a/b/c", "", b"")], "it is too deep");
        // Neither what describes no file nor what is skipped comes for nothing.
        let described = [('x', "pax", "", &b"6 a=b\n"[..]); 100];
        check(&described, "more comes than --max-size allows");
        check(&[('g', "pax", "", &[0; 100_000])], "more comes than --max-size allows");
    }
}
