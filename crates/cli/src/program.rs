//! Runs a program in a container and speaks with it: an archive or a text on one stream, complaints on another, its exit status at the end.
//!
//! Archives are read and written by blocking code on a thread of its own, over a bridge: what hostile bytes may do is easier to see so.
//!
//! **Invariant:** between that thread and the connection lies a pipe of ours. The connection's own streams are never closed when it breaks or
//! the program ends early, and a thread that waits for one can be neither cancelled nor left behind. Dropped, our end of the pipe ends it.

use std::convert::Infallible;
use std::io::Read;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio_util::io::SyncIoBridge;

use crate::{CommandError, terminal};

/// Bytes that may be on their way between the connection and an archive.
const BUFFER: usize = 256 << 10;
/// How long a program may take to say why its archive is none.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// So much of what a program complains of is kept.
const COMPLAINTS: u64 = 4 << 10;

/// So much may come behind an archive's end, where tar fills its last record with zeros.
const TRAILER: u64 = 1 << 20;

pub(crate) type Incoming = SyncIoBridge<DuplexStream>;
pub(crate) type Outgoing = SyncIoBridge<DuplexStream>;

/// What became of a program.
pub(crate) enum Answer<T> {
    NoProgram,
    /// It has ended; `complaint` if not with 0.
    Ended {
        value: T,
        complaint: Option<CommandError>,
    },
}

/// Runs a program whose output `unpack` reads.
pub(crate) async fn read<T: Send + 'static>(
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
    let (near, far) = tokio::io::duplex(BUFFER);
    let bridge = SyncIoBridge::new(near);
    let work = tokio::task::spawn_blocking(move || unpack(bridge));
    let last = last_words(process.stderr(), process.take_status());
    match process.stdout() {
        Some(stdout) => end(work, heard(last, stdout, far)).await,
        None => end(work, heard(last, tokio::io::empty(), far)).await,
    }
}

/// Runs a program and gives what it says, as text. More than the limit fails.
pub(crate) async fn text(
    pods: &Api<Pod>,
    pod: &str,
    container: &str,
    words: &[String],
    limit: u64,
) -> Result<Answer<String>, CommandError> {
    let all = move |stream: Incoming| {
        let mut bytes = Vec::new();
        let read = stream.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|error| CommandError::caused("reading what the container says", &error))?;
        match bytes.len() as u64 > limit {
            true => Err(CommandError::failed(format_args!("the container says more than {limit} bytes"))),
            false => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        }
    };
    read(pods, pod, container, words, all).await
}

/// Runs a program whose input `pack` writes.
pub(crate) async fn write<T: Send + 'static>(
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
    let (near, far) = tokio::io::duplex(BUFFER);
    let mut bridge = SyncIoBridge::new(near);
    let work = tokio::task::spawn_blocking(move || {
        let packed = pack(&mut bridge);
        // Some tars read on behind the archive's end; and a pipe that is gone has no end to be told.
        let _gone = bridge.shutdown();
        packed
    });
    let last = last_words(process.stderr(), process.take_status());
    match process.stdin() {
        Some(stdin) => end(work, fed(last, far, stdin)).await,
        None => end(work, fed(last, far, tokio::io::sink())).await,
    }
}

