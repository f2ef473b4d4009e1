//! Runs a program in a container and speaks with it: an archive on one stream, complaints on another, its exit status at the end.
//!
//! Archives are read and written by blocking code on a thread of its own, over a bridge: what hostile bytes may do is easier to see so.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::SyncIoBridge;

use crate::{CommandError, terminal};

/// Bytes that may be on their way between the connection and an archive.
const BUFFER: usize = 256 << 10;
/// How long a program may take to say why its archive is none.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// So much of what a program complains of is kept.
const COMPLAINTS: u64 = 4 << 10;

pub(super) type Stream<T> = SyncIoBridge<T>;
pub(super) type Incoming = Stream<Box<dyn AsyncRead + Send + Unpin>>;
pub(super) type Outgoing = Stream<Box<dyn tokio::io::AsyncWrite + Send + Unpin>>;

/// What became of a program.
pub(super) enum Answer<T> {
    NoProgram,
    /// It has ended; `complaint` if not with 0.
    Ended {
        value: T,
        complaint: Option<CommandError>,
    },
}

/// Runs a program whose output `unpack` reads.
pub(super) async fn read<T: Send + 'static>(
    pods: &Api<Pod>,
    pod: &str,
    container: &str,
    words: &[String],
    unpack: impl FnOnce(Incoming) -> Result<T, CommandError> + Send + 'static,
) -> Result<Answer<T>, CommandError> {
    let params = AttachParams::default().container(container).stdin(false).stdout(true).stderr(true);
    let Some(mut process) = start(pods, pod, words, params.max_stdout_buf_size(BUFFER)).await? else {
        return Ok(Answer::NoProgram);
    };
    let stdout: Box<dyn AsyncRead + Send + Unpin> = match process.stdout() {
        Some(stdout) => Box::new(stdout),
        None => Box::new(tokio::io::empty()),
    };
    let bridge = SyncIoBridge::new(stdout);
    let work = tokio::task::spawn_blocking(move || unpack(bridge));
    end(process, work).await
}

/// Runs a program whose input `pack` writes.
pub(super) async fn write<T: Send + 'static>(
    pods: &Api<Pod>,
    pod: &str,
    container: &str,
    words: &[String],
    pack: impl FnOnce(&mut Outgoing) -> Result<T, CommandError> + Send + 'static,
) -> Result<Answer<T>, CommandError> {
    let params = AttachParams::default().container(container).stdin(true).stdout(false).stderr(true);
    let Some(mut process) = start(pods, pod, words, params.max_stdin_buf_size(BUFFER)).await? else {
        return Ok(Answer::NoProgram);
    };
    let stdin: Box<dyn tokio::io::AsyncWrite + Send + Unpin> = match process.stdin() {
        Some(stdin) => Box::new(stdin),
        None => Box::new(tokio::io::sink()),
    };
    let mut bridge = SyncIoBridge::new(stdin);
    let work = tokio::task::spawn_blocking(move || {
        let packed = pack(&mut bridge);
        // Some tars read on behind the archive's end. Dropped, the stream would stay open; and one that is gone has no end to be told.
        let _gone = bridge.shutdown();
        packed
    });
    end(process, work).await
}

/// Whether a program ends with 0; none if it is not there.
pub(super) async fn ask(
    pods: &Api<Pod>,
    pod: &str,
    container: &str,
    words: &[String],
) -> Result<Option<bool>, CommandError> {
    match read(pods, pod, container, words, |_| Ok(())).await? {
        Answer::NoProgram => Ok(None),
        Answer::Ended { complaint, .. } => Ok(Some(complaint.is_none())),
    }
}

/// Real Kubernetes refuses to begin what is not there; some runtimes begin, and end with 126 or 127.
async fn start(
    pods: &Api<Pod>,
    pod: &str,
    words: &[String],
    params: AttachParams,
) -> Result<Option<AttachedProcess>, CommandError> {
    match pods.exec(pod, words, &params).await {
        Ok(process) => Ok(Some(process)),
        Err(kube::Error::Api(status)) if is_missing(&status.message) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_missing(message: &str) -> bool {
    message.contains("executable file not found") || message.contains("no such file or directory")
}

/// Waits for both: the program, and the archive. What the program complains of explains what is wrong with the archive.
async fn end<T>(
    mut process: AttachedProcess,
    work: tokio::task::JoinHandle<Result<T, CommandError>>,
) -> Result<Answer<T>, CommandError> {
    let complaints = process.stderr();
    let status = process.take_status();
    let complaints = async {
        let mut told = Vec::new();
        if let Some(stderr) = complaints {
            let mut stderr = stderr;
            // Cut off, not failed: what was said until then is what is known.
            let _cut = (&mut stderr).take(COMPLAINTS).read_to_end(&mut told).await;
            let _rest = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        }
        String::from_utf8_lossy(&told).trim().to_owned()
    };
    let status = async {
        match status {
            Some(status) => status.await,
            None => None,
        }
    };
    let rest = async { tokio::join!(complaints, status) };
    let (mut work, mut rest) = (std::pin::pin!(work), std::pin::pin!(rest));
    let failed = |error: tokio::task::JoinError| CommandError::caused("copying", &error);
    let (worked, (complaints, status)) = tokio::select! {
        // Of a program that has ended, the archive's end is on its way.
        rest = &mut rest => (work.await.map_err(failed)?, rest),
        worked = &mut work => {
            let worked = worked.map_err(failed)?;
            // An archive that is refused is read no further; why it ends too early is said at once, or never.
            let rest = match &worked {
                Ok(_) => rest.await,
                Err(_) => tokio::time::timeout(LAST_WORDS, rest).await.unwrap_or_default(),
            };
            (worked, rest)
        }
    };
    process.abort();
    if let Some(code) = status.as_ref().and_then(terminal::code_of)
        && [126, 127].contains(&code)
    {
        return Ok(Answer::NoProgram);
    }
    match (status, worked) {
        (Some(status), _) if is_missing(status.message.as_deref().unwrap_or_default()) => Ok(Answer::NoProgram),
        (Some(status), Ok(value)) => Ok(Answer::Ended { value, complaint: complaint(&status, &complaints) }),
        // tar's own words say more than that its archive ends too early.
        (Some(status), Err(error)) => Err(complaint(&status, &complaints).unwrap_or(error)),
        (None, Err(error)) => Err(error),
        (None, Ok(_)) => Err(CommandError::failed("the connection broke off before everything was copied")),
    }
}

fn complaint(status: &Status, told: &str) -> Option<CommandError> {
    if status.status.as_deref() == Some("Success") {
        return None;
    }
    let message = status.message.as_deref().unwrap_or_default();
    // A stranger's words: nothing in them is for the terminal.
    let told: String = told.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    Some(CommandError::failed(if told.is_empty() { message.to_owned() } else { told }))
}
