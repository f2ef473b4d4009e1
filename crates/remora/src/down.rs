//! `remora down`: asks the daemon to end, waits for it, and then takes down what it leaves running.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use remora_cli::control::client::ControlClient;
use remora_cli::{CommandError, DownArgs, Kind, print_line};
use remora_cri::CgroupDriver;
use remora_sys::file::{FolderLock, lock_folder};
use remora_sys::process::PidFd;

use crate::daemon::{Machine, MachineOptions};
use crate::place::Place;
use crate::preflight;
use crate::up::plain;

pub(crate) fn run(args: &DownArgs) -> Result<ExitCode, CommandError> {
    let place = Place::of(&args.dirs).map_err(plain)?;
    if !place.data.join("node-id").exists() {
        print_line(format_args!("no node has ever run in {}", place.data.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let libexec = std::env::current_exe().ok().and_then(|program| program.parent().map(PathBuf::from));
    let libexec = libexec.unwrap_or_default();
    preflight::judge(&preflight::Facts { missing_programs: Vec::new(), ..preflight::facts(&libexec) })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| CommandError::caused("starting", &error))?;
    runtime.block_on(async {
        end_daemon(args).await?;
        let _lock = take_lock(&place)?;
        tear_down(&place, &libexec).await.map_err(plain)
    })?;
    print_line(format_args!("The node is down; its data is in {}.", place.data.display()));
    Ok(ExitCode::SUCCESS)
}

/// The daemon closes its files and ends; containers go on for a moment longer.
async fn end_daemon(args: &DownArgs) -> Result<(), CommandError> {
    let control = ControlClient::new(&args.dirs.run_dir);
    let status = match control.status().await {
        Ok(status) => status,
        Err(error) if error.kind == Kind::Unreachable => return Ok(()),
        Err(error) => return Err(error),
    };
    let failed = |error: &remora_sys::Error| CommandError::caused("waiting for the daemon to end", error);
    let pid = i32::try_from(status.pid).unwrap_or(i32::MAX);
    let daemon = PidFd::open(pid).map_err(|error| failed(&error))?;
    control.stop().await?;
    let Some(daemon) = daemon else { return Ok(()) };
    let ended = tokio::task::spawn_blocking(move || daemon.wait_ended()).await;
    ended
        .map_err(|error| CommandError::caused("waiting for the daemon to end", &error))?
        .map_err(|error| failed(&error))
}

fn take_lock(place: &Place) -> Result<FolderLock, CommandError> {
    let taken = lock_folder(&place.data)
        .map_err(|error| CommandError::caused(format_args!("locking {}", place.data.display()), &error))?;
    taken.ok_or_else(|| {
        CommandError::failed(format_args!("a node that does not answer holds {}", place.data.display()))
            .hint("end its process (`remora up`), then try again")
    })
}

async fn tear_down(place: &Place, libexec: &std::path::Path) -> Result<()> {
    let options = MachineOptions {
        mirrors: &[],
        pod_cidr: None,
        api: None,
        oci_runtime: None,
        cgroup_driver: CgroupDriver::Cgroupfs,
    };
    let machine = Machine::open_with(&options, place, libexec).await?;
    machine.tear_down().await?;
    remora_node::tear_down(&place.node()).context("removing volumes")?;
    remora_sys::mount::unmount_below(&place.run).context("unmounting")?;
    match std::fs::remove_dir_all(&place.run) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", place.run.display()))
        }
        _ => Ok(()),
    }
}
