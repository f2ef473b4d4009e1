//! Frames of SPDY/3.1, from bytes and to bytes. Pure but for its history of header blocks. Source of the rules: SPDY/3 draft, section
//! 2.2 and 2.6; what is passed over is what moby/spdystream, the other end in practice, passes over as well.
//!
//! Data is handed on in the pieces in which it comes, so no frame is too large; control frames are bounded.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use tokio_util::codec::Decoder;

use super::headers::{Deflater, HeaderError, Inflater};

const VERSION: u16 = 3;
/// What comes before each frame's content.
const HEAD: usize = 8;
/// The longest content of a control frame, in bytes.
const LONGEST_CONTROL: usize = 32 * 1024;
/// The longest data frame that is written: a length has 24 bits.
const LONGEST_DATA: usize = (1 << 24) - 1;
/// Of the first word of a head: a control frame.
const CONTROL: u32 = 1 << 31;
/// Stream ids have 31 bits.
const STREAM: u32 = !CONTROL;
/// This is the last frame of its sender on the stream.
const FIN: u8 = 1;
/// The receiver may send nothing on the stream.
const UNIDIRECTIONAL: u8 = 2;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// Of [`Frame::Reset`]: the sender wants no more of the stream.
pub const CANCEL: u32 = 5;
/// Of [`Frame::Reset`]: there are too many streams.
pub const REFUSED_STREAM: u32 = 3;
/// Of [`Frame::GoAway`]: all is well.
pub const GOAWAY_OK: u32 = 0;
/// Of [`Frame::GoAway`]: the other end has broken the rules.
pub const GOAWAY_PROTOCOL_ERROR: u32 = 1;

/// A frame that means something here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A new stream.
    SynStream {
        /// Its id: odd from a client, even from a server, always larger than those before.
        stream: u32,
        /// Its sender will send no data.
        fin: bool,
        /// What it is for.
        headers: HeaderMap,
    },
    /// A stream is taken.
    SynReply {
        /// The stream.
        stream: u32,
        /// Its sender will send no data.
        fin: bool,
        /// Nothing, in Kubernetes.
        headers: HeaderMap,
    },
    /// A stream is over, in both directions, at once.
    Reset {
        /// The stream.
        stream: u32,
        /// Why.
        status: u32,
    },
    /// To be sent back if it is the other end's: odd from a client.
    Ping(u32),
    /// No stream will be taken any more.
    GoAway {
        /// The last stream of the other end that was taken.
        last: u32,
        /// Why.
        status: u32,
    },
    /// More headers of a stream.
    Headers {
        /// The stream.
        stream: u32,
        /// Its sender will send no more.
        fin: bool,
        /// More.
        headers: HeaderMap,
    },
    /// A piece of a stream.
    Data {
        /// The stream.
        stream: u32,
        /// This is the last piece.
        fin: bool,
        /// May be empty at the end.
        data: Bytes,
    },
}

/// Why bytes are no frames. Nothing can be read after that.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection broke.
    #[error("cannot read")]
    Io(#[from] std::io::Error),
    /// Not SPDY/3.
    #[error("a frame of version {0}")]
    Version(u16),
    /// A control frame that is larger than allowed.
    #[error("a frame of type {kind} has {length} bytes, more than {LONGEST_CONTROL}")]
    TooLong {
        /// Its type.
        kind: u16,
        /// As it says.
        length: usize,
    },
    /// A control frame of a length that its type cannot have.
    #[error("a frame of type {kind} has {length} bytes")]
    Length {
        /// Its type.
        kind: u16,
        /// As it says.
        length: usize,
    },
    /// Stream 0, which none can have.
    #[error("a frame of stream 0")]
    StreamZero,
    /// A stream on which nothing may be answered.
    #[error("stream {0} is unidirectional")]
    Unidirectional(u32),
    /// A header block that cannot be read.
    #[error(transparent)]
    Headers(#[from] HeaderError),
}

/// Reads the frames of one direction.
#[derive(Debug)]
pub struct FrameDecoder {
    headers: Inflater,
    state: State,
}

/// Where in a frame the bytes are.
#[derive(Clone, Copy, Debug)]
enum State {
    Head,
    /// In the content of a data frame, `left` bytes before its end.
    Data {
        stream: u32,
        fin: bool,
        left: usize,
    },
    /// In one that means nothing here.
    PassOver {
        left: usize,
    },
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self { headers: Inflater::new(), state: State::Head }
    }
}

