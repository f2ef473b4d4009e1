//! Frames on a shim's socket: encoding, and a decoder that takes bytes as they come.

use crate::{ExitRecord, Reply, Request, TerminalSize};

/// The largest control payload, in bytes: an exec's process with a very large environment fits.
pub const MAX_CONTROL: usize = 4 << 20;
/// The largest data payload, in bytes. Senders split what is larger.
pub const MAX_DATA: usize = 64 << 10;

const HEADER: usize = 5;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// First frame, runtime → shim.
    Request(Request),
    /// Its answer, shim → runtime.
    Reply(Reply),
    /// Standard input, runtime → shim.
    Stdin(Vec<u8>),
    /// No more standard input, runtime → shim: the pipe is closed; a terminal is sent its end-of-file character.
    CloseStdin,
    /// The terminal's new size, runtime → shim.
    Resize(TerminalSize),
    /// The client is gone for good (as opposed to a crash of the daemon, which only closes the connection), runtime → shim:
    /// an exec's terminal hangs up; an attached client is forgotten.
    Hangup,
    /// Standard output or a terminal's output, shim → runtime.
    Stdout(Vec<u8>),
    /// Standard error, shim → runtime.
    Stderr(Vec<u8>),
    /// The process has ended and all its output has been sent; last frame, shim → runtime.
    Exit(ExitRecord),
}

/// Bytes that are no frame. The connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The first byte of a frame.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// A length above [`MAX_CONTROL`] or [`MAX_DATA`].
    #[error("frame of kind {kind} has {length} bytes, more than the {limit} allowed")]
    TooLong {
        /// The frame's kind.
        kind: u8,
        /// Its announced length.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The JSON of a control frame.
    #[error("frame of kind {kind} does not parse")]
    Json {
        /// The frame's kind.
        kind: u8,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
}

/// Appends a frame's bytes to `out`. Data longer than [`MAX_DATA`] becomes several frames.
pub fn encode(frame: &Frame, out: &mut Vec<u8>) {
    match frame {
        Frame::Request(request) => control(1, request, out),
        Frame::Reply(reply) => control(2, reply, out),
        Frame::Stdin(data) => chunks(3, data, out),
        Frame::CloseStdin => put(4, &[], out),
        Frame::Resize(size) => control(5, size, out),
        Frame::Hangup => put(6, &[], out),
        Frame::Stdout(data) => chunks(7, data, out),
        Frame::Stderr(data) => chunks(8, data, out),
        Frame::Exit(record) => control(9, record, out),
    }
}

fn control(kind: u8, message: &impl serde::Serialize, out: &mut Vec<u8>) {
    let json = serde_json::to_vec(message).expect("messages have string keys and finite numbers");
    put(kind, &json, out);
}

fn chunks(kind: u8, data: &[u8], out: &mut Vec<u8>) {
    for chunk in data.chunks(MAX_DATA) {
        put(kind, chunk, out);
    }
}

fn put(kind: u8, payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).expect("control payloads are far below 4 GiB");
    out.push(kind);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Takes bytes as they arrive and gives whole frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// More bytes from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or none yet.
    ///
    /// # Errors
    /// [`FrameError`]: the stream is broken from here on.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((kind, length)) = self.header()? else { return Ok(None) };
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        let payload: Vec<u8> = self.buffer.drain(..HEADER + length).skip(HEADER).collect();
        parse(kind, payload).map(Some)
    }

    fn header(&self) -> Result<Option<(u8, usize)>, FrameError> {
        let Some((header, _)) = self.buffer.split_first_chunk::<HEADER>() else { return Ok(None) };
        let [kind, length @ ..] = *header;
        let length = u32::from_be_bytes(length) as usize;
        let limit = match kind {
            1 | 2 | 5 | 9 => MAX_CONTROL,
            3 | 7 | 8 => MAX_DATA,
            4 | 6 => 0,
            _ => return Err(FrameError::UnknownKind(kind)),
        };
        if length > limit {
            return Err(FrameError::TooLong { kind, length, limit });
        }
        Ok(Some((kind, length)))
    }
}

