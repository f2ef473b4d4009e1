//! Clients that share a process's streams: how they come, what they send, and what their leaving means.
//!
//! | a client … | its process |
//! |---|---|
//! | closes input (`CloseStdin`) | an exec: the pipe closes, a terminal gets Ctrl-D. The container: the same with `stdin_once`, else nothing: others may come |
//! | leaves for good (`Hangup`) | an exec: its terminal hangs up, its input pipe closes. The container: input closes with `stdin_once` if it was a pipe |
//! | just vanishes (the daemon died) | goes on; whoever attaches next gets the replay and takes over. An exec with a terminal: also whoever asks for the very same exec |

use remora_shim_protocol::{AttachRequest, Failure, FailureKind, Frame, Reply};

use crate::client::{Role, Subscription};
use crate::life::Life;
use crate::process::{ProcessRef, Stream};
use crate::shim::Shim;
use crate::streams::output_frame;

impl Shim {
    /// Lets a client join: what was kept first, then what comes. A container that has ended still gives its last words.
    pub(crate) fn attach(&mut self, key: u64, request: &AttachRequest) {
        let Some(process) = self.find(request.exec_id.as_deref()) else {
            let message = format!("no exec {:?}", request.exec_id.as_deref().unwrap_or_default());
            let failure = Failure { kind: FailureKind::NotFound, message };
            return self.client_mut(key).map_or((), |client| client.finish(&Frame::Reply(Reply::Failed(failure))));
        };
        let AttachRequest { stdin, stdout, stderr, .. } = *request;
        let subscription = Subscription { process, stdin, stdout, stderr };
        let Some(source) = self.process_mut(process) else { return };
        let tty = source.tty();
        let wanted = [Stream::Stdout, Stream::Stderr].into_iter().filter(|stream| subscription.wants(process, *stream));
        let kept: Vec<(Stream, Vec<u8>)> = wanted.map(|stream| (stream, source.replay(stream))).collect();
        self.note_traffic();
        let ended = match (&self.life, process) {
            (Life::Ended(record), ProcessRef::Container) => Some(record.clone()),
            _ => None,
        };
        let Some(client) = self.client_mut(key) else { return };
        client.role = Role::Streaming(subscription);
        client.reply(Reply::Streaming { tty });
        for (stream, data) in kept.into_iter().filter(|(_, data)| !data.is_empty()) {
            client.send(&output_frame(stream, data));
        }
        if let Some(record) = ended {
            client.finish(&Frame::Exit(record));
        }
    }

    /// A frame of a client that streams.
    pub(crate) fn stream_frame(&mut self, key: u64, subscription: Subscription, frame: Frame) {
        let stays_open = subscription.process == ProcessRef::Container && !self.config.stdio.stdin_once;
        self.note_traffic();
        let Some(process) = self.process_mut(subscription.process) else { return };
        match frame {
            Frame::Stdin(data) if subscription.stdin => process.write_input(&data),
            Frame::CloseStdin if subscription.stdin && !stays_open => process.end_input(),
            Frame::Resize(size) => process.resize(size),
            Frame::Hangup => self.client_left(key, subscription),
            // Input of one who did not ask to give any.
            _ => {}
        }
    }

    fn client_left(&mut self, key: u64, subscription: Subscription) {
        if let Some(client) = self.client_mut(key) {
            client.hang_up();
        }
        let process = subscription.process;
        match process {
            ProcessRef::Container => {
                if subscription.stdin && self.config.stdio.stdin_once && !self.container.tty() {
                    self.container.end_input();
                }
            }
            // Somebody who has attached to it as well keeps it.
            ProcessRef::Exec(_) if self.others_stream(key, process) => {}
            ProcessRef::Exec(_) => self.client_left_exec(process),
        }
    }

    fn others_stream(&self, key: u64, process: ProcessRef) -> bool {
        self.clients.iter().any(|client| {
            client.key != key && matches!(client.role, Role::Streaming(subscription) if subscription.process == process)
        })
    }

    /// The last client of an exec is gone for good.
    pub(crate) fn client_left_exec(&mut self, process: ProcessRef) {
        let Some(exec) = self.exec_mut(process) else { return };
        if exec.process.tty() {
            exec.process.hang_up();
        } else {
            exec.process.end_input();
        }
    }

    /// Forgets the clients that are gone.
    pub(crate) fn clients_gone(&mut self) {
        self.clients.retain(|client| !client.gone());
    }
}
