//! One connection to a shim: one request, its reply, and the frames that may follow.

use std::path::Path;

use remora_shim_protocol::{Decoder, Frame, Reply, Request, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::Error;
use crate::task::blocking;

/// One read. Every running container has a connection that waits for its end: this is what each costs.
const BUFFER: usize = 8 << 10;

/// A connection on which frames are sent and received whole.
pub(crate) struct Connection {
    pub(crate) frames: FrameReader,
    pub(crate) writer: OwnedWriteHalf,
}

/// The receiving half. Reading is cancel-safe: what has arrived is kept.
pub(crate) struct FrameReader {
    stream: OwnedReadHalf,
    decoder: Decoder,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects and sends the request.
    pub(crate) async fn open(socket: &Path, request: Request) -> Result<Self, Error> {
        let path = socket.to_owned();
        let stream = blocking(move || {
            let stream = remora_sys::socket::connect(&path)?;
            stream.set_nonblocking(true).map_err(Error::Connection)?;
            Ok(stream)
        })
        .await?;
        let (reader, mut writer) = UnixStream::from_std(stream).map_err(Error::Connection)?.into_split();
        let mut bytes = Vec::new();
        encode(&Frame::Request(request), &mut bytes);
        writer.write_all(&bytes).await.map_err(Error::Connection)?;
        let frames = FrameReader { stream: reader, decoder: Decoder::default(), buffer: vec![0; BUFFER] };
        Ok(Connection { frames, writer })
    }

    /// The reply to the request.
    ///
    /// # Errors
    /// The connection ended before, or something else came.
    pub(crate) async fn reply(&mut self) -> Result<Reply, Error> {
        match self.frames.next().await? {
            Some(Frame::Reply(reply)) => Ok(reply),
            Some(_) => Err(broken("something else than a reply came")),
            None => Err(broken("the connection ended before a reply")),
        }
    }
}

impl FrameReader {
    /// The next frame; none at the end of the connection.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, Error> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            match self.stream.read(&mut self.buffer).await.map_err(Error::Connection)? {
                0 => return Ok(None),
                length => self.decoder.push(&self.buffer[..length]),
            }
        }
    }
}

/// One request, one reply.
pub(crate) async fn ask(socket: &Path, request: Request) -> Result<Reply, Error> {
    Connection::open(socket, request).await?.reply().await
}

fn broken(what: &str) -> Error {
    Error::Connection(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, what.to_owned()))
}
