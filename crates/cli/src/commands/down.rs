//! `remora down`: parsed here, carried out by the binary.

use clap::Args;

use crate::NodeDirs;

/// Arguments of `remora down`.
#[derive(Clone, Debug, Args)]
pub struct DownArgs {
    /// Where the node keeps its things.
    #[command(flatten)]
    pub dirs: NodeDirs,
}
