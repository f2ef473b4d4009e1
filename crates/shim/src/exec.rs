//! Execs: further processes in the container, each with streams of its own.

use remora_shim_protocol::{AttachRequest, ExecRequest, ExitRecord, Failure, FailureKind, Frame, Reply, TerminalSize};
use rustix::process::WaitStatus;

use crate::client::{Role, Subscription};
use crate::console::Console;
use crate::life::Life;
use crate::low_level::{self, Running, Streams};
use crate::process::{Process, ProcessRef, Stream};
use crate::records;
use crate::shim::{BUFFER, Shim, chain};
use crate::streams::{Pipes, host_user, output_frame, user_of};
use crate::timestamp::now;

/// One exec, until it has ended and its clients have been told.
pub(crate) struct Exec {
    number: u64,
    /// The runtime's name for it.
    id: String,
    /// The program and its arguments, if it is a terminal that may be taken up again.
    asked: Option<serde_json::Value>,
    /// None while it is being started.
    running: Option<RunningExec>,
    pub(crate) process: Process,
    pub(crate) console: Option<Console>,
    /// The terminal's first size.
    pub(crate) size: Option<TerminalSize>,
}

struct RunningExec {
    pid: i32,
    started_at: i64,
}

impl Exec {
    pub(crate) fn reference(&self) -> ProcessRef {
        ProcessRef::Exec(self.number)
    }

    pub(crate) fn runs(&self) -> bool {
        self.running.is_some()
    }

    pub(crate) fn pid(&self) -> Option<i32> {
        self.running.as_ref().map(|running| running.pid)
    }
}

impl Shim {
    pub(crate) fn exec(&self, process: ProcessRef) -> Option<&Exec> {
        self.execs.iter().find(|exec| exec.reference() == process)
    }

    pub(crate) fn exec_mut(&mut self, process: ProcessRef) -> Option<&mut Exec> {
        self.execs.iter_mut().find(|exec| exec.reference() == process)
    }

    /// By the runtime's name for it; none is the container's first process.
    pub(crate) fn find(&self, exec_id: Option<&str>) -> Option<ProcessRef> {
        match exec_id {
            None => Some(ProcessRef::Container),
            Some(id) => self.execs.iter().find(|exec| exec.id == id).map(Exec::reference),
        }
    }

    /// A terminal whose client has vanished without a word, as all do when the daemon dies: the next one who asks for the very same gets it,
    /// as it stands. The newest, if there are several.
    pub(crate) fn take_up(&mut self, key: u64, request: &ExecRequest) -> bool {
        let asked = interactive(request);
        let waits = |exec: &&Exec| {
            let same = exec.asked.is_some() && exec.asked == asked;
            same && exec.runs() && exec.process.is_open() && !self.is_streamed(exec.reference())
        };
        let Some(exec) = self.execs.iter().rev().find(waits) else { return false };
        let (process, exec_id) = (exec.reference(), Some(exec.id.clone()));
        if let (Some(size), Some(exec)) = (request.size, self.exec_mut(process)) {
            exec.process.resize(size);
        }
        self.attach(key, &AttachRequest { exec_id, stdin: true, stdout: true, stderr: true });
        true
    }

    fn is_streamed(&self, process: ProcessRef) -> bool {
        self.clients.iter().any(|client| matches!(client.role, Role::Streaming(of) if of.process == process))
    }

    /// Has the runtime start a process; the client is answered when the command has ended.
    ///
    /// # Errors
    /// It is refused, or the runtime cannot be run.
    pub(crate) fn start_exec(&mut self, request: &ExecRequest) -> Result<ProcessRef, Failure> {
        if !matches!(self.life, Life::Running(_)) {
            return Err(Failure { kind: FailureKind::NotRunning, message: "the container is not running".to_owned() });
        }
        if self.find(Some(&request.id)).is_some() {
            let message = format!("there is an exec {:?} already", request.id);
            return Err(Failure { kind: FailureKind::Invalid, message });
        }
        let number = self.next_key();
        let process = Process::of_exec(request.tty, self.config.replay_bytes);
        let asked = interactive(request);
        let (id, size) = (request.id.clone(), request.size);
        let mut exec = Exec { number, id, asked, running: None, process, console: None, size };
        let command = self.spawn_exec(&mut exec, request);
        let command = command.map_err(|message| Failure { kind: FailureKind::Internal, message })?;
        let reference = exec.reference();
        self.commands.push(command);
        self.execs.push(exec);
        Ok(reference)
    }

    fn spawn_exec(&self, exec: &mut Exec, request: &ExecRequest) -> Result<Running, String> {
        let process = with_terminal(&request.process, request.tty, request.size)?;
        let (streams, path) = if request.tty {
            let path = self.config.bundle.join(format!("exec-{}.sock", exec.number));
            let console = Console::listen(path).map_err(|error| chain(&error))?;
            let path = console.short_path();
            exec.console = Some(console);
            (Streams::null().map_err(|error| error.to_string())?, Some(path))
        } else {
            let spec = std::fs::read(self.config.bundle.join("config.json")).unwrap_or_default();
            let owner = host_user(&spec, user_of(process.as_bytes(), "/user/uid"));
            let pipes = Pipes::new(request.stdin, owner).and_then(|pipes| pipes.give_to(&mut exec.process));
            (pipes.map_err(|error| format!("cannot make pipes: {error}"))?, None)
        };
        low_level::exec(&self.config, exec.number, &process, path.as_deref(), streams)
            .map_err(|error| self.no_runtime(&error))
    }

