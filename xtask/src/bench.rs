//! `cargo xtask bench`: optimized programs, measured by those of `tests/src/bin`; a node has a network namespace of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::binaries::{self, Profile};
use crate::{host, node, setup, test};

/// Arguments of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// What to measure.
    what: What,
    /// How often; medians are printed.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// With `api`: also how it grows, up to 100,000 objects and 4,000 watchers.
    #[arg(long)]
    growth: bool,
    /// Of `debug`: another cluster than a node of our own, which is started otherwise.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Debug session, pod start, exec, node start, memory.
    Session,
    /// The start of `remora debug` → prompt, beside kubectl; the client's start and size.
    Debug,
    /// Low-level runtimes on a prepared bundle: remora-create beside runc.
    Runtime,
    /// Requests per second under load from wrk, and how soon many watchers know.
    Api,
}

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    match args.what {
        What::Session => session(args.rounds),
        What::Debug => debug(args.rounds, args.kubeconfig.as_deref()),
        What::Runtime => runtime(args.rounds),
        What::Api => api(args),
    }
}

fn session(rounds: usize) -> Result<()> {
    measure_node("bench-session", |command| {
        command.args(["--rounds", &rounds.to_string()]);
    })
}

fn api(args: &BenchArgs) -> Result<()> {
    setup::install(&[("wrk", "the load")])?;
    measure_node("bench-api", |command| {
        command.args(["--rounds", &args.rounds.to_string()]).args(args.growth.then_some("--growth"));
    })
}

/// Runs a program against a fresh node, in the node's network namespace.
fn measure_node(program: &str, arguments: impl FnOnce(&mut Command)) -> Result<()> {
    let meter = binaries::build_test_program(Profile::Release, program)?;
    let dir = host::folder_of_clone("bench");
    let node = node::start(&dir, Profile::Release, &[])?;
    let mut command = node.command(&[meter])?;
    command.arg("--remora").arg(node.remora());
    arguments(&mut command);
    let measured = host::run(&mut command);
    let stopped = node::stop(&dir);
    measured.and(stopped)
}

fn debug(rounds: usize, kubeconfig: Option<&Path>) -> Result<()> {
    let Some(kubeconfig) = kubeconfig else {
        return measure_node("bench-debug", |command| with_clients(command, rounds));
    };
    let meter = binaries::build_test_program(Profile::Release, "bench-debug")?;
    let remora = binaries::build(Profile::Release)?;
    let mut command = Command::new(meter);
    command.env("KUBECONFIG", kubeconfig).arg("--remora").arg(remora);
    with_clients(&mut command, rounds);
    host::run(&mut command)
}

/// kubectl is the newest that is installed beside the one in `$PATH`.
fn with_clients(command: &mut Command, rounds: usize) {
    command.args(["--rounds", &rounds.to_string()]);
    if let Some(kubectl) = test::kubectls().as_deref().and_then(|all| all.rsplit(':').next()) {
        command.args(["--kubectl", kubectl]);
    }
}

fn runtime(rounds: usize) -> Result<()> {
    setup::install_missing()?;
    let meter = binaries::build_test_program(Profile::Release, "bench-runtime")?;
    let remora = binaries::build(Profile::Release)?;
    let mut command = Command::new(meter);
    command.args(["--rounds", &rounds.to_string()]).arg("--libexec").args(remora.parent());
    host::run(&mut command)
}
