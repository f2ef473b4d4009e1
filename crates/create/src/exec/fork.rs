//! The fork, and how the child says why it could not become what it should.

use std::fs::File;
use std::io::{Read, Write};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Forks: the child's pid, or none in the child.
#[expect(unsafe_code, reason = "fork")]
pub(super) fn fork() -> Result<Option<i32>, Error> {
    // SAFETY: this program has one thread, so the child may do all that a process may.
    match unsafe { libc::fork() } {
        -1 => Err(Error::new(format!("cannot fork: {}", std::io::Error::last_os_error()))),
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

#[derive(Serialize, Deserialize)]
struct Failure {
    message: String,
    exit_code: u8,
}

/// The child's last act when it could not execute its program.
pub(super) fn fail(mut report: File, error: &Error) -> ! {
    let failure = Failure { message: error.to_string(), exit_code: error.exit_code() };
    // If the parent is gone, nobody is left who could be told.
    let _ = serde_json::to_vec(&failure).map(|json| report.write_all(&json));
    std::process::exit(i32::from(error.exit_code()))
}

/// Waits until the child has executed its program, which closes the pipe, or has said why not.
pub(super) fn outcome(errors: &mut File) -> Result<(), Error> {
    let mut text = Vec::new();
    errors.read_to_end(&mut text).map_err(|error| Error::new(format!("cannot wait for exec: {error}")))?;
    if text.is_empty() {
        return Ok(());
    }
    let failure: Failure =
        serde_json::from_slice(&text).map_err(|error| Error::new(format!("the new process died: {error}")))?;
    Err(Error::new(failure.message).with_exit_code(failure.exit_code))
}

/// Ends a child of which nothing can become any more.
pub(super) fn abandon(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may have ended by itself, and whoever is above us reaps what we cannot.
        let _ = kill_process(pid, Signal::KILL);
        let _ = waitpid(Some(pid), WaitOptions::empty());
    }
}
