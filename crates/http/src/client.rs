//! One request to whoever listens: what probes and hooks ask of pods. Each has a connection of its own that ends with the answer; nothing is kept.
//!
//! What it is not: a client of the API or of registries. A certificate is not verified here: a pod's is its own word, and what comes back is never
//! trusted. Limits hold for all that the other side sends.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::either::Either;
use tokio_util::task::AbortOnDropHandle;

use crate::BoxError;

/// What an answer's head may be long.
const MOST_HEAD: usize = 64 * 1024;
/// What an answer's header list may be long in HTTP/2.
const MOST_HEADERS: u32 = 16 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("{0}")]
    Connect(#[source] io::Error),
    /// No TLS came about.
    #[error("tls: {0}")]
    Tls(#[source] io::Error),
    /// What came is no HTTP, or ended early.
    #[error("{0}")]
    Http(#[from] hyper::Error),
}

/// Whether the words go over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// As they are.
    Plain,
    /// Over TLS, with whatever certificate the other side shows.
    Unverified,
}

/// `HOST:PORT`, also where the host is an IPv6 address.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Opens a connection.
///
/// # Errors
/// [`ClientError::Connect`].
pub async fn connect(host: &str, port: u16) -> Result<TcpStream, ClientError> {
    TcpStream::connect((host, port)).await.map_err(ClientError::Connect)
}

/// An answer, and the connection that its body comes over: dropped with it.
pub struct Answer {
    /// Its body is still on its way.
    pub response: Response<Incoming>,
    _connection: AbortOnDropHandle<()>,
}

/// Sends one HTTP/1.1 request over a connection.
///
/// # Errors
/// No TLS, or no answer.
pub async fn http1<B>(
    tcp: TcpStream,
    security: Security,
    host: &str,
    request: Request<B>,
) -> Result<Answer, ClientError>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    exchange(secured(tcp, security, host).await?, request).await
}

/// A connection whose words may go over TLS.
pub type Stream = Either<TcpStream, tokio_rustls::client::TlsStream<TcpStream>>;

/// The connection, over TLS if that is asked for.
///
/// # Errors
/// [`ClientError::Tls`].
pub async fn secured(tcp: TcpStream, security: Security, host: &str) -> Result<Stream, ClientError> {
    match security {
        Security::Plain => Ok(Either::Left(tcp)),
        Security::Unverified => encrypt(tcp, host).await.map(Either::Right).map_err(ClientError::Tls),
    }
}

async fn exchange<B>(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<B>,
) -> Result<Answer, ClientError>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let (mut sender, connection) = http1::Builder::new().max_buf_size(MOST_HEAD).handshake(TokioIo::new(io)).await?;
    let connection = AbortOnDropHandle::new(tokio::spawn(async move {
        // What goes wrong with it shows as an error of the request.
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await?;
    Ok(Answer { response, _connection: connection })
}

async fn encrypt(tcp: TcpStream, host: &str) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

/// Whoever it is: only that it holds the key of the certificate that it shows.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A connection that speaks HTTP/2 without TLS from its first byte, as gRPC does; it ends when this is dropped.
pub struct Http2<B> {
    sender: http2::SendRequest<B>,
    _connection: AbortOnDropHandle<()>,
}

impl<B> Http2<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// Greets.
    ///
    /// # Errors
    /// The other side does not speak HTTP/2.
    pub async fn new(tcp: TcpStream) -> Result<Self, ClientError> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.max_header_list_size(MOST_HEADERS);
        let (sender, connection) = builder.handshake(TokioIo::new(tcp)).await?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // What goes wrong with it shows as an error of the request.
            let _ = connection.await;
        }));
        Ok(Self { sender, _connection: connection })
    }
}

impl<B> tower::Service<Request<B>> for Http2<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(self.sender.send_request(request))
    }
}

#[cfg(test)]
mod tests {
    use super::authority;

    #[test]
    fn ipv6_addresses_stand_in_brackets() {
        assert_eq!(authority("10.0.0.1", 80), "10.0.0.1:80");
        assert_eq!(authority("fd00::1", 80), "[fd00::1]:80");
    }
}