impl Decoder for FrameDecoder {
    type Item = Frame;
    type Error = FrameError;

    /// The next frame, or piece of one, that is whole in `bytes`.
    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        loop {
            match self.state {
                State::Head => match self.head(bytes)? {
                    Next::Frame(frame) => return Ok(Some(frame)),
                    Next::Missing => return Ok(None),
                    Next::Again => {}
                },
                State::PassOver { left } => {
                    let length = left.min(bytes.len());
                    bytes.advance(length);
                    if length < left {
                        self.state = State::PassOver { left: left - length };
                        return Ok(None);
                    }
                    self.state = State::Head;
                }
                State::Data { stream, fin, left } => {
                    if bytes.is_empty() && left > 0 {
                        return Ok(None);
                    }
                    let data = bytes.split_to(left.min(bytes.len())).freeze();
                    let left = left - data.len();
                    self.state = if left == 0 { State::Head } else { State::Data { stream, fin, left } };
                    let fin = fin && left == 0;
                    if fin || !data.is_empty() {
                        return Ok(Some(Frame::Data { stream, fin, data }));
                    }
                }
            }
        }
    }
}

/// What the beginning of a frame has led to.
enum Next {
    Frame(Frame),
    /// More bytes are needed.
    Missing,
    /// Look at the state.
    Again,
}

impl FrameDecoder {
    fn head(&mut self, bytes: &mut BytesMut) -> Result<Next, FrameError> {
        let Some(mut head) = bytes.get(..HEAD) else { return Ok(Next::Missing) };
        let (word, flags_and_length) = (head.get_u32(), head.get_u32());
        let [flags, ..] = flags_and_length.to_be_bytes();
        let length = (flags_and_length & 0x00ff_ffff) as usize;
        if word & CONTROL == 0 {
            if word == 0 {
                return Err(FrameError::StreamZero);
            }
            bytes.advance(HEAD);
            self.state = State::Data { stream: word, fin: flags & FIN != 0, left: length };
            return Ok(Next::Again);
        }
        let [_, _, high, low] = word.to_be_bytes();
        let (version, kind) = (((word & STREAM) >> 16) as u16, u16::from_be_bytes([high, low]));
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        if !matches!(kind, SYN_STREAM | SYN_REPLY | RST_STREAM | PING | GOAWAY | HEADERS) {
            bytes.advance(HEAD);
            self.state = State::PassOver { left: length };
            return Ok(Next::Again);
        }
        if length > LONGEST_CONTROL {
            return Err(FrameError::TooLong { kind, length });
        }
        if bytes.len() < HEAD + length {
            bytes.reserve(HEAD + length - bytes.len());
            return Ok(Next::Missing);
        }
        bytes.advance(HEAD);
        let content = bytes.split_to(length).freeze();
        self.control(kind, flags, content).map(Next::Frame)
    }

