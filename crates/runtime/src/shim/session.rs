//! A client's streams carried to a shim and back, until one side ends.
//!
//! Up (standard input, sizes) and down (output) are two futures of one task, so that a client that does not read its output can
//! still be seen to leave, and a process that does not read its input can still write.

use std::io;

use remora_shim_protocol::{Frame, TerminalSize, encode};
use remora_streaming::{Reader, SessionEnd, Stdio, Writer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{mpsc, oneshot};

use crate::Error;
use crate::shim::Connection;
use crate::shim::connection::FrameReader;

const CHUNK: usize = 32 << 10;

/// Why a session ended.
enum End {
    /// The shim said so.
    Process(SessionEnd),
    /// The client closed or broke a stream, or dropped the whole session.
    Client,
}

/// Carries streams until the process ends or the client leaves; then the shim is told that the client is gone for good.
///
/// `gone` resolves when nobody waits for the session any more.
///
/// # Errors
/// The connection to the shim broke.
pub(crate) async fn relay(
    connection: Connection,
    stdio: Stdio,
    gone: oneshot::Receiver<()>,
) -> Result<SessionEnd, Error> {
    let Connection { mut frames, writer } = connection;
    let Stdio { stdin, stdout, stderr, resize } = stdio;
    let mut up = Up { writer, pending: Vec::new(), sent: 0 };
    let end = tokio::select! {
        // Cancel-safe: each arm ends the session; what `up` has half sent it remembers.
        end = down(&mut frames, stdout, stderr) => end?,
        () = up.carry(stdin, resize) => End::Client,
        _ = gone => End::Client,
    };
    match end {
        End::Process(end) => Ok(end),
        End::Client => {
            // The shim may have ended meanwhile: then there is nobody to tell.
            let _ = up.send(&Frame::Hangup).await;
            Ok(SessionEnd::Detached)
        }
    }
}

async fn down(frames: &mut FrameReader, stdout: Option<Writer>, stderr: Option<Writer>) -> Result<End, Error> {
    let (mut stdout, mut stderr) = (stdout, stderr);
    loop {
        let written = match frames.next().await? {
            Some(Frame::Stdout(data)) => put(&mut stdout, &data).await,
            Some(Frame::Stderr(data)) => put(&mut stderr, &data).await,
            Some(Frame::Exit(record)) => {
                // The client may have gone just now; the exit code is the answer all the same.
                let _ = close(&mut stdout).await;
                let _ = close(&mut stderr).await;
                return Ok(End::Process(SessionEnd::Exited(record.exit_code)));
            }
            // The shim ends sessions whose client asked for nothing more, or was replaced.
            None => return Ok(End::Process(SessionEnd::Detached)),
            Some(_) => continue,
        };
        if written.is_err() {
            return Ok(End::Client);
        }
    }
}

async fn put(writer: &mut Option<Writer>, data: &[u8]) -> io::Result<()> {
    let Some(writer) = writer else { return Ok(()) };
    writer.write_all(data).await?;
    writer.flush().await
}

async fn close(writer: &mut Option<Writer>) -> io::Result<()> {
    match writer {
        Some(writer) => writer.shutdown().await,
        None => Ok(()),
    }
}

/// The way to the shim. Bytes of a frame that were not sent yet are remembered, so that being cancelled never cuts a frame.
struct Up {
    writer: OwnedWriteHalf,
    pending: Vec<u8>,
    sent: usize,
}

impl Up {
    /// Ends only when the client or the shim is gone.
    async fn carry(&mut self, mut stdin: Option<Reader>, mut resize: Option<mpsc::Receiver<TerminalSizeOfClient>>) {
        let mut buffer = vec![0; CHUNK];
        loop {
            let frame = tokio::select! {
                // Sizes first: what is typed is read by a program that knows how large its terminal is.
                // Both arms are cancel-safe: a read that is dropped has taken nothing.
                biased;
                size = next_size(&mut resize) => match size {
                    Some(size) => Frame::Resize(TerminalSize { width: size.width, height: size.height }),
                    None => { resize = None; continue }
                },
                read = read(&mut stdin, &mut buffer) => match read {
                    Ok(0) => {
                        stdin = None;
                        Frame::CloseStdin
                    }
                    Ok(length) => Frame::Stdin(buffer[..length].to_vec()),
                    Err(_) => return,
                },
            };
            if self.send(&frame).await.is_err() {
                // The shim is gone or stopped listening; its side of the connection says how it ended.
                return std::future::pending().await;
            }
        }
    }

    async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.flush().await?;
        encode(frame, &mut self.pending);
        self.flush().await
    }

    async fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.pending.len() {
            self.sent += self.writer.write(&self.pending[self.sent..]).await?;
        }
        self.pending.clear();
        self.sent = 0;
        Ok(())
    }
}

type TerminalSizeOfClient = remora_streaming::TerminalSize;

/// Without a stream there is nothing to wait for.
async fn read(stdin: &mut Option<Reader>, buffer: &mut [u8]) -> io::Result<usize> {
    match stdin {
        Some(stdin) => stdin.read(buffer).await,
        None => std::future::pending().await,
    }
}

async fn next_size(resize: &mut Option<mpsc::Receiver<TerminalSizeOfClient>>) -> Option<TerminalSizeOfClient> {
    match resize {
        Some(resize) => resize.recv().await,
        None => std::future::pending().await,
    }
}

/// The whole output of a command.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) exit_code: i32,
}

/// Reads a command's output until it ends. What is above `limit` bytes of a stream is dropped, as CRI asks of ExecSync.
///
/// # Errors
/// The connection broke before the command ended.
pub(crate) async fn collect(connection: &mut Connection, limit: usize) -> Result<Collected, Error> {
    let mut collected = Collected::default();
    loop {
        match connection.frames.next().await? {
            Some(Frame::Stdout(data)) => append(&mut collected.stdout, &data, limit),
            Some(Frame::Stderr(data)) => append(&mut collected.stderr, &data, limit),
            Some(Frame::Exit(record)) => {
                collected.exit_code = record.exit_code;
                return Ok(collected);
            }
            Some(_) => {}
            None => return Err(Error::Connection(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

fn append(to: &mut Vec<u8>, data: &[u8], limit: usize) {
    let room = limit.saturating_sub(to.len()).min(data.len());
    to.extend_from_slice(&data[..room]);
}
