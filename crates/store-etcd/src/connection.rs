//! One connection to one member of an etcd: TCP, TLS, HTTP/2, gRPC. Who keeps one is [`crate::link`].
//!
//! Not tonic's own channel: that reconnects behind one's back, so that one cannot tell a request that was never sent from one that may have
//! been carried out.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use http::Uri;
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::config::{Endpoint, EtcdConfig, Login, TlsFiles};
use crate::messages::{
    AuthenticateRequest, AuthenticateResponse, CompactionRequest, CompactionResponse, RangeRequest, RangeResponse,
    TxnRequest, TxnResponse, WatchCreateRequest, WatchRequest, WatchResponse,
};

/// etcd counts pings that come more often than every 5 s (`--grpc-keepalive-min-time`) against their sender.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(5);
/// What HTTP/2 lets the server send ahead. Fixed: hyper finds larger windows by pings, which etcd counts (see above).
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// The longest answer that is read: a range of everything is one answer.
const MAX_ANSWER: usize = i32::MAX as usize;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{0}")]
    Network(#[source] io::Error),
    #[error("TLS: {0}")]
    Tls(#[source] io::Error),
    #[error("cannot read {path}: {detail}")]
    File { path: String, detail: String },
    #[error("HTTP/2: {0}")]
    Http(#[source] hyper::Error),
    #[error("{0}")]
    Invalid(String),
    #[error("as user {user}: {}", status.message())]
    Login { user: String, status: Status },
}

/// A connection in use. Clones share it; it ends with the last of them.
#[derive(Clone)]
pub(crate) struct Connection {
    grpc: Grpc<Http2>,
    token: Option<MetadataValue<Ascii>>,
    broken: Arc<Notify>,
}

impl Connection {
    /// Connects, and logs in where there is a login. The caller bounds the time.
    pub(crate) async fn open(endpoint: &Endpoint, config: &EtcdConfig) -> Result<Connection, ConnectError> {
        let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.map_err(ConnectError::Network)?;
        tcp.set_nodelay(true).map_err(ConnectError::Network)?;
        let (scheme, http2) = match &config.tls {
            None => ("http", handshake(tcp).await?),
            Some(files) => ("https", handshake(encrypt(tcp, endpoint, files).await?).await?),
        };
        let origin: Uri = format!("{scheme}://{endpoint}")
            .parse()
            .map_err(|_| ConnectError::Invalid(format!("{endpoint} is no host")))?;
        let grpc = Grpc::with_origin(http2, origin).max_decoding_message_size(MAX_ANSWER);
        let mut connection = Connection { grpc, token: None, broken: Arc::new(Notify::new()) };
        if let Some(login) = &config.login {
            connection.token = Some(connection.log_in(login).await?);
        }
        Ok(connection)
    }

    pub(crate) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        self.unary("/etcdserverpb.KV/Range", request).await
    }

    pub(crate) async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Status> {
        self.unary("/etcdserverpb.KV/Txn", request).await
    }

    pub(crate) async fn compact(&self, request: CompactionRequest) -> Result<CompactionResponse, Status> {
        self.unary("/etcdserverpb.KV/Compact", request).await
    }

    /// One watch on a stream of its own. It ends when the stream is dropped.
    pub(crate) async fn watch(&self, create: WatchCreateRequest) -> Result<Streaming<WatchResponse>, Status> {
        // The request stream stays open behind the one request: its end is the watch's.
        let asked = futures::stream::once(async { WatchRequest { create_request: Some(create) } });
        let mut request = Request::new(asked.chain(futures::stream::pending()));
        // A member that has lost its leader ends the watch instead of staying silent: another one may have a leader.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        self.authorize(&mut request);
        let mut grpc = self.ready().await?;
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let answer = grpc.streaming(request, path, ProstCodec::default()).await;
        answer.map(tonic::Response::into_inner).inspect_err(|status| self.judge(status))
    }

    /// Returns when a request has found the connection useless.
    pub(crate) async fn broken(&self) {
        self.broken.notified().await;
    }

    async fn log_in(&self, login: &Login) -> Result<MetadataValue<Ascii>, ConnectError> {
        let path = login.password_file.display().to_string();
        let unread = |detail: String| ConnectError::File { path: path.clone(), detail };
        let password = std::fs::read_to_string(&login.password_file).map_err(|error| unread(error.to_string()))?;
        let password = password.trim_end_matches(['\r', '\n']).to_owned();
        let request = AuthenticateRequest { name: login.user.clone(), password };
        let answer: Result<AuthenticateResponse, Status> = self.unary("/etcdserverpb.Auth/Authenticate", request).await;
        let token = answer.map_err(|status| ConnectError::Login { user: login.user.clone(), status })?.token;
        token_header(token)
    }

    async fn unary<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut request = Request::new(request);
        self.authorize(&mut request);
        let mut grpc = self.ready().await?;
        let answer = grpc.unary(request, PathAndQuery::from_static(path), ProstCodec::default()).await;
        answer.map(tonic::Response::into_inner).inspect_err(|status| self.judge(status))
    }

    /// Fails if the connection has ended, before anything was sent.
    async fn ready(&self) -> Result<Grpc<Http2>, Status> {
        let mut grpc = self.grpc.clone();
        match grpc.ready().await {
            Ok(()) => Ok(grpc),
            Err(error) => {
                self.broken.notify_one();
                Err(never_sent(error.to_string()))
            }
        }
    }

    fn authorize<T>(&self, request: &mut Request<T>) {
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
    }

    fn judge(&self, status: &Status) {
        if is_lost(status) || is_token_rejected(status) {
            self.broken.notify_one();
        }
    }
}

