//! `cargo xtask conform debug`: `remora debug` and its kin on any cluster, one line for each check; the last line is `N passed, N failed`.
//!
//! It needs a node that runs pods, the images `k8s.gcr.io/pause:3.1` and `busybox` (on the node, or to be pulled), and an admin's rights. It works
//! in namespaces of its own, which it deletes. What only Remora's own nodes can do is marked in the tables and skipped elsewhere, and said so.
//!
//! | to see | look at |
//! |---|---|
//! | which pods there are | [`shapes`] |
//! | profile × pod × Pod Security level | [`matrix`] |
//! | one command, one answer | [`rows`] |
//! | what takes several commands, or a terminal | [`stories`] |

mod cluster;
mod matrix;
mod play;
mod rows;
mod shapes;
mod stories;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use remora_tests::cluster::{of_this_run, show, verdict};

use crate::cluster::Cluster;
use crate::play::{Player, Tally};

#[derive(Parser)]
struct Arguments {
    /// Whose API server; without it that of KUBECONFIG.
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// The program under test.
    #[arg(long)]
    remora: PathBuf,
    /// Only checks whose title contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Also what passes.
    #[arg(short, long)]
    verbose: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let cluster = Cluster::connect(&arguments.kubeconfig, of_this_run("debug")?).await?;
    let player = Player {
        remora: arguments.remora.canonicalize().context("finding the program under test")?,
        kubeconfig: arguments.kubeconfig.canonicalize()?,
        tally: Tally { only: arguments.only, verbose: arguments.verbose, ..Tally::default() },
        cluster,
    };
    let tally = run(player).await?;
    if tally.skipped > 0 {
        show(&format!("{} SKIPPED: they are about what only Remora's own nodes do", tally.skipped));
    }
    Ok(verdict(tally.passed, tally.failed))
}

/// The namespaces go also if a check could not be made.
async fn run(mut player: Player) -> Result<Tally> {
    let checked = async {
        player.cluster.prepare().await?;
        matrix::check(&mut player).await?;
        rows::check(&mut player).await?;
        stories::check(&mut player).await
    };
    let checked = checked.await;
    // What has kept the checks from being made is what is told.
    let removed = player.cluster.remove().await;
    checked.and(removed)?;
    Ok(player.tally)
}
