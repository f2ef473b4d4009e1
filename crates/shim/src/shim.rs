//! The loop: everything that the shim waits for, in one poll(2), and who takes care of it.
//!
//! What it does in answer is in `impl Shim` of the other files: life.rs, exec.rs, requests.rs, attach.rs, streams.rs.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use remora_shim_protocol::{ShimConfig, StartRecord};
use remora_sys::signal::SignalFd;
use remora_sys::{process as processes, socket};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{WaitOptions, WaitStatus, wait};

use crate::client::{BEHIND, Client, Role};
use crate::console::Console;
use crate::exec::Exec;
use crate::life::Life;
use crate::limits::Limits;
use crate::log::Log;
use crate::low_level::{Creator, Running};
use crate::process::{Process, ProcessRef, Stream};
use crate::{Order, TAKEN_BACK};

/// How long, after the container has ended, the shim waits for clients to take what is theirs.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// One read. On the stack, where there is little: the shim is one of hundreds.
pub(crate) const BUFFER: usize = 8 * 1024;
/// Exit statuses of unknown children that are kept while a runtime command runs, whose child they may be.
const UNCLAIMED: usize = 1024;

/// The owner of one container.
pub(crate) struct Shim {
    pub(crate) config: ShimConfig,
    pub(crate) report: Option<File>,
    pub(crate) life: Life,
    /// Kept beyond [`Life::Running`], for the exit record and for those who ask meanwhile.
    pub(crate) started: Option<StartRecord>,
    pub(crate) container: Process,
    /// The container's console socket, until its terminal has come.
    pub(crate) console: Option<Console>,
    pub(crate) log: Option<Log>,
    pub(crate) execs: Vec<Exec>,
    pub(crate) clients: Vec<Client>,
    /// Runtime commands that run.
    pub(crate) commands: Vec<Running>,
    /// None before the container runs, and without any.
    pub(crate) limits: Option<Limits>,
    /// Children that ended before we knew whose they were; a detached exec may be faster than the command that started it.
    unclaimed: Vec<(i32, WaitStatus)>,
    keys: u64,
    signals: SignalFd,
    listener: UnixListener,
}

/// What a descriptor in the poll set is.
#[derive(Clone, Copy, Debug)]
enum Source {
    Signals,
    Listener,
    Client(u64),
    Console(ProcessRef),
    Output(ProcessRef, Stream),
    Input(ProcessRef),
    /// A process that is being killed.
    Dying,
}

impl Shim {
    /// Takes hold of everything that the shim needs for its life, and has the runtime start the container, by a creator that waits if there is one.
    ///
    /// # Errors
    /// One sentence. Nothing is left behind but, maybe, the socket and the log file.
    pub(crate) fn start(order: Order, ahead: Option<Creator>) -> Result<Self, String> {
        let config = order.config.clone();
        // A session of our own; refused only to a process that has one already.
        let _ = rustix::process::setsid();
        // Blocked, not ignored: what is ignored would be inherited by the container.
        let signals = [libc::SIGCHLD, libc::SIGHUP, libc::SIGINT, libc::SIGTERM];
        let signals = SignalFd::block(&signals).map_err(|error| chain(&error))?;
        processes::become_subreaper().map_err(|error| chain(&error))?;
        let log = config.log_path.as_deref().map(|path| Log::open(path, config.log_limit)).transpose();
        let log = log.map_err(|error| format!("cannot open the container's log {:?}: {error}", config.log_path))?;
        let listener = socket::listen(&config.socket).map_err(|error| chain(&error))?;
        listener.set_nonblocking(true).map_err(|error| error.to_string())?;
        let mut shim = Self {
            report: None,
            life: Life::Starting,
            started: None,
            container: Process::of_container(config.stdio.tty, config.replay_bytes),
            console: None,
            log,
            execs: Vec::new(),
            clients: Vec::new(),
            commands: Vec::new(),
            limits: None,
            unclaimed: Vec::new(),
            keys: 0,
            signals,
            listener,
            config,
        };
        // Looked at only now that others can see us.
        let stands = order.stands().then_some(()).ok_or_else(|| TAKEN_BACK.to_owned());
        stands.and_then(|()| shim.start_container(ahead)).inspect_err(|_| shim.remove_socket())?;
        Ok(shim)
    }

    /// Lives until the container has ended and all have been told.
    pub(crate) fn run(mut self, report: Option<File>) -> ExitCode {
        self.report = report;
        let mut deadline = None;
        loop {
            let over = self.life.is_over();
            if over && deadline.is_none() {
                deadline = Some(Instant::now() + LAST_WORDS);
            }
            let idle = self.clients.is_empty() && self.execs.is_empty() && self.commands.is_empty();
            let moment = deadline.or_else(|| self.next_limit());
            let left = moment.map(|moment| moment.saturating_duration_since(Instant::now()));
            // Over and idle: one more look, without waiting, for a client that knocks just now.
            let events = self.wait(if over && idle { Some(Duration::ZERO) } else { left });
            let out_of_time = left.is_some_and(|left| left.is_zero());
            self.keep_limits();
            if over && events.is_empty() && (idle || out_of_time) {
                self.remove_socket();
                return self.life.exit_code();
            }
            for (source, flags) in events {
                self.handle(source, flags);
            }
            self.clients_gone();
        }
    }

    /// A number that was not given out before.
    pub(crate) fn next_key(&mut self) -> u64 {
        self.keys += 1;
        self.keys
    }

