//! `cargo xtask vm test`: the root tests, built on the host and run in one machine, one program after the other.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::machine::{self, Init, Job};
use super::{quoted, words};
use crate::binaries::{self, Profile, TestProgram};
use crate::images;

/// Arguments of `cargo xtask vm test`.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// The crates whose tests run, by their folders in `crates` [default: those whose work depends on the kernel].
    #[arg(short, long = "crate")]
    crates: Vec<String>,
    /// A whole node instead: the suites of `tests`, with stock kubectl.
    #[arg(long)]
    node: bool,
    /// With Debian's systemd as the machine's process 1 and as the cgroup driver.
    #[arg(long)]
    systemd: bool,
    /// Only these test programs, such as `root_life`.
    #[arg(long = "test")]
    programs: Vec<String>,
    /// For every test program, after `--`: a name to filter by, or an option.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Those whose work depends on the kernel.
const CRATES: [&str; 6] = ["sys", "network", "images", "shim", "create", "runtime"];

/// Those that make cgroups for containers.
const CRATES_ON_SYSTEMD: [&str; 1] = ["runtime"];

/// The suites of `tests` that need a node.
const SUITES: [&str; 2] = ["root_node", "root_session"];

pub(crate) fn run(args: &TestArgs) -> Result<ExitCode> {
    let remora = binaries::build(Profile::Dev)?;
    let mut tests = binaries::build_tests(&args.programs)?;
    tests.retain(|test| args.wants(test));
    ensure!(!tests.is_empty(), "no test program is called that");
    let built = remora.parent().context("remora is in no folder")?;
    let target = binaries::target_folder()?;
    let mut script = include_str!("../../vm/tests.sh").to_owned();
    if args.systemd {
        export(&mut script, "REMORA_TEST_CGROUP_DRIVER", "systemd")?;
    }
    let ending =
        if args.node { on_a_node(&mut script, built, &target, args.systemd)? } else { on_crates(&mut script, built)? };
    for test in tests {
        let (name, folder, program) = (&test.name, test.folder.to_string_lossy(), test.path.to_string_lossy());
        let arguments = words(&args.arguments);
        writeln!(script, "run_test {} {} {} {arguments}", quoted(name), quoted(&folder), quoted(&program))?;
    }
    writeln!(script, "{ending}\nend_tests")?;
    Ok(ExitCode::from(machine::run(&Job { script, shown: vec![target], init: Init::new(args.systemd) })?))
}

impl TestArgs {
    fn crates(&self) -> Vec<&str> {
        match (self.crates.as_slice(), self.systemd) {
            ([], false) => CRATES.into(),
            ([], true) => CRATES_ON_SYSTEMD.into(),
            (named, _) => named.iter().map(String::as_str).collect(),
        }
    }

    /// Of those that were built: where programs are named, no other is.
    fn wants(&self, test: &TestProgram) -> bool {
        match self.node {
            true => SUITES.contains(&test.name.as_str()),
            false => self.crates().iter().any(|of| test.folder.ends_with(of)),
        }
    }
}

/// What the tests of crates need to know; nothing follows them.
fn on_crates(script: &mut String, built: &Path) -> Result<&'static str> {
    export(script, "REMORA_REQUIRE_ROOT", "1")?;
    export(script, "REMORA_LIBEXEC_DIR", &built.to_string_lossy())?;
    Ok("")
}

/// A node for the suites, started by xtask in the machine from programs that are built here. What follows them stops it.
fn on_a_node(script: &mut String, built: &Path, target: &Path, systemd: bool) -> Result<&'static str> {
    const DIR: &str = "/var/tmp/remora-vm-node";
    let programs = gather_programs(built, target)?;
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    export(script, binaries::BUILT, &text(programs.clone()))?;
    export(script, "REMORA_REQUIRE_ROOT", "1")?;
    export(script, "REMORA_TEST_NODE", DIR)?;
    export(script, "REMORA_TEST_BINARY", &text(programs.join("remora")))?;
    export(script, "REMORA_TEST_XTASK", &text(programs.join("xtask")))?;
    export(script, "REMORA_TEST_KUBECTLS", &crate::test::kubectls().unwrap_or_default())?;
    let driver = if systemd { "-- --cgroup-driver systemd" } else { "" };
    writeln!(script, "\"$REMORA_TEST_XTASK\" node start --dir {DIR} {driver} || exit 1")?;
    Ok("\"$REMORA_TEST_XTASK\" node stop --dir \"$REMORA_TEST_NODE\" || failed=\"$failed stop\"")
}

pub(super) fn export(script: &mut String, name: &str, value: &str) -> Result<()> {
    Ok(writeln!(script, "export {name}={}", quoted(value))?)
}

/// All that `xtask node` and `xtask chaos` would build, in one folder below cargo's.
pub(super) fn gather_programs(built: &Path, target: &Path) -> Result<PathBuf> {
    let folder = target.join("vm");
    let demo = images::Programs::build(Profile::Dev, &folder)?;
    let (own, chaos) = (std::env::current_exe()?, binaries::build_test_program(Profile::Dev, "chaos")?);
    let of_demo = [("demo_images", demo.pusher), ("pause", demo.pause), ("httpd", demo.httpd)];
    let named = of_demo.into_iter().chain([("xtask", own), ("chaos", chaos)]);
    let built = ["remora", "remora-shim", "remora-create"].map(|name| (name, built.join(name)));
    for (name, program) in named.chain(built) {
        std::fs::copy(&program, folder.join(name)).with_context(|| format!("copying {}", program.display()))?;
    }
    Ok(folder)
}
