//! The container's life, from the runtime's `run` to the exit record.
//!
//! **Invariant:** the record of an exit is on disk before any client hears of it; a failed start is reported only after all of it is gone.

use std::fs;
use std::process::ExitCode;
use std::time::Instant;

use remora_shim_protocol::{ExitRecord, Failure, FailureKind, Frame, ProcessState, Reply, Report, StartRecord};
use remora_sys::cgroup;
use remora_sys::process::{PidFd, children, start_time};
use rustix::process::WaitStatus;

use crate::client::Role;
use crate::console::Console;
use crate::limits::Limits;
use crate::low_level::{self, Creator, Purpose, Running, Streams};
use crate::process::{ProcessRef, Stream};
use crate::shim::{BUFFER, Shim, chain};
use crate::streams::{Pipes, host_user, user_of};
use crate::timestamp::now;
use crate::{note, records};

/// Where the container is in its life.
#[derive(Debug)]
pub(crate) enum Life {
    /// The runtime's `run` runs.
    Starting,
    Running(StartRecord),
    /// The first process has ended, or could not be started: what is left in the cgroup is being killed.
    Killing {
        outcome: Outcome,
        dying: Vec<PidFd>,
    },
    /// The runtime forgets it.
    Deleting(Outcome),
    /// The record is on disk.
    Ended(ExitRecord),
    /// It never ran, and nothing is left of it.
    Failed,
}

/// How it came to an end.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Exited(ExitRecord),
    NotStarted(Failure),
}

impl Life {
    /// The first process, while it is ours to wait for.
    pub(crate) fn pid(&self) -> Option<i32> {
        match self {
            Self::Running(record) => Some(record.pid),
            _ => None,
        }
    }

