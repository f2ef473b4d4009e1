//! Bodies of requests and responses: one boxed type for both, so that a handler can be called without a server.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures::{Stream, TryStreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::Shutdown;

/// Any error, as bodies carry them.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request or of a response.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body of nothing.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body that is already there; its length is announced.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that comes in pieces (a watch, a followed log). Each piece is sent as soon as it is there. An error cuts the
/// response, so that the client sees that it is not whole.
pub fn stream<S, E>(pieces: S) -> Body
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    StreamBody::new(pieces.map_ok(Frame::data).map_err(Into::into)).boxed_unsync()
}

/// `body` until the server shuts down; then it ends as if it had come to its end. For watches only: what has no natural
/// end may end anywhere between two of its pieces.
pub fn until_shutdown(body: Body, shutdown: Shutdown) -> Body {
    let begun = Box::pin(async move { shutdown.begun().await });
    UntilShutdown { body, begun: Some(begun) }.boxed_unsync()
}

/// `body`, whose pieces are shown to `witness` as they go out. The witness is dropped with the body: when all of it was sent, or nobody wants more.
pub fn witnessed(body: Body, witness: impl FnMut(&Bytes) + Send + Unpin + 'static) -> Body {
    Witnessed { body, witness }.boxed_unsync()
}

/// Why a request's body could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadBodyError {
    /// It is longer than allowed: 413.
    #[error("request body is larger than {limit} bytes")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// The client went away or broke the protocol: 400.
    #[error("cannot read the request body")]
    Broken(#[source] BoxError),
}

/// The whole of a body, if it is at most `limit` bytes. An announced length above the limit is refused before the first
/// byte is read.
pub async fn read_body<B>(body: B, limit: usize) -> Result<Bytes, ReadBodyError>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(ReadBodyError::TooLarge { limit });
    }
    let mut body = body;
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| ReadBodyError::Broken(error.into()))?.into_data() else { continue };
        if first.len() + whole.len() + data.len() > limit {
            return Err(ReadBodyError::TooLarge { limit });
        }
        if first.is_empty() && whole.is_empty() {
            // Most bodies are one piece: that one is handed on as it is.
            first = data;
            continue;
        }
        if whole.is_empty() {
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

struct UntilShutdown {
    body: Body,
    /// None once it has begun.
    begun: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl HttpBody for UntilShutdown {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // What is ready goes out first: an event that was committed before the end is still told.
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if let Some(begun) = &mut self.begun {
            ready!(begun.as_mut().poll(cx));
            self.begun = None;
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

struct Witnessed<W> {
    body: Body,
    witness: W,
}

impl<W: FnMut(&Bytes) + Unpin> HttpBody for Witnessed<W> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            (self.witness)(data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(parts: &[&'static str]) -> Body {
        let parts: Vec<Result<Bytes, BoxError>> =
            parts.iter().map(|part| Ok(Bytes::from_static(part.as_bytes()))).collect();
        stream(futures::stream::iter(parts))
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        let check = async |body: Body, limit: usize, expected: Option<&str>| {
            let got = read_body(body, limit).await.ok();
            assert_eq!(got.as_deref(), expected.map(str::as_bytes));
        };
        check(empty(), 0, Some("")).await;
        check(full("abc"), 3, Some("abc")).await;
        check(full("abcd"), 3, None).await;
        check(pieces(&["a"]), 1, Some("a")).await;
        check(pieces(&["a", "", "b", "c"]), 3, Some("abc")).await;
        check(pieces(&["", "a", "b"]), 2, Some("ab")).await;
        check(pieces(&["ab", "cd"]), 3, None).await;
    }

    #[tokio::test]
    async fn a_broken_body_is_no_short_body() {
        let parts: Vec<Result<Bytes, BoxError>> = vec![Ok(Bytes::from_static(b"a")), Err("reset".into())];
        let got = read_body(stream(futures::stream::iter(parts)), 10).await;
        assert!(matches!(got, Err(ReadBodyError::Broken(_))), "{got:?}");
    }
}