    fn control(&mut self, kind: u16, flags: u8, mut content: Bytes) -> Result<Frame, FrameError> {
        let length = content.len();
        let wrong = |_| FrameError::Length { kind, length };
        let fixed = match kind {
            SYN_STREAM => 10,
            SYN_REPLY | HEADERS | PING => 4,
            _ => 8,
        };
        let has_headers = matches!(kind, SYN_STREAM | SYN_REPLY | HEADERS);
        if length < fixed || (length > fixed && !has_headers) {
            return Err(FrameError::Length { kind, length });
        }
        let fin = flags & FIN != 0;
        let first = content.try_get_u32().map_err(wrong)?;
        if kind == PING {
            return Ok(Frame::Ping(first));
        }
        let stream = first & STREAM;
        if stream == 0 && kind != GOAWAY {
            return Err(FrameError::StreamZero);
        }
        Ok(match kind {
            SYN_STREAM => {
                // The block is read first in any case: later ones need its history. Before it: an associated stream, a priority,
                // a slot; nobody uses them.
                content.advance(6);
                let headers = self.headers.read(&content)?;
                if flags & UNIDIRECTIONAL != 0 {
                    return Err(FrameError::Unidirectional(stream));
                }
                Frame::SynStream { stream, fin, headers }
            }
            SYN_REPLY => Frame::SynReply { stream, fin, headers: self.headers.read(&content)? },
            HEADERS => Frame::Headers { stream, fin, headers: self.headers.read(&content)? },
            RST_STREAM => Frame::Reset { stream, status: content.try_get_u32().map_err(wrong)? },
            _ => Frame::GoAway { last: stream, status: content.try_get_u32().map_err(wrong)? },
        })
    }
}

/// Writes the frames of one direction.
#[derive(Debug)]
pub struct FrameEncoder {
    headers: Deflater,
}

impl Default for FrameEncoder {
    fn default() -> Self {
        Self { headers: Deflater::new() }
    }
}

impl FrameEncoder {
    /// Appends a frame to `bytes`. Data that is too long for one frame becomes several.
    ///
    /// # Errors
    /// If headers cannot be compressed. Nothing can be written after that.
    pub fn encode(&mut self, frame: &Frame, bytes: &mut BytesMut) -> Result<(), flate2::CompressError> {
        match frame {
            Frame::SynStream { stream, fin, headers } => {
                let block = self.headers.write(headers)?;
                control(bytes, SYN_STREAM, *fin, 10 + block.len());
                bytes.put_u32(*stream);
                bytes.put_bytes(0, 6);
                bytes.put_slice(&block);
            }
            Frame::SynReply { stream, fin, headers } => self.with_headers(bytes, SYN_REPLY, *stream, *fin, headers)?,
            Frame::Headers { stream, fin, headers } => self.with_headers(bytes, HEADERS, *stream, *fin, headers)?,
            Frame::Reset { stream, status } => two(bytes, RST_STREAM, *stream, *status),
            Frame::GoAway { last, status } => two(bytes, GOAWAY, *last, *status),
            Frame::Ping(id) => {
                control(bytes, PING, false, 4);
                bytes.put_u32(*id);
            }
            Frame::Data { stream, fin, data } => put_data(bytes, *stream, *fin, data),
        }
        Ok(())
    }

    fn with_headers(
        &mut self,
        bytes: &mut BytesMut,
        kind: u16,
        stream: u32,
        fin: bool,
        headers: &HeaderMap,
    ) -> Result<(), flate2::CompressError> {
        let block = self.headers.write(headers)?;
        control(bytes, kind, fin, 4 + block.len());
        bytes.put_u32(stream);
        bytes.put_slice(&block);
        Ok(())
    }
}

fn two(bytes: &mut BytesMut, kind: u16, first: u32, second: u32) {
    control(bytes, kind, false, 8);
    bytes.put_u32(first);
    bytes.put_u32(second);
}

fn control(bytes: &mut BytesMut, kind: u16, fin: bool, length: usize) {
    bytes.put_u32(CONTROL | u32::from(VERSION) << 16 | u32::from(kind));
    flags_and_length(bytes, fin, length);
}

fn put_data(bytes: &mut BytesMut, stream: u32, fin: bool, mut data: &[u8]) {
    loop {
        let (piece, rest) = data.split_at(data.len().min(LONGEST_DATA));
        bytes.put_u32(stream);
        flags_and_length(bytes, fin && rest.is_empty(), piece.len());
        bytes.put_slice(piece);
        if rest.is_empty() {
            return;
        }
        data = rest;
    }
}

