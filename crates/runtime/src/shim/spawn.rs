//! Starting a shim and hearing from it once: the container runs, or why it does not.

use std::fs::File;
use std::io::{PipeWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use remora_shim_protocol::{Report, StartRecord};
use remora_sys::spawn::detach;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use crate::Error;
use crate::error::failed;
use crate::task::blocking;

/// A report is a small JSON object; more is not read.
const MAX_REPORT: u64 = 64 << 10;
/// How much of a dead shim's log goes into the error.
const MAX_LOG: u64 = 2 << 10;

/// What a shim is started with.
#[derive(Clone, Debug)]
pub(crate) struct ShimFiles {
    pub(crate) program: PathBuf,
    /// `shim.json`
    pub(crate) config: PathBuf,
    /// Its standard output and error.
    pub(crate) log: PathBuf,
    /// The container, for messages.
    pub(crate) id: String,
}

/// A shim that was started while its container is still being prepared, and waits. Dropped, it ends, and has touched nothing.
#[derive(Debug)]
pub(crate) struct Ahead {
    order: PipeWriter,
    report: OwnedFd,
}

impl Ahead {
    /// For a low-level runtime and a bundle, which need not be there yet.
    ///
    /// # Errors
    /// The program cannot be started.
    pub(crate) async fn start(files: ShimFiles, runtime: PathBuf, bundle: PathBuf) -> Result<Self, Error> {
        let (child, ahead) = blocking(move || Self::start_now(&files, &runtime, &bundle)).await?;
        tokio::spawn(reap(child));
        Ok(ahead)
    }

    fn start_now(files: &ShimFiles, runtime: &Path, bundle: &Path) -> Result<(Child, Self), Error> {
        let wrong = || failed("start", &files.program);
        let (input, order) = std::io::pipe().map_err(wrong())?;
        let mut command = std::process::Command::new(&files.program);
        command.arg("ahead").args([runtime, bundle, &files.log, &files.config]).current_dir("/");
        command.stdin(input).stdout(Stdio::null()).stderr(Stdio::null());
        let (report, writer) = detach(&mut command)?;
        let child = Command::from(command).spawn().map_err(wrong())?;
        drop(writer);
        Ok((child, Self { order, report: report.into() }))
    }

    /// Where it will report; `None` if it has died.
    fn go(mut self, files: &ShimFiles) -> Result<Option<OwnedFd>, Error> {
        // From here on it may have begun: a daemon that comes after us is told so by the log.
        open_log(files)?;
        let inode = inode(files)?.to_le_bytes();
        Ok(self.order.write_all(&inode).is_ok().then_some(self.report))
    }
}

fn open_log(files: &ShimFiles) -> Result<File, Error> {
    File::options().create(true).append(true).open(&files.log).map_err(failed("open", &files.log))
}

/// Which file the order is: a daemon that takes an order back puts another in its place.
fn inode(files: &ShimFiles) -> Result<u64, Error> {
    std::fs::metadata(&files.config).map(|order| order.ino()).map_err(failed("look at", &files.config))
}

/// Starts a shim, or lets one go that waits; returns once its container has been executed. The shim lives on in a session of its own.
///
/// # Errors
/// [`Error::Start`] with the low-level runtime's sentence, or [`Error::Shim`] if the shim died without one.
pub(crate) async fn spawn(files: ShimFiles, ahead: Option<Ahead>) -> Result<StartRecord, Error> {
    let starting = files.clone();
    let (child, report) = blocking(move || start(&starting, ahead)).await?;
    if let Some(child) = child {
        tokio::spawn(reap(child));
    }
    let mut report = pipe::Receiver::from_owned_fd(report).map_err(Error::Connection)?.take(MAX_REPORT);
    let mut bytes = Vec::new();
    report.read_to_end(&mut bytes).await.map_err(Error::Connection)?;
    match serde_json::from_slice(&bytes) {
        Ok(Report::Started(record)) => Ok(record),
        Ok(Report::Failed(failure)) => Err(Error::not_started(&failure.message)),
        Err(_) => {
            let said = blocking(move || Ok((tail_of_log(&files.log), files.id))).await?;
            Err(Error::Shim { id: said.1, problem: format!("ended without a report: {}", said.0) })
        }
    }
}

/// A shim that ends while the daemon lives is the daemon's to wait for; else it would stay as a zombie.
async fn reap(mut child: Child) {
    // Its exit status says nothing that its records do not.
    let _ = child.wait().await;
}

/// The child, if one had to be started, and where it reports.
fn start(files: &ShimFiles, ahead: Option<Ahead>) -> Result<(Option<Child>, OwnedFd), Error> {
    if let Some(ahead) = ahead
        && let Some(report) = ahead.go(files)?
    {
        return Ok((None, report));
    }
    let log = open_log(files)?;
    let errors = log.try_clone().map_err(failed("open", &files.log))?;
    let mut command = std::process::Command::new(&files.program);
    command.arg(&files.config).arg(inode(files)?.to_string());
    command.current_dir("/").stdin(Stdio::null()).stdout(log).stderr(errors);
    let (report, writer) = detach(&mut command)?;
    let child = Command::from(command).spawn().map_err(failed("start", &files.program))?;
    // Held until here for the child; now only the child has it, so the report ends when the shim closes it.
    drop(writer);
    Ok((Some(child), report.into()))
}

fn tail_of_log(path: &PathBuf) -> String {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MAX_LOG)))?;
        file.take(MAX_LOG).read_to_end(&mut text)
    });
    match read {
        Ok(0) => "its log is empty".to_owned(),
        Ok(_) => String::from_utf8_lossy(&text).trim().to_owned(),
        Err(error) => format!("its log cannot be read: {error}"),
    }
}
