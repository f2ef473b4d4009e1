//! Joins a container's streams to the user's: raw mode while it lasts, sizes, half-close, and the exit status.

use std::io::IsTerminal;
use std::process::ExitCode;

use futures::{AsyncReadExt, SinkExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{AttachedProcess, TerminalSize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use crate::CommandError;
use crate::output::{print_note, print_raw};

/// Whether standard input is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Whether standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Until the process is told to end. A terminal in raw mode sends its Ctrl-C to the tool instead.
pub(crate) async fn told_to_end() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let mut signals: Vec<_> = kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect();
    if signals.is_empty() {
        return std::future::pending().await;
    }
    futures::future::select_all(signals.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
}

/// Prints a log as it comes, to its end.
pub(crate) async fn print_log(log: impl futures::AsyncBufRead) -> Result<(), CommandError> {
    let mut log = std::pin::pin!(log);
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = log.read(&mut buffer).await.map_err(|error| CommandError::caused("reading the log", &error))?;
        if read == 0 {
            return Ok(());
        }
        print_raw(&buffer[..read]);
    }
}

/// A terminal is asked for: it is one only if standard input is one. Says so where it is not, as kubectl does.
pub(crate) fn wanted(tty: bool) -> bool {
    let possible = stdin_is_terminal();
    if tty && !possible {
        print_note("Unable to use a TTY - input is not a terminal or the right kind of file");
    }
    tty && possible
}

/// Relays until the process ends, then gives its exit status.
pub(crate) async fn relay(mut process: AttachedProcess, tty: bool) -> Result<ExitCode, CommandError> {
    let raw = RawMode::enter(tty)?;
    let status = process.take_status();
    let sizes = process.terminal_size();
    let input = process.stdin().map(|stdin| tokio::spawn(send(tokio::io::stdin(), stdin)));
    let resizes = sizes.map(|sizes| tokio::spawn(report_sizes(sizes)));
    let output = process.stdout().map(|from| tokio::spawn(receive(from, tokio::io::stdout())));
    let errors = process.stderr().map(|from| tokio::spawn(receive(from, tokio::io::stderr())));
    for stream in [output, errors].into_iter().flatten() {
        stream.await.map_err(|error| CommandError::caused("relaying output", &error))??;
    }
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    for task in [input, resizes].into_iter().flatten() {
        task.abort();
    }
    drop(raw);
    exit_code(status)
}

/// The user's terminal in raw mode, restored when dropped.
struct RawMode(bool);

impl RawMode {
    fn enter(wanted: bool) -> Result<RawMode, CommandError> {
        if wanted {
            crossterm::terminal::enable_raw_mode()
                .map_err(|error| CommandError::caused("switching the terminal to raw mode", &error))?;
        }
        Ok(RawMode(wanted))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if self.0 && crossterm::terminal::disable_raw_mode().is_err() {
            print_note("the terminal could not be restored: type `reset`");
        }
    }
}

/// A closed far end is no error: the process has ended while the user typed.
async fn send(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    if tokio::io::copy(&mut from, &mut to).await.is_ok() {
        let _closed_already = to.shutdown().await;
    }
}

async fn receive(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> Result<(), CommandError> {
    let copied = tokio::io::copy(&mut from, &mut to).await;
    copied.map_err(|error| CommandError::caused("writing output", &error))?;
    to.flush().await.map_err(|error| CommandError::caused("writing output", &error))
}

async fn report_sizes(mut sizes: futures::channel::mpsc::Sender<TerminalSize>) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
    loop {
        if let Ok((width, height)) = crossterm::terminal::size()
            && sizes.send(TerminalSize { width, height }).await.is_err()
        {
            return;
        }
        if changes.recv().await.is_none() {
            return;
        }
    }
}

fn exit_code(status: Option<Status>) -> Result<ExitCode, CommandError> {
    let Some(status) = status else {
        return Err(CommandError::failed("the connection broke off before the command ended"));
    };
    if status.status.as_deref() == Some("Success") {
        return Ok(ExitCode::SUCCESS);
    }
    let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    let code = causes
        .filter(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .find_map(|cause| cause.message.as_ref()?.parse::<u8>().ok());
    match code {
        Some(code) => {
            print_note(format_args!("command terminated with exit code {code}"));
            Ok(ExitCode::from(code))
        }
        None => Err(CommandError::failed(status.message.unwrap_or_default())),
    }
}
