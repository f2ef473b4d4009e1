//! A small client of SPDY/3.1 at the other end of a duplex, made of the codec.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use remora_streaming::spdy::frame::{CANCEL, Frame, FrameDecoder, FrameEncoder};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::codec::Decoder;

pub struct Client<IO> {
    io: IO,
    decoder: FrameDecoder,
    encoder: FrameEncoder,
    bytes: BytesMut,
    last: u32,
}

/// What has come on a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub replied: bool,
    pub data: Vec<u8>,
    pub ended: bool,
    pub reset: Option<u32>,
}

impl Seen {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.data).unwrap()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Client<IO> {
    pub fn new(io: IO) -> Self {
        let (decoder, encoder) = (FrameDecoder::default(), FrameEncoder::default());
        Self { io, decoder, encoder, bytes: BytesMut::new(), last: 0 }
    }

    pub async fn send(&mut self, frame: Frame) {
        let mut bytes = BytesMut::new();
        self.encoder.encode(&frame, &mut bytes).unwrap();
        self.io.write_all(&bytes).await.unwrap();
        self.io.flush().await.unwrap();
    }

    /// Bytes that may be no frame.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
    }

    /// A new stream with these headers.
    pub async fn open(&mut self, headers: &[(&'static str, &str)]) -> u32 {
        self.last = if self.last == 0 { 1 } else { self.last + 2 };
        let header = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        let headers: HeaderMap = headers.iter().map(header).collect();
        self.send(Frame::SynStream { stream: self.last, fin: false, headers }).await;
        self.last
    }

    /// A stream of a remote command.
    pub async fn open_kind(&mut self, kind: &str) -> u32 {
        self.open(&[("streamtype", kind)]).await
    }

    pub async fn data(&mut self, stream: u32, data: &[u8]) {
        self.send(Frame::Data { stream, fin: false, data: Bytes::copy_from_slice(data) }).await;
    }

    pub async fn end(&mut self, stream: u32) {
        self.send(Frame::Data { stream, fin: true, data: Bytes::new() }).await;
    }

    pub async fn reset(&mut self, stream: u32) {
        self.send(Frame::Reset { stream, status: CANCEL }).await;
    }

    /// The next frame; none at the end of the connection. Cancel-safe.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.bytes).unwrap() {
                return Some(frame);
            }
            if self.io.read_buf(&mut self.bytes).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// All that comes until `enough`, the GOAWAY or the end.
    pub async fn until(&mut self, enough: impl Fn(&BTreeMap<u32, Seen>) -> bool) -> BTreeMap<u32, Seen> {
        let mut streams = BTreeMap::<u32, Seen>::new();
        while !enough(&streams) {
            match self.next().await {
                Some(Frame::SynReply { stream, .. }) => streams.entry(stream).or_default().replied = true,
                Some(Frame::Reset { stream, status }) => streams.entry(stream).or_default().reset = Some(status),
                Some(Frame::Data { stream, fin, data }) => {
                    let seen = streams.entry(stream).or_default();
                    seen.data.extend(data);
                    seen.ended = fin;
                }
                Some(Frame::Ping(_)) => {}
                Some(Frame::GoAway { .. }) | None => break,
                Some(other) => panic!("{other:?}"),
            }
        }
        streams
    }

    /// All that comes until the end.
    pub async fn listen(&mut self) -> BTreeMap<u32, Seen> {
        self.until(|_| false).await
    }
}
