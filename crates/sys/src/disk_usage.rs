//! What a folder takes of its file system: blocks and inodes of all that is in it.
//!
//! Whoever writes there may be a stranger who changes it while it is looked at: no link is followed; how deep is looked, how many names are looked at
//! and for how long are bounded. A walk that has met a bound says so: what it has counted is not all.

mod kept;

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use crate::Result;
use crate::error::failed;

pub use kept::KeptByFolder;

/// Far more than what is looked at in earnest: a walk over as much takes seconds.
const BOUNDS: Bounds = Bounds { entries: 1_000_000, depth: 200, time: Duration::from_secs(120) };

struct Bounds {
    /// Names in folders, whatever they name: a link to what has been counted takes as long to look at as a file.
    entries: u64,
    /// Folders within folders, each of which is held open meanwhile.
    depth: usize,
    time: Duration,
}

/// What a folder takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskUsage {
    /// Bytes of blocks.
    pub bytes: u64,
    /// Files, folders, links.
    pub inodes: u64,
    /// All was looked at. Otherwise there is more than is counted, nobody knows how much.
    pub is_whole: bool,
}

/// Looks through a folder, itself included, without what is mounted in it.
///
/// # Errors
/// The folder cannot be opened. What vanishes meanwhile is not counted.
pub fn disk_usage(folder: &Path) -> Result<DiskUsage> {
    bounded(folder, &BOUNDS)
}

fn bounded(folder: &Path, bounds: &Bounds) -> Result<DiskUsage> {
    let wrong = || failed("look through", folder.display());
    let root = open(CWD, folder).map_err(wrong())?;
    let stat = rustix::fs::fstat(&root).map_err(wrong())?;
    let usage = DiskUsage { bytes: 0, inodes: 0, is_whole: true };
    let mut walk = Walk { device: stat.st_dev, usage, linked: HashSet::new() };
    walk.count(&stat);
    walk.through(root, bounds).map_err(wrong())?;
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
    fn through(&mut self, root: OwnedFd, bounds: &Bounds) -> rustix::io::Result<()> {
        let (begun, mut entries) = (Instant::now(), 0);
        let mut way = vec![Dir::new(root)?];
        while let Some(folder) = way.last_mut() {
            // A folder that has been removed has no entries.
            let Some(entry) = folder.next().map_or(Ok(None), there)? else {
                way.pop();
                continue;
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if entries >= bounds.entries || begun.elapsed() >= bounds.time {
                self.usage.is_whole = false;
                return Ok(());
            }
            entries += 1;
            let within = folder.fd()?;
            let Some(stat) = there(statat(within, name, AtFlags::SYMLINK_NOFOLLOW))? else { continue };
            let is_new = self.count(&stat);
            if !is_new || !FileType::from_raw_mode(stat.st_mode).is_dir() {
                continue;
            }
            if way.len() >= bounds.depth {
                self.usage.is_whole = false;
                continue;
            }
            let below = way.last().map_or(Ok(None), |folder| there(open(folder.fd()?, name)))?;
            way.extend(below.map(Dir::new).transpose()?);
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
        assert_eq!((usage.inodes, usage.is_whole), (5, true));
        assert!((64 << 10..512 << 10).contains(&usage.bytes), "{usage:?}");
        assert!(disk_usage(&inside.join("way out")).is_err());
    }

    #[test]
    fn a_deep_folder_holds_no_more_files_open_than_is_bounded_and_is_no_whole_measure() {
        let root = tempfile::tempdir().unwrap();
        let (deepest, depth) = (root.path().join("d/".repeat(BOUNDS.depth - 1)), BOUNDS.depth as u64);
        fs::create_dir_all(&deepest).unwrap();
        let usage = disk_usage(root.path()).unwrap();
        assert_eq!((usage.inodes, usage.is_whole), (depth, true));
        fs::create_dir_all(deepest.join("d/hidden")).unwrap();
        let usage = disk_usage(root.path()).unwrap();
        assert_eq!((usage.inodes, usage.is_whole), (depth + 1, false));
    }

    #[test]
    fn each_name_counts_for_the_bound_also_one_of_what_is_known() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        (0..9).for_each(|number| fs::hard_link(&file, root.path().join(number.to_string())).unwrap());
        let looked = |entries| bounded(root.path(), &Bounds { entries, ..BOUNDS }).unwrap();
        assert_eq!((looked(10).inodes, looked(10).is_whole), (2, true));
        assert_eq!((looked(9).inodes, looked(9).is_whole), (2, false));
        let none = bounded(root.path(), &Bounds { time: Duration::ZERO, ..BOUNDS }).unwrap();
        assert_eq!((none.inodes, none.is_whole), (1, false));
    }

    #[test]
    fn a_folder_that_is_removed_meanwhile_ends_no_walk() {
        let root = tempfile::tempdir().unwrap();
        let gone = root.path().join("gone");
        fs::create_dir(&gone).unwrap();
        let open = open(CWD, &gone).unwrap();
        fs::remove_dir(&gone).unwrap();
        let usage = DiskUsage { bytes: 0, inodes: 0, is_whole: true };
        let mut walk = Walk { device: 0, usage, linked: HashSet::new() };
        walk.through(open, &BOUNDS).unwrap();
        assert_eq!(walk.usage, usage);
    }
}
