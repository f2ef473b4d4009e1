//! `remora logs`

use std::process::ExitCode;

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;

use crate::cluster::Cluster;
use crate::commands::exec::default_container;
use crate::resource::pod_name;
use crate::{ClusterArgs, CommandError, terminal};

/// Arguments of `remora logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The pod.
    pod: String,
    /// The container [default: the pod's annotated one, or its first].
    #[arg(long, short)]
    container: Option<String>,
    /// Go on as lines come.
    #[arg(long, short)]
    follow: bool,
    /// Of the container before the present one.
    #[arg(long, short)]
    previous: bool,
    /// Only the last so many lines.
    #[arg(long, value_name = "LINES")]
    tail: Option<i64>,
    /// Only lines of the last so many seconds.
    #[arg(long, value_name = "SECONDS")]
    since: Option<i64>,
    /// Put the time of each line before it.
    #[arg(long)]
    timestamps: bool,
}

pub(crate) async fn run(cluster: &ClusterArgs, args: LogsArgs) -> Result<ExitCode, CommandError> {
    let name = pod_name(&args.pod)?;
    let pods = Cluster::connect(cluster).await?.api::<Pod>();
    let container = match args.container {
        Some(container) => container,
        None => default_container(&pods.get(name).await?, name)?,
    };
    let params = LogParams {
        container: Some(container),
        follow: args.follow,
        previous: args.previous,
        tail_lines: args.tail,
        since_seconds: args.since,
        timestamps: args.timestamps,
        ..LogParams::default()
    };
    terminal::print_log(pods.log_stream(name, &params).await?).await?;
    Ok(ExitCode::SUCCESS)
}
