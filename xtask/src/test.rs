//! `cargo xtask test`: everything that can be judged on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::binaries::{self, Profile};
use crate::{host, node, setup};

/// Arguments of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// Only what needs neither root nor other programs.
    #[arg(long)]
    no_root: bool,
    /// For cargo test, after `--`.
    #[arg(last = true)]
    cargo: Vec<String>,
}

pub(crate) fn run(args: &TestArgs) -> Result<()> {
    if args.no_root || !host::is_root() {
        host::say("without root: tests on real containers, networks and kubectl are SKIPPED");
        return host::run(cargo_test().args(["--workspace", "--exclude", "remora-tests"]).args(&args.cargo));
    }
    setup::install_missing()?;
    let binaries = binaries::build(Profile::Dev)?;
    let mut crates = cargo_test();
    crates.args(["--workspace", "--exclude", "remora-tests"]).args(&args.cargo);
    crates.env("REMORA_LIBEXEC_DIR", binaries.folder()).env("REMORA_REQUIRE_ROOT", "1");
    host::run(&mut crates)?;
    on_a_node(&args.cargo)
}

/// The suites that need a whole node: stock kubectl against it, of every version that is asked for.
fn on_a_node(cargo: &[String]) -> Result<()> {
    let dir = PathBuf::from("/var/tmp/remora-test");
    let started = node::start(&dir, Profile::Dev, &[])?;
    let mut tests = cargo_test();
    tests.args(["-p", "remora-tests"]).args(cargo).env("REMORA_TEST_NODE", started.dir());
    tests
        .env("REMORA_TEST_BINARY", started.remora())
        .env("REMORA_REQUIRE_ROOT", "1")
        .env("REMORA_TEST_XTASK", own_path());
    if let Some(kubectls) = kubectls() {
        tests.env("REMORA_TEST_KUBECTLS", kubectls);
    }
    let tested = host::run(&mut tests);
    let stopped = node::stop(&dir);
    tested.and(stopped)
}

fn own_path() -> PathBuf {
    std::env::current_exe().unwrap_or_default()
}

fn cargo_test() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(host::root()).arg("test");
    command
}

/// The clients to test with: `REMORA_TEST_KUBECTLS` (paths, separated by colons), else those beside the installed kubectl.
fn kubectls() -> Option<String> {
    if let Ok(set) = std::env::var("REMORA_TEST_KUBECTLS") {
        return Some(set);
    }
    let installed = host::find_program("kubectl")?.canonicalize().ok()?;
    let folder = installed.parent().unwrap_or(Path::new("/"));
    let versions = ["1.31", "1.32", "1.33"].map(|version| folder.join(format!("kubectl.{version}")));
    let (there, missing): (Vec<PathBuf>, Vec<PathBuf>) = versions.into_iter().partition(|path| path.exists());
    for path in missing {
        host::say(format_args!("{} is not there: tests with this client are SKIPPED", path.display()));
    }
    let chosen = if there.is_empty() { vec![installed] } else { there };
    Some(chosen.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":"))
}
