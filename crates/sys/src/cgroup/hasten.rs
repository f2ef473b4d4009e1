//! Making the kernel ready for processes to be moved between cgroups.
//!
//! The first write to any `cgroup.procs` waits for an RCU grace period, 5 to 13 ms here; writes that follow within another one take 0.03 ms.
//! Whoever is about to start a container has other things to do first: if a write that changes nothing is begun before them, the wait is
//! over by the time that the real one comes. (The mount option `favordynmods` would do the same for the whole machine, which is not ours.)

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use super::Layout;
use crate::Result;
use crate::error::failed;
use crate::mount::first_mount;

/// Begins it in a forked child, which ends by itself; the caller, who must wait for children of any pid, goes on at once.
///
/// # Errors
/// There is no cgroup file system, or no process can be made. Then moves are merely not faster.
#[expect(unsafe_code, reason = "fork")]
pub fn hasten_moves() -> Result<()> {
    let path = own_procs()?;
    let file = File::options().write(true).open(&path).map_err(failed("open", path.display()))?;
    let descriptor = file.as_raw_fd();
    // SAFETY: the child makes four system calls, on descriptors that are its own copies, and touches no memory.
    match unsafe { libc::fork() } {
        -1 => Err(failed("fork", "a child that hastens moves")(std::io::Error::last_os_error())),
        0 => {
            // Whoever waits for the end of one of the caller's pipes or sockets must not wait for this child.
            // SAFETY: the number is open; 0 is not used for anything else here.
            unsafe { libc::dup2(descriptor, 0) };
            // SAFETY: closes the child's copies only.
            unsafe { libc::close_range(1, libc::c_uint::MAX, 0) };
            // "0" is the writer itself, which stands in this cgroup already.
            // SAFETY: a constant of at least one byte, and an open descriptor.
            unsafe { libc::write(0, c"0".as_ptr().cast(), 1) };
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(0) }
        }
        _ => Ok(()),
    }
}

/// `cgroup.procs` of the caller's own cgroup, in the first hierarchy.
fn own_procs() -> Result<PathBuf> {
    const OWN: &str = "/proc/self/cgroup";
    let text = fs::read_to_string(OWN).map_err(failed("read", OWN))?;
    let mount = first_mount(|mount| mount.kind == "cgroup" || mount.kind == "cgroup2")?;
    let layout = mount.and_then(|mount| Layout::from_mounts(&[mount]));
    let folder = layout.and_then(|layout| layout.members(&text).pop());
    let folder = folder.ok_or_else(|| failed("find", OWN)(std::io::Error::from(std::io::ErrorKind::NotFound)))?;
    Ok(folder.join("cgroup.procs"))
}
