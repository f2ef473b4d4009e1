//! What a folder takes of its file system: blocks and inodes of all that is in it.
//!
//! Whoever writes there may be a stranger who changes it while it is looked at: no link is followed, and depth and number of what is looked at are
//! bounded.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use crate::Result;
use crate::error::failed;

/// Entries that are looked at, at most: a second or two.
const MOST_ENTRIES: u64 = 500_000;
/// Folders within folders that are looked at, each of which is held open meanwhile.
const DEEPEST: usize = 200;

/// What a folder takes. Where there is more than is looked at, at least that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Bytes of blocks.
    pub bytes: u64,
    /// Files, folders, links.
    pub inodes: u64,
}

/// Looks through a folder, itself included, without what is mounted in it.
///
/// # Errors
/// The folder cannot be opened. What vanishes meanwhile is not counted.
pub fn disk_usage(folder: &Path) -> Result<DiskUsage> {
    let wrong = || failed("look through", folder.display());
    let root = open(CWD, folder).map_err(wrong())?;
    let stat = rustix::fs::fstat(&root).map_err(wrong())?;
    let mut walk = Walk { device: stat.st_dev, usage: DiskUsage::default(), linked: HashSet::new() };
    walk.count(&stat);
    walk.through(root).map_err(wrong())?;
    Ok(walk.usage)
}

fn open(at: impl AsFd, path: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, path, flags, Mode::empty())
}

struct Walk {
    device: u64,
    usage: DiskUsage,
    /// Inodes with several names that have been counted.
    linked: HashSet<u64>,
}

impl Walk {
    fn through(&mut self, root: OwnedFd) -> rustix::io::Result<()> {
        let mut way = vec![Dir::new(root)?];
        while let Some(folder) = way.last_mut() {
            let Some(entry) = folder.next() else {
                way.pop();
                continue;
            };
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if self.usage.inodes >= MOST_ENTRIES {
                return Ok(());
            }
            let within = folder.fd()?;
            let Some(stat) = there(statat(within, name, AtFlags::SYMLINK_NOFOLLOW))? else { continue };
            let is_new = self.count(&stat);
            if is_new && FileType::from_raw_mode(stat.st_mode).is_dir() && way.len() < DEEPEST {
                let below = way.last().map_or(Ok(None), |folder| there(open(folder.fd()?, name)))?;
                way.extend(below.map(Dir::new).transpose()?);
            }
        }
        Ok(())
    }

    /// Counts what is on this file system and has not been counted under another name.
    fn count(&mut self, stat: &Stat) -> bool {
        let is_ours = stat.st_dev == self.device;
        let is_folder = FileType::from_raw_mode(stat.st_mode).is_dir();
        let is_new = is_ours && (is_folder || stat.st_nlink < 2 || self.linked.insert(stat.st_ino));
        if is_new {
            self.usage.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            self.usage.inodes += 1;
        }
        is_new
    }
}

/// What vanishes, or becomes a link, while it is looked at.
fn there<T>(looked: rustix::io::Result<T>) -> rustix::io::Result<Option<T>> {
    match looked {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_in_a_folder_is_counted_once_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let (inside, outside) = (root.path().join("inside"), root.path().join("outside"));
        fs::create_dir_all(inside.join("a/b")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("large"), vec![1; 1 << 20]).unwrap();
        fs::write(inside.join("a/b/file"), vec![1; 64 << 10]).unwrap();
        fs::hard_link(inside.join("a/b/file"), inside.join("again")).unwrap();
        symlink(&outside, inside.join("way out")).unwrap();
        let usage = disk_usage(&inside).unwrap();
        // Itself, two folders, a file and a link.
        assert_eq!(usage.inodes, 5);
        assert!((64 << 10..512 << 10).contains(&usage.bytes), "{usage:?}");
        assert!(disk_usage(&inside.join("way out")).is_err());
    }

    #[test]
    fn a_deep_folder_holds_no_more_files_open_than_is_bounded() {
        let root = tempfile::tempdir().unwrap();
        let deep = (0..DEEPEST + 50).fold(root.path().to_owned(), |path, _| path.join("d"));
        fs::create_dir_all(&deep).unwrap();
        assert_eq!(disk_usage(root.path()).unwrap().inodes, DEEPEST as u64 + 1);
    }
}
