//! User namespaces: made with the namespaces that they are to own, and mounts whose files' owners are seen through one.
//!
//! The kernel lets no thread of a process with several make or join a user namespace. So a helper program is born in the new ones; they are
//! pinned on files while it waits, and it is killed then.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{CWD, Gid, Uid};
use rustix::mount::{MoveMountFlags, OpenTreeFlags};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};

use crate::error::failed;
use crate::mount::{Propagation, set_attributes, set_propagation, unmount};
use crate::namespace::{Kind, NewNamespaces, on_own_thread, set_sysctl, unpin};
use crate::process::PidFd;
use crate::{Result, mount};

/// The name below `/proc/PID/ns/`.
const USER: &str = "user";

/// One line of `/proc/PID/uid_map`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// The first id inside.
    pub inside: u32,
    /// What it is outside.
    pub outside: u32,
    /// How many, from there on.
    pub length: u32,
}

impl IdMap {
    /// What an id inside is outside; none beyond the range.
    #[must_use]
    pub fn to_outside(self, id: u32) -> Option<u32> {
        let above = id.checked_sub(self.inside).filter(|above| *above < self.length)?;
        self.outside.checked_add(above)
    }
}

/// A user namespace to be made.
#[derive(Clone, Debug)]
pub struct NewUserNamespace<'a> {
    /// The file (made if it is not there) on which it is pinned.
    pub pin: PathBuf,
    /// Its user ids.
    pub uids: IdMap,
    /// Its group ids.
    pub gids: IdMap,
    /// A program that waits until it is killed, with its arguments: what the kernel needs a process for.
    pub holder: (&'a Path, &'a [&'a str]),
}

/// As [`crate::namespace::create`], but what is made belongs to a new user namespace: its root may set the host name, the network and the
/// sysctls in there, and that of the machine's other namespaces nothing.
///
/// # Errors
/// Any of the steps. What was pinned is unpinned.
pub fn create_owned(new: &NewNamespaces<'_>, user: &NewUserNamespace<'_>) -> Result<()> {
    let created = create(new, user);
    if created.is_err() {
        for path in new.pins.iter().map(|(_, path)| path).chain([&user.pin]) {
            // The first failure is the one to report.
            let _ = unpin(path);
        }
    }
    created
}

fn create(new: &NewNamespaces<'_>, user: &NewUserNamespace<'_>) -> Result<()> {
    let flags = new.pins.iter().fold(UnshareFlags::NEWUSER, |flags, (kind, _)| flags | kind.unshare_flag());
    let holder = Holder::start(user.holder, flags)?;
    holder.write_map("uid_map", user.uids)?;
    holder.write_map("gid_map", user.gids)?;
    holder.furnish(new, user)?;
    holder.pin(USER, &user.pin)?;
    new.pins.iter().try_for_each(|(kind, path)| holder.pin(kind.name(), path))
}

/// A process in the new namespaces. It does not outlive this value, nor the thread that has made it.
struct Holder(Child);

impl Holder {
    #[expect(unsafe_code, reason = "what happens between fork and exec can be said in no other way")]
    fn start((program, arguments): (&Path, &[&str]), flags: UnshareFlags) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: unshare and prctl are async-signal-safe, and nothing is allocated.
        unsafe { command.pre_exec(move || enter(flags)) };
        command.spawn().map(Self).map_err(failed("create", "a user namespace"))
    }

    fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.0.id().to_string()).join(name)
    }

    fn write_map(&self, name: &str, map: IdMap) -> Result<()> {
        let path = self.proc(name);
        let line = format!("{} {} {}\n", map.inside, map.outside, map.length);
        fs::write(&path, line).map_err(failed("map the ids of a user namespace:", name))
    }

    fn pin(&self, name: &str, target: &Path) -> Result<()> {
        mount::make_file_target(target)?;
        let own = self.proc("ns").join(name);
        rustix::mount::mount_bind(own.as_path(), target).map_err(failed("pin a namespace on", target.display()))
    }

    /// Host name and sysctls, from inside.
    fn furnish(&self, new: &NewNamespaces<'_>, user: &NewUserNamespace<'_>) -> Result<()> {
        if new.hostname.is_none() && new.sysctls.is_empty() {
            return Ok(());
        }
        let gone = || failed("find", "the new namespaces")(io::Error::from(io::ErrorKind::NotFound));
        let process = i32::try_from(self.0.id()).ok().map(PidFd::open).transpose()?.flatten().ok_or_else(gone)?;
        let kinds = new.pins.iter().fold(ThreadNameSpaceType::empty(), |kinds, (kind, _)| kinds | joined(*kind));
        on_own_thread(|| {
            move_into_thread_name_spaces(process.as_fd(), kinds).map_err(failed("join", "the new namespaces"))?;
            if let Some(hostname) = new.hostname {
                rustix::system::sethostname(hostname.as_bytes()).map_err(failed("set host name", hostname))?;
            }
            let set = |of_network: bool| {
                let chosen = new.sysctls.iter().filter(|(name, _)| name.starts_with("net") == of_network);
                chosen.into_iter().try_for_each(|(name, value)| set_sysctl(name, value))
            };
            // Those of the network are for whoever has CAP_NET_ADMIN there, as we do; those of IPC for the id alone that the namespace's root
            // has outside, whatever one's capabilities.
            set(true)?;
            become_outside(user).map_err(failed("become", "the root of a user namespace"))?;
            set(false)
        })
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended by itself; the namespaces live on in their pins.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// After the fork. The signal is asked for last: a change of credentials would take it back.
#[expect(unsafe_code, reason = "unshare: one call, argued at its place")]
fn enter(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the flags hold no CLONE_FILES, and this process has one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

fn joined(kind: Kind) -> ThreadNameSpaceType {
    match kind {
        Kind::Net => ThreadNameSpaceType::NETWORK,
        Kind::Ipc => ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION,
        Kind::Uts => ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME,
    }
}

/// Of the calling thread alone, which ends soon.
fn become_outside(user: &NewUserNamespace<'_>) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(user.uids.outside), Gid::from_raw(user.gids.outside));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

/// Mounts `source` (a file or folder, with all that is mounted below it) on `target` as well, where the owners of its files are seen through a
/// user namespace: what belongs to id 0 on the disk belongs to the namespace's root there, and the other way round for new files. What is
/// mounted below `source` keeps its owners.
///
/// # Errors
/// One of them is not there, or the file system of `source` cannot be mounted so: see [`is_unmappable`].
pub fn mount_mapped(source: &Path, target: &Path, user_namespace: &Path, propagation: Propagation) -> Result<()> {
    let namespace = File::open(user_namespace).map_err(failed("open namespace", user_namespace.display()))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, source, flags).map_err(failed("copy the mount of", source.display()))?;
    map_owners(&tree, &namespace).map_err(failed("map the owners of the files of", source.display()))?;
    rustix::mount::move_mount(tree.as_fd(), "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(failed("mount with mapped owners on", target.display()))?;
    set_propagation(target, propagation).inspect_err(|_| {
        // The first failure is the one to report.
        let _ = unmount(target);
    })
}

/// Whether [`mount_mapped`] failed since the file system, or this kernel, cannot do it.
#[must_use]
pub fn is_unmappable(error: &crate::Error) -> bool {
    error.action == "map the owners of the files of" && matches!(error.errno(), Some(libc::EINVAL | libc::ENOSYS))
}

fn map_owners(tree: &OwnedFd, namespace: &File) -> io::Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    let user_namespace = u64::try_from(namespace.as_raw_fd()).map_err(io::Error::other)?;
    set_attributes(tree, MOUNT_ATTR_IDMAP, user_namespace)
}

/// Whether this kernel has user namespaces, and mounts below overlays whose owners they map (Linux 5.19).
///
/// # Errors
/// `/proc` is not what it should be.
pub fn are_supported() -> Result<bool> {
    const RELEASE: &str = "/proc/sys/kernel/osrelease";
    const MOST: &str = "/proc/sys/user/max_user_namespaces";
    let release = fs::read_to_string(RELEASE).map_err(failed("read", RELEASE))?;
    let allowed = match fs::read_to_string(MOST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        read => read.map_err(failed("read", MOST))?,
    };
    Ok(version(&release) >= (5, 19) && allowed.trim() != "0")
}

/// Major and minor number of a kernel's release; zero for what is none.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(|text| text.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Gives a file or folder (not what a link leads to) to a user and a group.
///
/// # Errors
/// It is not there, or the file system refuses.
pub fn give(path: &Path, uid: u32, gid: u32) -> Result<()> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).map_err(failed("change the owner of", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_inside_are_ids_outside_further_up() {
        let map = IdMap { inside: 1, outside: 65536, length: 9 };
        let check = |id, expected| assert_eq!(map.to_outside(id), expected, "{id}");
        check(0, None);
        check(1, Some(65536));
        check(9, Some(65544));
        check(10, None);
        assert_eq!(IdMap { inside: 0, outside: u32::MAX, length: 9 }.to_outside(8), None);
    }

    #[test]
    fn a_kernels_version_is_read_from_its_release() {
        let check = |release, expected| assert_eq!(version(release), expected, "{release}");
        check("6.18.44-fc-v657\n", (6, 18));
        check("5.19.0", (5, 19));
        check("6.1.0-28-amd64", (6, 1));
        check("7", (7, 0));
        check("", (0, 0));
    }
}
