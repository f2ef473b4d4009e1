//! `remora-shim pause`: process 1 of a PID namespace that a pod's containers share. It waits for orphans and for its own end, and does
//! nothing else. The runtime runs it as a container of its own when a pod asks for `shareProcessNamespace`.

use std::process::ExitCode;

use remora_sys::signal::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{WaitOptions, wait};

/// Lives until it is told to end. A process 1 dies of no signal that it does not handle, so it listens for those that ask.
pub(crate) fn run() -> ExitCode {
    match rest() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            crate::note(format_args!("pause: {message}"));
            ExitCode::FAILURE
        }
    }
}

fn rest() -> Result<(), String> {
    let signals =
        SignalFd::block(&[libc::SIGCHLD, libc::SIGINT, libc::SIGTERM]).map_err(|error| crate::shim::chain(&error))?;
    loop {
        // Orphans of the pod's containers become ours. One that ended before the signals were blocked is taken by the first round.
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        match poll(&mut [PollFd::new(&signals, PollFlags::IN)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(format!("cannot wait for signals: {errno}")),
        }
        let came = signals.take().map_err(|error| crate::shim::chain(&error))?;
        if came.iter().any(|signal| [libc::SIGINT, libc::SIGTERM].contains(signal)) {
            return Ok(());
        }
    }
}
