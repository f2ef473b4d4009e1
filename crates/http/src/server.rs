//! The server: accepts from all its listeners, serves each connection on a task, and drains when told to stop.
//!
//! It never fails as a whole: what goes wrong with a connection ends that connection. Started by the binary; bind the
//! listeners first, serve when the rest is ready.
//!
//! ```text
//! serving ── stop ──▶ finishing (no accept; requests and tasks go on; Shutdown has begun) ── all done, or grace over ──▶ cut
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use crate::connection::{Connection, Peer};
use crate::guard::Guard;
use crate::handler::{Handler, Observer};
use crate::limits::Limits;
use crate::memory::{Accepted, MemoryListener};
use crate::shutdown::{Closing, Shutdown};
use crate::tls::{self, TlsListener};

/// How long accepting rests when the process is out of file descriptors or memory.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How [`Server::serve`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All requests and tasks were done in time.
    Drained,
    /// So many connections and tasks were cut.
    Cut(usize),
}

/// A server that does not serve yet.
pub struct Server<H> {
    handler: H,
    limits: Limits,
    observer: Option<Arc<dyn Observer>>,
    tls: Vec<TlsListener>,
    memory: Vec<MemoryListener>,
    closing: Closing,
}

impl<H: Handler> Server<H> {
    /// A server with this handler, the default limits and no listeners.
    pub fn new(handler: H) -> Self {
        let (tls, memory) = (Vec::new(), Vec::new());
        Self { handler, limits: Limits::default(), observer: None, tls, memory, closing: Closing::new() }
    }

