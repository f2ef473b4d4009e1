//! `cargo xtask bench`: an optimized node in a namespace of its own, measured by `tests/src/bin`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::binaries::{self, Profile};
use crate::{host, node};

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
}

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let What::Session = args.what;
    let meter = binaries::build_session_bench()?;
    let dir = PathBuf::from("/var/tmp/remora-bench");
    let node = node::start(&dir, Profile::Release, &[])?;
    let mut command = node.command(&[meter])?;
    command.args(["--rounds", &args.rounds.to_string()]).arg("--remora").arg(node.remora());
    let measured = host::run(&mut command);
    let stopped = node::stop(&dir);
    measured.and(stopped)
}
