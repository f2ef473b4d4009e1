//! What clients ask for, and what they send.

use remora_shim_protocol::{Failure, FailureKind, Frame, Reply, Request};
use remora_sys::cgroup;
use remora_sys::process::PidFd;
use rustix::event::PollFlags;

use crate::client::{Client, Role};
use crate::life::Life;
use crate::process::{Process, ProcessRef};
use crate::shim::{BUFFER, Shim, chain};

impl Shim {
    /// The process that takes a client's input, if it is one that streams.
    pub(crate) fn input_of(&self, client: &Client) -> Option<&Process> {
        match client.role {
            Role::Streaming(subscription) => match subscription.process {
                ProcessRef::Container => Some(&self.container),
                process @ ProcessRef::Exec(_) => self.exec(process).map(|exec| &exec.process),
            },
            _ => None,
        }
    }

    pub(crate) fn client_mut(&mut self, key: u64) -> Option<&mut Client> {
        self.clients.iter_mut().find(|client| client.key == key)
    }

    /// A client's socket is ready.
    pub(crate) fn serve(&mut self, key: u64, flags: PollFlags) {
        let Some(client) = self.client_mut(key) else { return };
        if flags.contains(PollFlags::OUT) {
            client.flush();
        }
        let wants_to_talk = flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
        let frames = if wants_to_talk { client.receive(&mut [0; BUFFER]) } else { Vec::new() };
        for frame in frames {
            self.frame(key, frame);
        }
    }

    fn frame(&mut self, key: u64, frame: Frame) {
        let Some(role) = self.client_mut(key).map(|client| client.role) else { return };
        match (role, frame) {
            (Role::New, Frame::Request(request)) => self.request(key, request),
            (Role::Streaming(subscription), frame) => self.stream_frame(key, subscription, frame),
            // What was sent before the client could know that there is nobody to take it.
            (Role::Starting(_) | Role::Closing, Frame::Stdin(_) | Frame::CloseStdin | Frame::Resize(_)) => {}
            (_, Frame::Hangup) => self.hang_up(key),
            (_, frame) => {
                crate::note(format_args!("a client sent {} where it has no meaning", name(&frame)));
                self.hang_up(key);
            }
        }
    }

    fn hang_up(&mut self, key: u64) {
        if let Some(client) = self.client_mut(key) {
            client.hang_up();
        }
    }

    fn request(&mut self, key: u64, request: Request) {
        let reply = match request {
            Request::State => Ok(Reply::State(self.life.state(self.started.as_ref()))),
            Request::Wait => return self.wait_for_end(key),
            Request::Attach(request) => return self.attach(key, &request),
            Request::Exec(request) if self.take_up(key, &request) => return,
            Request::Exec(request) => match self.start_exec(&request).inspect(|_| self.note_traffic()) {
                Ok(process) => return self.set_role(key, Role::Starting(process)),
                Err(failure) => Err(failure),
            },
            Request::Signal { signal, all } => self.signal(signal, all).map(|()| Reply::Done),
            Request::SignalExec { exec_id, signal } => self.signal_exec(&exec_id, signal).map(|()| Reply::Done),
            Request::ReopenLog => self.reopen_log().map(|()| Reply::Done),
            Request::Shutdown => self.shutdown().map(|()| Reply::Done),
        };
        if let Some(client) = self.client_mut(key) {
            client.finish(&Frame::Reply(reply.unwrap_or_else(Reply::Failed)));
        }
    }

    pub(crate) fn set_role(&mut self, key: u64, role: Role) {
        if let Some(client) = self.client_mut(key) {
            client.role = role;
        }
    }

    fn wait_for_end(&mut self, key: u64) {
        let state = self.life.state(self.started.as_ref());
        let over = self.life.is_over();
        let Some(client) = self.client_mut(key) else { return };
        if over {
            client.finish(&Frame::Reply(Reply::State(state)));
        } else {
            client.role = Role::Waiting;
        }
    }

    fn signal(&self, signal: i32, all: bool) -> Result<(), Failure> {
        let pids = match (self.life.pid(), all) {
            (None, _) => return Ok(()),
            (Some(pid), false) => vec![pid],
            (Some(_), true) => self.processes()?,
        };
        pids.into_iter().try_for_each(|pid| send(pid, signal))
    }

    fn processes(&self) -> Result<Vec<i32>, Failure> {
        let mut pids = Vec::new();
        for folder in &self.config.cgroups.0 {
            pids.extend(cgroup::processes(folder).map_err(|error| internal(&error))?);
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    fn signal_exec(&self, id: &str, signal: i32) -> Result<(), Failure> {
        let exec = self.find(Some(id)).and_then(|process| self.exec(process));
        let exec = exec.ok_or_else(|| Failure { kind: FailureKind::NotFound, message: format!("no exec {id:?}") })?;
        exec.pid().map_or(Ok(()), |pid| send(pid, signal))
    }

    fn reopen_log(&mut self) -> Result<(), Failure> {
        self.log.as_mut().map_or(Ok(()), |log| log.reopen().map_err(|error| internal(&error)))
    }

    /// Once the container has ended the shim ends by itself; this is for the one who wants to know that it may.
    fn shutdown(&mut self) -> Result<(), Failure> {
        if self.life.is_over() {
            return Ok(());
        }
        let message =
            if matches!(self.life, Life::Running(_)) { "the container runs" } else { "the container is ending" };
        Err(Failure { kind: FailureKind::Invalid, message: message.to_owned() })
    }
}

/// To a child of ours that has not been waited for: the pid cannot mean another process.
pub(crate) fn send(pid: i32, signal: i32) -> Result<(), Failure> {
    let handle = PidFd::open(pid).map_err(|error| internal(&error))?;
    handle.map_or(Ok(()), |handle| handle.send_signal(signal).map(drop).map_err(|error| internal(&error)))
}

fn internal(error: &dyn std::error::Error) -> Failure {
    Failure { kind: FailureKind::Internal, message: chain(error) }
}

/// Frames carry users' data, which is nothing for a log.
fn name(frame: &Frame) -> &'static str {
    match frame {
        Frame::Request(_) => "a request",
        Frame::Reply(_) => "a reply",
        Frame::Stdin(_) | Frame::CloseStdin => "input",
        Frame::Resize(_) => "a size",
        Frame::Hangup => "a hangup",
        Frame::Stdout(_) | Frame::Stderr(_) => "output",
        Frame::Exit(_) => "an exit",
    }
}
