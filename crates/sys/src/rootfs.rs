//! Reading, and making folders, inside a container's root file system without being led out of it by its symbolic links.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::Result;
use crate::error::failed;

/// Opens a file for reading as a process chrooted to `rootfs` would (`openat2`, `RESOLVE_IN_ROOT`); devices, sockets and pipes are
/// refused, so that opening never hangs. `None` if it is not there.
///
/// # Errors
/// Anything else than that it is not there.
pub fn open_inside(rootfs: &Path, path: &Path) -> Result<Option<File>> {
    match open(rootfs, path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(error) => Err(failed("open in the root file system", path.display())(error)),
    }
}

fn open(rootfs: &Path, path: &Path) -> io::Result<File> {
    let root = root(rootfs)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve)?);
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_dir() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// What a path leads to, as a process chrooted to `rootfs` would see it; nothing is opened, so it may be a device or a socket too.
/// `None` if it is not there.
///
/// # Errors
/// Anything else than that it is not there.
pub fn look_inside(rootfs: &Path, path: &Path) -> Result<Option<Metadata>> {
    look(rootfs, path, ResolveFlags::IN_ROOT)
}

/// Likewise, but `None` too if the way leads over an absolute link: from another place than the root that would lead elsewhere.
///
/// # Errors
/// As [`look_inside`].
pub fn look_beneath(folder: &Path, path: &Path) -> Result<Option<Metadata>> {
    look(folder, &relative(path), ResolveFlags::BENEATH)
}

fn look(folder: &Path, path: &Path, resolve: ResolveFlags) -> Result<Option<Metadata>> {
    let found = root(folder).and_then(|root| {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let found = rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve | ResolveFlags::NO_MAGICLINKS)?;
        File::from(found).metadata()
    });
    match found {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::EXDEV)) => Ok(None),
        Err(error) => Err(failed("look in the root file system at", path.display())(error)),
    }
}

/// Makes a folder, and those above it, as a process chrooted to `rootfs` would; those that are there stay as they are. New ones have mode 0755,
/// less the umask, and belong to `owner`, a user and a group: they are made in its name, as far as its rights go.
///
/// # Errors
/// Something else is in the way, or `owner` may not.
pub fn make_folders_inside(rootfs: &Path, path: &Path, owner: (u32, u32)) -> Result<()> {
    make_folders(rootfs, path, owner, ResolveFlags::IN_ROOT).map_err(failed("make the folder", path.display()))
}

/// Likewise, but nothing is made if the way leads over an absolute link, or out of the folder, as [`look_beneath`] finds nothing there.
///
/// # Errors
/// As [`make_folders_inside`].
pub fn make_folders_beneath(folder: &Path, path: &Path, owner: (u32, u32)) -> Result<()> {
    match make_folders(folder, &relative(path), owner, ResolveFlags::BENEATH) {
        Err(error) if error.raw_os_error() == Some(libc::EXDEV) => Ok(()),
        made => made.map_err(failed("make the folder", path.display())),
    }
}

fn make_folders(folder: &Path, path: &Path, owner: (u32, u32), resolve: ResolveFlags) -> io::Result<()> {
    let root = root(folder)?;
    let _as_owner = FileSystemUser::become_for_now(owner);
    let mut above = PathBuf::from(".");
    for name in path.components().filter(|part| matches!(part, Component::Normal(_))) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::openat2(&root, &above, flags, Mode::empty(), resolve | ResolveFlags::NO_MAGICLINKS)?;
        match rustix::fs::mkdirat(&parent, name.as_os_str(), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => above.push(name),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// From the folder's point of view; the folder itself is `.`.
fn relative(path: &Path) -> PathBuf {
    Path::new(".").join(path.strip_prefix("/").unwrap_or(path))
}

/// This thread looks at files as another user until it is dropped: setfsuid(2). For root nothing changes.
struct FileSystemUser {
    before: Option<(u32, u32)>,
}

impl FileSystemUser {
    fn become_for_now(user: (u32, u32)) -> Self {
        // The calls cannot fail for root, and else change nothing: then what follows fails, or is made as who we are.
        Self { before: (user != (0, 0)).then(|| set_file_system_user(user)) }
    }
}

impl Drop for FileSystemUser {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            set_file_system_user(before);
        }
    }
}