/// Sensitive: no log shows it, and HPACK keeps it in no table.
fn token_header(token: String) -> Result<MetadataValue<Ascii>, ConnectError> {
    let invalid = |_| ConnectError::Invalid("etcd's token is no header".to_owned());
    let mut header = MetadataValue::try_from(token).map_err(invalid)?;
    header.set_sensitive(true);
    Ok(header)
}

/// Whether the connection failed, not the request: what a server answers has no source.
pub(crate) fn is_lost(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

/// Whether etcd does not know our token any more (it was idle for `--auth-token-ttl`, or the member was restarted). Nothing was done.
pub(crate) fn is_token_rejected(status: &Status) -> bool {
    status.code() == tonic::Code::Unauthenticated
}

/// Whether the request did not leave this process.
pub(crate) fn is_never_sent(status: &Status) -> bool {
    std::error::Error::source(status).is_some_and(|source| source.is::<NeverSent>())
}

#[derive(Debug, thiserror::Error)]
#[error("the connection had ended: {0}")]
struct NeverSent(String);

fn never_sent(detail: String) -> Status {
    let mut status = Status::unavailable("the connection had ended");
    status.set_source(Arc::new(NeverSent(detail)));
    status
}

async fn handshake(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Http2, ConnectError> {
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(TokioIo::new(io))
        .await
        .map_err(ConnectError::Http)?;
    // It ends when all senders are dropped; what goes wrong with it shows as an error of the requests on it.
    tokio::spawn(connection);
    Ok(Http2(sender))
}

async fn encrypt(
    tcp: TcpStream,
    endpoint: &Endpoint,
    files: &TlsFiles,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ConnectError> {
    let config = tls_config(files)?;
    let name = ServerName::try_from(endpoint.host.clone())
        .map_err(|_| ConnectError::Invalid(format!("{} is no host that a certificate can name", endpoint.host)))?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(ConnectError::Tls)
}

/// The files are small, and read only when a connection is made.
fn tls_config(files: &TlsFiles) -> Result<ClientConfig, ConnectError> {
    let unread =
        |path: &std::path::Path, detail: String| ConnectError::File { path: path.display().to_string(), detail };
    let certificates = |path: &std::path::Path| -> Result<Vec<CertificateDer<'static>>, ConnectError> {
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        let read: Vec<_> = read.map_err(|error| unread(path, error.to_string()))?;
        if read.is_empty() { Err(unread(path, "it holds no certificate (PEM)".to_owned())) } else { Ok(read) }
    };
    let mut roots = RootCertStore::empty();
    for authority in certificates(&files.authority)? {
        roots.add(authority).map_err(|error| unread(&files.authority, error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectError::Invalid(error.to_string()))?
        .with_root_certificates(roots);
    let mut config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((chain, key_file)) => {
            let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| unread(key_file, error.to_string()))?;
            let chain = certificates(chain)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| unread(key_file, error.to_string()))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// hyper's sender as the service that tonic wants.
#[derive(Clone)]
struct Http2(SendRequest<tonic::body::Body>);

impl tower::Service<http::Request<tonic::body::Body>> for Http2 {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_shown() {
        let header = token_header("abc.7".to_owned()).unwrap();
        assert!(header.is_sensitive());
        assert!(!format!("{header:?}").contains("abc"), "{header:?}");
        let error = token_header("a\nb".to_owned()).unwrap_err();
        assert_eq!(error.to_string(), "etcd's token is no header");
    }
}
