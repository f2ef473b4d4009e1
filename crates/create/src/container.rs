//! Containers through libcontainer: create, start, kill, delete, state.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::container::{Container, ContainerStatus};
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use remora_sys::cgroup::{self, Layout};
use remora_sys::process::PidFd;

use crate::arguments::Create;
use crate::error::Error;
use crate::executor::ProgramExecutor;
use crate::terminal::ConsoleRelay;
use crate::{devices, program, spec, terminal};

/// A container that was created, and what tells that its program has been executed.
pub(crate) struct Created {
    container: Container,
    /// Reads as ended once the program has been executed, or its process has ended before.
    executed: File,
}

/// Makes a container; its first process waits for [`start`].
pub(crate) fn create(root: &Path, create: &Create) -> Result<Created, Error> {
    std::fs::create_dir_all(root).map_err(|error| Error::new(format!("cannot create {}: {error}", root.display())))?;
    let bundle = spec::adapted_bundle(&absolute(&create.bundle)?, root, &create.id)?;
    let created = create_from(root, create, &bundle);
    if created.is_err() {
        remove_beside(root, &create.id);
    }
    created
}

fn create_from(root: &Path, create: &Create, bundle: &Path) -> Result<Created, Error> {
    let relay = create.console_socket.as_ref().map(|_| ConsoleRelay::listen(root, &create.id)).transpose()?;
    let (executed, executor_end) = pipe()?;
    let container = ContainerBuilder::new(create.id.clone(), SyscallType::default())
        .with_root_path(root)
        .and_then(|builder| builder.with_pid_file(create.pid_file.as_ref()))
        .map_err(|error| sentence(&error))?
        .with_console_socket(relay.as_ref().map(ConsoleRelay::path))
        .with_executor(ProgramExecutor::new(executor_end))
        .as_init(bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()
        .map_err(|error| sentence(&error))?;
    if let Err(error) = complete(&container, relay, create, bundle) {
        // What cannot be completed is the error to tell.
        let _ = delete(root, &create.id, true);
        return Err(error);
    }
    Ok(Created { container, executed })
}

/// What libcontainer leaves to us: the terminal's way to whoever asked for it, and on cgroup v2 the devices.
fn complete(container: &Container, relay: Option<ConsoleRelay>, create: &Create, bundle: &Path) -> Result<(), Error> {
    let config = spec::load(bundle)?;
    if let (Some(relay), Some(console_socket)) = (relay, &create.console_socket) {
        let process = config.process().as_ref().ok_or_else(|| Error::new("the spec has no process"))?;
        relay.pass_on(process, spec::host_user(&config, process.user().uid()), console_socket)?;
    }
    let cgroup = container.spec().map_err(|error| sentence(&error))?.cgroup_path;
    devices::restrict(&config, &cgroup)
}

fn pipe() -> Result<(File, OwnedFd), Error> {
    let (reader, writer) = std::io::pipe().map_err(|error| Error::new(format!("cannot create a pipe: {error}")))?;
    Ok((File::from(OwnedFd::from(reader)), OwnedFd::from(writer)))
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| Error::new(format!("cannot find {}: {error}", path.display())))
}

/// Makes a container and starts it. When this returns, its program has been executed (or that has failed, and the process ended).
pub(crate) fn run(root: &Path, request: &Create) -> Result<(), Error> {
    let mut created = create(root, request)?;
    if let Err(error) = created.container.start() {
        let error = sentence(&error);
        // The failure to start is the one to tell.
        let _ = delete(root, &request.id, true);
        return Err(error);
    }
    let mut nothing = [0];
    created.executed.read(&mut nothing).map(drop).map_err(|error| Error::new(format!("cannot wait for exec: {error}")))
}

/// Lets a created container's process execute its program.
pub(crate) fn start(root: &Path, id: &str) -> Result<(), Error> {
    load(root, id)?.start().map_err(|error| sentence(&error))
}

