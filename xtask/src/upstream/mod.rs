//! `cargo xtask conform upstream`: Kubernetes' own end-to-end tests, on a node of ours or on any cluster.
//!
//! The suite and the programs of its images are [`programs`], built from the Go module that `tests/upstream` pins; what came of a run is read from
//! the suite's own report ([`report`]).

mod programs;
mod report;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Args;

use self::programs::Programs;
use crate::binaries::Profile;
use crate::node::{self, Node};
use crate::{host, images, setup};

/// What is asked of upstream's suite.
#[derive(Args)]
pub(crate) struct UpstreamArgs {
    /// Of `upstream`: which specs, by a regular expression on their names.
    #[arg(long, default_value = r"\[sig-node\].*\[Conformance\]")]
    focus: String,
    /// Of `upstream`: which of those not.
    #[arg(long)]
    skip: Option<String>,
    /// Of `upstream`: how many specs run at a time; those that are marked as serial never do.
    #[arg(long, default_value_t = 2)]
    procs: u32,
}

/// Runs the suite on this cluster; without one on a node of its own, which goes afterwards.
pub(crate) fn run(args: &UpstreamArgs, kubeconfig: Option<&Path>) -> Result<ExitCode> {
    let programs = Programs::made()?;
    let dir = host::folder_of_clone("upstream");
    let reports = dir.with_extension("report");
    std::fs::create_dir_all(&reports).with_context(|| format!("making {}", reports.display()))?;
    let cluster = kubeconfig.map(Path::to_owned).or_else(|| std::env::var_os("KUBECONFIG").map(PathBuf::from));
    if let Some(kubeconfig) = cluster {
        let archives = images::write_upstream(&programs.images, &reports)?;
        host::say(format_args!("the nodes must have the images of {}", archives.display()));
        let mut suite = Command::new(&programs.ginkgo);
        suite.env("KUBECONFIG", &kubeconfig);
        return play(suite, &programs, args, &kubeconfig, &reports);
    }
    setup::install_missing()?;
    // Some specs are clients of the API in pods.
    let listen = ["--listen", "0.0.0.0:6443"].map(str::to_owned);
    let node = node::start(&dir, Profile::Dev, &listen)?;
    let played = play_on(&node, &programs, args, &reports);
    let stopped = node::stop(&dir);
    played.and_then(|code| stopped.map(|()| code))
}

fn play_on(node: &Node, programs: &Programs, args: &UpstreamArgs, reports: &Path) -> Result<ExitCode> {
    images::push_upstream(&node.netns(), &programs.images, node.dir())?;
    let suite = node.command(&[programs.ginkgo.as_path()])?;
    play(suite, programs, args, &node.kubeconfig(), reports)
}

/// Plays what is asked for, and prints what came of it.
fn play(
    mut suite: Command,
    programs: &Programs,
    args: &UpstreamArgs,
    kubeconfig: &Path,
    reports: &Path,
) -> Result<ExitCode> {
    let (log, report) = (reports.join("output.txt"), reports.join("report.json"));
    forget(&report)?;
    let output = std::fs::File::create(&log).with_context(|| format!("making {}", log.display()))?;
    suite.args(["--no-color", "--timeout=6h", "-v"]).arg(format!("--procs={}", args.procs));
    suite.arg(format!("--focus={}", args.focus)).args(args.skip.iter().map(|skip| format!("--skip={skip}")));
    suite.arg(format!("--output-dir={}", reports.display())).arg("--json-report=report.json");
    suite.arg(&programs.suite).arg("--").args(["--provider=skeleton", "--kube-api-content-type=application/json"]);
    suite.arg(format!("--kubeconfig={}", kubeconfig.display()));
    if let Some(kubectl) = host::find_program("kubectl") {
        suite.arg(format!("--kubectl-path={}", kubectl.display()));
    }
    suite.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    host::say(format_args!("the suite writes to {}", log.display()));
    let status = suite.status().with_context(|| format!("starting {}", host::words(&suite)))?;
    let text = std::fs::read(&report)
        .with_context(|| format!("the suite ended with {status} and left no report; {} says why", log.display()))?;
    let outcome = report::Outcome::of(&text).with_context(|| format!("reading {}", report.display()))?;
    outcome.lines().iter().for_each(host::print);
    Ok(if outcome.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An earlier run's report is not taken for this one's.
fn forget(report: &Path) -> Result<()> {
    match std::fs::remove_file(report) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", report.display()))
        }
        _ => Ok(()),
    }
}
