//! Processes: a handle that cannot mean another one, start times, signals, subreaper.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{self, Pid, PidfdFlags, Signal};
use rustix::thread::CapabilitySet;

use crate::Result;
use crate::error::failed;

/// A process, by a descriptor that never comes to mean another one. Readable, for any poller, once the process has ended.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Opens a handle to a running (or not yet reaped) process; `None` if there is none of that id.
    ///
    /// # Errors
    /// The kernel has no descriptor left.
    pub fn open(pid: i32) -> Result<Option<Self>> {
        let Some(id) = positive(pid) else { return Ok(None) };
        match process::pidfd_open(id, PidfdFlags::NONBLOCK) {
            Ok(descriptor) => Ok(Some(Self(descriptor))),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(errno) => Err(failed("open process", pid)(errno)),
        }
    }

    /// Opens a handle only if the process is the one that started at `start_time` (see [`start_time`]); `None` if that one is gone.
    ///
    /// # Errors
    /// As [`PidFd::open`].
    pub fn open_same(pid: i32, start_time_: u64) -> Result<Option<Self>> {
        // Opened first, looked at second: were the process replaced in between, the start time tells.
        let handle = Self::open(pid)?;
        Ok(handle.filter(|_| start_time(pid).is_ok_and(|now| now == start_time_)))
    }

    /// Sends a signal; `false` if the process has ended.
    ///
    /// # Errors
    /// The signal number is unknown, or the caller may not send it.
    pub fn send_signal(&self, signal: i32) -> Result<bool> {
        match pidfd_send_signal(&self.0, signal) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
            Err(error) => Err(failed("send signal", signal)(error)),
        }
    }

    /// Whether the process has ended (it may not have been waited for yet).
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut set = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut set, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// Waits, without limit, for the process to end.
    ///
    /// # Errors
    /// `poll` failed.
    pub fn wait_ended(&self) -> Result<()> {
        loop {
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], None) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(failed("wait for", "a process")(errno)),
            }
        }
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<PidFd> for OwnedFd {
    fn from(handle: PidFd) -> Self {
        handle.0
    }
}

/// Zero and below mean groups or everybody to some calls: never here.
fn positive(pid: i32) -> Option<Pid> {
    (pid > 0).then(|| Pid::from_raw(pid)).flatten()
}

/// By number, so that real-time signals can be sent too.
#[expect(unsafe_code, reason = "rustix knows the named signals only")]
fn pidfd_send_signal(handle: &OwnedFd, signal: i32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open for the call; the siginfo pointer is null, which asks for kill(2)'s default.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, handle.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// When a process started, in clock ticks since boot: with its pid, its name for as long as the machine runs.
///
/// # Errors
/// There is no such process (`NotFound`), or `/proc` is not what it should be.
pub fn start_time(pid: i32) -> Result<u64> {
    let stat =
        fs::read_to_string(format!("/proc/{pid}/stat")).map_err(failed("read the start time of process", pid))?;
    parse_start_time(&stat)
        .ok_or_else(|| failed("parse the stat of process", pid)(io::Error::from(io::ErrorKind::InvalidData)))
}

/// Field 22 of `/proc/PID/stat`. The second field is a name in parentheses that may hold spaces and parentheses itself.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// The children of the calling thread that have not been waited for, orphans that a subreaper was given too. None on a kernel that does not tell
/// (`CONFIG_PROC_CHILDREN`).
///
/// # Errors
/// `/proc` is not what it should be.
pub fn children() -> Result<Vec<i32>> {
    const PATH: &str = "/proc/thread-self/children";
    match fs::read_to_string(PATH) {
        Ok(text) => Ok(text.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed("read", PATH)(error)),
    }
}

/// Whether this process acts as root.
pub fn is_root() -> bool {
    process::geteuid().is_root()
}

/// Makes the calling process adopt orphans among its descendants.
///
/// # Errors
/// The kernel refuses, which it does only when it is older than 3.4.
pub fn become_subreaper() -> Result<()> {
    // Any pid stands for "yes"; the call takes a flag.
    process::set_child_subreaper(Some(process::getpid())).map_err(failed("become", "a subreaper"))
}

/// Sends a signal to a process group by number. A group without members is no error.
///
/// # Errors
/// The caller may not.
pub fn signal_group(group: i32, signal: Signal) -> Result<()> {
    let Some(id) = positive(group) else { return Ok(()) };
    match process::kill_process_group(id, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(failed("signal process group", group)(errno)),
    }
}

/// What a container may be given as `oom_score_adj`: without `CAP_SYS_RESOURCE` the kernel refuses values below the caller's own
/// (as containerd's `restrict_oom_score_adj`, the caller's value is kept then).
///
/// # Errors
/// `/proc/self/oom_score_adj` or the capabilities cannot be read.
pub fn possible_oom_score_adj(wanted: i32) -> Result<i32> {
    const PATH: &str = "/proc/self/oom_score_adj";
    if has_capability(CapabilitySet::SYS_RESOURCE)? {
        return Ok(wanted);
    }
    let text = fs::read_to_string(PATH).map_err(failed("read", PATH))?;
    let own: i32 = text.trim().parse().unwrap_or(0);
    Ok(wanted.max(own))
}

/// Whether the caller may raise hard limits (`CAP_SYS_RESOURCE`).
///
/// # Errors
/// The capabilities cannot be read.
pub fn may_raise_limits() -> Result<bool> {
    has_capability(CapabilitySet::SYS_RESOURCE)
}

fn has_capability(capability: CapabilitySet) -> Result<bool> {
    let sets = rustix::thread::capabilities(None).map_err(failed("read", "own capabilities"))?;
    Ok(sets.effective.contains(capability))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let check = |stat: &str, expected| assert_eq!(parse_start_time(stat), expected, "{stat}");
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        check(&format!("7 (sh) {tail}"), Some(4242));
        check(&format!("7 (a b) c) {tail}"), Some(4242));
        check("7 (sh) S 1", None);
        check("", None);
    }

    #[test]
    fn a_process_is_known_by_pid_and_start_time() {
        let me = i32::try_from(std::process::id()).unwrap();
        let started = start_time(me).unwrap();
        assert!(PidFd::open_same(me, started).unwrap().is_some());
        assert!(PidFd::open_same(me, started + 1).unwrap().is_none());
        assert!(PidFd::open(i32::MAX).unwrap().is_none());
        assert!(PidFd::open(0).unwrap().is_none());
        assert!(PidFd::open(-1).unwrap().is_none());
    }

    #[test]
    fn a_killed_child_ends_its_handle() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let handle = PidFd::open(i32::try_from(child.id()).unwrap()).unwrap().unwrap();
        assert!(!handle.has_ended());
        assert!(handle.send_signal(libc::SIGKILL).unwrap());
        handle.wait_ended().unwrap();
        assert!(handle.has_ended());
        child.wait().unwrap();
        assert!(!handle.send_signal(libc::SIGKILL).unwrap());
    }

    #[test]
    fn the_possible_oom_score_is_never_below_the_wanted_one() {
        for wanted in [-998, 0, 1000] {
            assert!(possible_oom_score_adj(wanted).unwrap() >= wanted);
        }
    }
}
