//! Joins a container's streams to the user's: raw mode while it lasts, sizes, half-close, and the exit status.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use futures::SinkExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{AttachedProcess, TerminalSize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::CommandError;
use crate::output::{print_note, print_raw};

/// How long the rest of a broken connection may take to be shown.
const LAST_WORDS: Duration = Duration::from_millis(100);

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
        let read = futures::AsyncReadExt::read(&mut log, &mut buffer).await;
        let read = read.map_err(|error| CommandError::caused("reading the log", &error))?;
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

/// Relays until the connection ends; `heard` is told what is shown. No status means that it broke off.
pub(crate) async fn relay_once(
    mut process: AttachedProcess,
    tty: bool,
    input: &mut Input,
    heard: &dyn Fn(&[u8]),
) -> Result<Option<Status>, CommandError> {
    let raw = RawMode::enter(tty)?;
    let status = process.take_status();
    let status = async {
        match status {
            Some(status) => status.await,
            None => None,
        }
    };
    let sizes = process.terminal_size();
    let resizes = sizes.map(|sizes| tokio::spawn(report_sizes(sizes)));
    let stdin = process.stdin();
    let (output, errors) = (process.stdout(), process.stderr());
    let outputs = async {
        tokio::try_join!(receive(output, tokio::io::stdout(), heard), receive(errors, tokio::io::stderr(), heard))
    };
    let (mut status, mut outputs) = (std::pin::pin!(status), std::pin::pin!(outputs));
    let status = tokio::select! {
        // The end of output ends the session: what is typed after it has nobody to read it.
        ended = &mut outputs => {
            ended?;
            status.await
        }
        // Of a broken connection only the status' sender goes: the outputs would be read for ever. What has come is on its way already.
        status = &mut status => {
            match &status {
                Some(_) => drop(outputs.await?),
                None => drop(tokio::time::timeout(LAST_WORDS, outputs).await),
            }
            status
        }
        // Cancel-safe: a chunk that was not taken stays in `input`.
        never = input.send(stdin) => match never {},
    };
    if let Some(task) = resizes {
        task.abort();
    }
    drop(raw);
    Ok(status)
}

/// What the user types, read once for all connections of a session: what one has not taken, the next one gets.
#[derive(Debug)]
pub(crate) struct Input {
    /// Begins with the first connection: until then nobody else's input is touched.
    chunks: Option<mpsc::Receiver<Vec<u8>>>,
    not_taken: Option<Vec<u8>>,
}

impl Input {
    pub(crate) fn new() -> Input {
        Input { chunks: None, not_taken: None }
    }

    /// Sends for as long as the connection lasts. A closed far end is no error: the process has ended while the user typed.
    async fn send(&mut self, to: Option<impl AsyncWrite + Unpin>) -> Infallible {
        let Some(mut to) = to else { return std::future::pending().await };
        let chunks = self.chunks.get_or_insert_with(read_stdin);
        loop {
            if self.not_taken.is_none() {
                self.not_taken = chunks.recv().await;
            }
            let Some(chunk) = &self.not_taken else { break };
            let sent = async {
                to.write_all(chunk).await?;
                to.flush().await
            };
            if sent.await.is_err() {
                return std::future::pending().await;
            }
            self.not_taken = None;
        }
        let _closed_already = to.shutdown().await;
        std::future::pending().await
    }
}

fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut stdin = tokio::io::stdin();
        let mut buffer = vec![0; 4096];
        // An input that cannot be read is one that has ended.
        while let Ok(read @ 1..) = stdin.read(&mut buffer).await {
            if sender.send(buffer[..read].to_vec()).await.is_err() {
                return;
            }
        }
    });
    receiver
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

async fn receive(
    from: Option<impl AsyncRead + Unpin>,
    mut to: impl AsyncWrite + Unpin,
    heard: &dyn Fn(&[u8]),
) -> Result<(), CommandError> {
    let Some(mut from) = from else { return Ok(()) };
    let failed = |error: std::io::Error| CommandError::caused("writing output", &error);
    let mut buffer = vec![0; 8 << 10];
    loop {
        let read = from.read(&mut buffer).await.map_err(failed)?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read]).await.map_err(failed)?;
        to.flush().await.map_err(failed)?;
        heard(&buffer[..read]);
    }
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

/// The exit status of a relayed process, said if it is not 0.
pub(crate) fn exit_code(status: Option<Status>) -> Result<ExitCode, CommandError> {
    let Some(status) = status else {
        return Err(CommandError::failed("the connection broke off before the command ended"));
    };
    if status.status.as_deref() == Some("Success") {
        return Ok(ExitCode::SUCCESS);
    }
    match code_of(&status) {
        Some(code) => {
            print_note(format_args!("command terminated with exit code {code}"));
            Ok(ExitCode::from(code))
        }
        None => Err(CommandError::failed(status.message.unwrap_or_default())),
    }
}

/// The exit status in a stream's last word.
pub(crate) fn code_of(status: &Status) -> Option<u8> {
    let causes = status.details.iter().flat_map(|details| details.causes.iter().flatten());
    let mut codes = causes.filter(|cause| cause.reason.as_deref() == Some("ExitCode"));
    codes.find_map(|cause| cause.message.as_ref()?.parse().ok())
}
