//! `remora exec`

use std::process::ExitCode;

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;

use crate::cluster::Cluster;
use crate::output::print_note;
use crate::resource::pod_name;
use crate::{ClusterArgs, CommandError, terminal};

/// Arguments of `remora exec`. The exit status is that of the command.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The pod.
    pub(crate) pod: String,
    /// The container [default: the pod's annotated one, or its first].
    #[arg(long, short)]
    pub(crate) container: Option<String>,
    /// Pass standard input on.
    #[arg(long, short = 'i')]
    pub(crate) stdin: bool,
    /// Standard streams are a terminal.
    #[arg(long, short = 't')]
    pub(crate) tty: bool,
    /// The command and its arguments, after `--`.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

pub(crate) async fn run(cluster: &ClusterArgs, args: ExecArgs) -> Result<ExitCode, CommandError> {
    let name = pod_name(&args.pod)?;
    let pods = Cluster::connect(cluster).await?.api::<Pod>();
    let container = match args.container {
        Some(container) => container,
        None => default_container(&pods.get(name).await?, name)?,
    };
    let tty = terminal::wanted(args.tty);
    let params = AttachParams::default().container(container).stdin(args.stdin).stdout(true).stderr(!tty).tty(tty);
    let process = pods.exec(name, args.command, &params).await?;
    terminal::relay(process, tty).await
}

/// The container that a command without `-c` means; says which if there are several.
pub(crate) fn default_container(pod: &Pod, name: &str) -> Result<String, CommandError> {
    let chosen = remora_debug::default_container(pod)
        .ok_or_else(|| CommandError::failed(format_args!("pod {name} has no containers")))?;
    let all = pod.spec.iter().flat_map(|spec| &spec.containers).map(|c| c.name.as_str()).collect::<Vec<_>>();
    if all.len() > 1 {
        print_note(format_args!("Defaulted container \"{chosen}\" out of: {}", all.join(", ")));
    }
    Ok(chosen.to_owned())
}
