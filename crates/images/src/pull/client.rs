//! HTTP to registries: endpoints, tokens, redirects, time limits.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, LOCATION, RANGE, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::Credentials;
use super::answer::{TransferError, describe, expect, go_method, malformed, read_small};
use super::auth::{self, Challenge};
use crate::registries::{Endpoint, Registries};

/// What we send.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

const CONNECT: Duration = Duration::from_secs(30);
/// Until the head of an answer is here.
const ANSWER: Duration = Duration::from_secs(60);
/// As Go's client has it.
const MAX_REDIRECTS: usize = 10;
/// Tokens and error documents.
const MAX_SMALL: u64 = 1 << 20;

/// What a request is about: one repository on one endpoint, asked for by somebody.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) repository: String,
    pub(crate) credentials: Option<Credentials>,
    /// `pull`, or `pull,push`.
    pub(crate) actions: &'static str,
}

impl Target {
    /// `<base>/v2/<repository>/<path>`, and for a mirror on whose behalf.
    pub(crate) fn url(&self, path: &str) -> String {
        let Endpoint { base, mirror_of } = &self.endpoint;
        let query = mirror_of.as_ref().map(|registry| format!("?ns={registry}")).unwrap_or_default();
        format!("{base}/v2/{}/{path}{query}", self.repository)
    }

    fn scope(&self) -> String {
        format!("repository:{}:{}", self.repository, self.actions)
    }
}

/// Connections and tokens. TLS is set up when first needed.
pub(crate) struct Client {
    registries: Registries,
    plain: HyperClient<HttpConnector, Body>,
    secure: OnceLock<HyperClient<HttpsConnector<HttpConnector>, Body>>,
    /// By endpoint and scope. Locked for moments.
    tokens: Mutex<HashMap<TokenKey, HeaderValue>>,
}

impl Client {
    pub(crate) fn new(registries: Registries) -> Self {
        let plain = HyperClient::builder(TokioExecutor::new()).build(connector());
        Client { registries, plain, secure: OnceLock::new(), tokens: Mutex::default() }
    }

    pub(crate) fn registries(&self) -> &Registries {
        &self.registries
    }

    /// Asks for something; follows redirects; gets a token when one is wanted. The answer's status may be anything but 401.
    pub(crate) async fn ask(
        &self,
        method: Method,
        target: &Target,
        url: &str,
        more: &[(http::HeaderName, String)],
    ) -> Result<Response<Incoming>, TransferError> {
        let build = |method: &Method| {
            let mut request = Request::builder().method(method.clone());
            for (name, value) in more {
                request = request.header(name, value);
            }
            request.body(empty()).map_err(|error| malformed(url, error))
        };
        let response = self.send_authorized(target, url, || build(&method)).await?;
        self.follow(response, &method, url, || build(&method)).await
    }

    /// Sends something, with a token when one is wanted; `build` makes the request, twice if need be.
    pub(crate) async fn send_authorized(
        &self,
        target: &Target,
        url: &str,
        build: impl Fn() -> Result<Request<Body>, TransferError>,
    ) -> Result<Response<Incoming>, TransferError> {
        let known = self.token(target);
        let response = self.send(url, build()?, known.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let challenge = auth::choose(response.headers().get_all(WWW_AUTHENTICATE).iter());
        let token = self.authorize(target, challenge, known.is_some()).await?;
        let response = self.send(url, build()?, Some(&token)).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            self.remember(target, token);
            return Ok(response);
        }
        let challenge = auth::choose(response.headers().get_all(WWW_AUTHENTICATE).iter());
        Err(TransferError::Denied(auth::denied(challenge.as_ref())))
    }

    /// Redirects go to other hosts as a rule (content networks), which must not see the token.
    async fn follow(
        &self,
        mut response: Response<Incoming>,
        method: &Method,
        url: &str,
        build: impl Fn() -> Result<Request<Body>, TransferError>,
    ) -> Result<Response<Incoming>, TransferError> {
        let mut here = url.to_owned();
        for _ in 0..MAX_REDIRECTS {
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let location = location.ok_or_else(|| malformed(&here, "a redirect to nowhere"))?;
            here = resolve_location(&here, location).ok_or_else(|| malformed(&here, "a redirect to nowhere"))?;
            response = self.send(&here, build()?, None).await?;
        }
        Err(TransferError::Request {
            method: go_method(method),
            url: here,
            problem: format!("stopped after {MAX_REDIRECTS} redirects"),
        })
    }

