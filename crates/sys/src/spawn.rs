//! Starting a helper that outlives its parent: a session of its own, and one pipe to hear from it.

use std::io::{self, PipeReader};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use crate::Result;
use crate::error::failed;

/// The descriptor at which the helper finds the pipe.
pub const REPORT_FD: RawFd = 3;

/// Starts a command in a session of its own, so that neither the caller's terminal nor signals to its process group reach it. The
/// helper finds the writing end of a pipe at [`REPORT_FD`]; what it writes there can be read from the returned end.
///
/// The child is still the caller's to reap.
///
/// # Errors
/// The program cannot be started.
#[expect(unsafe_code, reason = "what happens between fork and exec can be said in no other way")]
pub fn detached(command: &mut Command) -> Result<(Child, PipeReader)> {
    let name = command.get_program().to_string_lossy().into_owned();
    let (reader, writer) = io::pipe().map_err(failed("make a pipe for", &name))?;
    let descriptor = writer.as_raw_fd();
    // SAFETY: setsid, dup2 and fcntl are async-signal-safe, and nothing is allocated.
    unsafe { command.pre_exec(move || enter_session(descriptor)) };
    let child = command.spawn().map_err(failed("start", &name))?;
    // The closure holds the number only: the writer stays open until here, and then only in the child.
    drop(writer);
    Ok((child, reader))
}

fn enter_session(writer: RawFd) -> io::Result<()> {
    rustix::process::setsid()?;
    hand_over(writer)
}

/// dup2 clears close-on-exec on the copy, but does nothing at all if both numbers are the same.
#[expect(unsafe_code, reason = "two calls, argued at their places")]
fn hand_over(writer: RawFd) -> io::Result<()> {
    let result = if writer == REPORT_FD {
        // SAFETY: the descriptor is open: the parent holds it until spawn returns.
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
        let script = "read -r line < /proc/self/stat; echo \"$line\" >&3";
        let (mut child, mut report) = detached(Command::new("sh").arg("-c").arg(script)).unwrap();
        let mut seen = String::new();
        report.read_to_string(&mut seen).unwrap();
        child.wait().unwrap();
        let after_name = seen.rsplit_once(')').unwrap().1;
        let session: u32 = after_name.split_whitespace().nth(3).unwrap().parse().unwrap();
        assert_eq!(session, child.id());
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_that_names_it() {
        let error = detached(&mut Command::new("/no/such/program")).unwrap_err();
        assert_eq!(error.to_string(), "cannot start /no/such/program");
    }
}
