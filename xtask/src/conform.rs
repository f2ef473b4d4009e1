//! `cargo xtask conform`: what the real thing has answered, asked of any cluster; `remora debug`, on any cluster; upstream's own suite.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::binaries::{self, Profile};
use crate::{host, upstream};

/// Arguments of `cargo xtask conform`.
#[derive(Args)]
pub(crate) struct ConformArgs {
    /// What to judge.
    what: What,
    /// Whose cluster; without it that of KUBECONFIG. Of a node of `cargo xtask node`, run this inside: `cargo xtask node in -- …`.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Of `debug`: only checks whose title contains this.
    #[arg(long)]
    only: Option<String>,
    /// Also what passes.
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    upstream: upstream::UpstreamArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Recorded requests around pods and ephemeral containers, and the answers of kube-apiserver v1.34.4.
    Api,
    /// 47 kinds of pods, and what became of each on Kubernetes v1.34.4. It takes a minute and a half.
    Node,
    /// `remora debug` and its kin: every flag, every failure, profile × pod × Pod Security level.
    Debug,
    /// Kubernetes' own end-to-end tests, of v1.34.4. Where no cluster is named, on a node of its own.
    Upstream,
}

pub(crate) fn run(args: &ConformArgs) -> Result<ExitCode> {
    let player = |name| binaries::build_test_program(Profile::Dev, name).map(Command::new);
    let mut player = match args.what {
        What::Api => player("conform-api")?,
        What::Node => player("conform-node")?,
        What::Debug => {
            let mut player = player("conform-debug")?;
            player.arg("--remora").arg(binaries::build(Profile::Dev)?);
            player
        }
        What::Upstream => return upstream::run(&args.upstream, args.kubeconfig.as_deref()),
    };
    if let Some(path) = &args.kubeconfig {
        player.arg("--kubeconfig").arg(path);
    }
    if let (What::Debug, Some(only)) = (args.what, &args.only) {
        player.arg("--only").arg(only);
    }
    if args.verbose {
        player.arg("--verbose");
    }
    Ok(host::exit_code(player.status()?))
}
