//! A server on loopback and in memory, with clients for both.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use remora_http::pki::{ClientIdentity, ServerNames};
use remora_http::{
    Body, Connection, Ending, Handler, Limits, MemoryConnectors, Pki, Server, TlsListener, User, body, memory,
    read_body,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) const GRACE: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) memory: MemoryConnectors,
    pub(crate) pki: Pki,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Ending>,
    _folder: TempDir,
}

pub(crate) fn pki() -> (TempDir, Pki) {
    let folder = TempDir::new().unwrap();
    let names = ServerNames::api_server("node-1", []);
    let pki = Pki::open_or_create(&folder.path().join("pki"), &names, SystemTime::now()).unwrap();
    (folder, pki)
}

impl World {
    pub(crate) async fn start(handler: impl Handler) -> Self {
        Self::with(handler, Limits::default(), GRACE).await
    }

    pub(crate) async fn with(handler: impl Handler, limits: Limits, grace: Duration) -> Self {
        Self::serve(Server::new(handler).limits(limits), grace).await
    }

    pub(crate) async fn serve(server: Server<impl Handler>, grace: Duration) -> Self {
        let (folder, pki) = pki();
        let listener = TlsListener::bind((Ipv4Addr::LOCALHOST, 0).into(), pki.tls().unwrap()).await.unwrap();
        let address = listener.address();
        let (accept, memory) = memory::listener();
        let (stop, stopped) = oneshot::channel();
        let server = server.tls(listener).memory(accept);
        let stopped = async move { drop(stopped.await) };
        let serving = tokio::spawn(server.serve(stopped, grace));
        Self { address, memory, pki, stop, serving, _folder: folder }
    }

    /// Tells the server to stop; the rest of the world stays.
    pub(crate) fn stop(self) -> (JoinHandle<Ending>, TempDir) {
        self.stop.send(()).unwrap();
        (self.serving, self._folder)
    }

    pub(crate) fn admin(&self) -> ClientIdentity {
        self.pki.client("admin", "kubernetes-admin", "system:masters", SystemTime::now()).unwrap()
    }

    pub(crate) async fn tls(
        &self,
        client: Option<ClientIdentity>,
        alpn: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        handshake(self.address, self.pki.authority_pem(), client, alpn).await
    }

    pub(crate) async fn http1(&self, client: Option<ClientIdentity>) -> http1::SendRequest<Body> {
        let stream = self.tls(client, "http/1.1").await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender
    }

    pub(crate) async fn http2(&self, client: Option<ClientIdentity>) -> http2::SendRequest<Body> {
        let stream = self.tls(client, "h2").await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    pub(crate) async fn memory1(&self, user: User) -> http1::SendRequest<Body> {
        let stream = self.memory.connector(user).connect().await.unwrap();
        let (sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender
    }
}

pub(crate) async fn handshake(
    address: SocketAddr,
    authority: &str,
    client: Option<ClientIdentity>,
    alpn: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots);
    let mut config = match client {
        None => config.with_no_client_auth(),
        Some(client) => {
            let certificate = CertificateDer::from_pem_slice(client.certificate_pem.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(client.key_pem.as_bytes()).unwrap();
            config.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let tcp = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), tcp).await
}

pub(crate) fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "localhost").body(body::empty()).unwrap()
}

pub(crate) async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(read_body(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

/// Answers with the user that the connection proves, and its groups.
pub(crate) async fn who(_: Request<Body>, connection: Arc<Connection>) -> Response<Body> {
    let user = connection.user();
    Response::new(body::full(user.map_or("nobody".into(), |user| format!("{} {:?}", user.name, user.groups))))
}

/// Says "first", then nothing more until the server's end.
pub(crate) fn watch(connection: &Connection) -> Body {
    use futures::StreamExt;
    let first = futures::stream::iter([Ok::<_, remora_http::BoxError>(Bytes::from_static(b"first"))]);
    body::until_shutdown(body::stream(first.chain(futures::stream::pending())), connection.shutdown().clone())
}
