//! Durable files, folder locks, and how full a file system is.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with, statvfs};

use crate::Result;
use crate::error::failed;
use crate::process::PidFd;

/// Writes a file so that after a crash either the old or the new content is there, whole: a temporary file beside it, synced,
/// renamed over it, and the folder synced. `mode` is the new file's permission bits.
///
/// # Errors
/// Any of the steps; the temporary file is removed and the old content untouched.
pub fn write_durably(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut file = DurableFile::create(path, mode)?;
    file.write_all(content).map_err(failed("write", path.display()))?;
    file.keep()
}

/// A file that is written piece by piece and is there under its name only when it is whole and on disk: see [`write_durably`]. What is dropped
/// before [`DurableFile::keep`] leaves nothing.
#[derive(Debug)]
pub struct DurableFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    kept: bool,
}

impl DurableFile {
    /// Makes the temporary file beside `path`. It is always a new one: in a folder that others may write to, one that is there already, or a link,
    /// would show them what is written.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(path: &Path, mode: u32) -> Result<DurableFile> {
        let temporary = beside(path);
        remove_if_there(&temporary).map_err(failed("write", path.display()))?;
        // O_EXCL follows no link either (open(2)).
        let file = File::options().write(true).create_new(true).mode(mode).open(&temporary);
        let file = file.map_err(failed("write", path.display()))?;
        Ok(DurableFile { file, temporary, path: path.to_owned(), kept: false })
    }

    /// Where what was written is for now, to be read again before it is kept.
    #[must_use]
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Syncs it, gives it its name, and syncs its folder.
    ///
    /// # Errors
    /// Any of these; what had the name before is untouched.
    pub fn keep(mut self) -> Result<()> {
        let kept = self.file.sync_all().and_then(|()| fs::rename(&self.temporary, &self.path));
        self.kept = kept.is_ok();
        kept.and_then(|()| sync_folder(self.path.parent().unwrap_or(Path::new("."))))
            .map_err(failed("write", self.path.display()))
    }
}

impl Write for DurableFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for DurableFile {
    fn drop(&mut self) {
        if !self.kept {
            // What went wrong is told already; a leftover is removed by the next attempt, or [`remove_abandoned`].
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Lets two names in one folder change places, so that at no moment either is missing. Durable once the folder is synced ([`sync_folder`]); an
/// error means that nothing has changed.
///
/// # Errors
/// One of them is not there, or the file system cannot do it.
pub fn exchange(one: &Path, other: &Path) -> Result<()> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).map_err(failed("exchange", one.display()))
}

/// Gives a file or folder a name that nothing has yet, in one step.
///
/// # Errors
/// Something has that name ([`io::ErrorKind::AlreadyExists`]), also an empty folder, which a plain rename would take the place of.
pub fn rename_new(from: &Path, to: &Path) -> Result<()> {
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(failed("name", to.display()))
}

/// The temporary file's name: hidden, and the same for each attempt of one process, so that attempts do not pile up.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

/// Removes what processes that were killed have left of a [`DurableFile`] of this path: it may hold secrets. What does not belong to this user,
/// is no file, or whose process is still there, stays.
///
/// # Errors
/// The folder cannot be read, or such a file not removed.
pub fn remove_abandoned(path: &Path) -> Result<()> {
    abandoned(path)
        .and_then(|files| files.iter().try_for_each(|file| remove_if_there(file)))
        .map_err(failed("remove what is left of", path.display()))
}

fn abandoned(path: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let us = rustix::process::geteuid().as_raw();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(process) = writer_of(path, &entry.file_name().to_string_lossy()) else { continue };
        let metadata = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if metadata.is_file() && metadata.uid() == us && PidFd::open(process).map_err(|error| error.source)?.is_none() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The process whose temporary file of `path` has this name: the reverse of [`beside`].
fn writer_of(path: &Path, name: &str) -> Option<i32> {
    let target = path.file_name()?.to_string_lossy();
    let id = name.strip_prefix('.')?.strip_prefix(&*target)?.strip_prefix('.')?.strip_suffix(".tmp")?;
    id.parse().ok().filter(|id| *id > 0)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Makes names in a folder durable.
///
/// # Errors
/// Opening or syncing the folder.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path)?.sync_all()
}

/// The exclusive right to a folder. It ends when this is dropped or the process dies, however it dies.
#[derive(Debug)]
pub struct FolderLock(OwnedFd);

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread has just forked holds a copy of the descriptor until it executes its program.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Takes the lock of a folder (`flock` on the folder itself, so that no lock file stays behind), or says that another has it: `None`.
///
/// # Errors
/// The folder cannot be opened or locked.
pub fn lock_folder(path: &Path) -> Result<Option<FolderLock>> {
    let folder = OwnedFd::from(File::open(path).map_err(failed("open", path.display()))?);
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(FolderLock(folder))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(failed("lock", path.display())(errno)),
    }
}

/// Space and inodes of the file system that holds a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes that an unprivileged user may still write.
    pub available_bytes: u64,
    /// Inodes in all; 0 where the file system does not count them.
    pub total_inodes: u64,
    /// Inodes still free.
    pub free_inodes: u64,
}