    /// The poll set, and what of it is ready. A time limit of none waits for ever.
    fn wait(&self, limit: Option<Duration>) -> Vec<(Source, PollFlags)> {
        let sources = self.sources();
        let mut set: Vec<PollFd<'_>> =
            sources.iter().map(|(_, descriptor, flags)| PollFd::from_borrowed_fd(*descriptor, *flags)).collect();
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        match poll(&mut set, limit.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Vec::new(),
            // Out of kernel memory: nothing else can be wrong with the call. Dying would lose the exit code; trying again may not.
            Err(errno) => crate::note(format_args!("poll failed: {errno}")),
        }
        let ready = set.iter().map(PollFd::revents);
        sources
            .iter()
            .zip(ready)
            .filter(|(_, flags)| !flags.is_empty())
            .map(|(source, flags)| (source.0, flags))
            .collect()
    }

    fn sources(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let mut sources = vec![
            (Source::Signals, self.signals.as_fd(), PollFlags::IN),
            (Source::Listener, self.listener.as_fd(), PollFlags::IN),
        ];
        for client in &self.clients {
            let full = self.input_of(client).is_some_and(Process::input_is_full);
            let mut flags = if full { PollFlags::empty() } else { PollFlags::IN };
            flags.set(PollFlags::OUT, client.behind() > 0);
            if !flags.is_empty() {
                sources.push((Source::Client(client.key), client.as_fd(), flags));
            }
        }
        self.process_sources(ProcessRef::Container, &self.container, self.console.as_ref(), &mut sources);
        for exec in &self.execs {
            self.process_sources(exec.reference(), &exec.process, exec.console.as_ref(), &mut sources);
        }
        sources.extend(self.life.dying().iter().map(|handle| (Source::Dying, handle.as_fd(), PollFlags::IN)));
        sources
    }

    fn process_sources<'a>(
        &self,
        reference: ProcessRef,
        process: &'a Process,
        console: Option<&'a Console>,
        sources: &mut Vec<(Source, BorrowedFd<'a>, PollFlags)>,
    ) {
        sources.extend(console.map(|console| (Source::Console(reference), console.readable(), PollFlags::IN)));
        sources.extend(process.blocked_input().map(|input| (Source::Input(reference), input, PollFlags::OUT)));
        if self.output_must_wait(reference) {
            return;
        }
        for stream in [Stream::Stdout, Stream::Stderr] {
            let output = process.output(stream);
            sources.extend(output.map(|output| (Source::Output(reference, stream), output, PollFlags::IN)));
        }
    }

    /// Before the process is known to run, its output stays in the pipe: if it cannot be started, what the runtime wrote there is not the
    /// container's. An exec's output also waits for a client that is behind; a container's waits for nobody.
    fn output_must_wait(&self, process: ProcessRef) -> bool {
        match process {
            ProcessRef::Container => matches!(self.life, Life::Starting),
            ProcessRef::Exec(_) => {
                let behind = |client: &Client| match client.role {
                    Role::Streaming(subscription) => subscription.process == process && client.behind() > BEHIND,
                    _ => false,
                };
                !self.exec(process).is_some_and(Exec::runs) || self.clients.iter().any(behind)
            }
        }
    }

    fn handle(&mut self, source: Source, flags: PollFlags) {
        match source {
            Source::Signals => self.reap(),
            Source::Listener => self.accept(),
            Source::Client(key) => self.serve(key, flags),
            Source::Console(process) => self.take_terminal(process),
            Source::Output(process, stream) => self.pass_output(process, stream),
            Source::Input(process) => {
                if let Some(process) = self.process_mut(process) {
                    process.flush_input();
                }
            }
            Source::Dying => self.one_died(),
        }
    }

    /// Waits for every child that has ended: the container, execs, runtime commands, and whatever was orphaned below us.
    fn reap(&mut self) {
        match self.signals.take() {
            Ok(signals) => {
                for signal in signals.iter().filter(|signal| **signal != libc::SIGCHLD) {
                    crate::note(format_args!("signal {signal} is of no meaning here: the container decides"));
                }
            }
            Err(error) => crate::note(format_args!("{}", chain(&error))),
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            self.child_ended(pid.as_raw_pid(), status);
        }
    }

    fn child_ended(&mut self, pid: i32, status: WaitStatus) {
        if let Some(at) = self.commands.iter().position(|command| command.pid == pid) {
            let command = self.commands.remove(at);
            self.command_ended(&command, status);
        } else if self.life.pid() == Some(pid) {
            self.container_ended(status);
        } else if let Some(exec) = self.execs.iter().find(|exec| exec.pid() == Some(pid)) {
            self.exec_ended(exec.reference(), status);
        } else if !self.commands.is_empty() {
            self.unclaimed.truncate(UNCLAIMED - 1);
            self.unclaimed.insert(0, (pid, status));
        }
        if self.commands.is_empty() {
            self.unclaimed = Vec::new();
        }
    }

    /// How a child that has just become known has ended, if it has.
    pub(crate) fn claim(&mut self, pid: i32) -> Option<WaitStatus> {
        let at = self.unclaimed.iter().position(|(unclaimed, _)| *unclaimed == pid)?;
        Some(self.unclaimed.remove(at).1)
    }

    fn accept(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            if socket.set_nonblocking(true).is_ok() {
                let key = self.next_key();
                self.clients.push(Client::new(key, socket));
            }
        }
    }

    fn remove_socket(&self) {
        // Gone already, or its folder is.
        let _ = std::fs::remove_file(&self.config.socket);
    }
}

/// An error and its causes in one sentence.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
