//! Mounts: overlay, bind, tmpfs, propagation, and taking down all that lies below a folder.
//!
//! All calls act on the caller's mount namespace. Sources and layers are opened first and handed to the kernel as
//! `/proc/self/fd/N`: so no path has to be escaped in option strings, and no number of layers an image may have makes them too long.

use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, OpenTreeFlags, UnmountFlags};

use crate::Result;
use crate::error::failed;

/// The option string of mount(2) is one page.
const MAX_OPTIONS: usize = 4095;

/// An overlay to be mounted.
#[derive(Clone, Copy, Debug)]
pub struct Overlay<'a> {
    /// Read-only layers, the topmost first, as overlayfs counts them. At least one; without `upper`, at least two.
    pub lower: &'a [PathBuf],
    /// Where changes go, and a work folder on the same file system. Without it the overlay is read-only.
    pub upper: Option<UpperLayer<'a>>,
}

/// See [`Overlay::upper`].
#[derive(Clone, Copy, Debug)]
pub struct UpperLayer<'a> {
    /// Changed files.
    pub upper: &'a Path,
    /// Empty folder for the kernel.
    pub work: &'a Path,
    /// Never sync the upper layer: for files that need not survive a crash of the machine (`volatile`, Linux 5.10).
    pub volatile: bool,
}

/// Mounts an overlay on `target`. About 200 layers fit.
///
/// # Errors
/// A layer is not there, too many layers (`InvalidInput`), or the kernel refuses.
pub fn overlay(overlay: Overlay<'_>, target: &Path) -> Result<()> {
    let lower = overlay.lower.iter().map(|path| open_layer(path)).collect::<Result<Vec<_>>>()?;
    let upper = overlay.upper.map(|layer| Ok((open_layer(layer.upper)?, open_layer(layer.work)?))).transpose()?;
    let volatile = overlay.upper.is_some_and(|layer| layer.volatile);
    let options = overlay_options(&lower, upper.as_ref(), volatile)
        .map_err(failed("name the layers of the overlay on", target.display()))?;
    rustix::mount::mount("overlay", target, "overlay", MountFlags::empty(), options.as_c_str())
        .map_err(failed("mount an overlay on", target.display()))
}

fn open_layer(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open layer", path.display()))
}

fn overlay_options(lower: &[OwnedFd], upper: Option<&(OwnedFd, OwnedFd)>, volatile: bool) -> io::Result<CString> {
    let mut options = format!("lowerdir={}", lower.iter().map(through_descriptor).collect::<Vec<_>>().join(":"));
    if let Some((upper, work)) = upper {
        options += &format!(",upperdir={},workdir={}", through_descriptor(upper), through_descriptor(work));
    }
    if volatile {
        options += ",volatile";
    }
    if options.len() > MAX_OPTIONS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} layers are too many", lower.len())));
    }
    CString::new(options).map_err(io::Error::from)
}

