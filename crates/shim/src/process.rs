//! A process that the shim owns the streams of: the container's first one, or an exec. Streams, input queue, replay; no policy.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use remora_shim_protocol::TerminalSize;
use rustix::io::Errno;

use crate::replay::Replay;

/// At most so much of one stream is read after its process has ended; see [`Process::drain`].
const DRAIN_LIMIT: usize = 256 * 1024;
/// Input that a process has not taken yet; the client that sends it is not read meanwhile.
const INPUT_QUEUE: usize = 64 * 1024;
/// What a terminal takes for the end of input at the beginning of a line (`VEOF`, Ctrl-D).
const END_OF_TRANSMISSION: u8 = 4;

/// Which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessRef {
    /// The container's first.
    Container,
    /// The n-th exec.
    Exec(u64),
}

/// Which output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output, or all of a terminal's.
    Stdout,
    Stderr,
}

impl Stream {
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Stdout => 0,
            Self::Stderr => 1,
        }
    }
}

/// What reading an output gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// So many bytes.
    Data(usize),
    /// Nothing now.
    Nothing,
    /// Nothing ever again.
    Ended,
}

/// The shim's side of a process's streams.
#[derive(Debug)]
pub(crate) struct Process {
    tty: bool,
    /// The terminal's master, or a pipe's write end; none when it is closed or was never wanted.
    input: Option<OwnedFd>,
    queue: Vec<u8>,
    /// Close the input once the queue is empty.
    closing: bool,
    outputs: [Option<OwnedFd>; 2],
    replays: [Replay; 2],
}

impl Process {
    /// The container's first process, without streams yet.
    pub(crate) fn of_container(tty: bool, replay_bytes: usize) -> Self {
        let first = if tty { Replay::of_terminal(replay_bytes) } else { Replay::of_output(replay_bytes) };
        Self::new(tty, [first, Replay::of_output(replay_bytes)])
    }

    /// An exec, without streams yet. Its client is there from the beginning.
    pub(crate) fn of_exec(tty: bool, replay_bytes: usize) -> Self {
        let first = if tty { Replay::of_attended_terminal() } else { Replay::of_output(replay_bytes) };
        Self::new(tty, [first, Replay::of_output(replay_bytes)])
    }

    fn new(tty: bool, replays: [Replay; 2]) -> Self {
        Self { tty, input: None, queue: Vec::new(), closing: false, outputs: [None, None], replays }
    }

    pub(crate) fn tty(&self) -> bool {
        self.tty
    }

    /// Its pipes' shim ends, already non-blocking.
    pub(crate) fn set_pipes(&mut self, stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd) {
        self.input = stdin;
        self.outputs = [Some(stdout), Some(stderr)];
    }

