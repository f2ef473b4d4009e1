//! Output on its way from a process to the log, the replay and the clients; and how pipes and terminals come to be.

use std::io;
use std::os::fd::OwnedFd;

use remora_shim_protocol::{Frame, encode};
use remora_sys::user_namespace::IdMap;
use rustix::fs::{Gid, Uid};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::client::{Client, Role};
use crate::low_level::{Streams, null};
use crate::note;
use crate::process::{Output, Process, ProcessRef, Stream};
use crate::shim::{BUFFER, Shim};

/// The pipes of a process without a terminal: both ends of each.
pub(crate) struct Pipes {
    /// None: `/dev/null`.
    stdin: Option<(OwnedFd, OwnedFd)>,
    stdout: (OwnedFd, OwnedFd),
    stderr: (OwnedFd, OwnedFd),
}

impl Pipes {
    /// Makes pipes that belong to the process's user, so that it may open `/dev/stdout` and the like again.
    pub(crate) fn new(stdin: bool, owner: u32) -> io::Result<Self> {
        let pipes = Self { stdin: stdin.then(|| pipe(owner)).transpose()?, stdout: pipe(owner)?, stderr: pipe(owner)? };
        // Only our ends: the flag belongs to the end's open file, which the two ends do not share.
        for ours in pipes.stdin.iter().map(|stdin| &stdin.1).chain([&pipes.stdout.0, &pipes.stderr.0]) {
            rustix::io::ioctl_fionbio(ours, true)?;
        }
        Ok(pipes)
    }

    /// The shim's ends go to `process`; the others are for the runtime command.
    pub(crate) fn give_to(self, process: &mut Process) -> io::Result<Streams> {
        let (stdin, input) = match self.stdin {
            Some((reader, writer)) => (reader, Some(writer)),
            None => (null()?, None),
        };
        process.set_pipes(input, self.stdout.0, self.stderr.0);
        Ok(Streams { stdin, stdout: self.stdout.1, stderr: self.stderr.1 })
    }
}

fn pipe(owner: u32) -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fchown(&reader, Some(Uid::from_raw(owner)), None::<Gid>)?;
    Ok((reader, writer))
}

/// A number in a JSON document, such as the process's user; 0, root, if it is not there.
pub(crate) fn user_of(json: &[u8], pointer: &str) -> u32 {
    let document: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
    let uid = document.pointer(pointer).and_then(serde_json::Value::as_u64);
    uid.and_then(|uid| u32::try_from(uid).ok()).unwrap_or(0)
}

/// Who a container's user is on the host: another one, if its spec maps ids.
pub(crate) fn host_user(spec: &[u8], user: u32) -> u32 {
    let document: serde_json::Value = serde_json::from_slice(spec).unwrap_or_default();
    let mappings = document.pointer("/linux/uidMappings").and_then(serde_json::Value::as_array);
    let mapped = mappings.into_iter().flatten().find_map(|mapping| {
        let number = |name| u32::try_from(mapping[name].as_u64()?).ok();
        let map = IdMap { inside: number("containerID")?, outside: number("hostID")?, length: number("size")? };
        map.to_outside(user)
    });
    mapped.unwrap_or(user)
}

impl Shim {
    pub(crate) fn process_mut(&mut self, process: ProcessRef) -> Option<&mut Process> {
        match process {
            ProcessRef::Container => Some(&mut self.container),
            ProcessRef::Exec(_) => self.exec_mut(process).map(|exec| &mut exec.process),
        }
    }

    /// Takes the terminal's master if it has come.
    pub(crate) fn take_terminal(&mut self, process: ProcessRef) {
        let (console, size) = match process {
            ProcessRef::Container => (&mut self.console, None),
            ProcessRef::Exec(_) => match self.execs.iter_mut().find(|exec| exec.reference() == process) {
                Some(exec) => (&mut exec.console, exec.size),
                None => return,
            },
        };
        let Some(received) = console.as_mut().map(|console| console.receive()) else { return };
        let result = match received {
            Ok(None) => return,
            Ok(Some(master)) => self.process_mut(process).map_or(Ok(()), |process| process.set_terminal(master)),
            Err(error) => Err(error),
        };
        match (result, self.process_mut(process), size) {
            (Ok(()), Some(process), Some(size)) => process.resize(size),
            (Err(error), ..) => note(format_args!("the runtime sent no terminal: {error}")),
            _ => {}
        }
        match process {
            ProcessRef::Container => self.console = None,
            ProcessRef::Exec(_) => self.exec_mut(process).map_or((), |exec| exec.console = None),
        }
    }

    /// Reads an output once and passes it on.
    pub(crate) fn pass_output(&mut self, process: ProcessRef, stream: Stream) {
        self.pass_output_once(process, stream, &mut [0; BUFFER]);
    }

    /// Whether there was any.
    pub(crate) fn pass_output_once(&mut self, process: ProcessRef, stream: Stream, buffer: &mut [u8]) -> bool {
        let Some(source) = self.process_mut(process) else { return false };
        let Output::Data(length) = source.read(stream, buffer) else { return false };
        let data = &buffer[..length];
        if let (ProcessRef::Container, Some(log)) = (process, &mut self.log) {
            log.write(stream, data);
        }
        let mut clients = subscribers(&mut self.clients, process, stream).peekable();
        if clients.peek().is_some() {
            let mut frame = Vec::new();
            encode(&output_frame(stream, data.to_vec()), &mut frame);
            clients.for_each(|client| client.send_encoded(&frame));
            self.note_traffic();
        }
        true
    }
}

fn subscribers(clients: &mut [Client], process: ProcessRef, stream: Stream) -> impl Iterator<Item = &mut Client> {
    clients.iter_mut().filter(move |client| match client.role {
        Role::Streaming(subscription) => subscription.wants(process, stream),
        _ => false,
    })
}

pub(crate) fn output_frame(stream: Stream, data: Vec<u8>) -> Frame {
    match stream {
        Stream::Stdout => Frame::Stdout(data),
        Stream::Stderr => Frame::Stderr(data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_a_process_is_found_or_root() {
        let check =
            |json: &str, expected| assert_eq!(user_of(json.as_bytes(), "/process/user/uid"), expected, "{json}");
        check(r#"{"process":{"user":{"uid":65532,"gid":1}}}"#, 65532);
        check(r#"{"process":{}}"#, 0);
        check(r#"{"process":{"user":{"uid":-1}}}"#, 0);
        check("no json", 0);
    }

    #[test]
    fn a_user_is_another_on_the_host_where_ids_are_mapped() {
        let check = |json: &str, user, expected| assert_eq!(host_user(json.as_bytes(), user), expected, "{json}");
        let mapped = r#"{"linux":{"uidMappings":[{"containerID":0,"hostID":65536,"size":65536}]}}"#;
        check(mapped, 0, 65536);
        check(mapped, 33, 65569);
        check(mapped, 65536, 65536);
        check(r#"{"linux":{}}"#, 33, 33);
        check(r#"{"linux":{"uidMappings":[{"containerID":0,"hostID":4294967295,"size":9}]}}"#, 8, 8);
        check("no json", 7, 7);
    }
}