    pub(crate) fn dying(&self) -> &[PidFd] {
        match self {
            Self::Killing { dying, .. } => dying,
            _ => &[],
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Ended(_) | Self::Failed)
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        if matches!(self, Self::Failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    /// For those who ask. While the end is being made, the container counts as running: there is no record yet.
    pub(crate) fn state(&self, started: Option<&StartRecord>) -> ProcessState {
        match (self, started) {
            (Self::Ended(record), _) => ProcessState::Exited(record.clone()),
            (Self::Running(record), _) | (_, Some(record)) => ProcessState::Running(record.clone()),
            _ => ProcessState::Creating,
        }
    }
}

/// A runtime that was killed at work leaves its helpers, which need not be in the cgroup yet: they are ours now. Nothing else is, as long as
/// there is no container.
fn kill_children() -> Vec<PidFd> {
    const KILL: i32 = 9;
    let children = children().unwrap_or_default().into_iter();
    let handles = children.filter_map(|pid| PidFd::open(pid).ok().flatten()).filter(|handle| !handle.has_ended());
    handles.filter(|handle| handle.send_signal(KILL).is_ok()).collect()
}

impl Shim {
    /// Prepares the streams and has the runtime start the container.
    pub(crate) fn start_container(&mut self, ahead: Option<Creator>) -> Result<(), String> {
        let running =
            if self.config.stdio.tty { self.start_with_terminal(ahead) } else { self.start_with_pipes(ahead) };
        self.commands.push(running?);
        Ok(())
    }

    fn start_with_terminal(&mut self, ahead: Option<Creator>) -> Result<Running, String> {
        let console = Console::listen(self.config.bundle.join("console.sock")).map_err(|error| chain(&error))?;
        let path = console.short_path();
        self.console = Some(console);
        let streams = Streams::null().map_err(|error| error.to_string())?;
        low_level::run(&self.config, Some(&path), streams, ahead).map_err(|error| self.no_runtime(&error))
    }

    fn start_with_pipes(&mut self, ahead: Option<Creator>) -> Result<Running, String> {
        let spec = fs::read(self.config.bundle.join("config.json")).unwrap_or_default();
        let owner = host_user(&spec, user_of(&spec, "/process/user/uid"));
        let pipes = Pipes::new(self.config.stdio.stdin, owner).and_then(|pipes| pipes.give_to(&mut self.container));
        let streams = pipes.map_err(|error| format!("cannot make pipes: {error}"))?;
        low_level::run(&self.config, None, streams, ahead).map_err(|error| self.no_runtime(&error))
    }

    pub(crate) fn no_runtime(&self, error: &std::io::Error) -> String {
        format!("cannot run the OCI runtime {}: {error}", self.config.runtime.path.display())
    }

    /// A runtime command has ended.
    pub(crate) fn command_ended(&mut self, command: &Running, status: WaitStatus) {
        let success = status.exit_status() == Some(0);
        match command.purpose {
            Purpose::Start if success => self.container_started(command),
            Purpose::Start => self.not_started(command.failure()),
            Purpose::Exec(number) => self.exec_command_ended(ProcessRef::Exec(number), command, success),
            // Killed at work, it has left something; nobody else will come to remove that.
            Purpose::Delete if status.terminating_signal().is_some() => self.run_delete(),
            Purpose::Delete => {
                if !success {
                    note(format_args!("{}", command.failure().message));
                }
                self.deleted();
            }
        }
    }

    fn container_started(&mut self, command: &Running) {
        // The terminal has been sent before the command ended: it is in the socket by now.
        self.take_terminal(ProcessRef::Container);
        let record =
            command.started_pid().map_err(|error| error.to_string()).and_then(|pid| self.write_start_record(pid));
        let record = match record {
            Ok(record) => record,
            Err(message) => return self.not_started(Failure { kind: FailureKind::Internal, message }),
        };
        let pid = record.pid;
        self.limits = self.config.limits.map(|limits| Limits::new(limits, Instant::now()));
        records::report(&mut self.report, &Report::Started(record.clone()));
        self.started = Some(record.clone());
        self.life = Life::Running(record);
        if let Some(status) = self.claim(pid) {
            self.container_ended(status);
        }
    }

    fn write_start_record(&self, pid: i32) -> Result<StartRecord, String> {
        // A container that has ended already is a zombie that we may have waited for: then its start time is of no use to anybody.
        let pid_start_time = start_time(pid).unwrap_or(0);
        let shim_pid = i32::try_from(std::process::id()).unwrap_or_default();
        let record = StartRecord { pid, pid_start_time, shim_pid, started_at: now() };
        records::write_start(&self.config, &record).map_err(|error| chain(&error))?;
        Ok(record)
    }

    fn not_started(&mut self, failure: Failure) {
        self.container.hang_up();
        self.console = None;
        self.kill_what_is_left(Outcome::NotStarted(failure));
    }

    /// The first process has ended. Its finish time is now; the rest is cleaning up.
    pub(crate) fn container_ended(&mut self, status: WaitStatus) {
        let (exit_code, signal) = records::exit_code(status);
        let started_at = self.started.as_ref().map(|record| record.started_at);
        let expired = self.limits.as_ref().and_then(Limits::expired);
        let finished_at = now();
        let record =
            ExitRecord { exit_code, signal, oom_killed: false, started_at, finished_at, expired, failure: None };
        self.kill_what_is_left(Outcome::Exited(record));
    }

    /// One round: what is there is killed, and when the last of it has died the next round looks again, until there is nothing.
    fn kill_what_is_left(&mut self, outcome: Outcome) {
        let mut dying = cgroup::kill_round(&self.config.cgroups.0).unwrap_or_else(|error| {
            note(format_args!("what is left of the container cannot be killed: {}", chain(&error)));
            Vec::new()
        });
        if let Outcome::NotStarted(_) = outcome {
            dying.extend(kill_children());
        }
        let nothing_left = dying.is_empty();
        self.life = Life::Killing { outcome, dying };
        if nothing_left {
            self.delete();
        }
    }

    pub(crate) fn one_died(&mut self) {
        let Life::Killing { outcome, dying } = &mut self.life else { return };
        dying.retain(|handle| !handle.has_ended());
        if dying.is_empty() {
            let outcome = outcome.clone();
            self.kill_what_is_left(outcome);
        }
    }

    /// Nothing of the container runs any more: all that it wrote is in the pipes. Takes it, then lets the runtime forget the container.
    fn delete(&mut self) {
        let Life::Killing { outcome, .. } = &mut self.life else { return };
        let mut outcome = outcome.clone();
        if let Outcome::Exited(record) = &mut outcome {
            // Before the cgroup goes: the counter goes with it.
            record.oom_killed = cgroup::oom_kills(&self.config.cgroups.0) > cgroup::OomCount(0);
            self.drain_container();
        }
        self.life = Life::Deleting(outcome);
        self.remove_cgroups();
        self.run_delete();
    }

    fn run_delete(&mut self) {
        match low_level::delete(&self.config) {
            Ok(command) => self.commands.push(command),
            Err(error) => {
                note(format_args!("{}", self.no_runtime(&error)));
                self.deleted();
            }
        }
    }

    fn drain_container(&mut self) {
        let mut buffer = [0; BUFFER];
        for stream in [Stream::Stdout, Stream::Stderr] {
            // In steps of what one read gives: the log and the clients are told as usual.
            while self.pass_output_once(ProcessRef::Container, stream, &mut buffer) {}
        }
        if let Some(log) = &mut self.log {
            log.finish();
        }
    }

    /// The runtime has forgotten it: now it is on record.
    fn deleted(&mut self) {
        let Life::Deleting(outcome) = &self.life else { return };
        match outcome.clone() {
            Outcome::Exited(record) => self.ended(record),
            Outcome::NotStarted(failure) => self.failed(failure),
        }
    }

    /// The runtime would too, but some wait and try again where the kernel needs a moment. One that is left would keep the pod's cgroup from
    /// being removed.
    fn remove_cgroups(&self) {
        for folder in &self.config.cgroups.0 {
            if let Err(error) = cgroup::remove_folder(folder) {
                note(format_args!("a cgroup is left behind: {}", chain(&error)));
            }
        }
    }

    /// On record first: with nobody there to take the report, the next daemon must not take the container for one that was never tried.
    fn failed(&mut self, failure: Failure) {
        let failed = records::failed_start(&failure);
        if let Err(error) = records::write_exit(&self.config, &failed) {
            note(format_args!("the failed start cannot be written down: {}", chain(&error)));
        }
        records::report(&mut self.report, &Report::Failed(failure));
        self.life = Life::Failed;
        self.clients.clear();
    }

    fn ended(&mut self, record: ExitRecord) {
        if let Err(error) = records::write_exit(&self.config, &record) {
            // The clients are told all the same: of all that knows the exit code, only they are left.
            note(format_args!("the exit record cannot be written: {}", chain(&error)));
        }
        self.container.hang_up();
        for client in &mut self.clients {
            match client.role {
                Role::Waiting => client.finish(&Frame::Reply(Reply::State(ProcessState::Exited(record.clone())))),
                Role::Streaming(subscription) if subscription.process == ProcessRef::Container => {
                    client.finish(&Frame::Exit(record.clone()));
                }
                _ => {}
            }
        }
        self.life = Life::Ended(record);
    }
}
