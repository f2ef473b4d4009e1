//! `remora export`: the whole root of a container as a tar, as it is now, also of containers that have neither tar nor shell.
//!
//! What comes is a stranger's archive, and stays one: it is looked through, so that a broken one is told, and written as it came.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use indicatif::ProgressBar;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use remora_archive::EntryReader;
use remora_debug::Tools;
use remora_debug::files::{self, MountPoint, Reach};

use super::cp::receive::bar;
use super::debug::find::{self, Chosen};
use super::parse_size;
use crate::beside::{Beside, BesideArgs};
use crate::cluster::Cluster;
use crate::program::{self, Answer, Incoming};
use crate::{ClusterArgs, CommandError, terminal};

const NOTES: &str = "\
Examples:
  remora export web -o web.tar              the root of pod web's container
  remora export deploy/web -c app | docker import - web:now

What is mounted is left out: volumes, /proc, /sys, /dev, and the files that the node mounts, such as /etc/hosts. Owners are numbers' worth;
extended attributes and file capabilities are not in it. It is not a moment's picture: the container goes on meanwhile.";

/// Of mountinfo.
const MAX_MOUNTINFO: u64 = 4 << 20;
/// A tar is made of blocks, and ends with two of zeros.
const BLOCK: usize = 512;

/// Arguments of `remora export`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub struct ExportArgs {
    /// The pod: `web`, or whatever has pods: `deploy/web`.
    #[arg(value_name = "POD | TYPE/NAME")]
    pod: String,
    /// The container [default: the pod's annotated one, or its first].
    #[arg(long, short)]
    container: Option<String>,
    /// The archive's file; `-` is standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Do it through a debug container, also if the container has sh and tar.
    #[arg(long = "beside", conflicts_with = "no_fallback")]
    only_beside: bool,
    /// Fail if the container has no sh or no tar, instead of adding a debug container.
    #[arg(long)]
    no_fallback: bool,
    /// The most that may come, in bytes or with Ki, Mi, Gi, Ti.
    #[arg(long, value_name = "SIZE", default_value = "64Gi", value_parser = parse_size)]
    max_size: u64,
    #[command(flatten)]
    beside: BesideArgs,
}

pub(crate) async fn run(cluster: &ClusterArgs, args: ExportArgs) -> Result<ExitCode, CommandError> {
    let to_stdout = args.output.as_os_str() == "-";
    if to_stdout && terminal::stdout_is_terminal() {
        return Err(CommandError::usage("an archive is nothing for a terminal").hint("-o FILE, or a pipe"));
    }
    let cluster = Cluster::connect(cluster).await?;
    let Chosen { pod, name, container } = find::container(&cluster, &args.pod, args.container.as_ref()).await?;
    let pods = cluster.api::<Pod>();
    let source = Source { pods: &pods, pod: &name, container: &container, reach: &Reach::Within };
    if !args.only_beside {
        if let Some(done) = source.export(&args).await? {
            return done.tell(&args);
        }
        if args.no_fallback {
            return Err(CommandError::failed(format_args!("container {container} has no sh or no tar"))
                .hint("leave --no-fallback away: a debug container brings them"));
        }
        args.beside.note(&format!("Container {container} has no sh or no tar: a debug container exports it."));
    }
    let (known, request) = (args.beside.known(&cluster, &pod, Tools::Files).await?, args.beside.request(&container));
    let beside = Beside::stand(&cluster, &pod, &request, &known, &args.beside).await?;
    let done = beside.attend(async |beside| {
        let reach = Reach::Beside(beside.processes.clone());
        Source { container: &beside.container, reach: &reach, ..source }.export(&args).await
    });
    let none =
        || CommandError::failed("the debug container's image has no sh or no tar").hint("choose another: --image");
    done.await?.ok_or_else(none)?.tell(&args)
}

/// Where programs are run, and how they reach the container's files.
pub(super) struct Source<'a> {
    pub(super) pods: &'a Api<Pod>,
    pub(super) pod: &'a str,
    pub(super) container: &'a str,
    pub(super) reach: &'a Reach,
}

/// An archive that is there.
struct Done {
    bytes: u64,
    files: u64,
    left_out: Vec<String>,
    /// What tar could not read.
    complaint: Option<CommandError>,
}

