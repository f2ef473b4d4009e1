//! `cargo xtask test`: everything that can be judged on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::binaries::Profile;
use crate::node::Node;
use crate::{host, node, setup};

/// The node's own API is tried at the port that it has everywhere.
const KUBELET: [&str; 2] = ["--kubelet-listen", "127.0.0.1:10250"];

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
    let mut tests = host::cargo();
    tests.args(["test", "--workspace"]).args(&args.cargo);
    if args.no_root || !host::is_root() {
        host::say("without root: tests on real containers, networks and kubectl are SKIPPED");
        return host::run(&mut tests);
    }
    setup::install_missing()?;
    let dir = host::folder_of_clone("test");
    let node = node::start(&dir, Profile::Dev, &KUBELET.map(str::to_owned))?;
    let tested = host::run(on_a_node(&mut tests, &node));
    let stopped = node::stop(&dir);
    tested.and(stopped)
}

/// What the suites need that talk to a whole node: the node, and stock kubectl of every version that is asked for.
fn on_a_node<'a>(tests: &'a mut Command, node: &Node) -> &'a mut Command {
    tests.env("REMORA_LIBEXEC_DIR", node.libexec()).env("REMORA_REQUIRE_ROOT", "1");
    tests
        .env("REMORA_TEST_NODE", node.dir())
        .env("REMORA_TEST_BINARY", node.remora())
        .env("REMORA_TEST_XTASK", own_path());
    if let Some(kubectls) = kubectls() {
        tests.env("REMORA_TEST_KUBECTLS", kubectls);
    }
    tests
}

fn own_path() -> PathBuf {
    std::env::current_exe().unwrap_or_default()
}

/// The clients to test with: `REMORA_TEST_KUBECTLS` (paths, separated by colons), else those beside the installed kubectl.
pub(crate) fn kubectls() -> Option<String> {
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