    /// The runtime's `exec` has ended: the process runs, or why not is in its log.
    pub(crate) fn exec_command_ended(&mut self, process: ProcessRef, command: &Running, success: bool) {
        let pid = if success { command.started_pid().map_err(|error| error.to_string()) } else { Err(String::new()) };
        match pid {
            Ok(pid) => self.exec_started(process, pid),
            Err(message) if success => self.exec_failed(process, &Failure { kind: FailureKind::Internal, message }),
            Err(_) => self.exec_failed(process, &command.failure()),
        }
    }

    fn exec_started(&mut self, process: ProcessRef, pid: i32) {
        // Sent before the command ended: it is in the socket by now.
        self.take_terminal(process);
        let Some(exec) = self.exec_mut(process) else { return };
        exec.running = Some(RunningExec { pid, started_at: now() });
        let tty = exec.process.tty();
        for client in self.clients.iter_mut().filter(|client| client.role == Role::Starting(process)) {
            client.role = Role::Streaming(Subscription { process, stdin: true, stdout: true, stderr: true });
            client.reply(Reply::Streaming { tty });
        }
        // A client that went while the exec was being started has left nobody who could end its input.
        if !self.is_streamed(process) {
            self.client_left_exec(process);
        }
        if let Some(status) = self.claim(pid) {
            self.exec_ended(process, status);
        }
    }

    fn exec_failed(&mut self, process: ProcessRef, failure: &Failure) {
        self.execs.retain(|exec| exec.reference() != process);
        for client in self.clients.iter_mut().filter(|client| client.role == Role::Starting(process)) {
            client.finish(&Frame::Reply(Reply::Failed(failure.clone())));
        }
    }

    /// The process has ended: what it has written is passed on, then its clients are told.
    pub(crate) fn exec_ended(&mut self, process: ProcessRef, status: WaitStatus) {
        let Some(at) = self.execs.iter().position(|exec| exec.reference() == process) else { return };
        let mut exec = self.execs.remove(at);
        let (exit_code, signal) = records::exit_code(status);
        let started_at = exec.running.as_ref().map(|running| running.started_at);
        let record = ExitRecord {
            exit_code,
            signal,
            oom_killed: false,
            started_at,
            finished_at: now(),
            expired: None,
            failure: None,
        };
        let mut last = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            exec.process
                .drain(stream, &mut [0; BUFFER], |data| last.push((stream, output_frame(stream, data.to_vec()))));
        }
        for client in &mut self.clients {
            let Role::Streaming(subscription) = client.role else { continue };
            if subscription.process == process {
                let wanted = last.iter().filter(|(stream, _)| subscription.wants(process, *stream));
                wanted.for_each(|(_, frame)| client.send(frame));
                client.finish(&Frame::Exit(record.clone()));
            }
        }
    }
}

/// What runs, if somebody sits before it. The rest of the process is the container's own, and JSON may say it in another order.
fn interactive(request: &ExecRequest) -> Option<serde_json::Value> {
    let process: serde_json::Value = serde_json::from_str(&request.process).ok()?;
    process.get("args").filter(|_| request.tty && request.stdin).cloned()
}

/// The process with `terminal` as the request has it (the two must agree, or the runtime and we would wait for each other) and with the
/// terminal's first size, so that the program never sees another.
fn with_terminal(process: &str, tty: bool, size: Option<TerminalSize>) -> Result<String, String> {
    let mut process: serde_json::Value =
        serde_json::from_str(process).map_err(|error| format!("the process to run does not parse: {error}"))?;
    let fields = process.as_object_mut().ok_or("the process to run is no JSON object")?;
    fields.insert("terminal".to_owned(), tty.into());
    if let Some(size) = size.filter(|_| tty) {
        fields.insert("consoleSize".to_owned(), serde_json::json!({ "width": size.width, "height": size.height }));
    }
    Ok(process.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_terminal_is_as_the_request_has_it() {
        let check = |process: &str, tty, expected: Result<&str, &str>| {
            let seen = with_terminal(process, tty, Some(TerminalSize { width: 80, height: 24 }));
            assert_eq!(seen.as_deref().map_err(String::as_str), expected);
        };
        check(
            r#"{"args":["sh"],"terminal":false}"#,
            true,
            Ok(r#"{"args":["sh"],"consoleSize":{"height":24,"width":80},"terminal":true}"#),
        );
        check(r#"{"args":["sh"]}"#, false, Ok(r#"{"args":["sh"],"terminal":false}"#));
        check("[]", false, Err("the process to run is no JSON object"));
    }
}
