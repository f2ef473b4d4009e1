//! `remora status`

use std::process::ExitCode;

use clap::Args;

use crate::control::NodeStatus;
use crate::control::client::ControlClient;
use crate::output::print_line;
use crate::{CommandError, NodeDirs};

/// Arguments of `remora status`. The exit status is 0 if a node runs, 3 if none does.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    dirs: NodeDirs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: StatusArgs) -> Result<ExitCode, CommandError> {
    let status = ControlClient::new(&args.dirs.run_dir).status().await?;
    if args.json {
        let text = serde_json::to_string_pretty(&status);
        print_line(text.map_err(|error| CommandError::caused("writing JSON", &error))?);
    } else {
        text(&status).into_iter().for_each(print_line);
    }
    Ok(ExitCode::SUCCESS)
}

fn text(status: &NodeStatus) -> Vec<String> {
    let mebibytes = status.resident_bytes as f64 / f64::from(1 << 20);
    vec![
        format!("node:        {} (remora {}, pid {})", status.node, status.version, status.pid),
        format!("API server:  {}", status.server),
        format!("kubeconfig:  {}", status.kubeconfig),
        format!("running:     {} pods, {} containers", status.pods, status.containers),
        format!("memory:      {mebibytes:.1} MiB"),
    ]
}
