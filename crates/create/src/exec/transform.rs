//! The new process's way from a copy of us to the user's program. The order is the kernel's: what needs privileges before they are dropped.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use libcontainer::oci_spec::runtime::Process;
use remora_sys::process::possible_oom_score_adj;
use rustix::fs::{Gid, Mode, Uid};
use rustix::process::{Rlimit, getrlimit, setrlimit};
use rustix::pty::OpenptFlags;

use super::{Plan, capabilities, wait_at};
use crate::error::Error;
use crate::program::{self, find, reason};
use crate::{spec, terminal};

/// Becomes the plan's process. Returns only if that failed.
pub(super) fn become_process(plan: &Plan<'_>, gate: fs::File) -> Error {
    match prepare(plan, gate) {
        Ok(command) => execute(command),
        Err(error) => error.context("unable to start container process"),
    }
}

fn prepare(plan: &Plan<'_>, gate: fs::File) -> Result<Command, Error> {
    let process = &plan.process;
    // Connected while the host's paths are still ours.
    let console = plan.console_socket.map(remora_sys::socket::connect).transpose()?;
    set_oom_score(process)?;
    rustix::process::setsid().map_err(wrong("begin a session"))?;
    plan.target.enter_other_namespaces()?;
    wait_at(gate)?;
    let home = home(process.user().uid());
    if let Some(console) = console {
        open_terminal(&console, process)?;
    }
    set_limits(process, plan.may_raise_limits)?;
    if let Some(umask) = process.user().umask() {
        rustix::process::umask(Mode::from_raw_mode(umask));
    }
    if let Some(profile) = process.apparmor_profile() {
        libcontainer::apparmor::apply_profile(profile).map_err(|error| Error::from_chain(&error))?;
    }
    close_on_exec()?;
    if process.no_new_privileges().unwrap_or(false) {
        rustix::thread::set_no_new_privs(true).map_err(wrong("give up new privileges"))?;
        become_user(process)?;
        change_folder(process)?;
        load_filter(plan)?;
    } else {
        // Without no_new_privs the filter needs CAP_SYS_ADMIN, so it comes before the capabilities go.
        load_filter(plan)?;
        become_user(process)?;
        change_folder(process)?;
    }
    command(process, &home)
}

fn wrong(what: &'static str) -> impl Fn(rustix::io::Errno) -> Error {
    move |errno| Error::new(format!("cannot {what}: {errno}"))
}

fn set_oom_score(process: &Process) -> Result<(), Error> {
    let Some(wanted) = process.oom_score_adj() else { return Ok(()) };
    let possible = possible_oom_score_adj(wanted)?;
    fs::write("/proc/self/oom_score_adj", possible.to_string())
        .map_err(|error| Error::new(format!("cannot set oom_score_adj: {error}")))
}

/// Makes a terminal in the container's devpts, sends its master away, and makes it our controlling terminal and standard streams.
fn open_terminal(console: &std::os::unix::net::UnixStream, process: &Process) -> Result<(), Error> {
    let master = rustix::fs::open(
        "/dev/ptmx",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(wrong("open /dev/ptmx"))?;
    verify_master(&master)?;
    rustix::pty::unlockpt(&master).map_err(wrong("unlock the terminal"))?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).map_err(wrong("open the terminal"))?;
    terminal::prepare(&master, process, process.user().uid())?;
    remora_sys::socket::send_with_descriptors(console.as_fd(), b"/dev/ptmx", &[master.as_fd()])?;
    rustix::process::ioctl_tiocsctty(&slave).map_err(wrong("take the terminal"))?;
    rustix::stdio::dup2_stdin(&slave).map_err(wrong("use the terminal"))?;
    rustix::stdio::dup2_stdout(&slave).map_err(wrong("use the terminal"))?;
    rustix::stdio::dup2_stderr(&slave).map_err(wrong("use the terminal"))
}

/// `/dev/ptmx` is the container's, which may have put anything there: it must be the real multiplexer (character device 5:2).
fn verify_master(master: &OwnedFd) -> Result<(), Error> {
    let metadata = fs::File::from(master.try_clone().map_err(|error| Error::new(format!("no descriptor: {error}")))?)
        .metadata()
        .map_err(|error| Error::new(format!("cannot look at /dev/ptmx: {error}")))?;
    let device = metadata.rdev();
    if (rustix::fs::major(device), rustix::fs::minor(device)) == (5, 2) {
        return Ok(());
    }
    Err(Error::new("/dev/ptmx in the container is not the terminal multiplexer"))
}

