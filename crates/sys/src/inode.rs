//! What image layers need of a file system and std does not offer: device nodes, extended attributes, times of links, a whole
//! file system synced. Nothing here follows a symbolic link at the end of a path.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lgetxattr, lsetxattr, makedev, mknodat, syncfs,
    utimensat,
};
use rustix::io::Errno;

use crate::Result;
use crate::error::failed;

/// A file that is neither a regular one, a folder nor a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A character device with its major and minor number.
    Character(u32, u32),
    /// A block device with its major and minor number.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// The character device 0/0, by which overlayfs hides a name of the layers below (kernel, `filesystems/overlayfs.rst`).
pub const WHITEOUT: Node = Node::Character(0, 0);

/// Makes a device or pipe with these permission bits, as far as the umask lets them through.
///
/// # Errors
/// The name is taken, or not permitted: devices other than [`WHITEOUT`] need CAP_MKNOD.
pub fn make_node(path: &Path, node: Node, mode: u32) -> Result<()> {
    let (file_type, device) = match node {
        Node::Character(major, minor) => (FileType::CharacterDevice, makedev(major, minor)),
        Node::Block(major, minor) => (FileType::BlockDevice, makedev(major, minor)),
        Node::Fifo => (FileType::Fifo, 0),
    };
    mknodat(CWD, path, file_type, Mode::from_raw_mode(mode), device).map_err(failed("make node", path.display()))
}

/// Whether this is overlayfs' [`WHITEOUT`].
#[must_use]
pub fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

/// Sets an extended attribute.
///
/// # Errors
/// Not permitted (`trusted.*` needs CAP_SYS_ADMIN), or not supported by the file system.
pub fn set_xattr(path: &Path, name: &str, value: &[u8]) -> Result<()> {
    lsetxattr(path, name, value, XattrFlags::empty()).map_err(failed("set an extended attribute of", path.display()))
}

/// Reads an extended attribute of at most 64 KiB, the kernel's limit. None if there is none of that name, or the file system has no
/// such attributes.
///
/// # Errors
/// The path is not there, or reading is not permitted.
pub fn xattr(path: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    let mut value = [0; 64 * 1024];
    match lgetxattr(path, name, &mut value) {
        Ok(length) => Ok(Some(value[..length].to_vec())),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(failed("read an extended attribute of", path.display())(errno)),
    }
}

/// Sets the time of last modification, and of last access to the same: seconds since 1970 and nanoseconds.
///
/// # Errors
/// The path is not there, or the time cannot be held.
pub fn set_modified(path: &Path, seconds: i64, nanoseconds: u32) -> Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("set the time of", path.display()))
}

/// Waits until everything that was written to the file system of `path` is on the disk.
///
/// # Errors
/// The path is not there, or the disk failed.
pub fn sync_file_system(path: &Path) -> Result<()> {
    let file = File::open(path).map_err(failed("open", path.display()))?;
    syncfs(&file).map_err(|errno| failed("sync the file system of", path.display())(io::Error::from(errno)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn times_and_attributes_of_a_link_are_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        set_modified(&link, -5, 7).unwrap();
        let times = |path| fs::symlink_metadata(path).map(|m| (m.mtime(), m.mtime_nsec())).unwrap();
        assert_eq!(times(&link), (-5, 7));
        assert_ne!(times(&target).0, -5);
        assert_eq!(xattr(&target, "user.none").unwrap(), None);
    }

    #[test]
    fn a_pipe_and_a_whiteout_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        make_node(&pipe, Node::Fifo, 0o600).unwrap();
        assert!(!is_whiteout(&fs::symlink_metadata(&pipe).unwrap()));
        assert_eq!(make_node(&pipe, Node::Fifo, 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        sync_file_system(folder.path()).unwrap();
    }
}
