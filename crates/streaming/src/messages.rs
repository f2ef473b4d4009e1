//! Bytes that only a server sends, as the messages of a WebSocket connection: how clients read a log that speak nothing else (upstream:
//! `wsstream.Reader`).

use bytes::Bytes;
use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::LogChunks;
use crate::session::{ClientGone, carry, next_message, socket};
use crate::stdio::Output;

/// Clients have nothing to say here.
const LONGEST_MESSAGE: usize = 4 * 1024;

/// Sends all chunks on the bytes behind a 101, each as a message, and closes the connection. An empty message comes first, so that the client sees that
/// it stands.
///
/// # Errors
/// If the client goes before all is sent. A log that breaks cuts the connection.
pub async fn send<IO>(io: IO, mut chunks: LogChunks) -> Result<(), ClientGone>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (outputs, queue) = mpsc::channel(1);
    let broken = async move {
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) => {
                    if outputs.send(Output::Message(chunk)).await.is_err() {
                        // Nobody reads any more: `carrying` says so.
                        break;
                    }
                }
                Err(error) => return error,
            }
        }
        let _gone = outputs.send(Output::Last(None)).await;
        std::future::pending().await
    };
    let carrying = carry(socket(io, LONGEST_MESSAGE).await, vec![Bytes::new()], queue, |mut stream| async move {
        while let Some(message) = next_message(&mut stream).await {
            if let Err(code) = message {
                return Some(code);
            }
        }
        None
    });
    // Neither arm is resumed after the other has completed.
    tokio::select! {
        error = broken => {
            tracing::debug!(error = &error as &dyn std::error::Error, "a log broke while it was read");
            Err(ClientGone)
        }
        sent = carrying => sent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StreamError;
    use futures::{SinkExt, stream};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::Role;

    fn chunks(all: Vec<Result<&'static str, StreamError>>) -> LogChunks {
        Box::pin(stream::iter(all.into_iter().map(|chunk| chunk.map(Bytes::from))))
    }

    async fn received(all: LogChunks) -> (Vec<Message>, Result<(), ClientGone>) {
        let (ours, theirs) = tokio::io::duplex(64);
        let sending = tokio::spawn(send(ours, all));
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let mut seen = Vec::new();
        while let Some(Ok(message)) = client.next().await {
            seen.push(message);
        }
        (seen, sending.await.unwrap())
    }

    #[tokio::test]
    async fn each_chunk_is_a_message_and_then_the_connection_closes() {
        let (seen, sent) = received(chunks(vec![Ok("one\n"), Ok("two\n")])).await;
        let data: Vec<&[u8]> = seen
            .iter()
            .filter(|m| m.is_binary())
            .map(|m| match m {
                Message::Binary(data) => data.as_ref(),
                _ => b"",
            })
            .collect();
        assert_eq!(data, [&b""[..], b"one\n", b"two\n"]);
        assert!(matches!(seen.last(), Some(Message::Close(Some(_)))), "{seen:?}");
        assert_eq!(sent, Ok(()));
    }

    #[tokio::test]
    async fn a_log_that_breaks_is_no_log_that_ends() {
        let (seen, sent) = received(chunks(vec![Ok("one\n"), Err(StreamError::Internal("gone".to_owned()))])).await;
        assert!(!seen.iter().any(Message::is_close), "{seen:?}");
        assert_eq!(sent, Err(ClientGone));
    }

    #[tokio::test]
    async fn a_client_that_goes_ends_a_log_that_is_followed() {
        let (ours, theirs) = tokio::io::duplex(64);
        let sending = tokio::spawn(send(ours, Box::pin(stream::pending())));
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        assert!(matches!(client.next().await, Some(Ok(Message::Binary(first))) if first.is_empty()));
        client.send(Message::Text("ignored".into())).await.unwrap();
        drop(client);
        assert_eq!(sending.await.unwrap(), Err(ClientGone));
    }
}
