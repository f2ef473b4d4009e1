//! Signals as something to read: blocked for the process, and told by a descriptor.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::Result;
use crate::error::failed;

/// The blocked signals of a single-threaded process. Readable, for any poller, when one has come.
///
/// Children get an empty mask again from `std::process::Command`; nothing is ignored, so nothing is inherited as ignored.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks the signals for the calling thread (and those it starts later) and opens the descriptor.
    ///
    /// # Errors
    /// A number is no signal's, or there is no descriptor left.
    #[expect(unsafe_code, reason = "rustix has neither sigprocmask nor signalfd")]
    pub fn block(signals: &[i32]) -> Result<Self> {
        let error = || failed("block", "signals")(std::io::Error::last_os_error());
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