fn parse(kind: u8, payload: Vec<u8>) -> Result<Frame, FrameError> {
    let json = |source| FrameError::Json { kind, source };
    Ok(match kind {
        1 => Frame::Request(serde_json::from_slice(&payload).map_err(json)?),
        2 => Frame::Reply(serde_json::from_slice(&payload).map_err(json)?),
        3 => Frame::Stdin(payload),
        4 => Frame::CloseStdin,
        5 => Frame::Resize(serde_json::from_slice(&payload).map_err(json)?),
        6 => Frame::Hangup,
        7 => Frame::Stdout(payload),
        8 => Frame::Stderr(payload),
        9 => Frame::Exit(serde_json::from_slice(&payload).map_err(json)?),
        other => return Err(FrameError::UnknownKind(other)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AttachRequest, Expired, ProcessState, TimeLimit};

    fn frames() -> Vec<Frame> {
        let attach = AttachRequest { exec_id: Some("e1".into()), stdin: true, stdout: true, stderr: false };
        let exit = ExitRecord {
            exit_code: 137,
            signal: Some(9),
            oom_killed: true,
            started_at: Some(1),
            finished_at: 2,
            expired: Some(Expired { limit: TimeLimit::IdleTimeout, after_ms: 3 }),
            failure: None,
        };
        vec![
            Frame::Request(Request::Attach(attach)),
            Frame::Reply(Reply::State(ProcessState::Exited(exit.clone()))),
            Frame::Stdin(b"ls\n".to_vec()),
            Frame::CloseStdin,
            Frame::Resize(TerminalSize { width: 80, height: 24 }),
            Frame::Hangup,
            Frame::Stdout(vec![0, 255]),
            Frame::Stderr(b"no".to_vec()),
            Frame::Exit(exit),
        ]
    }

    #[test]
    fn frames_survive_the_wire_however_the_bytes_are_cut() {
        let mut bytes = Vec::new();
        frames().iter().for_each(|frame| encode(frame, &mut bytes));
        for piece in [1, 2, 3, 7, 64, bytes.len()] {
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for part in bytes.chunks(piece) {
                decoder.push(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, frames(), "in pieces of {piece}");
        }
    }

    #[test]
    fn data_above_the_limit_becomes_several_frames() {
        let mut bytes = Vec::new();
        encode(&Frame::Stdout(vec![7; MAX_DATA + 1]), &mut bytes);
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        assert_eq!(decoder.next_frame().unwrap(), Some(Frame::Stdout(vec![7; MAX_DATA])));
        assert_eq!(decoder.next_frame().unwrap(), Some(Frame::Stdout(vec![7])));
        assert_eq!(decoder.next_frame().unwrap(), None);
    }

    #[test]
    fn broken_bytes_are_refused_before_anything_is_allocated_for_them() {
        let check = |bytes: &[u8], expected: &str| {
            let mut decoder = Decoder::default();
            decoder.push(bytes);
            assert_eq!(decoder.next_frame().unwrap_err().to_string(), expected);
        };
        check(&[0, 0, 0, 0, 0], "unknown frame kind 0");
        check(&[7, 255, 255, 255, 255], "frame of kind 7 has 4294967295 bytes, more than the 65536 allowed");
        check(&[4, 0, 0, 0, 1], "frame of kind 4 has 1 bytes, more than the 0 allowed");
        check(&[2, 0, 0, 0, 1, b'{'], "frame of kind 2 does not parse");
    }

    #[test]
    fn no_bytes_make_the_decoder_panic_and_what_it_reads_it_would_write() {
        bolero::check!().with_type::<Vec<Vec<u8>>>().for_each(|pieces| {
            let mut decoder = Decoder::default();
            for piece in pieces {
                decoder.push(piece);
                while let Ok(Some(frame)) = decoder.next_frame() {
                    let mut again = Decoder::default();
                    let mut bytes = Vec::new();
                    encode(&frame, &mut bytes);
                    again.push(&bytes);
                    // Data of no bytes is written as no frame.
                    let nothing =
                        matches!(&frame, Frame::Stdin(d) | Frame::Stdout(d) | Frame::Stderr(d) if d.is_empty());
                    assert_eq!(again.next_frame().unwrap(), Some(frame).filter(|_| !nothing));
                }
            }
        });
    }
}
