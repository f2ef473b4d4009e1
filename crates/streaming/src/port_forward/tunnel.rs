//! Bytes in a WebSocket connection: each binary message is a piece of them (KEP-4006, `SPDY/3.1+portforward.k8s.io`).

use std::future::ready;
use std::io;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

use crate::session::{LONGEST_MESSAGE, socket};

/// The bytes that are in the messages of a WebSocket connection. Shutting them down closes it.
pub(super) async fn over<IO>(io: IO) -> impl AsyncRead + AsyncWrite + Send + 'static
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sink, stream) = socket(io, LONGEST_MESSAGE).await.split();
    let pieces = stream.filter_map(|message| ready(piece(message)));
    let messages =
        sink.with(|piece: Bytes| ready(Ok::<_, Error>(Message::Binary(piece)))).sink_map_err(io::Error::other);
    tokio::io::join(StreamReader::new(pieces), SinkWriter::new(CopyToBytes::new(messages)))
}

/// Only binary messages have bytes of ours; control messages are tungstenite's.
fn piece(message: Result<Message, Error>) -> Option<io::Result<Bytes>> {
    match message {
        Ok(Message::Binary(piece)) => Some(Ok(piece)),
        Ok(_) => None,
        Err(error) => Some(Err(io::Error::other(error))),
    }
}
