//! `remora run`: one pod from one image.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;

use crate::cluster::Cluster;
use crate::commands::parse_variable;
use crate::output::print_line;
use crate::{ClusterArgs, CommandError};

/// Arguments of `remora run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The pod's name.
    name: String,
    /// The image.
    #[arg(long)]
    image: String,
    /// What happens when its container ends: Always, OnFailure or Never.
    #[arg(long, default_value = "Always")]
    restart: String,
    /// When to pull the image: Always, IfNotPresent or Never [default: by the image's tag].
    #[arg(long, value_name = "POLICY")]
    image_pull_policy: Option<String>,
    /// An environment variable, NAME=VALUE. May be repeated.
    #[arg(long, value_parser = parse_variable)]
    env: Vec<(String, String)>,
    /// Labels of the pod, NAME=VALUE, separated by commas [default: run=<name>].
    #[arg(long, short, value_delimiter = ',', value_parser = parse_variable)]
    labels: Vec<(String, String)>,
    /// What follows `--` is the command, not arguments for the image's entrypoint.
    #[arg(long)]
    command: bool,
    /// Arguments for the image's entrypoint, after `--`.
    #[arg(last = true)]
    args: Vec<String>,
}

pub(crate) async fn run(cluster: &ClusterArgs, args: RunArgs) -> Result<ExitCode, CommandError> {
    let cluster = Cluster::connect(cluster).await?;
    let created = cluster.api::<Pod>().create(&PostParams::default(), &pod(args)).await?;
    print_line(format_args!("pod/{} created", created.metadata.name.unwrap_or_default()));
    Ok(ExitCode::SUCCESS)
}

fn pod(args: RunArgs) -> Pod {
    let words = (!args.args.is_empty()).then_some(args.args);
    let (command, container_args) = if args.command { (words, None) } else { (None, words) };
    let env = args.env.into_iter().map(|(name, value)| EnvVar { name, value: Some(value), value_from: None });
    let labels: BTreeMap<String, String> = if args.labels.is_empty() {
        [("run".to_owned(), args.name.clone())].into()
    } else {
        args.labels.into_iter().collect()
    };
    let container = Container {
        name: args.name.clone(),
        image: Some(args.image),
        image_pull_policy: args.image_pull_policy,
        command,
        args: container_args,
        env: Some(env.collect()),
        ..Container::default()
    };
    Pod {
        metadata: ObjectMeta { name: Some(args.name), labels: Some(labels), ..ObjectMeta::default() },
        spec: Some(PodSpec { containers: vec![container], restart_policy: Some(args.restart), ..PodSpec::default() }),
        status: None,
    }
}