/// How full the file system under `path` is.
///
/// # Errors
/// `statvfs` failed.
pub fn space(path: &Path) -> Result<Space> {
    let stat = statvfs(path).map_err(failed("ask for the free space of", path.display()))?;
    Ok(Space {
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        available_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        total_inodes: stat.f_files,
        free_inodes: stat.f_ffree,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_durable_write_replaces_the_whole_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        for content in ["a longer content", "short", ""] {
            write_durably(&path, content.as_bytes(), 0o600).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_not_kept_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot");
        fs::write(&path, "before").unwrap();
        let mut file = DurableFile::create(&path, 0o600).unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(fs::read(file.temporary()).unwrap(), b"half");
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_was_laid_in_its_way_gets_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (path, theirs) = (folder.path().join("snapshot"), folder.path().join("theirs"));
        fs::write(&theirs, "").unwrap();
        let write = || write_durably(&path, b"secret", 0o600).unwrap();
        std::os::unix::fs::symlink(&theirs, beside(&path)).unwrap();
        write();
        fs::hard_link(&theirs, beside(&path)).unwrap();
        write();
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "");
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert!(metadata.is_file() && metadata.mode() & 0o777 == 0o600, "{metadata:?}");
    }

    #[test]
    fn what_a_killed_process_has_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot");
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let (gone, here) = (child.id(), std::process::id());
        child.wait().unwrap();
        let names = [
            format!(".snapshot.{gone}.tmp"),
            format!(".snapshot.{here}.tmp"),
            format!(".other.{gone}.tmp"),
            format!(".snapshot.x{gone}.tmp"),
            ".snapshot.-1.tmp".to_owned(),
            "snapshot".to_owned(),
        ];
        names.iter().for_each(|name| fs::write(folder.path().join(name), "").unwrap());
        remove_abandoned(&path).unwrap();
        let left: Vec<bool> = names.iter().map(|name| folder.path().join(name).exists()).collect();
        assert_eq!(left, [false, true, true, true, true, true]);
    }

    #[test]
    fn two_folders_change_places() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        fs::create_dir(&one).unwrap();
        assert_eq!(exchange(&one, &other).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::create_dir(&other).unwrap();
        fs::write(one.join("file"), "").unwrap();
        exchange(&one, &other).unwrap();
        assert!(other.join("file").exists() && !one.join("file").exists());
    }

    #[test]
    fn a_failed_write_names_the_path_and_the_cause() {
        let error = write_durably(Path::new("/proc/no/such"), b"", 0o600).unwrap_err();
        assert_eq!(error.to_string(), "cannot write /proc/no/such");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_folder_has_one_owner_until_the_lock_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock_folder(folder.path()).unwrap();
        assert!(first.is_some());
        assert!(lock_folder(folder.path()).unwrap().is_none());
        drop(first);
        assert!(lock_folder(folder.path()).unwrap().is_some());
    }

    #[test]
    fn space_of_the_root_is_more_than_nothing() {
        assert!(space(Path::new("/")).unwrap().total_bytes > 0);
    }
}
