//! `remora dump`: a process' memory, its Java heap, or what its threads are at, by gdb or jattach in a debug container.

use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use flate2::read::GzDecoder;
use k8s_openapi::api::core::v1::Pod;
use remora_debug::Tools;
use remora_debug::dump::Dump;

use super::cp::receive::{self, Limits, Received};
use super::debug::find::{self, Chosen};
use super::parse_size;
use crate::beside::{Beside, BesideArgs};
use crate::cluster::Cluster;
use crate::output::print_line;
use crate::program::{self, Answer, Incoming};
use crate::{ClusterArgs, CommandError, Kind};

const NOTES: &str = "\
Examples:
  remora dump web --image=me/toolbox:1                  the memory of the container's first process, into web.core
  remora dump web --kind=threads                        what its threads are at, on standard output
  remora dump web --kind=heap -o web.hprof              the heap of a Java virtual machine

core and threads need gdb in the debug container's image, heap and the threads of a Java virtual machine jattach or jcmd. The process stops
while its memory is taken. The file is made on the node first: a core in the debug container, a heap in the target's /tmp; it is removed there.
A process of another user, or the capability SYS_PTRACE refused, is told by gdb.";

/// Of threads in words.
const MAX_TEXT: u64 = 64 << 20;

/// Arguments of `remora dump`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub struct DumpArgs {
    /// The pod: `web`, or whatever has pods: `deploy/web`.
    #[arg(value_name = "POD | TYPE/NAME")]
    pod: String,
    /// The container [default: the pod's annotated one, or its first].
    #[arg(long, short)]
    container: Option<String>,
    /// The process, as a debug container sees it [default: the container's first].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// What is taken.
    #[arg(long, value_enum, default_value = "core")]
    kind: KindArg,
    /// The file, or a folder for it [default: POD.core or POD.hprof].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The most that may come, in bytes or with Ki, Mi, Gi, Ti.
    #[arg(long, value_name = "SIZE", default_value = "64Gi", value_parser = parse_size)]
    max_size: u64,
    #[command(flatten)]
    beside: BesideArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KindArg {
    Core,
    Heap,
    Threads,
}

pub(crate) async fn run(cluster: &ClusterArgs, args: DumpArgs) -> Result<ExitCode, CommandError> {
    let kind = match args.kind {
        KindArg::Core => Dump::Core,
        KindArg::Heap => Dump::Heap,
        KindArg::Threads => Dump::Threads,
    };
    if kind == Dump::Threads && args.output.is_some() {
        return Err(CommandError::usage("threads are printed: redirect standard output, without -o"));
    }
    let cluster = Cluster::connect(cluster).await?;
    let Chosen { pod, name, container } = find::container(&cluster, &args.pod, args.container.as_ref()).await?;
    let known = args.beside.known(&cluster, &pod, Tools::Dump).await?;
    let request = args.beside.request(&container);
    let beside = Beside::stand(&cluster, &pod, &request, &known, &args.beside).await?;
    let (pods, image) = (cluster.api::<Pod>(), beside.image.clone());
    let taken = beside.attend(async |beside| {
        let place = Place { pods: &pods, pod: &name, beside };
        match kind {
            Dump::Threads => place.threads(&args).await,
            Dump::Core | Dump::Heap => place.file(kind, &args).await,
        }
    });
    match taken.await? {
        Some(()) => Ok(ExitCode::SUCCESS),
        None => {
            let tool =
                if kind == Dump::Heap { "jattach and no jcmd" } else { "gdb (or, for Java, no jattach and no jcmd)" };
            Err(CommandError::of(Kind::CannotStart, format_args!("image {image} has no {tool}"))
                .hint("choose another with --image; `cargo xtask image` of Remora's source makes one that has them"))
        }
    }
}

/// What gzip has packed, as it was. How much that may become, [`receive`] bounds.
fn unpacked(mut stream: impl Read + 'static) -> Result<Box<dyn Read>, CommandError> {
    let mut head = Vec::new();
    let read = (&mut stream).take(2).read_to_end(&mut head);
    read.map_err(|error| CommandError::caused("reading what the container sends", &error))?;
    let is_packed = head == [0x1f, 0x8b];
    let stream = Cursor::new(head).chain(stream);
    Ok(if is_packed { Box::new(GzDecoder::new(stream)) } else { Box::new(stream) })
}

struct Place<'a> {
    pods: &'a kube::Api<Pod>,
    pod: &'a str,
    beside: &'a Beside,
}

impl Place<'_> {
    async fn threads(&self, args: &DumpArgs) -> Result<Option<()>, CommandError> {
        let words = Dump::Threads.command(&self.beside.processes, args.pid, "");
        match program::text(self.pods, self.pod, &self.beside.container, &words, MAX_TEXT).await? {
            Answer::NoProgram => Ok(None),
            Answer::Ended { value, complaint } => {
                complaint.map_or(Ok(()), Err)?;
                // Names of threads are a stranger's: nothing in them is for the terminal.
                let plain = |c: char| if c.is_control() && c != '\n' && c != '\t' { ' ' } else { c };
                print_line(value.trim_end().chars().map(plain).collect::<String>());
                Ok(Some(()))
            }
        }
    }

    /// The name in the tar is one that nobody else has in the target's `/tmp`.
    async fn file(&self, kind: Dump, args: &DumpArgs) -> Result<Option<()>, CommandError> {
        let sent = format!("remora-{}", self.beside.container);
        let typed = format!("{}.{}", self.pod, if kind == Dump::Core { "core" } else { "hprof" });
        let to = args.output.clone().unwrap_or_else(|| PathBuf::from(&typed));
        let words = kind.command(&self.beside.processes, args.pid, &sent);
        let limits = Limits { bytes: args.max_size, ..Limits::default() };
        let unpack = move |stream: Incoming| receive::receive(unpacked(stream)?, &sent, &typed, &to, &limits);
        match program::read(self.pods, self.pod, &self.beside.container, &words, unpack).await? {
            Answer::NoProgram => Ok(None),
            Answer::Ended { value: Received::Files(copied), complaint } => {
                complaint.map_or(Ok(()), Err)?;
                copied.tell(args.beside.quiet);
                Ok(Some(()))
            }
            Answer::Ended { value: Received::Link(_), .. } => {
                Err(CommandError::failed("the container sent a link in place of the file"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_gzip_has_packed_is_unpacked() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"memory").unwrap();
        for (sent, expected) in [(packed.finish().unwrap(), "memory"), (b"memory".to_vec(), "memory"), (Vec::new(), "")]
        {
            let mut got = String::new();
            unpacked(Cursor::new(sent)).unwrap().read_to_string(&mut got).unwrap();
            assert_eq!(got, expected);
        }
    }
}