    async fn send(
        &self,
        url: &str,
        mut request: Request<Body>,
        token: Option<&HeaderValue>,
    ) -> Result<Response<Incoming>, TransferError> {
        let uri: Uri = url.parse().map_err(|error| malformed(url, error))?;
        let is_secure = uri.scheme_str() == Some("https");
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("remora/", env!("CARGO_PKG_VERSION"))));
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        let method = request.method().clone();
        match is_secure {
            true => within(&method, url, self.secure()?.request(request)).await,
            false => within(&method, url, self.plain.request(request)).await,
        }
    }

    fn secure(&self) -> Result<&HyperClient<HttpsConnector<HttpConnector>, Body>, TransferError> {
        if let Some(client) = self.secure.get() {
            return Ok(client);
        }
        let provider = rustls::crypto::ring::default_provider();
        let tls = hyper_rustls::HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)
            .map_err(|error| TransferError::Trust(error.to_string()))?
            .https_only()
            .enable_http1()
            .wrap_connector(connector());
        Ok(self.secure.get_or_init(|| HyperClient::builder(TokioExecutor::new()).build(tls)))
    }

    fn token(&self, target: &Target) -> Option<HeaderValue> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(&token_key(target)).cloned()
    }

    fn remember(&self, target: &Target, token: HeaderValue) {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(token_key(target), token);
    }

    /// What to send in answer to a challenge.
    async fn authorize(
        &self,
        target: &Target,
        challenge: Option<Challenge>,
        was_authorized: bool,
    ) -> Result<HeaderValue, TransferError> {
        match (challenge, &target.credentials) {
            (Some(Challenge::Bearer { realm, service, error, .. }), credentials) => {
                // A token that has become old is renewed; one that does not suffice never will.
                if was_authorized && error.as_deref() == Some("insufficient_scope") {
                    return Err(TransferError::Denied(
                        "server message: insufficient_scope: authorization failed".into(),
                    ));
                }
                let url = auth::token_url(&realm, service.as_deref(), &target.scope());
                let basic = credentials.as_ref().map(auth::basic).transpose()?;
                let token = self.fetch_token(&url, basic.as_ref()).await;
                token.map_err(|error| match error {
                    TransferError::Request { method, url, problem } => {
                        TransferError::Token(format!("{method} {url:?}: {problem}"))
                    }
                    other => TransferError::Token(other.to_string()),
                })
            }
            (Some(Challenge::Basic), Some(credentials)) => auth::basic(credentials),
            (Some(Challenge::Basic), None) => {
                Err(TransferError::Denied("authorization failed: no basic auth credentials".into()))
            }
            (None, _) => Err(TransferError::Denied("authorization failed".into())),
        }
    }

    async fn fetch_token(&self, url: &str, basic: Option<&HeaderValue>) -> Result<HeaderValue, TransferError> {
        let request = Request::get("/").header(ACCEPT, "application/json").body(empty());
        let response = self.send(url, request.map_err(|error| malformed(url, error))?, basic).await?;
        let response = expect(response, &Method::GET, url, &[StatusCode::OK])?;
        let bytes = read_small(response, url, MAX_SMALL).await?;
        auth::token(&bytes).ok_or_else(|| malformed(url, "the token service sent no token"))
    }
}

/// Endpoint, scope, who asks.
type TokenKey = (String, String, Option<Credentials>);

fn token_key(target: &Target) -> TokenKey {
    (target.endpoint.base.clone(), target.scope(), target.credentials.clone())
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_nodelay(true);
    connector
}

/// No body.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

async fn within(
    method: &Method,
    url: &str,
    sent: impl Future<Output = Result<Response<Incoming>, hyper_util::client::legacy::Error>>,
) -> Result<Response<Incoming>, TransferError> {
    let failed = |problem| TransferError::Request { method: go_method(method), url: url.to_owned(), problem };
    match tokio::time::timeout(ANSWER, sent).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(failed(describe(url, &error))),
        Err(_) => Err(failed(format!("no answer within {} seconds", ANSWER.as_secs()))),
    }
}

/// A redirect's target, seen from where it was given.
pub(crate) fn resolve_location(here: &str, location: &str) -> Option<String> {
    if location.starts_with("http://") || location.starts_with("https://") {
        return Some(location.to_owned());
    }
    let uri: Uri = here.parse().ok()?;
    let origin = format!("{}://{}", uri.scheme_str()?, uri.authority()?);
    match location.starts_with('/') {
        true => Some(format!("{origin}{location}")),
        false => {
            let folder = uri.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            Some(format!("{origin}{folder}/{location}"))
        }
    }
}

/// `Range: bytes=<from>-`
pub(crate) fn range_from(from: u64) -> (http::HeaderName, String) {
    (RANGE, format!("bytes={from}-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_may_be_relative() {
        let here = "http://r:5000/v2/a/blobs/x?ns=docker.io";
        for (location, expected) in [
            ("https://cdn.example/b?sig=1", "https://cdn.example/b?sig=1"),
            ("/b", "http://r:5000/b"),
            ("c", "http://r:5000/v2/a/blobs/c"),
        ] {
            assert_eq!(resolve_location(here, location).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_mirror_is_told_on_whose_behalf() {
        let endpoint =
            |mirror_of: Option<&str>| Endpoint { base: "http://m:1/p".into(), mirror_of: mirror_of.map(str::to_owned) };
        let target = |endpoint| Target { endpoint, repository: "a/b".into(), credentials: None, actions: "pull" };
        assert_eq!(target(endpoint(None)).url("manifests/t"), "http://m:1/p/v2/a/b/manifests/t");
        assert_eq!(
            target(endpoint(Some("docker.io"))).url("manifests/t"),
            "http://m:1/p/v2/a/b/manifests/t?ns=docker.io"
        );
    }
}
