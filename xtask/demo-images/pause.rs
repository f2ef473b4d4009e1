//! The demo's `pause`: waits for a signal to end, and reaps what it inherits. A static binary, compiled by xtask alone.

use std::ffi::c_int;

const SIGINT: c_int = 2;
const SIGTERM: c_int = 15;
const SIGCHLD: c_int = 17;
const SIG_BLOCK: c_int = 0;
const WNOHANG: c_int = 1;

/// glibc's `sigset_t`: 1,024 bits.
#[repr(C)]
struct SignalSet([u64; 16]);

unsafe extern "C" {
    fn sigprocmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
    fn sigwait(set: *const SignalSet, signal: *mut c_int) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
}

fn main() {
    let mut set = SignalSet([0; 16]);
    for signal in [SIGINT, SIGTERM, SIGCHLD] {
        set.0[0] |= 1 << (signal - 1);
    }
    // SAFETY: `set` is a whole sigset_t and outlives the call; the old mask is not asked for.
    unsafe { sigprocmask(SIG_BLOCK, &set, std::ptr::null_mut()) };
    let mut signal = 0;
    // SAFETY: both pointers are to live variables of the right types.
    while unsafe { sigwait(&set, &mut signal) } == 0 && signal == SIGCHLD {
        // SAFETY: no status is asked for.
        while unsafe { waitpid(-1, std::ptr::null_mut(), WNOHANG) } > 0 {}
    }
}
