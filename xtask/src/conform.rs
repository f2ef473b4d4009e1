//! `cargo xtask conform`: what the real thing has answered, asked of any cluster.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::binaries::{self, Profile};
use crate::host;

/// Arguments of `cargo xtask conform`.
#[derive(Args)]
pub(crate) struct ConformArgs {
    /// What to judge.
    what: What,
    /// Whose cluster; without it that of KUBECONFIG. Of a node of `cargo xtask node`, run this inside: `cargo xtask node in -- …`.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Also what passes.
    #[arg(short, long)]
    verbose: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Recorded requests around pods and ephemeral containers, and the answers of kube-apiserver v1.34.4.
    Api,
    /// 47 kinds of pods, and what became of each on Kubernetes v1.34.4. It takes a minute and a half.
    Node,
}

pub(crate) fn run(args: &ConformArgs) -> Result<ExitCode> {
    let program = match args.what {
        What::Api => "conform-api",
        What::Node => "conform-node",
    };
    let mut player = Command::new(binaries::build_test_program(Profile::Dev, program)?);
    if let Some(path) = &args.kubeconfig {
        player.arg("--kubeconfig").arg(path);
    }
    if args.verbose {
        player.arg("--verbose");
    }
    Ok(host::exit_code(player.status()?))
}