/// Whether a program ends with 0; none if it is not there.
pub(crate) async fn ask(
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

pub(crate) fn is_missing(message: &str) -> bool {
    message.contains("executable file not found") || message.contains("no such file or directory")
}

/// How a program ended.
#[derive(Default)]
struct Last {
    /// What it complained of.
    told: String,
    /// None: the connection broke off.
    status: Option<Status>,
}

async fn last_words(
    stderr: Option<impl AsyncRead + Unpin>,
    status: Option<impl Future<Output = Option<Status>>>,
) -> Result<Last, CommandError> {
    let told = async {
        let mut told = Vec::new();
        if let Some(mut stderr) = stderr {
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
    let (mut told, mut status) = (std::pin::pin!(told), std::pin::pin!(status));
    Ok(tokio::select! {
        told = &mut told => Last { told, status: status.await },
        status = &mut status => match status {
            Some(_) => Last { told: told.await, status },
            // Of a broken connection only the status' sender goes: its streams would be read for ever.
            None => Last { told: tokio::time::timeout(LAST_WORDS, told).await.unwrap_or_default(), status },
        },
    })
}

/// Passes a program's output on until it has ended.
async fn heard(
    last: impl Future<Output = Result<Last, CommandError>>,
    mut stdout: impl AsyncRead + Unpin,
    mut to: DuplexStream,
) -> Result<Last, CommandError> {
    let pass_on = async {
        if tokio::io::copy(&mut stdout, &mut to).await.is_err() {
            // Nobody reads on. What is not taken from the connection keeps the status behind it from coming.
            let mut trailer = (&mut stdout).take(TRAILER);
            let taken = tokio::io::copy(&mut trailer, &mut tokio::io::sink()).await;
            if taken.is_ok_and(|taken| taken == TRAILER) {
                return Err(CommandError::failed("the container goes on sending behind the end of its archive"));
            }
        }
        // The end, for who reads.
        drop(to);
        Ok(())
    };
    let (mut last, mut pass_on) = (std::pin::pin!(last), std::pin::pin!(pass_on));
    tokio::select! {
        passed_on = &mut pass_on => {
            passed_on?;
            last.await
        }
        last = &mut last => {
            let last = last?;
            // Of a program that has ended, the output's end is on its way; of a broken connection, none is.
            if last.status.is_some() {
                pass_on.await?;
            }
            Ok(last)
        }
    }
}

/// Feeds a program until it has ended.
async fn fed(
    last: impl Future<Output = Result<Last, CommandError>>,
    mut from: DuplexStream,
    mut stdin: impl AsyncWrite + Unpin,
) -> Result<Last, CommandError> {
    let last = {
        let feed = async {
            // Why a program takes no more, its last words say.
            let _gone = tokio::io::copy(&mut from, &mut stdin).await;
            let _gone = stdin.shutdown().await;
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            last = last => last,
            never = feed => match never {},
        }
    };
    // A tar that has seen the first half of its archive's end may have ended before the second is written: that is no failure.
    let _gone = tokio::io::copy(&mut from.take(BUFFER as u64), &mut tokio::io::sink()).await;
    last
}

/// Waits for both: the archive, and the program. What the program complains of explains what is wrong with the archive.
async fn end<T>(
    work: tokio::task::JoinHandle<Result<T, CommandError>>,
    last: impl Future<Output = Result<Last, CommandError>>,
) -> Result<Answer<T>, CommandError> {
    let (mut work, mut last) = (std::pin::pin!(work), std::pin::pin!(last));
    let failed = |error: tokio::task::JoinError| CommandError::caused("copying", &error);
    let broke_off = || CommandError::failed("the connection broke off before everything was copied");
    let (worked, Last { told, status }) = tokio::select! {
        biased;
        worked = &mut work => match worked.map_err(failed)? {
            Ok(value) => (Ok(value), last.await?),
            // An archive that is refused is read no further; why it ends too early is said at once, or never.
            Err(error) => match tokio::time::timeout(LAST_WORDS, last).await {
                Ok(Ok(last)) => (Err(error), last),
                Ok(Err(_)) | Err(_) => return Err(error),
            },
        },
        // With it, our end of the pipe is gone: the archive ends, one way or the other.
        last = &mut last => {
            let worked = work.await.map_err(failed)?;
            let last = last?;
            if last.status.is_none() {
                return Err(broke_off());
            }
            (worked, last)
        }
    };
    if let Some(code) = status.as_ref().and_then(terminal::code_of)
        && [126, 127].contains(&code)
    {
        return Ok(Answer::NoProgram);
    }
    match (status, worked) {
        (Some(status), _) if is_missing(status.message.as_deref().unwrap_or_default()) => Ok(Answer::NoProgram),
        (Some(status), Ok(value)) => Ok(Answer::Ended { value, complaint: complaint(&status, &told) }),
        // tar's own words say more than that its archive ends too early.
        (Some(status), Err(error)) => Err(complaint(&status, &told).unwrap_or(error)),
        (None, Err(error)) => Err(error),
        (None, Ok(_)) => Err(broke_off()),
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    const NO_STDERR: Option<tokio::io::Empty> = None;

    fn status(json: serde_json::Value) -> Option<std::future::Ready<Option<Status>>> {
        Some(std::future::ready(Some(serde_json::from_value(json).unwrap())))
    }

    /// Where a bug would wait for ever.
    async fn in_time<T>(ends: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(20), ends).await.expect("it hangs")
    }

    fn message<T>(answer: Result<Answer<T>, CommandError>) -> String {
        answer.err().expect("a failure").message
    }

    /// More than all pipes on the way hold together.
    fn pack_much(mut to: Outgoing) -> Result<(), CommandError> {
        let written = (0..64).try_for_each(|_| to.write_all(&[7; 64 << 10]));
        written.map_err(|error| CommandError::caused("sending", &error))
    }

    #[tokio::test]
    async fn a_program_that_ends_before_it_has_read_all_ends_the_copy() {
        // As kube-client has it: who ends does not close it.
        let (_never_read, stdin) = tokio::io::simplex(1024);
        let full = serde_json::json!({"status": "Failure", "message": "exit code 1"});
        let (near, far) = tokio::io::duplex(BUFFER);
        let bridge = SyncIoBridge::new(near);
        let work = tokio::task::spawn_blocking(move || pack_much(bridge));
        let told = Some(&b"tar: no space left on device\n"[..]);
        let ended = in_time(end(work, fed(last_words(told, status(full)), far, stdin))).await;
        assert_eq!(message(ended), "tar: no space left on device");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_ends_the_copy() {
        let (_never_read, stdin) = tokio::io::simplex(1024);
        let causes = serde_json::json!([{"reason": "ExitCode", "message": "127"}]);
        let missing = status(serde_json::json!({"status": "Failure", "details": {"causes": causes}}));
        let (near, far) = tokio::io::duplex(BUFFER);
        let bridge = SyncIoBridge::new(near);
        let work = tokio::task::spawn_blocking(move || pack_much(bridge));
        let ended = in_time(end(work, fed(last_words(NO_STDERR, missing), far, stdin))).await;
        assert!(matches!(ended, Ok(Answer::NoProgram)));
    }

    #[tokio::test]
    async fn all_that_is_sent_arrives_and_so_does_its_end() {
        let (mut read, stdin) = tokio::io::simplex(1024);
        let (near, far) = tokio::io::duplex(BUFFER);
        let mut bridge = SyncIoBridge::new(near);
        let work = tokio::task::spawn_blocking(move || {
            bridge.write_all(&[7; 1 << 20]).map_err(|error| CommandError::caused("sending", &error))?;
            bridge.shutdown().map_err(|error| CommandError::caused("ending", &error))
        });
        let program = async {
            let mut arrived = Vec::new();
            read.read_to_end(&mut arrived).await.unwrap();
            serde_json::from_value(serde_json::json!({"status": if arrived == [7; 1 << 20] { "Success" } else { "" }}))
                .ok()
        };
        let ended = in_time(end(work, fed(last_words(NO_STDERR, Some(program)), far, stdin))).await;
        assert!(matches!(ended, Ok(Answer::Ended { value: (), complaint: None })));
    }

    #[tokio::test]
    async fn a_connection_that_breaks_ends_the_copy() {
        let broken = || Some(std::future::ready(None));
        // As kube-client has it: what breaks closes nothing.
        let ((stdout, _open), (stderr, _open_too)) = (tokio::io::simplex(1024), tokio::io::simplex(1024));
        let (near, far) = tokio::io::duplex(BUFFER);
        let mut bridge = SyncIoBridge::new(near);
        let work = tokio::task::spawn_blocking(move || {
            bridge.read_exact(&mut [0]).map_err(|error| CommandError::caused("reading", &error))
        });
        let ended = in_time(end(work, heard(last_words(Some(stderr), broken()), stdout, far))).await;
        assert!(message(ended).contains("the connection broke off"));

        let (_never_read, stdin) = tokio::io::simplex(1024);
        let (near, far) = tokio::io::duplex(BUFFER);
        let bridge = SyncIoBridge::new(near);
        let work = tokio::task::spawn_blocking(move || pack_much(bridge));
        let ended = in_time(end(work, fed(last_words(NO_STDERR, broken()), far, stdin))).await;
        assert!(message(ended).contains("the connection broke off"));
    }

    #[tokio::test]
    async fn what_comes_behind_an_archive_is_taken_and_bounded() {
        let answer = async |stdout: &mut (dyn AsyncRead + Unpin), ends: bool| {
            let (near, far) = tokio::io::duplex(BUFFER);
            let bridge = SyncIoBridge::new(near);
            let work = tokio::task::spawn_blocking(move || {
                drop(bridge);
                Ok(())
            });
            let status = async {
                match ends {
                    true => serde_json::from_value(serde_json::json!({"status": "Success"})).ok(),
                    false => std::future::pending().await,
                }
            };
            in_time(end(work, heard(last_words(NO_STDERR, Some(status)), stdout, far))).await
        };
        let ended = answer(&mut tokio::io::repeat(0).take(TRAILER / 2), true).await;
        assert!(matches!(ended, Ok(Answer::Ended { value: (), complaint: None })));
        assert!(message(answer(&mut tokio::io::repeat(0), false).await).contains("goes on sending"));
    }
}
