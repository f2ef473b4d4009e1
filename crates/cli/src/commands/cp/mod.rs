//! `remora cp`: files and folders into and out of containers, also of those that have neither tar nor shell.
//!
//! A container that has `tar` is asked itself, which leaves no trace. Else a debug container stands beside it for as long as it takes.
//! What comes out of a container is a stranger's archive: [`receive`] lets nothing of it leave the destination.

pub(crate) mod receive;
mod send;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use remora_debug::Tools;
use remora_debug::files::{self, End, Place, Reach};

use self::receive::{Limits, Received};
use crate::beside::{Beside, BesideArgs};
use crate::cluster::Cluster;
use crate::commands::exec::default_container;
use crate::commands::parse_size;
use crate::output::print_note;
use crate::program::{self, Answer};
use crate::{ClusterArgs, CommandError};

/// How many links the named file may be away.
const MAX_LINKS: usize = 16;

const EXAMPLES: &str = "\
Examples:
  remora cp web:/etc/hosts hosts            one file
  remora cp web:/var/log logs               what is in a folder, into the folder logs
  remora cp conf shop/web:/etc/app -c app   a file or folder into a container; into /etc/app if that is a folder

Owners are not taken over: a file belongs to whoever writes it. Links that lead out of the copy, devices and pipes are left out,
and said.";

/// Arguments of `remora cp`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CpArgs {
    /// What is copied: a file here, or POD:PATH, NAMESPACE/POD:PATH.
    from: String,
    /// Where to.
    to: String,
    /// The container [default: the pod's annotated one, or its first].
    #[arg(long, short)]
    container: Option<String>,
    /// Copy through a debug container, also if the container has tar.
    #[arg(long = "beside", conflicts_with = "no_fallback")]
    only_beside: bool,
    /// Fail if the container has no tar, instead of adding a debug container.
    #[arg(long)]
    no_fallback: bool,
    /// The most that may come out of a container, names and all, in bytes or with Ki, Mi, Gi, Ti.
    #[arg(long, value_name = "SIZE", default_value = "64Gi", value_parser = parse_size)]
    max_size: u64,
    #[command(flatten)]
    beside: BesideArgs,
}

pub(crate) async fn run(cluster: &ClusterArgs, args: CpArgs) -> Result<ExitCode, CommandError> {
    let ends = (files::end(&args.from), files::end(&args.to));
    let (place, way) = match (ends.0.map_err(CommandError::usage)?, ends.1.map_err(CommandError::usage)?) {
        (End::There(place), End::Here(to)) => (place, Way::Out(to)),
        (End::Here(from), End::There(place)) => (place, Way::In(from)),
        (End::Here(_), End::Here(_)) => return Err(CommandError::usage("one of the two must be POD:PATH")),
        (End::There(_), End::There(_)) => {
            return Err(CommandError::usage("one of the two must be a file here: copy twice"));
        }
    };
    let named = place.namespace.clone().or_else(|| cluster.namespace.clone());
    let cluster = Cluster::connect(&ClusterArgs { namespace: named, ..cluster.clone() }).await?;
    let pods = cluster.api::<Pod>();
    let pod = pods.get(&place.pod).await?;
    let container = match &args.container {
        Some(container) => container.clone(),
        None => default_container(&pod, &place.pod)?,
    };
    let within = Copy { pods: &pods, container, reach: Reach::Within, place, args: &args };
    if !args.only_beside {
        match within.carry(&way).await? {
            Carried::Done => return Ok(ExitCode::SUCCESS),
            Carried::NoTar if args.no_fallback => {
                let without = format!("container {} has no tar", within.container);
                return Err(
                    CommandError::failed(without).hint("leave --no-fallback away: a debug container brings one")
                );
            }
            Carried::NoTar if !args.beside.quiet => {
                print_note(format_args!("Container {} has no tar: a debug container copies.", within.container));
            }
            Carried::NoTar => {}
        }
    }
    through_a_debug_container(&cluster, &pod, within, &way).await
}

async fn through_a_debug_container(
    cluster: &Cluster,
    pod: &Pod,
    within: Copy<'_>,
    way: &Way,
) -> Result<ExitCode, CommandError> {
    let args = within.args;
    let (known, request) =
        (args.beside.known(cluster, pod, Tools::Files).await?, args.beside.request(&within.container));
    let beside = Beside::stand(cluster, pod, &request, &known, &args.beside).await?;
    let carried = beside.attend(async |beside| {
        let reach = Reach::Beside(beside.processes.clone());
        Copy { container: beside.container.clone(), reach, ..within }.carry(way).await
    });
    match carried.await? {
        Carried::Done => Ok(ExitCode::SUCCESS),
        Carried::NoTar => Err(CommandError::failed("the debug container's image has no sh or no tar")
            .hint("choose another with --image, such as busybox")),
    }
}

