//! `remora delete`

use std::process::ExitCode;

use clap::Args;
use futures::{AsyncBufReadExt, TryStreamExt};
use http::Request;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::output::print_line;
use crate::resource;
use crate::{ClusterArgs, CommandError};

/// Arguments of `remora delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// What to delete: `pod web db`, `pod/web`.
    #[arg(required = true)]
    what: Vec<String>,
    /// Seconds that containers get to end by themselves [default: what the pod says].
    #[arg(long, value_name = "SECONDS")]
    grace_period: Option<i64>,
    /// One second of grace only.
    #[arg(long, conflicts_with = "grace_period")]
    now: bool,
    /// Do not wait until it is gone.
    #[arg(long)]
    no_wait: bool,
}

pub(crate) async fn run(cluster: &ClusterArgs, args: DeleteArgs) -> Result<ExitCode, CommandError> {
    let cluster = Cluster::connect(cluster).await?;
    let (word, names) = resource::split(&args.what)?;
    if names.is_empty() {
        return Err(CommandError::usage(format_args!("name what to delete: {word}/NAME")));
    }
    let resource = resource::find(&cluster, &word).await?;
    let collection = resource.path(Some(&cluster.namespace));
    let grace = if args.now { Some(1) } else { args.grace_period };
    for name in &names {
        let deleted = delete(&cluster, &collection, name, grace).await?;
        print_line(format_args!("{} \"{name}\" deleted", resource.kind.to_lowercase()));
        if !args.no_wait {
            wait_until_gone(&cluster, &collection, name, &deleted).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn delete(cluster: &Cluster, collection: &str, name: &str, grace: Option<i64>) -> Result<Value, CommandError> {
    let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
    if let Some(seconds) = grace {
        options["gracePeriodSeconds"] = json!(seconds);
    }
    let request = Request::delete(format!("{collection}/{name}"))
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(options.to_string().into_bytes());
    let request = request.map_err(|error| CommandError::usage(format_args!("{name} is no name: {error}")))?;
    Ok(cluster.client.request(request).await?)
}

/// The answer is the object as it is marked, with its version: watching from there misses nothing. A `Status` means that it is gone.
async fn wait_until_gone(cluster: &Cluster, collection: &str, name: &str, deleted: &Value) -> Result<(), CommandError> {
    let Some(version) = deleted["metadata"]["resourceVersion"].as_str().filter(|_| deleted["kind"] != "Status") else {
        return Ok(());
    };
    if deleted["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    let path = format!("{collection}?watch=1&fieldSelector=metadata.name%3D{name}&resourceVersion={version}");
    let request = Request::get(path).body(Vec::new());
    let request = request.map_err(|error| CommandError::usage(format_args!("{name} is no name: {error}")))?;
    let mut lines = cluster.client.request_stream(request).await?.lines();
    while let Some(line) = lines.try_next().await.map_err(|error| CommandError::caused("watching", &error))? {
        let event: Value =
            serde_json::from_str(&line).map_err(|error| CommandError::caused("reading a watch event", &error))?;
        match event["type"].as_str() {
            Some("DELETED") => return Ok(()),
            Some("ERROR") => break,
            _ => {}
        }
    }
    Err(CommandError::failed(format_args!("the watch ended before {name} was gone")))
}
