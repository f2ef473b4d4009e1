//! Keeps a panic in a handler, or in the body it made, to that one request; tells the observer. Between hyper and every
//! [`Handler`].

use std::any::Any;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use crate::body::{Body, BoxError};
use crate::connection::Connection;
use crate::handler::{Handler, Observer, Responded};

/// What every connection of a server shares.
pub(crate) struct Guard<H> {
    pub(crate) handler: H,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl<H: Handler> Guard<H> {
    pub(crate) async fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> Result<Response<GuardedBody>, Infallible> {
        let begun = Instant::now();
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
        let answer = AssertUnwindSafe(self.handler.call(request, Arc::clone(&connection))).catch_unwind().await;
        let response = answer.unwrap_or_else(|panic| {
            tracing::error!(%method, path, panic = panic_text(panic.as_ref()), "a request's handler panicked");
            self.handler.panicked()
        });
        if let Some(observer) = &self.observer {
            let (status, extensions) = (response.status(), response.extensions());
            let (peer, duration) = (connection.peer(), begun.elapsed());
            observer.responded(&Responded { peer, method: &method, status, duration, extensions });
        }
        Ok(response.map(|body| GuardedBody { body: Some(body), path }))
    }
}

/// A body whose panic is an error of that body: its response is cut, other responses of the connection go on.
pub(crate) struct GuardedBody {
    body: Option<Body>,
    path: String,
}

impl HttpBody for GuardedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        match catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(cx))) {
            Ok(polled) => polled,
            Err(panic) => {
                self.body = None;
                let path = &self.path;
                tracing::error!(path, panic = panic_text(panic.as_ref()), "a response's body panicked");
                Poll::Ready(Some(Err("internal error".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a text")
}