fn flags_and_length(bytes: &mut BytesMut, fin: bool, length: usize) {
    bytes.put_u8(if fin { FIN } else { 0 });
    bytes.put_uint(length as u64, 3);
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(stream_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static("streamtype"), HeaderValue::from_static(stream_type))])
    }

    fn data(stream: u32, fin: bool, data: &'static [u8]) -> Frame {
        Frame::Data { stream, fin, data: Bytes::from_static(data) }
    }

    fn all(decoder: &mut FrameDecoder, bytes: &mut BytesMut) -> Vec<Frame> {
        std::iter::from_fn(|| decoder.decode(bytes).unwrap()).collect()
    }

    #[test]
    fn frames_are_read_as_written_however_they_are_cut() {
        let frames = [
            Frame::SynStream { stream: 1, fin: false, headers: headers("error") },
            Frame::SynStream { stream: 3, fin: true, headers: headers("data") },
            Frame::SynReply { stream: 1, fin: false, headers: HeaderMap::new() },
            Frame::Headers { stream: 1, fin: true, headers: headers("more") },
            Frame::Ping(7),
            Frame::Reset { stream: 3, status: CANCEL },
            data(1, true, b""),
            Frame::GoAway { last: 3, status: GOAWAY_OK },
        ];
        let mut encoder = FrameEncoder::default();
        let mut written = BytesMut::new();
        for frame in &frames {
            encoder.encode(frame, &mut written).unwrap();
        }
        for size in [1, 3, 7, 64, written.len()] {
            let (mut decoder, mut bytes, mut read) = (FrameDecoder::default(), BytesMut::new(), Vec::new());
            for piece in written.chunks(size) {
                bytes.extend_from_slice(piece);
                read.extend(all(&mut decoder, &mut bytes));
            }
            assert_eq!(read, frames, "in pieces of {size}");
        }
    }

    #[test]
    fn data_is_handed_on_as_it_comes_and_ends_with_its_last_piece() {
        let mut decoder = FrameDecoder::default();
        let mut bytes = BytesMut::from(&b"\0\0\0\x05\x01\0\0\x04ab"[..]);
        assert_eq!(all(&mut decoder, &mut bytes), [data(5, false, b"ab")]);
        bytes.extend_from_slice(b"cd\0\0\0\x05\0\0\0\0\0\0\0\x07\x01\0\0\0");
        assert_eq!(all(&mut decoder, &mut bytes), [data(5, true, b"cd"), data(7, true, b"")]);
    }

    #[test]
    fn what_means_nothing_here_is_passed_over() {
        let mut decoder = FrameDecoder::default();
        // SETTINGS, WINDOW_UPDATE, and a type that nobody knows, of three bytes.
        let mut bytes = BytesMut::from(
            &b"\x80\x03\0\x04\0\0\0\x04\0\0\0\0\x80\x03\0\x09\0\0\0\x08\0\0\0\x01\0\0\xff\xff\x80\x03\0\x77\0\0\0\x03abc"[..],
        );
        bytes.extend_from_slice(b"\x80\x03\0\x06\0\0\0\x04\0\0\0\x01");
        assert_eq!(all(&mut decoder, &mut bytes), [Frame::Ping(1)]);
    }

    #[test]
    fn broken_frames_are_refused_with_a_reason() {
        let check = |bytes: &[u8], expected: &str| {
            let refused = FrameDecoder::default().decode(&mut BytesMut::from(bytes)).unwrap_err();
            assert_eq!(refused.to_string(), expected);
        };
        check(b"\0\0\0\0\0\0\0\0", "a frame of stream 0");
        check(b"\x80\x02\0\x01\0\0\0\0", "a frame of version 2");
        check(b"\x80\x03\0\x01\0\xff\xff\xff", "a frame of type 1 has 16777215 bytes, more than 32768");
        check(b"\x80\x03\0\x01\0\0\0\x04\0\0\0\x01", "a frame of type 1 has 4 bytes");
        check(b"\x80\x03\0\x06\0\0\0\0", "a frame of type 6 has 0 bytes");
        check(b"\x80\x03\0\x06\0\0\0\x05\0\0\0\x01\0", "a frame of type 6 has 5 bytes");
        check(b"\x80\x03\0\x03\0\0\0\x08\0\0\0\0\0\0\0\0", "a frame of stream 0");
    }

    #[test]
    fn a_head_that_promises_much_takes_no_memory() {
        let mut bytes = BytesMut::from(&b"\0\0\0\x01\0\xff\xff\xff"[..]);
        assert_eq!(FrameDecoder::default().decode(&mut bytes).unwrap(), None);
        assert!(bytes.capacity() < 1024);
    }

    #[test]
    fn data_above_the_limit_becomes_several_frames() {
        let mut bytes = BytesMut::new();
        let long = Frame::Data { stream: 1, fin: true, data: vec![1; LONGEST_DATA + 1].into() };
        FrameEncoder::default().encode(&long, &mut bytes).unwrap();
        let read = all(&mut FrameDecoder::default(), &mut bytes);
        let ends: Vec<(usize, bool)> = read
            .iter()
            .map(|frame| match frame {
                Frame::Data { data, fin, .. } => (data.len(), *fin),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ends, [(LONGEST_DATA, false), (1, true)]);
    }

    /// What is read would be written so that it is read again.
    fn read_and_write(pieces: &[&[u8]]) {
        let (mut decoder, mut bytes) = (FrameDecoder::default(), BytesMut::new());
        let (mut encoder, mut reader) = (FrameEncoder::default(), FrameDecoder::default());
        for piece in pieces {
            bytes.extend_from_slice(piece);
            while let Ok(Some(frame)) = decoder.decode(&mut bytes) {
                let mut again = BytesMut::new();
                encoder.encode(&frame, &mut again).unwrap();
                assert_eq!(reader.decode(&mut again).unwrap(), Some(frame));
            }
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic_and_what_it_reads_it_would_write() {
        bolero::check!(name = "spdy_frames").for_each(|bytes: &[u8]| read_and_write(&[bytes]));
    }

    #[test]
    fn no_content_of_a_frame_makes_the_decoder_panic() {
        bolero::check!().with_type::<Vec<(u8, bool, bool, Vec<u8>)>>().for_each(|frames| {
            let mut headers = Deflater::new();
            let mut bytes = BytesMut::new();
            for (kind, fin, folded, content) in frames {
                // Random bytes are seldom a header block; folded ones are, of any text.
                let content = if *folded { headers.fold(content).unwrap() } else { content.clone() };
                control(&mut bytes, u16::from(kind % 10), *fin, 4 + content.len());
                bytes.put_u32(1 + u32::from(*kind));
                bytes.put_slice(&content);
            }
            let pieces: Vec<&[u8]> = bytes.chunks(7).collect();
            read_and_write(&pieces);
        });
    }

    #[test]
    fn the_corpus_is_understood() {
        let read = |bytes: &[u8]| all(&mut FrameDecoder::default(), &mut BytesMut::from(bytes));
        let session = read(include_bytes!("__fuzz__/spdy_frames/corpus/session"));
        let kinds: Vec<_> = session
            .iter()
            .filter_map(|frame| match frame {
                Frame::SynStream { headers, .. } => headers["streamtype"].to_str().ok(),
                _ => None,
            })
            .collect();
        assert_eq!(kinds, ["error", "stdin", "stdout", "stderr"]);
        assert_eq!(session.last(), Some(&data(3, true, b"")));
        let forward = read(include_bytes!("__fuzz__/spdy_frames/corpus/port_forward"));
        assert_eq!(forward.last(), Some(&Frame::GoAway { last: 0, status: GOAWAY_OK }));
    }
}