fn through_descriptor(descriptor: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

/// Mounts `source` (a file or folder, with all that is mounted below it) on `target` as well. Private: nothing propagates back.
///
/// # Errors
/// One of them is not there, or the kernel refuses.
pub fn bind(source: &Path, target: &Path) -> Result<()> {
    bind_as(source, target, Propagation::Private)
}

/// Likewise, with another propagation.
///
/// # Errors
/// As [`bind`].
pub fn bind_as(source: &Path, target: &Path, propagation: Propagation) -> Result<()> {
    rustix::mount::mount_bind_recursive(source, target).map_err(failed("bind-mount on", target.display()))?;
    set_propagation(target, propagation)
}

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// A file or folder through a read-only mount of its own, which is attached nowhere: nobody can make it writable again, and it ends with the
/// last use of it. The descriptor (`O_PATH`, close-on-exec) can be executed by `/proc/self/fd/N`: the program's `/proc/PID/exe` then cannot be
/// opened for writing (EROFS), whoever tries.
///
/// # Errors
/// `path` is not there; the kernel is older than 5.12, or refuses.
pub fn read_only_view(path: &Path) -> Result<OwnedFd> {
    const MOUNT_ATTR_RDONLY: u64 = 1;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let view = || -> io::Result<OwnedFd> {
        let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let mount = rustix::mount::open_tree(&file, c"", flags)?;
        set_attributes(&mount, MOUNT_ATTR_RDONLY, 0).map(|()| mount)
    };
    view().map_err(failed("make a read-only mount of", path.display()))
}

/// Whether nothing can be written where a path leads, be it for the mount's sake or for the file system's.
///
/// # Errors
/// It leads nowhere.
pub fn is_read_only(path: &Path) -> Result<bool> {
    let found = rustix::fs::statvfs(path).map_err(failed("look at the file system of", path.display()))?;
    Ok(found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// Sets attributes of one mount; `user_namespace` is a descriptor where they name one, else 0.
#[expect(unsafe_code, reason = "mount_setattr has no wrapper in rustix")]
pub(crate) fn set_attributes(mount: &OwnedFd, set: u64, user_namespace: u64) -> io::Result<()> {
    let attributes = MountAttributes { set, clear: 0, propagation: 0, user_namespace };
    // SAFETY: the descriptor is open, the path is a C string, and the structure lives through the call and has the size that is told. The kernel
    // answers EBADF to a namespace's descriptor that is none.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes an existing bind mount read-only (only this mount, not those below it).
///
/// # Errors
/// `target` is no mount point.
pub fn make_read_only(target: &Path) -> Result<()> {
    let flags = MountFlags::BIND | MountFlags::RDONLY;
    rustix::mount::mount_remount(target, flags, c"").map_err(failed("make read-only", target.display()))
}

/// Mounts a tmpfs on `target`; `size` in bytes, none for the kernel's default of half the memory; `mode` of its root.
///
/// # Errors
/// The kernel refuses.
pub fn tmpfs(target: &Path, size: Option<u64>, mode: u32) -> Result<()> {
    let size = size.map(|size| format!(",size={size}")).unwrap_or_default();
    let options = CString::new(format!("mode={mode:o}{size}")).map_err(failed("write options of", target.display()))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", target, "tmpfs", flags, options.as_c_str())
        .map_err(failed("mount a tmpfs on", target.display()))
}

/// How mounts below a mount point spread to its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Neither way.
    Private,
    /// Both ways.
    Shared,
    /// From the peers only.
    Slave,
}

/// Sets the propagation of a mount point and all below it.
///
/// # Errors
/// `target` is no mount point.
pub fn set_propagation(target: &Path, propagation: Propagation) -> Result<()> {
    let flags = match propagation {
        Propagation::Private => MountPropagationFlags::PRIVATE,
        Propagation::Shared => MountPropagationFlags::SHARED,
        Propagation::Slave => MountPropagationFlags::DOWNSTREAM,
    };
    rustix::mount::mount_change(target, flags | MountPropagationFlags::REC)
        .map_err(failed("set the propagation of", target.display()))
}

/// Takes the topmost mount off `target` at once; whoever still uses it keeps it (`MNT_DETACH`). `false` if nothing is mounted there.
///
/// # Errors
/// The kernel refuses for another reason.
pub fn unmount(target: &Path) -> Result<bool> {
    match rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(false),
        Err(errno) => Err(failed("unmount", target.display())(errno)),
    }
}

/// Takes down everything that is mounted on or below a folder, stacked mounts too. Nothing mounted is no error. When this succeeds,
/// nothing is mounted there any more: the folder can be removed without reaching into what was.
///
/// # Errors
/// As [`unmount`], the list cannot be read, or a mount stays.
pub fn unmount_below(folder: &Path) -> Result<()> {
    // From the top: a mount takes what is mounted below it along. Paths below it are never walked: they may be in the hands of a container,
    // whose links could lead to mounts of the host's.
    while let Some(top) = mounts_below(folder)?.into_iter().min_by_key(|mount| mount.target.components().count()) {
        if !unmount(&top.target)? {
            return Err(failed("unmount", top.target.display())(io::Error::from(io::ErrorKind::ResourceBusy)));
        }
    }
    Ok(())
}

/// The mounts of the thread: its namespace may be its own.
const MOUNTS: &str = "/proc/thread-self/mountinfo";

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The mount's id.
    pub id: u64,
    /// The folder of the file system that is its root.
    pub root: PathBuf,
    /// Where it is mounted.
    pub target: PathBuf,
    /// The mount's own options: `ro`, `nosuid`, …
    pub options: String,
    /// `overlay`, `tmpfs`, `cgroup2`, …
    pub kind: String,
    /// Device or other source.
    pub source: String,
    /// The file system's options.
    pub super_options: String,
}

/// Everything that is mounted on or below a folder, in the order of mounting. Symbolic links in `folder` are resolved.
///
/// # Errors
/// `/proc/self/mountinfo` cannot be read.
pub fn mounts_below(folder: &Path) -> Result<Vec<Mount>> {
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    Ok(mounts()?.into_iter().filter(|mount| mount.target.starts_with(&folder)).collect())
}

/// All mounts of the caller's mount namespace.
///
/// # Errors
/// `/proc/self/mountinfo` cannot be read.
pub fn mounts() -> Result<Vec<Mount>> {
    let text = fs::read(MOUNTS).map_err(failed("read", MOUNTS))?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse_mount).collect())
}

