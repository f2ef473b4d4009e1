//! Signals as something to read: blocked for the process, and told by a descriptor; and children that inherit none of it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::Result;
use crate::error::failed;

/// The blocked signals of a single-threaded process. Readable, for any poller, when one has come.
///
/// The mask is inherited by children: start them through [`with_default_signals`].
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

/// Lets a command start its program as if nobody above had ever blocked or ignored a signal: what `nohup`, a block for [`SignalFd`], or
/// glibc's `posix_spawn` (before 2.37 it leaves two of its own ignored) have set would else be inherited through every `execve`.
#[expect(unsafe_code, reason = "what happens between fork and exec can be said in no other way")]
pub fn with_default_signals(command: &mut Command) -> &mut Command {
    // SAFETY: the calls are async-signal-safe, and nothing is allocated.
    unsafe { command.pre_exec(reset) }
}

/// Unblocks every signal for the calling thread, and gives every one its default action.
///
/// # Errors
/// None that the kernel documents.
#[expect(unsafe_code, reason = "rustix has neither call, and libc keeps two signals from its users")]
fn reset() -> io::Result<()> {
    /// Handler, flags, restorer and mask, or on some machines less: of zeros, so it stands for `SIG_DFL` on all.
    const DEFAULT: [u64; 4] = [0; 4];
    const SET: usize = size_of::<u64>();
    for signal in 1..=64 {
        // SAFETY: reads the structure, which is as large as the largest machine's. KILL and STOP are refused, as they should.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), std::ptr::null::<u64>(), SET) };
    }
    let none = 0u64;
    // SAFETY: reads one set of the size that is told; the old one is not asked for.
    let result = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, std::ptr::null::<u64>(), SET)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl SignalFd {
    /// Blocks the signals for the calling thread (and those it starts later) and opens the descriptor.
    ///
    /// # Errors
    /// A number is no signal's, or there is no descriptor left.
    #[expect(unsafe_code, reason = "rustix has neither sigprocmask nor signalfd")]
    pub fn block(signals: &[i32]) -> Result<Self> {
        let error = || failed("block", "signals")(io::Error::last_os_error());
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises the set that it is given.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: initialised by the call above.
        let mut set = unsafe { set.assume_init() };
        for signal in signals {
            // SAFETY: the set is initialised; the kernel's library checks the number.
            if unsafe { libc::sigaddset(&raw mut set, *signal) } != 0 {
                return Err(error());
            }
        }
        // SAFETY: the set is initialised and the old one is not asked for.
        if unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } != 0 {
            return Err(error());
        }
        // SAFETY: the set is initialised; -1 asks for a new descriptor.
        let descriptor = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if descriptor < 0 {
            return Err(error());
        }
        // SAFETY: the kernel has just given it to us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    /// The numbers of the signals that wait; equal ones that came close together are told once.
    ///
    /// # Errors
    /// The read failed for another reason than that nothing waits.
    pub fn take(&self) -> Result<Vec<i32>> {
        const SIZE: usize = size_of::<libc::signalfd_siginfo>();
        let mut signals = Vec::new();
        let mut record = [0; SIZE];
        loop {
            match rustix::io::read(&self.0, &mut record) {
                // The number is the record's first field, in the machine's byte order.
                Ok(SIZE) => signals.extend(record.first_chunk().map(|number| i32::from_ne_bytes(*number))),
                Ok(_) | Err(rustix::io::Errno::WOULDBLOCK) => return Ok(signals),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(failed("read signals from", self.0.as_raw_fd())(errno)),
            }
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_told_and_children_inherit_nothing() {
        // On a thread of its own: the mask is the thread's.
        let thread = std::thread::spawn(|| {
            let signals = SignalFd::block(&[libc::SIGUSR1]).unwrap();
            assert_eq!(signals.take().unwrap(), []);
            let mut command = Command::new("grep");
            command.args(["-E", "^Sig(Blk|Ign)", "/proc/self/status"]);
            let output = with_default_signals(&mut command).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        });
        let none = "0000000000000000";
        assert_eq!(thread.join().unwrap(), format!("SigBlk:\t{none}\nSigIgn:\t{none}\n"));
    }
}