fn set_limits(process: &Process, may_raise: bool) -> Result<(), Error> {
    for limit in process.rlimits().iter().flatten() {
        let resource = spec::resource(limit.typ());
        let own = getrlimit(resource).maximum.filter(|_| !may_raise);
        // Without CAP_SYS_RESOURCE our own hard limit is the highest possible.
        let lowered = |wanted: u64| match (finite(wanted), own) {
            (Some(wanted), Some(own)) => Some(wanted.min(own)),
            (None, own) => own,
            (wanted, None) => wanted,
        };
        let limit = Rlimit { current: lowered(limit.soft()), maximum: lowered(limit.hard()) };
        setrlimit(resource, limit).map_err(wrong("set a resource limit"))?;
    }
    Ok(())
}

/// `RLIM_INFINITY` is all ones.
fn finite(limit: u64) -> Option<u64> {
    (limit != u64::MAX).then_some(limit)
}

/// Everything but the standard streams closes with `execve`.
#[expect(unsafe_code, reason = "close_range has no wrapper in rustix")]
fn close_on_exec() -> Result<(), Error> {
    let flags = libc::c_int::try_from(libc::CLOSE_RANGE_CLOEXEC).unwrap_or_default();
    // SAFETY: only sets the close-on-exec flag of descriptors.
    match unsafe { libc::close_range(3, libc::c_uint::MAX, flags) } {
        0 => Ok(()),
        _ => Err(Error::new(format!("cannot close descriptors: {}", std::io::Error::last_os_error()))),
    }
}

/// Groups, user and capabilities. Capabilities are kept over the change of user, then cut down to the wanted sets.
fn become_user(process: &Process) -> Result<(), Error> {
    let user = process.user();
    let wanted = process.capabilities().as_ref();
    capabilities::limit_bounding_set(wanted)?;
    rustix::thread::set_keep_capabilities(true).map_err(wrong("keep capabilities"))?;
    let groups: Vec<Gid> = user.additional_gids().iter().flatten().map(|gid| Gid::from_raw(*gid)).collect();
    rustix::thread::set_thread_groups(&groups).map_err(wrong("set groups"))?;
    let (uid, gid) = (Uid::from_raw(user.uid()), Gid::from_raw(user.gid()));
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(wrong("set the group"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(wrong("set the user"))?;
    rustix::thread::set_keep_capabilities(false).map_err(wrong("keep capabilities"))?;
    capabilities::set(wanted)
}

/// As the user, so that a folder that only root may enter is refused.
fn change_folder(process: &Process) -> Result<(), Error> {
    let folder = process.cwd();
    std::env::set_current_dir(folder).map_err(|error| {
        Error::new(format!("chdir to cwd ({folder:?}) set in config.json failed: {}", reason(&error)))
    })?;
    // A folder outside of the root reads as "(unreachable)…": the container must not be left through a leaked descriptor.
    match std::env::current_dir() {
        Ok(folder) if folder.is_absolute() => Ok(()),
        _ => Err(Error::new("current working directory is outside of container mount namespace root")),
    }
}

fn load_filter(plan: &Plan<'_>) -> Result<(), Error> {
    let Some(seccomp) = &plan.seccomp else { return Ok(()) };
    if libcontainer::seccomp::is_notify(seccomp) {
        return Err(Error::new("seccomp filters that notify a listener are not supported for exec"));
    }
    let loaded = libcontainer::seccomp::initialize_seccomp(seccomp);
    loaded.map(drop).map_err(|error| Error::from_chain(&error))
}

fn command(process: &Process, home: &str) -> Result<Command, Error> {
    let args = process.args().as_deref().unwrap_or_default();
    let env = process.env().as_deref().unwrap_or_default();
    let name = args.first().map_or("", String::as_str);
    let path = find(name, env).map_err(|error| Error::new(error.to_string()).with_exit_code(error.exit_code()))?;
    let mut command = Command::new(path);
    command.arg0(name).args(args.iter().skip(1));
    program::set_environment(&mut command, env, home);
    Ok(command)
}

/// The user's home in the container's `/etc/passwd`, or `/`, as runc has it.
fn home(uid: u32) -> String {
    let identity = remora_sys::users::resolve_in_rootfs(Path::new("/"), &uid.to_string());
    identity.ok().and_then(|identity| identity.home).filter(|home| !home.is_empty()).unwrap_or_else(|| "/".to_owned())
}

/// `Command::exec` also gives SIGPIPE its default again, which the start of a Rust program has changed.
fn execute(mut command: Command) -> Error {
    let path = command.get_program().to_string_lossy().into_owned();
    let error = command.exec();
    let code = if error.kind() == std::io::ErrorKind::NotFound { program::NOT_FOUND } else { program::NOT_EXECUTABLE };
    Error::new(format!("unable to start container process: exec: \"{path}\": {}", reason(&error))).with_exit_code(code)
}
