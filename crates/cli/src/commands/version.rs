//! `remora version`

use std::process::ExitCode;

use clap::Args;

use crate::cluster::Cluster;
use crate::output::print_line;
use crate::{ClusterArgs, CommandError};

/// Arguments of `remora version`.
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Ask no server.
    #[arg(long)]
    client: bool,
}

pub(crate) async fn run(cluster: &ClusterArgs, args: &VersionArgs) -> Result<ExitCode, CommandError> {
    print_line(format_args!("Client Version: v{} (remora)", env!("CARGO_PKG_VERSION")));
    if args.client {
        return Ok(ExitCode::SUCCESS);
    }
    let server = Cluster::connect(cluster).await?.client.apiserver_version().await?;
    print_line(format_args!("Server Version: {}", server.git_version));
    Ok(ExitCode::SUCCESS)
}
