//! The way in for parts of this process: in-memory duplex streams into the same server. Each connector carries a fixed user,
//! which goes through the same authorization as everyone.
//!
//! Not limited and never timed out: both ends are ours. Called by the binary, which makes a client of each connector:
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use remora_http::{Body, User, body, memory};
//!
//! let (listener, memory) = memory::listener();           // the listener goes to `Server::memory`
//! let scheduler = User::new("system:kube-scheduler", ["system:authenticated"]);
//! let client = memory.connector(scheduler).client::<Body>(); // for kube: `kube::Client::new(client, "default")`
//! # drop(listener);
//! let request = http::Request::get("/api/v1/pods").body(body::empty())?;
//! let refused = tower::Service::call(&mut client.clone(), request).await;
//! assert!(refused.is_err(), "the listener is gone");
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::header::USER_AGENT;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::{Body as HttpBody, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tower::Service;

use crate::body::BoxError;
use crate::identity::User;

/// Bytes that one direction of a connection holds before its writer waits.
const BUFFER: usize = 64 * 1024;
/// Connections that wait to be accepted, before connecting waits.
const BACKLOG: usize = 64;
/// What stands in for a host. Nothing is ever looked up.
const AUTHORITY: Authority = Authority::from_static("remora");

pub(crate) type Accepted = (DuplexStream, Arc<User>);

/// Makes one: the listener for the server, and what makes connectors to it. Connections wait until the server serves.
pub fn listener() -> (MemoryListener, MemoryConnectors) {
    let (connect, accept) = mpsc::channel(BACKLOG);
    (MemoryListener { accept }, MemoryConnectors { connect })
}

/// The server's end.
#[derive(Debug)]
pub struct MemoryListener {
    accept: mpsc::Receiver<Accepted>,
}

impl MemoryListener {
    /// The next connection; none once every connector is gone.
    pub(crate) async fn accept(&mut self) -> Option<Accepted> {
        self.accept.recv().await
    }
}

/// Makes connectors. Whoever holds it can become anyone: only the binary does.
#[derive(Clone, Debug)]
pub struct MemoryConnectors {
    connect: mpsc::Sender<Accepted>,
}

impl MemoryConnectors {
    /// A connector whose connections are all this user's.
    pub fn connector(&self, user: User) -> MemoryConnector {
        MemoryConnector { connect: self.connect.clone(), user: Arc::new(user) }
    }
}

/// Connects as one fixed user. A connector for hyper-util's client; the URI does not matter.
#[derive(Clone, Debug)]
pub struct MemoryConnector {
    connect: mpsc::Sender<Accepted>,
    user: Arc<User>,
}

impl MemoryConnector {
    /// A client over this connector, with a pool of connections of its own. Clones share the pool.
    pub fn client<B>(self) -> MemoryClient<B>
    where
        B: HttpBody + Send + 'static + Unpin,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        MemoryClient { client: legacy::Client::builder(TokioExecutor::new()).build(self), agent: None }
    }

    /// A new connection. `ConnectionRefused` if the server is gone.
    pub async fn connect(&self) -> io::Result<MemoryStream> {
        let (ours, theirs) = tokio::io::duplex(BUFFER);
        let sent = self.connect.send((theirs, Arc::clone(&self.user))).await;
        sent.map_err(|_| io::Error::new(io::ErrorKind::ConnectionRefused, "the server in this process has ended"))?;
        Ok(MemoryStream { io: TokioIo::new(ours) })
    }
}

impl Service<Uri> for MemoryConnector {
    type Response = MemoryStream;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<MemoryStream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await })
    }
}

/// The client's end of a connection.
#[derive(Debug)]
pub struct MemoryStream {
    io: TokioIo<DuplexStream>,
}

impl MemoryStream {
    /// The stream as tokio's traits have it.
    pub fn into_tokio(self) -> DuplexStream {
        self.io.into_inner()
    }
}

impl Connection for MemoryStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for MemoryStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for MemoryStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}

/// A client over a [`MemoryConnector`]: HTTP/1.1 with pooled connections and upgrades. Requests need no host.
#[derive(Debug)]
pub struct MemoryClient<B> {
    client: legacy::Client<MemoryConnector, B>,
    agent: Option<HeaderValue>,
}

impl<B> MemoryClient<B> {
    /// The same client, which says in its `User-Agent` what it is: API servers call the manager of what it writes so.
    #[must_use]
    pub fn named(self, agent: &'static str) -> Self {
        Self { agent: Some(HeaderValue::from_static(agent)), ..self }
    }
}

impl<B> Clone for MemoryClient<B> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), agent: self.agent.clone() }
    }
}

impl<B> Service<Request<B>> for MemoryClient<B>
where
    B: HttpBody + Send + 'static + Unpin,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Incoming>;
    type Error = legacy::Error;
    type Future = legacy::ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), legacy::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(AUTHORITY);
        // A URI without a path is the only one that cannot be made; the client then refuses the empty one.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        if let Some(agent) = &self.agent {
            request.headers_mut().entry(USER_AGENT).or_insert_with(|| agent.clone());
        }
        self.client.request(request)
    }
}
