//! The way in over the network: TCP with TLS. A client may show a certificate; one that our authority has not signed fails
//! the handshake.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, crypto};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::identity::User;

/// Silence after which the kernel asks a client; nine unanswered questions end the connection.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// What a TLS listener shows and whom it trusts. Made by [`Pki::tls`](crate::Pki::tls).
#[derive(Clone, Debug)]
pub struct TlsConfig {
    config: Arc<ServerConfig>,
}

impl TlsConfig {
    /// Shows `chain`, and verifies client certificates, where shown, against `client_authority`.
    ///
    /// # Errors
    /// What rustls or webpki find wrong with the certificates or the key.
    pub(crate) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        client_authority: CertificateDer<'static>,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let provider = Arc::new(crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(client_authority)?;
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config) })
    }

    pub(crate) async fn accept(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        tokio_rustls::TlsAcceptor::from(Arc::clone(&self.config)).accept(tcp).await
    }
}

/// An address that cannot be listened on: taken, not ours, or not permitted.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address asked for.
    pub address: SocketAddr,
    /// Why; `AddrInUse` if taken.
    #[source]
    pub source: io::Error,
}

/// A bound TCP port. Clients that call before the server serves wait in the kernel.
#[derive(Debug)]
pub struct TlsListener {
    pub(crate) tcp: TcpListener,
    pub(crate) config: TlsConfig,
    address: SocketAddr,
}

impl TlsListener {
    /// Binds; port 0 takes a free one.
    pub async fn bind(address: SocketAddr, config: TlsConfig) -> Result<Self, BindError> {
        let bound = async {
            let tcp = TcpListener::bind(address).await?;
            let address = tcp.local_addr()?;
            Ok(Self { tcp, config, address })
        };
        bound.await.map_err(|source| BindError { address, source })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Answers are small and awaited: they must not wait for an acknowledgement of the one before. And the kernel asks silent
/// clients whether they are still there: a program that only waits, or that reads slowly, cannot be told from a dead one by
/// its own answers.
pub(crate) fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 2);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}

/// Whom a handshake has proved: the common name and the organizations of the client's certificate, as Kubernetes reads
/// them (`CommonNameUserConversion`). None without a certificate, and for one without a common name.
pub(crate) fn client_user(stream: &TlsStream<TcpStream>) -> Option<User> {
    let leaf = stream.get_ref().1.peer_certificates()?.first()?;
    certificate_user(leaf)
}

/// Whether the handshake chose HTTP/2.
pub(crate) fn chose_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

fn certificate_user(der: &[u8]) -> Option<User> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    if name.is_empty() {
        return None;
    }
    let groups: Vec<&str> = subject.iter_organization().filter_map(|group| group.as_str().ok()).collect();
    Some(User::new(name, groups))
}