impl Source<'_> {
    /// What is mounted in the container; none if it has no shell.
    pub(super) async fn mounts(&self) -> Result<Option<Vec<MountPoint>>, CommandError> {
        let words = self.reach.mounts();
        match program::text(self.pods, self.pod, self.container, &words, MAX_MOUNTINFO).await? {
            Answer::NoProgram => Ok(None),
            Answer::Ended { value, complaint } => {
                complaint.map_or(Ok(()), Err)?;
                let points = files::mount_points(&value);
                points.map(Some).ok_or_else(|| CommandError::failed("what is mounted in the container cannot be read"))
            }
        }
    }

    async fn export(&self, args: &ExportArgs) -> Result<Option<Done>, CommandError> {
        let Some(mounts) = self.mounts().await? else { return Ok(None) };
        let (to, limit) = (args.output.clone(), args.max_size);
        let save = move |stream: Incoming| save(stream, &to, limit);
        let words = self.reach.pack_root(&mounts);
        match program::read(self.pods, self.pod, self.container, &words, save).await? {
            Answer::NoProgram => Ok(None),
            Answer::Ended { value: Saved { target, files, bytes }, complaint } => {
                target.keep()?;
                let left_out = mounts.into_iter().map(|mount| mount.path).collect();
                Ok(Some(Done { bytes, files, left_out, complaint }))
            }
        }
    }
}

impl Done {
    /// An archive that lacks what could not be read is kept, and the command fails.
    fn tell(self, args: &ExportArgs) -> Result<ExitCode, CommandError> {
        let files = if self.files == 1 { "file" } else { "files" };
        let size = indicatif::BinaryBytes(self.bytes);
        args.beside.note(&format!("Exported {} {files}, {size}.", self.files));
        args.beside.note(&format!("Left out, since it is mounted: {}.", self.left_out.join(", ").escape_debug()));
        match self.complaint {
            None => Ok(ExitCode::SUCCESS),
            Some(complaint) => Err(CommandError::failed(format_args!("the archive lacks something: {complaint}"))
                .hint("--user=0 reads more, where root is admitted")),
        }
    }
}

/// An archive that has come.
struct Saved {
    target: Target,
    files: u64,
    bytes: u64,
}

/// Looks archives through on their way, and makes one of them: what is between the last entry of one and the first of the next goes.
fn save(stream: impl Read, to: &Path, limit: u64) -> Result<Saved, CommandError> {
    let failed =
        |error: &(dyn std::error::Error + 'static)| CommandError::caused("reading what the container sends", error);
    let mut target = Target::open(to)?;
    let bar = bar();
    let mut tee =
        Tee { stream, to: &mut target, pushed: Vec::new(), held: Vec::new(), left: limit, bytes: 0, bar: &bar };
    let mut files = 0;
    loop {
        let mut entries = EntryReader::new(tee);
        while entries.next().map_err(|error| failed(&error))?.is_some() {
            files += 1;
        }
        tee = entries.into_stream();
        if !tee.drop_end() {
            return Err(CommandError::failed("the archive ends too early"));
        }
        if !tee.find_next().map_err(|error| failed(&error))? {
            break;
        }
    }
    tee.pass(&[0; 2 * BLOCK]).map_err(|error| failed(&error))?;
    let bytes = tee.bytes;
    bar.finish_and_clear();
    Ok(Saved { target, files, bytes })
}

/// Passes everything that is read on, but for the last block: it may be the one that ends an archive.
struct Tee<'t, R> {
    stream: R,
    to: &'t mut Target,
    /// To be read before the stream.
    pushed: Vec<u8>,
    held: Vec<u8>,
    left: u64,
    bytes: u64,
    bar: &'t ProgressBar,
}

impl<R: Read> Tee<'_, R> {
    /// Keeps the last block back if it ends an archive; tells whether it does.
    fn drop_end(&mut self) -> bool {
        let is_end = self.held.len() == BLOCK && self.held.iter().all(|byte| *byte == 0);
        self.held.clear();
        is_end
    }

    /// Skips zeros, to the next archive if there is one.
    fn find_next(&mut self) -> std::io::Result<bool> {
        let mut block = Vec::new();
        loop {
            block.clear();
            (&mut self.stream).take(BLOCK as u64).read_to_end(&mut block)?;
            self.count(block.len())?;
            match block.len() {
                0 => return Ok(false),
                _ if block.iter().any(|byte| *byte != 0) => break,
                _ => {}
            }
        }
        self.pushed = block;
        Ok(true)
    }

    fn count(&mut self, more: usize) -> std::io::Result<()> {
        self.left = (self.left.checked_sub(more as u64))
            .ok_or_else(|| std::io::Error::other("more comes than --max-size allows"))?;
        Ok(())
    }

    fn pass(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.bytes += bytes.len() as u64;
        self.bar.inc(bytes.len() as u64);
        self.to.write(bytes)
    }
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = match self.pushed.is_empty() {
            true => {
                let count = self.stream.read(buffer)?;
                self.count(count)?;
                count
            }
            false => {
                let count = self.pushed.len().min(buffer.len());
                buffer[..count].copy_from_slice(&self.pushed[..count]);
                self.pushed.drain(..count);
                count
            }
        };
        self.held.extend_from_slice(&buffer[..count]);
        let rest = self.held.split_off(self.held.len().saturating_sub(BLOCK));
        let whole = std::mem::replace(&mut self.held, rest);
        self.pass(&whole)?;
        Ok(count)
    }
}

