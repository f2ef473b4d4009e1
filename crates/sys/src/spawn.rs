//! Starting a helper that outlives its parent: a session of its own, and one pipe to hear from it.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::Result;
use crate::error::failed;

/// The descriptor at which the helper finds the pipe.
pub const REPORT_FD: RawFd = 3;

/// Prepares a command to run in a session of its own, so that neither the caller's terminal nor signals to its process group reach it.
/// The helper finds the writing end of a pipe at [`REPORT_FD`]; what it writes there can be read from the returned reader.
///
/// The writer must be held until the command is spawned and dropped then: else the reader would never see the end.
///
/// # Errors
/// No descriptor is left.
#[expect(unsafe_code, reason = "what happens between fork and exec can be said in no other way")]
pub fn detach(command: &mut Command) -> Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe().map_err(failed("make a pipe for", command.get_program().display()))?;
    let descriptor = writer.as_raw_fd();
    // SAFETY: setsid, dup2 and fcntl are async-signal-safe, and nothing is allocated.
    unsafe { command.pre_exec(move || enter_session(descriptor)) };
    Ok((reader, writer))
}

fn enter_session(writer: RawFd) -> io::Result<()> {
    rustix::process::setsid()?;
    hand_over(writer)
}

/// dup2 clears close-on-exec on the copy, but does nothing at all if both numbers are the same.
#[expect(unsafe_code, reason = "two calls, argued at their places")]
fn hand_over(writer: RawFd) -> io::Result<()> {
    let result = if writer == REPORT_FD {
        // SAFETY: the descriptor is open: the caller holds it until the command is spawned.
        unsafe { libc::fcntl(writer, libc::F_SETFD, 0) }
    } else {
        // SAFETY: as above; whatever was at the target number is closed on exec anyway.
        unsafe { libc::dup2(writer, REPORT_FD) }
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_helper_reports_from_a_session_of_its_own() {
        let mut command = Command::new("sh");
        command.arg("-c").arg("read -r line < /proc/self/stat; echo \"$line\" >&3");
        let (mut report, writer) = detach(&mut command).unwrap();
        let mut child = command.spawn().unwrap();
        drop(writer);
        let mut seen = String::new();
        report.read_to_string(&mut seen).unwrap();
        child.wait().unwrap();
        let after_name = seen.rsplit_once(')').unwrap().1;
        let session: u32 = after_name.split_whitespace().nth(3).unwrap().parse().unwrap();
        assert_eq!(session, child.id());
    }
}
