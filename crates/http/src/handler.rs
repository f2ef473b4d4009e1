//! What answers the requests of a server, and what is told of each answer.

use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, Method, Request, Response, StatusCode};

use crate::body::{self, Body};
use crate::connection::{Connection, Peer};

/// Answers requests. Any `async fn(Request<Body>, Arc<Connection>) -> Response<Body>` is one.
///
/// The future is dropped when the client goes away: what must be done once it has begun belongs into a task of its own
/// ([`Connection::spawn`]). A panic fails its request alone.
pub trait Handler: Send + Sync + 'static {
    /// The answer to one request. For an upgrade, answer 101 and take `upgrade::on(request)` in [`Connection::spawn`].
    fn call(&self, request: Request<Body>, connection: Arc<Connection>) -> impl Future<Output = Response<Body>> + Send;

    /// The answer if [`Handler::call`] has panicked; the panic itself is logged, never shown.
    fn panicked(&self) -> Response<Body> {
        let mut response = Response::new(body::full("internal error\n"));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    }
}

impl<F, A> Handler for F
where
    F: Fn(Request<Body>, Arc<Connection>) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send,
{
    fn call(&self, request: Request<Body>, connection: Arc<Connection>) -> impl Future<Output = Response<Body>> + Send {
        self(request, connection)
    }
}

/// Is told of each response, for metrics. Called on the connection's task: it must not block.
pub trait Observer: Send + Sync + 'static {
    /// A response's head is ready.
    fn responded(&self, responded: &Responded<'_>);
}

/// One response, as an [`Observer`] sees it.
#[derive(Debug)]
pub struct Responded<'a> {
    /// Who asked: a client over TLS, or a part of this process.
    pub peer: &'a Peer,
    /// The request's method.
    pub method: &'a Method,
    /// The response's status.
    pub status: StatusCode,
    /// From the request's head to the response's head.
    pub duration: Duration,
    /// The response's extensions: a handler leaves there what it wants counted (verb, resource).
    pub extensions: &'a Extensions,
}
