//! The low-level runtime's command line, the part that runc, crun and remora-create share, and what its failures mean.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use remora_shim_protocol::{Failure, FailureKind, ShimConfig};
use remora_sys::socket::send_with_descriptors;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::crun;

/// Which command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `run --detach`.
    Start,
    /// `exec --detach`, for the n-th exec.
    Exec(u64),
    /// `delete --force`, after the container has ended or could not be started.
    Delete,
}

/// A runtime command that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) pid: i32,
    pub(crate) purpose: Purpose,
    files: Files,
}

/// What a command leaves in the bundle; removed when it has ended.
#[derive(Debug)]
struct Files {
    log: PathBuf,
    pid: PathBuf,
    process: Option<PathBuf>,
    /// The container's own, which stays.
    spec: PathBuf,
}

/// The streams that a command passes on to what it starts.
pub(crate) struct Streams {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

impl Streams {
    pub(crate) fn null() -> io::Result<Self> {
        Ok(Self { stdin: null()?, stdout: null()?, stderr: null()? })
    }
}

/// `/dev/null`, to read and to write.
pub(crate) fn null() -> io::Result<OwnedFd> {
    Ok(File::options().read(true).write(true).open("/dev/null")?.into())
}

/// Starts the container, with the help of a creator that waits, if there is one.
pub(crate) fn run(
    config: &ShimConfig,
    console: Option<&Path>,
    streams: Streams,
    ahead: Option<Creator>,
) -> io::Result<Running> {
    let files = Files::new(config, "start", None);
    let mut words: Vec<OsString> =
        vec!["run".into(), "--detach".into(), "--bundle".into(), config.bundle.clone().into()];
    words.extend(pid_and_console(&files, console));
    let fits = |creator: &Creator| creator.program == config.runtime.path;
    if let Some(creator) = ahead.filter(fits) {
        // What the command will wait for begins now. If it cannot, the start is slower and nothing else.
        let _ = remora_sys::cgroup::hasten_moves();
        if creator.go(&command_line(config, &files, &words), &streams) {
            return Ok(Running { pid: creator.pid, purpose: Purpose::Start, files });
        }
    }
    spawn(config, Purpose::Start, files, words, streams)
}

/// A `remora-create` that was started before there was something to do. Dropped, it ends, and has done nothing.
#[derive(Debug)]
pub(crate) struct Creator {
    program: PathBuf,
    pid: i32,
    socket: OwnedFd,
}

impl Creator {
    /// For a bundle that need not be there yet. None for other runtimes, which know no waiting.
    pub(crate) fn start(program: &Path, bundle: &Path) -> io::Result<Option<Self>> {
        let started = Program::of(program);
        if started.view.is_none() {
            return Ok(None);
        }
        // One message arrives as one, however long.
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (socket, theirs) = socketpair(family, kind, SocketFlags::CLOEXEC, None)?;
        let mut command = started.command();
        command.arg("await").arg("--bundle").arg(bundle).current_dir("/");
        command.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null());
        // The shim's loop waits for every child; this one's handle is not needed.
        let child = remora_sys::signal::with_default_signals(&mut command).spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        Ok(Some(Self { program: program.to_owned(), pid, socket }))
    }

    /// Whether it has been told; one that is gone has not.
    fn go(&self, words: &[OsString], streams: &Streams) -> bool {
        let message = words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>().join(&0);
        let streams = [streams.stdin.as_fd(), streams.stdout.as_fd(), streams.stderr.as_fd()];
        send_with_descriptors(self.socket.as_fd(), &message, &streams).is_ok()
    }
}

/// Starts an exec. `process` is the OCI process as JSON.
pub(crate) fn exec(
    config: &ShimConfig,
    number: u64,
    process: &str,
    console: Option<&Path>,
    streams: Streams,
) -> io::Result<Running> {
    let name = format!("exec-{number}");
    let path = config.bundle.join(format!("{name}.process.json"));
    fs::write(&path, process)?;
    let files = Files::new(config, &name, Some(path.clone()));
    let mut words: Vec<OsString> = vec!["exec".into(), "--detach".into(), "--process".into(), path.into()];
    words.extend(pid_and_console(&files, console));
    spawn(config, Purpose::Exec(number), files, words, streams)
}

/// Lets the runtime forget the container.
pub(crate) fn delete(config: &ShimConfig) -> io::Result<Running> {
    let words = vec!["delete".into(), "--force".into()];
    spawn(config, Purpose::Delete, Files::new(config, "delete", None), words, Streams::null()?)
}

