//! `remora diff`: what a container has changed among its image's files, as `docker diff`.
//!
//! A Remora node shows the image's files as they were to a debug container that asks for them (`REMORA_IMAGE`). On other nodes nobody can: there
//! it is told what has changed since the container's start, and that this is all.

use std::process::ExitCode;

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use remora_debug::Tools;
use remora_debug::changes::{self, Change, Entry};
use remora_debug::files::{self, Reach};

use super::debug::facts::Known;
use super::debug::find::{self, Chosen};
use super::export::Source;
use crate::beside::{Beside, BesideArgs};
use crate::cluster::Cluster;
use crate::output::print_line;
use crate::program::{self, Answer};
use crate::{ClusterArgs, CommandError, Kind};

const NOTES: &str = "\
One line each: A for added, C for changed, D for deleted. Of a folder, C also means that something in it was added or deleted; what was in a
deleted folder is not listed. What is mounted is not looked at.

On nodes that are not Remora's the image's files cannot be seen. There, C is whatever has changed or was added since the container's start, and
what was deleted is not known.";

/// Of one listing: some millions of files.
const MAX_LISTING: u64 = 512 << 20;

/// Arguments of `remora diff`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub struct DiffArgs {
    /// The pod: `web`, or whatever has pods: `deploy/web`.
    #[arg(value_name = "POD | TYPE/NAME")]
    pod: String,
    /// Only what is at or below this path.
    #[arg(default_value = "/")]
    path: String,
    /// The container [default: the pod's annotated one, or its first].
    #[arg(long, short)]
    container: Option<String>,
    #[command(flatten)]
    beside: BesideArgs,
}

pub(crate) async fn run(cluster: &ClusterArgs, args: DiffArgs) -> Result<ExitCode, CommandError> {
    if !args.path.starts_with('/') {
        return Err(CommandError::usage(format_args!("{} is not a path from /", args.path)));
    }
    let cluster = Cluster::connect(cluster).await?;
    let Chosen { pod, container, .. } = find::container(&cluster, &args.pod, args.container.as_ref()).await?;
    let known = args.beside.known(&cluster, &pod, Tools::Files).await?;
    let found = match known.facts.is_remora {
        true => from_image(&cluster, &pod, &container, &known, &args).await?,
        false => from_start(&cluster, &pod, &container, &known, &args).await?,
    };
    changes::below(found.changes, &args.path).iter().for_each(print_line);
    if found.odd_names > 0 {
        args.beside.note(&format!("Left out: {} with a line break in its name.", found.odd_names));
    }
    let incomplete = |complaint| CommandError::failed(format_args!("not all of it could be looked at: {complaint}"));
    found.complaint.map_or(Ok(ExitCode::SUCCESS), |complaint| Err(incomplete(complaint)))
}

struct Found {
    changes: Vec<Change>,
    odd_names: usize,
    complaint: Option<CommandError>,
}

/// A listing, and what is wrong with it.
struct Listed {
    entries: Vec<Entry>,
    odd_names: usize,
    complaint: Option<CommandError>,
}

async fn from_image(
    cluster: &Cluster,
    pod: &Pod,
    container: &str,
    known: &Known,
    args: &DiffArgs,
) -> Result<Found, CommandError> {
    let request = files::with_image(args.beside.request(container));
    let beside = Beside::stand(cluster, pod, &request, known, &args.beside).await?;
    let (pods, name) = (cluster.api::<Pod>(), pod.metadata.name.as_deref().unwrap_or_default());
    let compared = beside.attend(async |beside| {
        let reach = Reach::Beside(beside.processes.clone());
        let source = Source { pods: &pods, pod: name, container: &beside.container, reach: &reach };
        let Some(mounts) = source.mounts().await? else { return Ok(None) };
        let (image, now) = (source.list(&files::list_image()).await?, source.list(&reach.list(&mounts)).await?);
        let (Some(image), Some(now)) = (image, now) else { return Ok(None) };
        Ok(Some(Found {
            changes: changes::compare(image.entries, now.entries, &mounts),
            odd_names: now.odd_names,
            complaint: image.complaint.or(now.complaint),
        }))
    });
    compared.await?.ok_or_else(no_tools)
}

async fn from_start(
    cluster: &Cluster,
    pod: &Pod,
    container: &str,
    known: &Known,
    args: &DiffArgs,
) -> Result<Found, CommandError> {
    let started = remora_debug::started(pod, container)
        .ok_or_else(|| CommandError::of(Kind::CannotStart, format_args!("container {container} does not run")))?;
    args.beside.note(
        "This node is not Remora's: C is what has changed or was added since the container's start; what was deleted cannot be seen.",
    );
    let (pods, name) = (cluster.api::<Pod>(), pod.metadata.name.as_deref().unwrap_or_default());
    let source = Source { pods: &pods, pod: name, container, reach: &Reach::Within };
    let listed = match source.everything().await?.filter(|listed| !listed.entries.is_empty()) {
        Some(listed) => listed,
        None => {
            let request = args.beside.request(container);
            let beside = Beside::stand(cluster, pod, &request, known, &args.beside).await?;
            let listed = beside.attend(async |beside| {
                let reach = Reach::Beside(beside.processes.clone());
                Source { container: &beside.container, reach: &reach, ..source }.everything().await
            });
            listed.await?.ok_or_else(no_tools)?
        }
    };
    let Listed { entries, odd_names, complaint } = listed;
    Ok(Found { changes: changes::since(entries, started.as_second()), odd_names, complaint })
}

fn no_tools() -> CommandError {
    CommandError::failed("the debug container's image has no sh, find or stat").hint("choose another: --image")
}

impl Source<'_> {
    /// All files of the container; none if it has no tools for that.
    async fn everything(&self) -> Result<Option<Listed>, CommandError> {
        match self.mounts().await? {
            Some(mounts) => self.list(&self.reach.list(&mounts)).await,
            None => Ok(None),
        }
    }

    async fn list(&self, words: &[String]) -> Result<Option<Listed>, CommandError> {
        match program::text(self.pods, self.pod, self.container, words, MAX_LISTING).await? {
            Answer::NoProgram => Ok(None),
            Answer::Ended { value, complaint } => {
                let lines = value.lines().count();
                let entries: Vec<Entry> = value.lines().filter_map(changes::entry).collect();
                Ok(Some(Listed { odd_names: lines - entries.len(), entries, complaint }))
            }
        }
    }
}
