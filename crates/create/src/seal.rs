//! Protection of our own binary on the host (runc's CVE-2019-5736).
//!
//! A process inside a container that can see us, as init or as an exec'd process before its `execve`, could open `/proc/PID/exe` and write to
//! it once we are gone, and so replace what root runs next. So we run from a detached, read-only mount of the binary: it belongs to no mount
//! namespace, hence nobody can remount it writable, and opening it for writing fails with EROFS. `remora-shim` starts us from one; who else does not
//! pays for a second start.

use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::StatVfsMountFlags;

use crate::error::Error;

const OWN_BINARY: &str = "/proc/self/exe";

/// Makes sure that this process runs from a read-only mount: if it does not, starts itself again from one. Call before anything else is
/// done, for it starts over.
///
/// # Errors
/// The kernel is older than 5.12, or refuses the mount.
pub(crate) fn protect_own_binary() -> Result<(), Error> {
    let stat = rustix::fs::statvfs(OWN_BINARY).map_err(wrong("look at"))?;
    if stat.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let mount = remora_sys::mount::read_only_view(Path::new(OWN_BINARY))?;
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_else(|| OsString::from("remora-create"));
    let error = Command::new(format!("/proc/self/fd/{}", mount.as_raw_fd())).arg0(name).args(words).exec();
    Err(Error::new(format!("cannot start {OWN_BINARY} from a read-only mount: {error}")))
}

fn wrong(what: &str) -> impl Fn(rustix::io::Errno) -> Error {
    move |errno| Error::new(format!("cannot {what} {OWN_BINARY}: {errno}"))
}