/// The first mount of the caller's mount namespace that is looked for. What is mounted later, such as by pods, is not even read.
///
/// # Errors
/// `/proc/self/mountinfo` cannot be read.
pub fn first_mount(is_looked_for: impl Fn(&Mount) -> bool) -> Result<Option<Mount>> {
    let file = File::open(MOUNTS).map_err(failed("open", MOUNTS))?;
    for line in BufReader::new(file).split(b'\n') {
        let mount = parse_mount(&line.map_err(failed("read", MOUNTS))?);
        if let Some(mount) = mount.filter(|mount| is_looked_for(mount)) {
            return Ok(Some(mount));
        }
    }
    Ok(None)
}

fn parse_mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = text(fields.next()?).parse().ok()?;
    let root = path(fields.nth(2)?);
    let target = path(fields.next()?);
    let options = text(fields.next()?);
    fields.by_ref().find(|field| *field == b"-")?;
    let mut tail = || fields.next().map(|field| text(&unescape(field)));
    Some(Mount { id, root, target, options, kind: tail()?, source: tail()?, super_options: tail().unwrap_or_default() })
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).into_owned()
}

fn path(field: &[u8]) -> PathBuf {
    OsString::from_vec(unescape(field)).into()
}

/// The kernel writes space, tab, line feed and backslash as `\` and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| after.get(..3)).flatten().and_then(octal);
        out.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    out
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

/// Makes an empty file (with its folders) to mount another file on.
///
/// # Errors
/// It cannot be created.
pub fn make_file_target(path: &Path) -> Result<()> {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| File::options().create(true).append(true).open(path).map(drop))
        .map_err(failed("create", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_lines_are_understood() {
        let check = |line: &str, expected: Option<(&str, &str, &str)>| {
            let mount = parse_mount(line.as_bytes());
            let seen = mount.as_ref().map(|mount| (mount.target.to_str().unwrap(), &*mount.kind, &*mount.source));
            assert_eq!(seen, expected, "{line}");
        };
        check(
            "36 35 98:0 /m /a rw,noatime master:1 - ext3 /dev/root rw,errors=continue",
            Some(("/a", "ext3", "/dev/root")),
        );
        check("36 35 98:0 / /with\\040space rw - tmpfs none rw", Some(("/with space", "tmpfs", "none")));
        check(
            "36 35 98:0 / /back\\134slash rw shared:1 master:2 - overlay o rw",
            Some(("/back\\slash", "overlay", "o")),
        );
        check("36 35 98:0 / /a rw - nfs \\134 rw", Some(("/a", "nfs", "\\")));
        check("36 35 98:0 / /a rw", None);
        check("", None);
    }

    #[test]
    fn the_root_is_a_mount() {
        assert!(mounts_below(Path::new("/")).unwrap().iter().any(|mount| mount.target == Path::new("/")));
    }
}