    /// Other limits.
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Is told of each response.
    pub fn observer(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Another TLS listener.
    pub fn tls(mut self, listener: TlsListener) -> Self {
        self.tls.push(listener);
        self
    }

    /// Another in-memory listener.
    pub fn memory(mut self, listener: MemoryListener) -> Self {
        self.memory.push(listener);
        self
    }

    /// For those who must know of the shutdown and have no [`Connection`] at hand.
    pub fn shutdown(&self) -> Shutdown {
        self.closing.shutdown()
    }

    /// Serves until `stop` completes, then finishes what runs for at most `grace`, then cuts. Dropped, it cuts at once.
    pub async fn serve(self, stop: impl Future<Output = ()>, grace: Duration) -> Ending {
        let Self { handler, limits, observer, tls, memory, closing } = self;
        let tasks = TaskTracker::new();
        let shared = Arc::new(Shared {
            guard: Arc::new(Guard { handler, observer }),
            places: Arc::new(Semaphore::new(limits.connections)),
            limits,
            tasks: tasks.clone(),
            shutdown: closing.shutdown(),
            cut: closing.token(),
        });
        for listener in tls {
            shared.spawn(Arc::clone(&shared).accept_tls(listener));
        }
        for listener in memory {
            shared.spawn(Arc::clone(&shared).accept_memory(listener));
        }
        stop.await;
        closing.begin();
        tasks.close();
        if tokio::time::timeout(grace, tasks.wait()).await.is_ok() {
            return Ending::Drained;
        }
        let left = tasks.len();
        closing.cut();
        tasks.wait().await;
        Ending::Cut(left)
    }
}

/// What all tasks of a serving server share.
struct Shared<H> {
    guard: Arc<Guard<H>>,
    limits: Limits,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    shutdown: Shutdown,
    cut: tokio_util::sync::CancellationToken,
}

impl<H: Handler> Shared<H> {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            cut.run_until_cancelled(work).await;
        });
    }

    async fn accept_tls(self: Arc<Self>, listener: TlsListener) {
        loop {
            // Both arms are cancel-safe: a connection that was not yet handed over stays in the kernel's backlog.
            let next = tokio::select! {
                () = self.shutdown.begun() => return,
                next = self.next_tls(&listener) => next,
            };
            let Some((tcp, address, permit)) = next else { return };
            let (shared, config) = (Arc::clone(&self), listener.config.clone());
            self.spawn(shared.serve_tls(tcp, address, config, permit));
        }
    }

    async fn next_tls(&self, listener: &TlsListener) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.places).acquire_owned().await.ok()?;
        loop {
            match listener.tcp.accept().await {
                Ok((tcp, address)) => return Some((tcp, address, permit)),
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "a client went before it was accepted")
                }
                Err(error) => {
                    tracing::warn!(%error, address = %listener.address(), "cannot accept connections at the moment");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    async fn serve_tls(
        self: Arc<Self>,
        tcp: TcpStream,
        address: SocketAddr,
        config: tls::TlsConfig,
        permit: OwnedSemaphorePermit,
    ) {
        if let Err(error) = tls::tune(&tcp) {
            tracing::debug!(%address, %error, "cannot set a client's socket options");
        }
        let stream = match tokio::time::timeout(self.limits.tls_handshake, config.accept(tcp)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%address, %error, "TLS handshake failed"),
            Err(_) => return tracing::debug!(%address, "TLS handshake took too long"),
        };
        let certificate = tls::client_user(&stream).map(Arc::new);
        let connection = self.connection(Peer::Tls { address, certificate }, Some(permit));
        let http2 = tls::chose_http2(&stream);
        let mut builder = auto::Builder::new(TokioExecutor::new());
        self.limit(&mut builder);
        let timer = TokioTimer::new();
        builder.http1().timer(timer.clone()).header_read_timeout(self.limits.request_head);
        let mut http = builder.http2();
        http.timer(timer).keep_alive_interval(self.limits.ping_every).keep_alive_timeout(self.limits.ping_answer);
        let builder = if http2 { builder.http2_only() } else { builder.http1_only() };
        self.serve(TokioIo::new(stream), builder, connection).await;
    }

    async fn accept_memory(self: Arc<Self>, mut listener: MemoryListener) {
        loop {
            // Cancel-safe: receiving from a channel loses nothing; what is still in it is refused with the listener.
            let next = tokio::select! {
                () = self.shutdown.begun() => return,
                next = listener.accept() => next,
            };
            let Some(accepted) = next else { return };
            self.spawn(Arc::clone(&self).serve_memory(accepted));
        }
    }

    async fn serve_memory(self: Arc<Self>, (stream, user): Accepted) {
        let connection = self.connection(Peer::Memory { user }, None);
        let mut builder = auto::Builder::new(TokioExecutor::new());
        self.limit(&mut builder);
        // No time-out: an idle connection of our own costs nothing, and closing it could race with a request.
        builder.http1().header_read_timeout(None);
        self.serve(TokioIo::new(stream), builder, connection).await;
    }

    fn limit(&self, builder: &mut auto::Builder<TokioExecutor>) {
        builder.http1().max_buf_size(self.limits.head_bytes as usize).max_headers(self.limits.headers);
        builder.http2().max_header_list_size(self.limits.head_bytes).max_concurrent_streams(self.limits.streams);
    }

    fn connection(&self, peer: Peer, permit: Option<OwnedSemaphorePermit>) -> Arc<Connection> {
        let (shutdown, cut, tasks) = (self.shutdown.clone(), self.cut.clone(), self.tasks.clone());
        Arc::new(Connection { peer, shutdown, cut, tasks, _permit: permit })
    }

    async fn serve<I>(&self, io: I, builder: auto::Builder<TokioExecutor>, connection: Arc<Connection>)
    where
        I: Read + Write + Unpin + Send + 'static,
    {
        let guard = Arc::clone(&self.guard);
        let service = service_fn(move |request| Arc::clone(&guard).call(request, Arc::clone(&connection)));
        let mut serving = std::pin::pin!(builder.serve_connection_with_upgrades(io, service));
        // Cancel-safe: `serving` is only borrowed, and goes on below.
        let ended = tokio::select! {
            ended = serving.as_mut() => ended,
            () = self.shutdown.begun() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error, "a connection broke");
        }
    }
}

fn is_of_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
