//! One connection to the shim's socket: bytes in, frames out; and what it is for.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use remora_shim_protocol::{Decoder, Frame, Reply, encode};

use crate::process::{ProcessRef, Stream};

/// A client that is this many bytes behind is in the way: an exec's output waits for it, a container's does not.
pub(crate) const BEHIND: usize = 256 * 1024;
/// A client that is this many bytes behind is dropped. It may attach again and gets the replay.
pub(crate) const TOO_FAR_BEHIND: usize = 1024 * 1024;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Its request has not come yet.
    New,
    /// It is told when the container has ended.
    Waiting,
    /// It has asked for an exec, which is being started.
    Starting(ProcessRef),
    /// It shares the streams of a process.
    Streaming(Subscription),
    /// It gets what is queued, then the end.
    Closing,
}

/// See [`Role::Streaming`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) process: ProcessRef,
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

impl Subscription {
    pub(crate) fn wants(&self, process: ProcessRef, stream: Stream) -> bool {
        let stream = match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        };
        self.process == process && stream
    }
}

/// A connection. Once [`Client::gone`] it is to be forgotten.
#[derive(Debug)]
pub(crate) struct Client {
    /// Never used twice.
    pub(crate) key: u64,
    pub(crate) role: Role,
    socket: UnixStream,
    decoder: Decoder,
    queue: Vec<u8>,
    gone: bool,
}

impl Client {
    /// The socket must be non-blocking.
    pub(crate) fn new(key: u64, socket: UnixStream) -> Self {
        Self { key, role: Role::New, socket, decoder: Decoder::default(), queue: Vec::new(), gone: false }
    }

    /// Reads what has come and gives the whole frames of it. At the end of the stream, or at bytes that are no frames, the client is gone.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Vec<Frame> {
        match self.socket.read(buffer) {
            Ok(0) => self.gone = true,
            Ok(length) => self.decoder.push(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.gone = true,
        }
        let mut frames = Vec::new();
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return frames,
                Err(error) => {
                    crate::note(format_args!("a client sent what is no frame: {error}"));
                    self.gone = true;
                    return frames;
                }
            }
        }
    }

    pub(crate) fn send(&mut self, frame: &Frame) {
        encode(frame, &mut self.queue);
        self.flush();
    }

    /// Sends bytes that are whole frames already.
    pub(crate) fn send_encoded(&mut self, frames: &[u8]) {
        self.queue.extend_from_slice(frames);
        self.flush();
    }

    pub(crate) fn reply(&mut self, reply: Reply) {
        self.send(&Frame::Reply(reply));
    }

    /// The last word: the connection closes once it is sent.
    pub(crate) fn finish(&mut self, last: &Frame) {
        self.role = Role::Closing;
        self.send(last);
    }

    /// Writes what the socket takes now.
    pub(crate) fn flush(&mut self) {
        while !self.queue.is_empty() && !self.gone {
            match self.socket.write(&self.queue) {
                Ok(length) => drop(self.queue.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.gone = true,
            }
        }
        if self.queue.is_empty() {
            // Bursts are rare: give their memory back.
            self.queue = Vec::new();
            self.gone |= self.role == Role::Closing;
        }
        self.gone |= self.behind() > TOO_FAR_BEHIND;
    }

    /// Bytes that wait to be sent.
    pub(crate) fn behind(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn gone(&self) -> bool {
        self.gone
    }

    pub(crate) fn hang_up(&mut self) {
        self.gone = true;
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