/// The user and group that there were before. The group first: it takes a right that the change of the user takes away.
#[expect(unsafe_code, reason = "setfsuid and setfsgid have no wrapper in rustix")]
fn set_file_system_user((user, group): (u32, u32)) -> (u32, u32) {
    // SAFETY: numbers in, a number out; it concerns this thread alone.
    let group = unsafe { libc::setfsgid(group) };
    // SAFETY: as above.
    let user = unsafe { libc::setfsuid(user) };
    (user.cast_unsigned(), group.cast_unsigned())
}

fn root(rootfs: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(rootfs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The text of a file inside a root file system, at most `limit` bytes; `None` if it is not there.
///
/// # Errors
/// It cannot be read, is larger (`FileTooLarge`) or no text.
pub fn read_inside(rootfs: &Path, path: &Path, limit: u64) -> Result<Option<String>> {
    let Some(file) = open_inside(rootfs, path)? else { return Ok(None) };
    let mut text = String::new();
    let read = file.take(limit + 1).read_to_string(&mut text);
    match read {
        Ok(length) if length as u64 > limit => {
            Err(failed("read in the root file system", path.display())(io::Error::from(io::ErrorKind::FileTooLarge)))
        }
        Ok(_) => Ok(Some(text)),
        Err(error) => Err(failed("read in the root file system", path.display())(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_nowhere_outside() {
        let folder = tempfile::tempdir().unwrap();
        let rootfs = folder.path().join("rootfs");
        std::fs::create_dir_all(rootfs.join("etc")).unwrap();
        std::fs::write(folder.path().join("secret"), "secret").unwrap();
        std::fs::write(rootfs.join("etc/real"), "inside").unwrap();
        symlink("/etc/real", rootfs.join("etc/absolute")).unwrap();
        symlink("../../../secret", rootfs.join("etc/escape")).unwrap();
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(read_inside(&rootfs, Path::new(path), 100).unwrap().as_deref(), expected, "{path}");
        };
        check("/etc/real", Some("inside"));
        check("/etc/absolute", Some("inside"));
        check("/etc/escape", None);
        check("../secret", None);
        check("etc/real/below", None);
        let seen = |found: Result<Option<Metadata>>| found.unwrap().is_some();
        let check = |path: &str, inside, beneath| {
            assert_eq!(seen(look_inside(&rootfs, Path::new(path))), inside, "{path}");
            assert_eq!(seen(look_beneath(&rootfs, Path::new(path))), beneath, "{path}");
        };
        check("/etc/real", true, true);
        check("/etc/absolute", true, false);
        check("/etc/escape", false, false);
        check("/etc/none", false, false);
        check("/", true, true);
        assert_eq!(read_inside(&rootfs, Path::new("etc/real"), 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn folders_are_made_nowhere_outside() {
        let tree = tempfile::tempdir().unwrap();
        let folder = tree.path().join("folder");
        std::fs::create_dir_all(folder.join("real")).unwrap();
        for (target, link) in [("/real", "absolute"), ("real", "relative"), ("..", "up")] {
            symlink(target, folder.join(link)).unwrap();
        }
        let owner = (0, 0);
        let check = |make: fn(&Path, &Path, (u32, u32)) -> Result<()>, path: &str, made: Option<&str>| {
            make(&folder, Path::new(path), owner).unwrap();
            let whole = |made: &&str| folder.join(made).is_dir();
            assert_eq!(made.filter(whole), made, "{path}");
        };
        check(make_folders_inside, "/absolute/a/b", Some("real/a/b"));
        check(make_folders_inside, "/relative/c", Some("real/c"));
        check(make_folders_inside, "/up/d", Some("d"));
        check(make_folders_beneath, "/absolute/e/f", None);
        check(make_folders_beneath, "/relative/g/h", Some("real/g/h"));
        check(make_folders_beneath, "/up/i", None);
        check(make_folders_beneath, "/", None);
        assert!(!folder.join("real/e").exists() && !tree.path().join("d").exists() && !tree.path().join("i").exists());
        std::fs::write(folder.join("file"), "").unwrap();
        assert!(make_folders_beneath(&folder, Path::new("/file/x"), owner).is_err());
    }
}
