//! `cargo xtask bench`: optimized programs, measured by those of `tests/src/bin`; a node has a network namespace of its own.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::binaries::{self, Profile};
use crate::{host, node, setup};

/// Arguments of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// What to measure.
    what: What,
    /// How often; medians are printed.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Debug session, pod start, exec, node start, memory.
    Session,
    /// Low-level runtimes on a prepared bundle: remora-create beside runc.
    Runtime,
}

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    match args.what {
        What::Session => session(args.rounds),
        What::Runtime => runtime(args.rounds),
    }
}

fn session(rounds: usize) -> Result<()> {
    let meter = binaries::build_test_program(Profile::Release, "bench-session")?;
    let dir = PathBuf::from("/var/tmp/remora-bench");
    let node = node::start(&dir, Profile::Release, &[])?;
    let mut command = node.command(&[meter])?;
    command.args(["--rounds", &rounds.to_string()]).arg("--remora").arg(node.remora());
    let measured = host::run(&mut command);
    let stopped = node::stop(&dir);
    measured.and(stopped)
}

fn runtime(rounds: usize) -> Result<()> {
    setup::install_missing()?;
    let meter = binaries::build_test_program(Profile::Release, "bench-runtime")?;
    let remora = binaries::build(Profile::Release)?;
    let mut command = Command::new(meter);
    command.args(["--rounds", &rounds.to_string()]).arg("--libexec").args(remora.parent());
    host::run(&mut command)
}
