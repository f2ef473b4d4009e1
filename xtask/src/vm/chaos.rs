//! `cargo xtask vm chaos`: `cargo xtask chaos` in a virtual machine, with programs that are built here.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use super::machine::{self, Init, Job};
use super::{quoted, tests};
use crate::binaries::{self, Profile};

/// Arguments of `cargo xtask vm chaos`.
#[derive(Args)]
pub(crate) struct ChaosArgs {
    /// As for `cargo xtask chaos`.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// As for `cargo xtask chaos`.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// With Debian's systemd as the machine's process 1 and as the cgroup driver.
    #[arg(long)]
    systemd: bool,
}

pub(crate) fn run(args: &ChaosArgs) -> Result<ExitCode> {
    let remora = binaries::build(Profile::Dev)?;
    let target = binaries::target_folder()?;
    let programs = tests::gather_programs(remora.parent().context("remora is in no folder")?, &target)?;
    // The node's small disk is a file. Nothing here loads the driver on demand.
    let mut script = "modprobe loop\n".to_owned();
    tests::export(&mut script, binaries::BUILT, &programs.to_string_lossy())?;
    let (xtask, driver) = (programs.join("xtask"), if args.systemd { "systemd" } else { "cgroupfs" });
    let (program, ChaosArgs { seed, minutes, .. }) = (quoted(&xtask.to_string_lossy()), args);
    writeln!(script, "exec {program} chaos --seed {seed} --minutes {minutes} --cgroup-driver {driver}")?;
    Ok(ExitCode::from(machine::run(&Job { script, shown: vec![target], init: Init::new(args.systemd) })?))
}
