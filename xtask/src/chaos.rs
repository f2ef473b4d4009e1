//! `cargo xtask chaos`: a node on a small disk, in a namespace of its own, maltreated by `tests/src/bin/chaos`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::binaries::{self, Profile};
use crate::{host, node, registry};

/// Arguments of `cargo xtask chaos`.
#[derive(Args)]
pub(crate) struct ChaosArgs {
    /// What happens follows from it. The default never changes: the same rounds each time.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// An optimized build, as users run it.
    #[arg(long)]
    release: bool,
    /// Where the node keeps everything.
    #[arg(long, default_value = "/var/tmp/remora-chaos")]
    dir: PathBuf,
    /// Who makes cgroups, as for `remora up`.
    #[arg(long, default_value = "auto")]
    cgroup_driver: String,
    /// Leave the node's folder for a look at it; the next run, or `cargo xtask node stop`, removes it.
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(args: &ChaosArgs) -> Result<()> {
    let profile = if args.release { Profile::Release } else { Profile::Dev };
    let program = binaries::build_test_program(profile, "chaos")?;
    let up = ["--cgroup-driver".to_owned(), args.cgroup_driver.clone()];
    let node = node::start_on(&args.dir, profile, &up, node::DataDisk::Small)?;
    let mut command = node.command(&[program])?;
    command.args(["--seed", &args.seed.to_string(), "--minutes", &args.minutes.to_string()]);
    command.arg("--remora").arg(node.remora()).args(["--registry", registry::URL]);
    command.args(["--cgroup-driver", &args.cgroup_driver]);
    let played = host::run(&mut command);
    let stopped = if args.keep { Ok(()) } else { node::stop(&args.dir) };
    played.and(stopped)
}