    /// Its terminal's master.
    pub(crate) fn set_terminal(&mut self, master: OwnedFd) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&master, true)?;
        self.input = Some(master.try_clone()?);
        self.outputs = [Some(master), None];
        Ok(())
    }

    /// Whether it still takes input.
    pub(crate) fn is_open(&self) -> bool {
        self.input.is_some() && !self.closing
    }

    pub(crate) fn resize(&mut self, size: TerminalSize) {
        self.replays[Stream::Stdout.index()].resize(size);
        let size = rustix::termios::Winsize { ws_col: size.width, ws_row: size.height, ws_xpixel: 0, ws_ypixel: 0 };
        if let (true, Some(master)) = (self.tty, &self.outputs[0]) {
            // A terminal whose last user has just gone refuses: then nobody sees the size anyway.
            let _ = rustix::termios::tcsetwinsize(master, size);
        }
    }

    pub(crate) fn output(&self, stream: Stream) -> Option<BorrowedFd<'_>> {
        self.outputs[stream.index()].as_ref().map(AsFd::as_fd)
    }

    /// The input's descriptor while something waits to be written to it.
    pub(crate) fn blocked_input(&self) -> Option<BorrowedFd<'_>> {
        self.input.as_ref().filter(|_| !self.queue.is_empty()).map(AsFd::as_fd)
    }

    /// Reads an output once and keeps it for replay.
    pub(crate) fn read(&mut self, stream: Stream, buffer: &mut [u8]) -> Output {
        let Some(source) = &self.outputs[stream.index()] else { return Output::Ended };
        match rustix::io::read(source, &mut *buffer) {
            Ok(length) if length > 0 => {
                self.replays[stream.index()].push(&buffer[..length]);
                Output::Data(length)
            }
            Err(Errno::AGAIN | Errno::INTR) => Output::Nothing,
            // A terminal whose last user has gone reads as EIO.
            Ok(_) | Err(_) => {
                self.outputs[stream.index()] = None;
                Output::Ended
            }
        }
    }

    /// Reads what an ended process has left, until there is nothing (the kernel gives all that was written before), and hands it to `sink`.
    /// Whatever else holds the stream open, a grandchild in the background for one, is not waited for; one that writes without end is cut
    /// off after [`DRAIN_LIMIT`].
    pub(crate) fn drain(&mut self, stream: Stream, buffer: &mut [u8], mut sink: impl FnMut(&[u8])) {
        let mut total = 0;
        while total < DRAIN_LIMIT {
            match self.read(stream, buffer) {
                Output::Data(length) => sink(&buffer[..length]),
                Output::Nothing | Output::Ended => return,
            }
            total += buffer.len();
        }
    }

    /// What one who attaches now is shown of the past.
    pub(crate) fn replay(&mut self, stream: Stream) -> Vec<u8> {
        self.replays[stream.index()].show()
    }

    /// Queues input and writes what the process takes now. Input for a closed stream is dropped.
    pub(crate) fn write_input(&mut self, data: &[u8]) {
        if self.input.is_some() && !self.closing {
            self.queue.extend_from_slice(data);
            self.flush_input();
        }
    }

    /// Ends the input behind what is queued: a pipe is closed; a terminal is sent its end-of-file character.
    pub(crate) fn end_input(&mut self) {
        if self.tty {
            self.write_input(&[END_OF_TRANSMISSION]);
        } else {
            self.closing = true;
            self.flush_input();
        }
    }

    pub(crate) fn input_is_full(&self) -> bool {
        self.queue.len() >= INPUT_QUEUE
    }

    pub(crate) fn flush_input(&mut self) {
        while let Some(input) = self.input.as_ref().filter(|_| !self.queue.is_empty()) {
            match rustix::io::write(input, &self.queue) {
                Ok(length) => drop(self.queue.drain(..length)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.close_input(),
            }
        }
        self.queue = Vec::new();
        if self.closing {
            self.close_input();
        }
    }

    fn close_input(&mut self) {
        self.input = None;
        self.queue = Vec::new();
    }

    /// Closes everything: a terminal's processes get SIGHUP.
    pub(crate) fn hang_up(&mut self) {
        self.close_input();
        self.outputs = [None, None];
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn with_pipes() -> (Process, io::PipeReader, io::PipeWriter) {
        let (stdin, shim_stdin) = io::pipe().unwrap();
        let (shim_stdout, stdout) = io::pipe().unwrap();
        let (shim_stderr, _) = io::pipe().unwrap();
        for end in [shim_stdin.as_fd(), shim_stdout.as_fd(), shim_stderr.as_fd()] {
            rustix::io::ioctl_fionbio(end, true).unwrap();
        }
        let mut process = Process::of_container(false, 100);
        process.set_pipes(Some(shim_stdin.into()), shim_stdout.into(), shim_stderr.into());
        (process, stdin, stdout)
    }

    #[test]
    fn input_that_is_not_taken_waits_and_the_end_waits_behind_it() {
        let (mut process, mut stdin, _stdout) = with_pipes();
        let data = vec![b'x'; 200_000];
        process.write_input(&data);
        assert!(process.input_is_full());
        process.end_input();
        process.write_input(b"after the end");
        let mut seen = Vec::new();
        let mut piece = vec![0; 50_000];
        loop {
            process.flush_input();
            match stdin.read(&mut piece).unwrap() {
                0 => break,
                length => seen.extend_from_slice(&piece[..length]),
            }
        }
        assert_eq!(seen, data);
    }

    #[test]
    fn draining_takes_what_is_there_and_waits_for_nobody() {
        let (mut process, _stdin, mut stdout) = with_pipes();
        let mut buffer = [0; 8];
        stdout.write_all(b"all of what is left").unwrap();
        let mut seen = Vec::new();
        process.drain(Stream::Stdout, &mut buffer, |data| seen.extend_from_slice(data));
        assert_eq!(seen, b"all of what is left");
        assert_eq!(process.replay(Stream::Stdout), seen);
        drop(stdout);
        assert_eq!(process.read(Stream::Stdout, &mut buffer), Output::Ended);
        assert!(process.output(Stream::Stdout).is_none());
        assert_eq!(process.read(Stream::Stderr, &mut buffer), Output::Ended);
    }
}
