//! `exec --detach`: one more process in a running container. Ours, not libcontainer's: its tenant builder starts the process without the
//! container's seccomp filter.
//!
//! ```text
//! we (host)                                  the new process
//! setns(pid) for our children, fork ───────▶ joins the other namespaces
//! move it into the container's cgroups       waits for that
//! "go on" ─────────────────────────────────▶ terminal, limits, user, capabilities, seccomp filter
//! wait for the error pipe to close ◀──────── execve closes it; a failure is written to it first
//! write the pid file, end                    becomes the child of the subreaper above
//! ```
//!
//! The container's processes can see ours before its `execve`: it is not dumpable, and runs from a read-only mount (see [`crate::seal`]).

mod capabilities;
mod fork;
mod join;
mod transform;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use libcontainer::container::ContainerStatus;
use libcontainer::oci_spec::runtime::{LinuxSeccomp, Process};
use remora_sys::process::may_raise_limits;
use rustix::process::DumpableBehavior;

use crate::arguments::Exec;
use crate::error::Error;
use crate::{container, spec};

/// What a new process in a container needs to know; all of it is read before anything is joined.
struct Plan<'a> {
    process: Process,
    seccomp: Option<LinuxSeccomp>,
    console_socket: Option<&'a Path>,
    target: join::Target,
    /// Read outside: in a user namespace we would seem to have the right, and would not.
    may_raise_limits: bool,
}

/// Starts a process in a container. When this returns, its program has been executed.
///
/// # Errors
/// The container does not run, or any of the steps up to `execve` failed: then nothing of the process is left.
pub(crate) fn exec(root: &Path, exec: &Exec) -> Result<(), Error> {
    let plan = plan(root, exec)?;
    let protected = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    protected.map_err(|errno| Error::new(format!("cannot become undumpable: {errno}")))?;
    let (mut errors, report) = pipe()?;
    let (gate, mut opener) = pipe()?;
    plan.target.enter_pid_namespace()?;
    let Some(pid) = fork::fork()? else {
        drop((errors, opener));
        let error = transform::become_process(&plan, gate);
        fork::fail(report, &error);
    };
    drop((report, gate));
    let moved = plan.target.move_into_cgroups(pid);
    // Closing the gate without a word lets nobody through.
    let opened =
        moved.and_then(|()| opener.write_all(b"!").map_err(|error| Error::new(format!("no process: {error}"))));
    drop(opener);
    let outcome = fork::outcome(&mut errors);
    opened.and(outcome).and_then(|()| write_pid(exec, pid)).inspect_err(|_| fork::abandon(pid))
}

fn plan<'a>(root: &Path, exec: &'a Exec) -> Result<Plan<'a>, Error> {
    let mut container = container::load(root, &exec.id)?;
    container.refresh_status().map_err(|error| Error::from_chain(&error))?;
    let running = container.status() == ContainerStatus::Running;
    let pid = container.pid().filter(|_| running).map(|pid| pid.as_raw());
    let pid = pid.ok_or_else(|| Error::new("cannot exec in a container that is not running"))?;
    let text = fs::read(&exec.process).map_err(|error| wrong(&exec.process, &error))?;
    let process: Process = serde_json::from_slice(&text).map_err(|error| wrong(&exec.process, &error))?;
    let config = spec::load(container.bundle())?;
    let seccomp = config.linux().as_ref().and_then(|linux| linux.seccomp().clone());
    let terminal = process.terminal().unwrap_or(false);
    if terminal != exec.console_socket.is_some() {
        return Err(Error::new("a console socket is needed for a terminal, and for nothing else"));
    }
    let target = join::Target::open(pid)?;
    let may_raise_limits = may_raise_limits()? && !target.has_own_users();
    Ok(Plan { process, seccomp, console_socket: exec.console_socket.as_deref(), target, may_raise_limits })
}

fn wrong(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::new(format!("cannot read {}: {error}", path.display()))
}

fn pipe() -> Result<(fs::File, fs::File), Error> {
    let (reader, writer) = std::io::pipe().map_err(|error| Error::new(format!("cannot create a pipe: {error}")))?;
    Ok((OwnedFd::from(reader).into(), OwnedFd::from(writer).into()))
}

fn write_pid(exec: &Exec, pid: i32) -> Result<(), Error> {
    let Some(path) = &exec.pid_file else { return Ok(()) };
    fs::write(path, pid.to_string()).map_err(|error| Error::new(format!("cannot write {}: {error}", path.display())))
}

/// Waits until the parent lets the new process go on.
fn wait_at(mut gate: fs::File) -> Result<(), Error> {
    let mut word = [0];
    gate.read_exact(&mut word).map_err(|_| Error::new("could not be moved into the container's cgroups"))
}
