//! Namespaces: made and pinned on files, joined by a thread of its own. The caller's own namespaces are never changed.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::error::failed;
use crate::{Result, mount};

/// The kinds that a sandbox pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Network devices, addresses, rules, `net.*` sysctls.
    Net,
    /// System V IPC, POSIX message queues, `kernel.shm*`, `kernel.msg*`, `kernel.sem`, `fs.mqueue.*` sysctls.
    Ipc,
    /// Host name.
    Uts,
}

impl Kind {
    /// Its name below `/proc/PID/ns/`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
        }
    }

    pub(crate) fn unshare_flag(self) -> UnshareFlags {
        match self {
            Self::Net => UnshareFlags::NEWNET,
            Self::Ipc => UnshareFlags::NEWIPC,
            Self::Uts => UnshareFlags::NEWUTS,
        }
    }

    fn link(self) -> LinkNameSpaceType {
        match self {
            Self::Net => LinkNameSpaceType::Network,
            Self::Ipc => LinkNameSpaceType::InterProcessCommunication,
            Self::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        }
    }
}

/// New namespaces to be made together.
#[derive(Clone, Debug, Default)]
pub struct NewNamespaces<'a> {
    /// Each kind, and the file (made if it is not there) on which it is pinned by a bind mount.
    pub pins: Vec<(Kind, PathBuf)>,
    /// Set in the new UTS namespace. Must not be given without [`Kind::Uts`].
    pub hostname: Option<&'a str>,
    /// Set inside, each a dotted name as in sysctl.conf and its value.
    pub sysctls: &'a [(String, String)],
}

/// Makes namespaces and pins each on its file: they live until [`unpin`], without any process in them.
///
/// # Errors
/// Any of the steps. What was pinned is unpinned.
pub fn create(new: &NewNamespaces<'_>) -> Result<()> {
    let created = on_own_thread(|| create_here(new));
    if created.is_err() {
        for (_, path) in &new.pins {
            // The first failure is the one to report.
            let _ = unpin(path);
        }
    }
    created
}

#[expect(unsafe_code, reason = "unshare: one call, argued at its place")]
fn create_here(new: &NewNamespaces<'_>) -> Result<()> {
    let flags = new.pins.iter().fold(UnshareFlags::empty(), |flags, (kind, _)| flags | kind.unshare_flag());
    // SAFETY: the flags hold no CLONE_FILES: this thread's descriptors stay shared with all others.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(failed("create", "namespaces"))?;
    if let Some(hostname) = new.hostname {
        rustix::system::sethostname(hostname.as_bytes()).map_err(failed("set host name", hostname))?;
    }
    for (name, value) in new.sysctls {
        set_sysctl(name, value)?;
    }
    for (kind, path) in &new.pins {
        mount::make_file_target(path)?;
        let own = format!("/proc/thread-self/ns/{}", kind.name());
        rustix::mount::mount_bind(own.as_str(), path.as_path())
            .map_err(failed("pin a namespace on", path.display()))?;
    }
    Ok(())
}

/// Sets a sysctl in the calling thread's namespaces. As sysctl(8) has it, `/` and `.` are exchanged in a name whose first separator is a
/// `/`: an interface's name may hold a dot.
///
/// # Errors
/// There is none of that name, or the value is refused.
pub fn set_sysctl(name: &str, value: &str) -> Result<()> {
    fs::write(sysctl_path(name), value).map_err(failed("set sysctl", name))
}

fn sysctl_path(name: &str) -> PathBuf {
    let slashes_first = name.find(['.', '/']).is_some_and(|at| name[at..].starts_with('/'));
    let exchanged: String = name
        .chars()
        .map(|letter| match letter {
            '.' if !slashes_first => '/',
            '/' if !slashes_first => '.',
            other => other,
        })
        .collect();
    // Segments such as ".." can only come from a name with dots side by side; the runtime validates names before.
    Path::new("/proc/sys").join(exchanged.trim_start_matches('/'))
}

/// Lets go of a namespace: unmounts and removes its file. One that is gone is no error.
///
/// # Errors
/// The mount or the file cannot be removed.
pub fn unpin(path: &Path) -> Result<()> {
    while mount::unmount(path)? {}
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", path.display())(error)),
        _ => Ok(()),
    }
}

/// Opens a namespace by its pin or by `/proc/PID/ns/NAME`.
///
/// # Errors
/// It is not there.
pub fn open(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open namespace", path.display()))
}

/// Runs `work` inside a namespace, on a thread of its own that ends with it; waits for it. Sockets that it opens stay inside for good.
///
/// # Errors
/// The namespace cannot be opened or joined.
///
/// # Panics
/// When `work` does.
pub fn run_in<T: Send>(kind: Kind, path: &Path, work: impl FnOnce() -> T + Send) -> Result<T> {
    let namespace = open(path)?;
    on_own_thread(|| {
        move_into_link_name_space(namespace.as_fd(), Some(kind.link()))
            .map_err(failed("join namespace", path.display()))?;
        Ok(work())
    })
}

/// Namespaces belong to threads: one that ends takes its changes with it.
pub(crate) fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("namespace".into())
            .spawn_scoped(scope, work)
            .map_err(failed("start", "a thread"))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctl_names_become_paths() {
        let check = |name, path: &str| assert_eq!(sysctl_path(name), Path::new(path), "{name}");
        check("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward");
        check("net.ipv4.conf.eth0/100.forwarding", "/proc/sys/net/ipv4/conf/eth0.100/forwarding");
        check("net/ipv4/conf/eth0.100/forwarding", "/proc/sys/net/ipv4/conf/eth0.100/forwarding");
        check("kernel.shm_rmid_forced", "/proc/sys/kernel/shm_rmid_forced");
    }
}