fn pid_and_console(files: &Files, console: Option<&Path>) -> Vec<OsString> {
    let mut words = vec![OsString::from("--pid-file"), files.pid.clone().into()];
    if let Some(console) = console {
        words.extend(["--console-socket".into(), console.into()]);
    }
    words
}

fn spawn(
    config: &ShimConfig,
    purpose: Purpose,
    files: Files,
    words: Vec<OsString>,
    streams: Streams,
) -> io::Result<Running> {
    let program = Program::of(&config.runtime.path);
    let mut command = program.command();
    command
        .args(command_line(config, &files, &words))
        .current_dir("/")
        .stdin(streams.stdin)
        .stdout(streams.stdout)
        .stderr(streams.stderr);
    if purpose != Purpose::Delete {
        // What the command will wait for begins now. If it cannot, the start is slower and nothing else.
        let _ = remora_sys::cgroup::hasten_moves();
    }
    let child = remora_sys::signal::with_default_signals(&mut command).spawn()?;
    // The shim's loop waits for every child, whoever's it was; this one's handle is not needed.
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    Ok(Running { pid, purpose, files })
}

/// The words after the program's name; `words` are those of the command.
fn command_line(config: &ShimConfig, files: &Files, words: &[OsString]) -> Vec<OsString> {
    let runtime = &config.runtime;
    let mut line: Vec<OsString> = runtime.args.iter().map(OsString::from).collect();
    line.extend(["--root".into(), runtime.root.clone().into(), "--log".into(), files.log.clone().into()]);
    line.extend(["--log-format".into(), "json".into()]);
    line.extend_from_slice(words);
    line.push(config.container_id.clone().into());
    line
}

/// How the runtime is started: `remora-create` through a read-only mount, so that no container that it passes through can write to its binary. Where
/// the kernel makes none, it sees to that itself, by starting a second time. Other runtimes have their own ways, and may be scripts, whose
/// interpreter could not open them through a descriptor that closes when it starts.
struct Program<'a> {
    path: &'a Path,
    view: Option<OwnedFd>,
}

impl<'a> Program<'a> {
    fn of(path: &'a Path) -> Self {
        let is_ours = path.file_name() == Some(OsStr::new("remora-create"));
        Self { path, view: is_ours.then(|| remora_sys::mount::read_only_view(path).ok()).flatten() }
    }

    fn command(&self) -> Command {
        match &self.view {
            Some(view) => {
                let mut command = Command::new(format!("/proc/self/fd/{}", view.as_raw_fd()));
                command.arg0(self.path);
                command
            }
            None => Command::new(self.path),
        }
    }
}

impl Running {
    /// The pid of what was started. The command must have succeeded.
    pub(crate) fn started_pid(&self) -> io::Result<i32> {
        let text = fs::read_to_string(&self.files.pid)?;
        text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("pid file holds {text:?}")))
    }

    /// Why it failed.
    pub(crate) fn failure(&self) -> Failure {
        // No log is a failure too, but one that says less than the sentence for it.
        let log = fs::read_to_string(&self.files.log).unwrap_or_default();
        failure(self.purpose, &log, &self.files.program().unwrap_or_default())
    }
}

impl Files {
    fn new(config: &ShimConfig, name: &str, process: Option<PathBuf>) -> Self {
        let in_bundle = |suffix: &str| config.bundle.join(format!("{name}.{suffix}"));
        Self { log: in_bundle("log"), pid: in_bundle("pid"), process, spec: config.bundle.join("config.json") }
    }

    /// What was to run.
    fn program(&self) -> Option<String> {
        let (path, place) = match &self.process {
            Some(process) => (process, "/args/0"),
            None => (&self.spec, "/process/args/0"),
        };
        let process: serde_json::Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        process.pointer(place)?.as_str().map(ToOwned::to_owned)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in [Some(&self.log), Some(&self.pid), self.process.as_ref()].into_iter().flatten() {
            // Most commands do not write all of them.
            let _ = fs::remove_file(path);
        }
    }
}

