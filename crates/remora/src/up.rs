//! `remora up`: a node in the foreground, or the same in the background.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use remora_cli::{CommandError, UpArgs, print_line};
use remora_sys::spawn::{self, REPORT_FD};
use tokio::runtime::Runtime;

use crate::daemon::{Daemon, Stop};
use crate::place::Place;
use crate::preflight;
use crate::report::Report;

/// What is still done when all parts have ended, such as a look through a large folder, is waited for so long.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs the node here until it is asked to end.
pub(crate) fn in_foreground(args: UpArgs) -> Result<ExitCode, CommandError> {
    start_logging(&args.log)?;
    let report = args.report.clone();
    let result = prepare(&args).and_then(|place| run(args, &place));
    if let (Err(error), Some(path)) = (&result, &report)
        && let Err(lost) = Report::failed(error).send(path)
    {
        tracing::warn!(%lost, "nobody waits for the report of this start");
    }
    result.map(|()| ExitCode::SUCCESS)
}

/// Starts the node in a session of its own and waits until it is ready.
pub(crate) fn in_background(args: &UpArgs) -> Result<ExitCode, CommandError> {
    let place = prepare(args)?;
    let log = place.log();
    let mut command = again(&log)?;
    let (report, writer) =
        spawn::detach(&mut command).map_err(|error| CommandError::caused("starting the node", &error))?;
    let mut child = command.spawn().map_err(|error| CommandError::caused("starting the node", &error))?;
    drop(writer);
    match Report::receive(report, &log) {
        Ok(lines) => {
            lines.into_iter().for_each(print_line);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            // It has ended or is about to; waiting leaves no zombie behind.
            child.wait().map_err(|error| CommandError::caused("waiting for the node", &error))?;
            Err(error)
        }
    }
}

fn prepare(args: &UpArgs) -> Result<Place, CommandError> {
    preflight::judge(&preflight::facts(&libexec(args)?))?;
    let place = Place::of(&args.dirs).map_err(plain)?;
    place.create().map_err(plain)?;
    Ok(place)
}

/// The same command line without `--detach`, with its own output in the log.
fn again(log: &PathBuf) -> Result<Command, CommandError> {
    let failed = |error: &std::io::Error| CommandError::caused(format_args!("opening {}", log.display()), error);
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(log).map_err(|error| failed(&error))?;
    let program = std::env::current_exe().map_err(|error| CommandError::caused("finding this program", &error))?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1).filter(|word| word != "--detach"));
    command.arg("--report").arg(format!("/proc/self/fd/{REPORT_FD}"));
    let errors = file.try_clone().map_err(|error| failed(&error))?;
    command.stdin(Stdio::null()).stdout(file).stderr(errors);
    Ok(command)
}

/// Where the shim and the creator are: named, or beside this program.
pub(crate) fn libexec(args: &UpArgs) -> Result<PathBuf, CommandError> {
    if let Some(folder) = &args.libexec_dir {
        return Ok(folder.clone());
    }
    let program = std::env::current_exe().map_err(|error| CommandError::caused("finding this program", &error))?;
    Ok(program.parent().map(PathBuf::from).unwrap_or_default())
}

fn run(args: UpArgs, place: &Place) -> Result<(), CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| CommandError::caused("starting", &error))?;
    until_over(runtime, PATIENCE, async {
        let stop = Stop::on_signals().map_err(|error| CommandError::caused("listening for signals", &error))?;
        let libexec = libexec(&args)?;
        let daemon = Daemon::start(&args, place.clone(), &libexec, stop.clone()).await?;
        announce(&args, daemon.next_steps())?;
        stop.asked().await;
        daemon.close().await;
        Ok(())
    })
}

/// Runs work to its end. Calls that block, on threads of their own, may then take no longer than that: dropping the runtime would wait for them for ever.
fn until_over<T>(runtime: Runtime, patience: Duration, work: impl Future<Output = T>) -> T {
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(patience);
    result
}

/// Says what to type next: here, or through whoever started this in the background.
fn announce(args: &UpArgs, lines: Vec<String>) -> Result<(), CommandError> {
    match &args.report {
        Some(path) => {
            Report::Ready(lines).send(path).map_err(|error| CommandError::caused("reporting the start", &error))
        }
        None => {
            lines.into_iter().for_each(print_line);
            Ok(())
        }
    }
}

fn start_logging(filter: &str) -> Result<(), CommandError> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .map_err(|error| CommandError::caused(format_args!("--log {filter}"), &error))?;
    // In the background standard error is a file: on a full disk a line is lost. Complaining of it, again on standard error, would be a panic of
    // whichever thread had something to say, such as the one that writes the store.
    let format = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = format.log_internal_errors(false).try_init();
    installed.map_err(|error| CommandError::failed(format_args!("starting the log: {error}")))
}

/// One sentence from a chain of causes.
pub(crate) fn plain(error: anyhow::Error) -> CommandError {
    CommandError::failed(format_args!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_blocks_for_ever_does_not_keep_the_daemon() {
        let (blocks, never) = std::sync::mpsc::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (tell, begun) = tokio::sync::oneshot::channel();
        let result = until_over(runtime, Duration::ZERO, async {
            tokio::task::spawn_blocking(move || {
                tell.send(()).unwrap();
                never.recv()
            });
            begun.await.unwrap();
            5
        });
        assert_eq!(result, 5);
        // It is still there.
        blocks.send(()).unwrap();
    }

    /// In a process of its own, whose standard error is a full disk.
    #[test]
    fn a_log_on_a_full_disk_ends_no_thread() {
        const ONLY: &str = "REMORA_TEST_FULL_LOG";
        const LOGGED: i32 = 7;
        if std::env::var_os(ONLY).is_some() {
            start_logging("info").unwrap();
            tracing::warn!("this line is lost");
            std::process::exit(LOGGED);
        }
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "up::tests::a_log_on_a_full_disk_ends_no_thread"]).env(ONLY, "1");
        let status = again.stdout(Stdio::null()).stderr(full).status().unwrap();
        assert_eq!(status.code(), Some(LOGGED));
    }
}
