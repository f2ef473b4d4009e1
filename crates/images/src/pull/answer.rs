//! Answers and failures of registries: what is right, how bodies are read, and what went wrong in the words of Go's HTTP
//! client, because that is what people know from containerd.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// Between two pieces of a body.
const STALL: Duration = Duration::from_secs(60);

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// No connection, or it broke.
    #[error("failed to do request: {method} {url:?}: {problem}")]
    Request {
        /// `Head`, `Get`, as Go writes it.
        method: String,
        /// Where.
        url: String,
        /// Why, without addresses that say nothing.
        problem: String,
    },
    /// An answer that is not what the protocol has.
    #[error("unexpected status from {method} request to {url}: {status}")]
    Status {
        /// The method.
        method: Method,
        /// Where.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// There is no such thing.
    #[error("{url}: not found")]
    NotFound {
        /// Where.
        url: String,
    },
    /// The registry wants to know who asks, or does not like who asks.
    #[error("{0}")]
    Denied(String),
    /// The token service.
    #[error("failed to authorize: failed to fetch anonymous token: {0}")]
    Token(String),
    /// Something in an answer is malformed.
    #[error("{url}: {problem}")]
    Malformed {
        /// Where.
        url: String,
        /// What.
        problem: String,
    },
    /// The trust store of this machine.
    #[error("no certificate authorities to check registries with: {0}")]
    Trust(String),
}

/// Only these statuses are right.
pub(crate) fn expect(
    response: Response<Incoming>,
    method: &Method,
    url: &str,
    right: &[StatusCode],
) -> Result<Response<Incoming>, TransferError> {
    match response.status() {
        status if right.contains(&status) => Ok(response),
        StatusCode::NOT_FOUND => Err(TransferError::NotFound { url: url.to_owned() }),
        status => Err(TransferError::Status { method: method.clone(), url: url.to_owned(), status }),
    }
}

/// A whole body that must not be larger than `limit`.
pub(crate) async fn read_small(response: Response<Incoming>, url: &str, limit: u64) -> Result<Vec<u8>, TransferError> {
    let mut bytes = Vec::new();
    let mut body = response.into_body();
    while let Some(piece) = next_piece(&mut body, &Method::GET, url).await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > limit {
            return Err(malformed(url, format!("larger than the limit of {limit} bytes")));
        }
    }
    Ok(bytes)
}

/// The next piece of a body, within the time limit.
pub(crate) async fn next_piece(
    body: &mut Incoming,
    method: &Method,
    url: &str,
) -> Result<Option<Bytes>, TransferError> {
    let failed = |problem| TransferError::Request { method: go_method(method), url: url.to_owned(), problem };
    loop {
        match tokio::time::timeout(STALL, body.frame()).await {
            Err(_) => return Err(failed(format!("nothing came for {} seconds", STALL.as_secs()))),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => {
                let cause = error.source().map_or_else(|| error.to_string(), |cause| cause.to_string());
                return Err(failed(cause));
            }
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => return Ok(Some(data)),
                // Trailers carry nothing for us.
                Err(_) => continue,
            },
        }
    }
}

/// The announced length of a body.
pub(crate) fn content_length(response: &Response<Incoming>) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Go writes `dial tcp 127.0.0.1:5000: connect: connection refused`.
pub(crate) fn describe(url: &str, error: &hyper_util::client::legacy::Error) -> String {
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>()
            && error.is_connect()
            && io.kind() == io::ErrorKind::ConnectionRefused
        {
            return format!("dial tcp {}: connect: connection refused", authority(url));
        }
        causes.push(cause.to_string());
        next = cause.source();
    }
    let is_lookup = causes.iter().any(|cause| cause.contains("dns error") || cause.contains("lookup address"));
    if error.is_connect() && is_lookup {
        let host = authority(url).rsplit_once(':').map_or_else(|| authority(url), |(host, _)| host.to_owned());
        return format!("dial tcp: lookup {host}: no such host");
    }
    causes.dedup();
    if causes.is_empty() { error.to_string() } else { causes.join(": ") }
}

fn authority(url: &str) -> String {
    let uri: Option<Uri> = url.parse().ok();
    let Some(uri) = uri else { return url.to_owned() };
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    format!("{}:{port}", uri.host().unwrap_or_default())
}

pub(crate) fn go_method(method: &Method) -> String {
    let name = method.as_str();
    name.chars().take(1).chain(name.chars().skip(1).map(|letter| letter.to_ascii_lowercase())).collect()
}

pub(crate) fn malformed(url: &str, problem: impl std::fmt::Display) -> TransferError {
    TransferError::Malformed { url: url.to_owned(), problem: problem.to_string() }
}