/// Where the archive goes. A file has another name until all of it is there; one that is not kept is removed.
enum Target {
    Stdout,
    /// What is no file is written into: `/dev/null`, a pipe.
    Special(File),
    File {
        file: File,
        unfinished: PathBuf,
        to: PathBuf,
        is_kept: bool,
    },
}

impl Target {
    fn open(to: &Path) -> Result<Target, CommandError> {
        let failed = |error: std::io::Error| CommandError::caused(format_args!("writing {}", to.display()), &error);
        if to.as_os_str() == "-" {
            return Ok(Target::Stdout);
        }
        if to.metadata().is_ok_and(|there| !there.is_file()) {
            return File::options().write(true).open(to).map(Target::Special).map_err(failed);
        }
        let mut name =
            to.file_name().ok_or_else(|| CommandError::usage(format_args!("{} is no name", to.display())))?.to_owned();
        name.push(".remora-part");
        let unfinished = to.with_file_name(name);
        let file = File::create(&unfinished).map_err(failed)?;
        Ok(Target::File { file, unfinished, to: to.to_owned(), is_kept: false })
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Target::Stdout => std::io::stdout().write_all(bytes),
            Target::Special(file) | Target::File { file, .. } => file.write_all(bytes),
        }
    }

    fn keep(mut self) -> Result<(), CommandError> {
        match &mut self {
            Target::Stdout => std::io::stdout().flush().map_err(|error| CommandError::caused("writing", &error)),
            Target::Special(_) => Ok(()),
            Target::File { unfinished, to, is_kept, .. } => {
                let failed =
                    |error: std::io::Error| CommandError::caused(format_args!("writing {}", to.display()), &error);
                std::fs::rename(&*unfinished, &*to).map_err(failed)?;
                *is_kept = true;
                Ok(())
            }
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Target::File { unfinished, is_kept: false, .. } = self {
            // Its name says what it is, should it stay.
            let _gone_already = std::fs::remove_file(unfinished);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, data) in [("./a", &b"hello"[..]), ("./zeros", &[0; 4096])] {
            let mut header = tar::Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, data).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn an_archive_is_kept_as_it_came_and_only_whole() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("x.tar");
        let left = || std::fs::read_dir(folder.path()).unwrap().count();
        let check = |bytes: &[u8], limit: u64, expected: &str| {
            let refused = save(bytes, &to, limit).map(drop).expect_err(expected).message;
            assert!(refused.contains(expected) && left() == 0, "{refused}");
        };
        let whole = archive();
        check(&whole[..700], u64::MAX, "reading what the container sends");
        check(&whole[..1024], u64::MAX, "ends too early");
        check(b"sh: not found", u64::MAX, "reading what the container sends");
        check(&whole, 2048, "--max-size");
        // As GNU's tar fills its last record, and as `find` begins another one.
        let padded = [&whole[..], &[0; 10 * BLOCK]].concat();
        for (stream, files) in [(whole.clone(), 2), (padded.clone(), 2), ([&padded[..], &whole].concat(), 4)] {
            let saved = save(stream.as_slice(), &to, u64::MAX).unwrap();
            assert!(!to.exists());
            saved.target.keep().unwrap();
            let kept = std::fs::read(&to).unwrap();
            assert_eq!((saved.files, saved.bytes, left()), (files, kept.len() as u64, 1));
            let mut entries = EntryReader::new(kept.as_slice());
            let found = std::iter::from_fn(|| entries.next().unwrap()).count() as u64;
            assert_eq!(found, files);
            std::fs::remove_file(&to).unwrap();
            assert!(kept.ends_with(&[0; 2 * BLOCK]) && (files > 2 || kept == whole));
        }
    }
}