/// A failure from the runtime's JSON log, in the words that people know from runc under containerd.
pub(crate) fn failure(purpose: Purpose, log: &str, program: &str) -> Failure {
    let message = last_error(log).unwrap_or_else(|| "the OCI runtime failed without saying why".to_owned());
    let core = ["runc run failed: ", "runc create failed: ", "remora-create run failed: ", "exec failed: "]
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix))
        .unwrap_or(&message);
    let translated = crun::in_the_words_of_runc(core, program);
    let core = translated.as_deref().unwrap_or(core);
    let prefix = match purpose {
        Purpose::Start => "OCI runtime create failed: runc create failed: ",
        Purpose::Exec(_) => "OCI runtime exec failed: exec failed: ",
        Purpose::Delete => "OCI runtime delete failed: ",
    };
    Failure { kind: kind(core), message: format!("{prefix}{core}") }
}

/// The message of the last line of level error, or of the last line if none is.
fn last_error(log: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Line {
        level: String,
        msg: String,
    }
    let lines: Vec<Line> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let errors = lines.iter().rev().find(|line| matches!(line.level.as_str(), "error" | "fatal"));
    errors.or(lines.last()).map(|line| line.msg.clone())
}

/// What the sentence means for the program that was to run. Only those about a program (`exec: "…": …`) do.
fn kind(message: &str) -> FailureKind {
    let Some((_, about_program)) = message.split_once("exec: \"") else {
        return if message.contains("not running") { FailureKind::NotRunning } else { FailureKind::Internal };
    };
    let not_executable = ["permission denied", "exec format error", "is a directory"];
    if not_executable.iter().any(|end| about_program.ends_with(end)) {
        FailureKind::NotExecutable
    } else if ["executable file not found in $PATH", "no such file or directory"]
        .iter()
        .any(|end| about_program.ends_with(end))
    {
        FailureKind::ExecutableNotFound
    } else {
        FailureKind::Internal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With `#!`, the kernel hands the program's path to the interpreter. Written by another process: a fork beside this one would inherit the
    /// file open for writing, and it could not be executed.
    #[test]
    fn a_runtime_may_be_a_script() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("runc-and-more");
        let write = r#"printf '#!/bin/sh\nexit 7\n' >"$0" && chmod +x "$0""#;
        assert!(Command::new("sh").args(["-c", write]).arg(&script).status().unwrap().success());
        assert_eq!(Program::of(&script).command().status().unwrap().code(), Some(7));
    }

    #[test]
    fn failures_are_told_in_the_same_words_for_every_runtime() {
        let check = |purpose, log: &str, kind, message: &str| {
            let expected = Failure { kind, message: message.to_owned() };
            assert_eq!(failure(purpose, log, "sh"), expected, "{log}");
        };
        let (start, exec) = (Purpose::Start, Purpose::Exec(1));
        let not_found = r#"unable to start container process: exec: \"sh\": executable file not found in $PATH"#;
        let said = "unable to start container process: exec: \"sh\": executable file not found in $PATH";
        for prefix in ["runc run failed: ", "remora-create run failed: ", ""] {
            let log = format!(
                "{{\"level\":\"warning\",\"msg\":\"x\"}}\n{{\"level\":\"error\",\"msg\":\"{prefix}{not_found}\"}}\n"
            );
            let message = format!("OCI runtime create failed: runc create failed: {said}");
            check(start, &log, FailureKind::ExecutableNotFound, &message);
        }
        let log = format!("{{\"level\":\"error\",\"msg\":\"exec failed: {not_found}\",\"time\":\"t\"}}");
        check(exec, &log, FailureKind::ExecutableNotFound, &format!("OCI runtime exec failed: exec failed: {said}"));
        let log = r#"{"level":"error","msg":"exec failed: unable to start container process: exec: \"/x\": permission denied"}"#;
        let message =
            "OCI runtime exec failed: exec failed: unable to start container process: exec: \"/x\": permission denied";
        check(exec, log, FailureKind::NotExecutable, message);
        let log = r#"{"msg":"executable file `sh` not found in $PATH: No such file or directory","level":"error"}"#;
        check(exec, log, FailureKind::ExecutableNotFound, &format!("OCI runtime exec failed: exec failed: {said}"));
        let log = r#"{"level":"error","msg":"cannot exec in a container that is not running"}"#;
        let message = "OCI runtime exec failed: exec failed: cannot exec in a container that is not running";
        check(exec, log, FailureKind::NotRunning, message);
        let message = "OCI runtime create failed: runc create failed: the OCI runtime failed without saying why";
        check(start, "not json", FailureKind::Internal, message);
    }
}