/// Sends a signal. libcontainer's own `kill` would note the container as stopped, whatever the signal.
pub(crate) fn kill(root: &Path, id: &str, signal: i32, all: bool) -> Result<(), Error> {
    let mut container = load(root, id)?;
    container.refresh_status().map_err(|error| sentence(&error))?;
    let init = container.pid().map(|pid| pid.as_raw());
    let config = container.spec().map_err(|error| sentence(&error))?;
    let pids = match (all, init) {
        (true, _) => processes(&config.cgroup_path)?,
        (false, Some(init)) if container.status() != ContainerStatus::Stopped => vec![init],
        (false, _) => return Err(Error::new("container not running")),
    };
    for pid in pids {
        if let Some(handle) = PidFd::open(pid)? {
            handle.send_signal(signal)?;
        }
    }
    Ok(())
}

fn processes(cgroup: &Path) -> Result<Vec<i32>, Error> {
    let mut pids = Vec::new();
    for folder in Layout::detect()?.folders(cgroup) {
        pids.extend(cgroup::processes(&folder)?);
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Removes what is kept of a container, and its cgroups. With `force`, kills it first, and one that is not there is no error.
pub(crate) fn delete(root: &Path, id: &str, force: bool) -> Result<(), Error> {
    if !root.join(id).exists() {
        if !force {
            return Err(Error::new(format!("container \"{id}\" does not exist")));
        }
        // Its creation may have been cut short even before it had a folder.
        remove_beside(root, id);
        return Ok(());
    }
    match Container::load(root.join(id)) {
        Ok(mut container) => {
            if force {
                empty_cgroups(&container)?;
            }
            container.delete(force).map_err(|error| sentence(&error))?;
        }
        // Its creation was cut short before the state was whole: only the folder is left.
        Err(_) if force => remove_folder(&root.join(id))?,
        Err(error) => return Err(sentence(&error)),
    }
    remove_beside(root, id);
    Ok(())
}

/// Kills whatever runs in the container's cgroups, waits for its end, and removes them. libcontainer would send the signals and then try to
/// remove the cgroups four times in 160 ms, which on a busy machine is not enough.
fn empty_cgroups(container: &Container) -> Result<(), Error> {
    // Without a config the container was never made, and has none.
    let Ok(config) = container.spec() else { return Ok(()) };
    let folders = Layout::detect()?.folders(&config.cgroup_path);
    cgroup::kill_all(&folders)?;
    folders.iter().try_for_each(|folder| cgroup::remove_folder(folder).map_err(Error::from))
}

fn remove_folder(path: &Path) -> Result<(), Error> {
    std::fs::remove_dir_all(path).map_err(|error| Error::new(format!("cannot remove {}: {error}", path.display())))
}

/// What lies beside the container's folder.
fn remove_beside(root: &Path, id: &str) {
    // Most containers have neither, and a leftover is overwritten by the next container of that id.
    let _ = std::fs::remove_dir_all(spec::adapted_folder(root, id));
    let _ = std::fs::remove_file(terminal::console_path(root, id));
}

/// Prints the state in the OCI runtime spec's form.
pub(crate) fn print_state(root: &Path, id: &str) -> Result<(), Error> {
    let mut container = load(root, id)?;
    container.refresh_status().map_err(|error| sentence(&error))?;
    let state = serde_json::json!({
        "ociVersion": "1.0.2",
        "id": id,
        "status": container.status().to_string().to_lowercase(),
        "pid": container.pid().map_or(0, |pid| pid.as_raw()),
        "bundle": container.bundle(),
    });
    writeln!(std::io::stdout(), "{state:#}").map_err(|error| Error::new(format!("cannot print the state: {error}")))
}

pub(crate) fn load(root: &Path, id: &str) -> Result<Container, Error> {
    if !root.join(id).exists() {
        return Err(Error::new("container does not exist"));
    }
    Container::load(root.join(id)).map_err(|error| sentence(&error))
}

/// libcontainer's errors pass a process boundary as strings, each layer with a prefix of its own. What our executor has said is found again
/// by its first word and put as runc puts it.
fn sentence(error: &LibcontainerError) -> Error {
    let whole = Error::from_chain(error);
    let text = whole.to_string();
    let Some(at) = text.find("exec: \"") else { return whole };
    // The same sentence may be in the chain twice.
    let said = text[at..].split(": exec: \"").next().unwrap_or(&text[at..]);
    let code = if said.ends_with("permission denied") { program::NOT_EXECUTABLE } else { program::NOT_FOUND };
    Error::new(format!("unable to start container process: {said}")).with_exit_code(code)
}