/// Which way it goes, with the end that is here.
enum Way {
    Out(PathBuf),
    In(PathBuf),
}

enum Carried {
    Done,
    /// The program is not there: nothing has been done.
    NoTar,
}

/// One copy, one way to reach the container's files.
struct Copy<'a> {
    pods: &'a Api<Pod>,
    /// The container that runs the programs.
    container: String,
    reach: Reach,
    place: Place,
    args: &'a CpArgs,
}

impl Copy<'_> {
    async fn carry(&self, way: &Way) -> Result<Carried, CommandError> {
        match way {
            Way::Out(to) => self.receive(to).await,
            Way::In(from) => self.send(from).await,
        }
    }

    /// A name that is a link is followed; links below it are copied as links.
    async fn receive(&self, to: &Path) -> Result<Carried, CommandError> {
        let mut place = self.place.clone();
        for _ in 0..MAX_LINKS {
            let (folder, name) = place.split();
            let limits = Limits { bytes: self.args.max_size, ..Limits::default() };
            // The copy has the name that was typed, whatever it leads to.
            let typed = self.place.split().1.to_owned();
            let (archive_name, to) = (name.to_owned(), to.to_owned());
            let unpack = move |stream| receive::receive(stream, &archive_name, &typed, &to, &limits);
            match program::read(self.pods, &place.pod, &self.container, &self.reach.pack(&folder, name), unpack).await?
            {
                Answer::NoProgram => return Ok(Carried::NoTar),
                Answer::Ended { value: Received::Link(link), .. } => place = place.follow(&link),
                Answer::Ended { value: Received::Files(copied), complaint } => {
                    complaint.map_or(Ok(()), Err)?;
                    copied.tell(self.args.beside.quiet);
                    return Ok(Carried::Done);
                }
            }
        }
        Err(CommandError::failed(format_args!("{}: too many levels of symbolic links", self.place.full())))
    }

    async fn send(&self, from: &Path) -> Result<Carried, CommandError> {
        let name = from.file_name().and_then(|name| name.to_str());
        let path = self.place.full();
        let asked = program::ask(self.pods, &self.place.pod, &self.container, &self.reach.is_folder(&path)).await?;
        // Whoever has no `test` has no tar.
        let Some(is_folder) = asked else { return Ok(Carried::NoTar) };
        let place = match name {
            Some(name) if is_folder => self.place.join(name),
            _ => self.place.clone(),
        };
        let (folder, name) = place.split();
        if name == "." {
            return Err(CommandError::usage(format_args!("{} has no name: give the file's", from.display())));
        }
        let (name, from) = (name.to_owned(), from.to_owned());
        let pack = move |stream: &mut program::Outgoing| send::send(stream, &from, &name);
        match program::write(self.pods, &place.pod, &self.container, &self.reach.unpack(&folder), pack).await? {
            Answer::NoProgram => Ok(Carried::NoTar),
            Answer::Ended { value, complaint } => {
                complaint.map_or(Ok(()), Err)?;
                value.tell(self.args.beside.quiet);
                Ok(Carried::Done)
            }
        }
    }
}

/// What was copied, and what was not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Copied {
    files: u64,
    bytes: u64,
    /// Paths with the reason; not more than can be read.
    left_out: Vec<String>,
    more_left_out: u64,
}

impl Copied {
    const SHOWN: usize = 20;

    fn leave_out(&mut self, path: &str, why: &str) {
        if self.left_out.len() < Self::SHOWN {
            // What a stranger has named may hold what a terminal obeys.
            self.left_out.push(format!("Left out: {} ({why}).", path.escape_debug()));
        } else {
            self.more_left_out += 1;
        }
    }

    pub(crate) fn tell(&self, quiet: bool) {
        self.left_out.iter().for_each(print_note);
        if self.more_left_out > 0 {
            print_note(format_args!("Left out: {} more.", self.more_left_out));
        }
        if !quiet {
            let files = if self.files == 1 { "file" } else { "files" };
            print_note(format_args!("Copied {} {files}, {}.", self.files, indicatif::BinaryBytes(self.bytes)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_strangers_are_shown_without_what_terminals_obey() {
        let mut copied = Copied::default();
        copied.leave_out("a\x1b[2Jb", "a device");
        assert_eq!(copied.left_out, ["Left out: a\\u{1b}[2Jb (a device)."]);
    }
}
