//! From a request's headers to the protocol of its session, or why there can be none. Pure: nothing is answered here.
//! Called by the API server before it answers. Source of the rules: RFC 6455, section 4.2, and upstream's `wsstream`.

use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::Protocol;

const SERVED: [(&str, Protocol); 3] =
    [("v5.channel.k8s.io", Protocol::V5), ("v4.channel.k8s.io", Protocol::V4), ("channel.k8s.io", Protocol::V1)];
const VERSION: &str = "13";
/// Sixteen bytes in base64.
const KEY_LENGTH: usize = 24;

/// A session that can be had: answer with [`Upgrade::response`], then [`accept`](crate::accept).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    protocol: Protocol,
    /// As the client named it; none if it named none.
    name: Option<&'static str>,
    accept: String,
}

impl Upgrade {
    /// What will be spoken.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The answer: 101.
    pub fn response<B>(&self, body: B) -> Response<B> {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        // Base64 is always a header value.
        headers.extend(HeaderValue::try_from(&self.accept).ok().map(|accept| (SEC_WEBSOCKET_ACCEPT, accept)));
        headers.extend(self.name.map(|name| (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name))));
        response
    }
}

/// Why a request gets no session. Each is a 400; the text is for the client's user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A plain request.
    #[error("Upgrade request required")]
    NoUpgrade,
    /// An upgrade to something else, such as SPDY.
    #[error("unable to upgrade: this server speaks WebSocket here, not {0}")]
    NotWebSocket(String),
    /// Another WebSocket than RFC 6455's. The answer should carry `Sec-WebSocket-Version: 13`.
    #[error("unable to upgrade: WebSocket version 13 is required")]
    Version,
    /// No key, or one that is none.
    #[error("unable to upgrade: Sec-WebSocket-Key is missing or malformed")]
    Key,
    /// Only protocols that are not served.
    #[error("unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {:?}", SERVED.map(|(name, _)| name))]
    Protocol {
        /// What the client offered.
        offered: Vec<String>,
    },
}

/// The session that a request asks for. Of the protocols that a client offers, its first that is served is taken; a client
/// that offers none gets the first version.
pub fn negotiate(headers: &HeaderMap) -> Result<Upgrade, Refusal> {
    let upgrade = tokens(headers, UPGRADE).next();
    let asked = tokens(headers, CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let Some(upgrade) = upgrade.filter(|_| asked) else { return Err(Refusal::NoUpgrade) };
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return Err(Refusal::NotWebSocket(upgrade.to_owned()));
    }
    if tokens(headers, SEC_WEBSOCKET_VERSION).next() != Some(VERSION) {
        return Err(Refusal::Version);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let key = key.filter(|key| key.len() == KEY_LENGTH && key.ends_with(b"==")).ok_or(Refusal::Key)?;
    let (name, protocol) = choose(headers)?;
    Ok(Upgrade { protocol, name, accept: derive_accept_key(key) })
}

fn choose(headers: &HeaderMap) -> Result<(Option<&'static str>, Protocol), Refusal> {
    let offered: Vec<&str> = tokens(headers, SEC_WEBSOCKET_PROTOCOL).collect();
    if offered.is_empty() {
        return Ok((None, Protocol::V1));
    }
    let served = |offer: &&str| SERVED.iter().find(|(name, _)| name == offer);
    match offered.iter().find_map(served) {
        Some((name, protocol)) => Ok((Some(name), *protocol)),
        None => Err(Refusal::Protocol { offered: offered.into_iter().map(str::to_owned).collect() }),
    }
}

/// The comma-separated elements of a header, which may come more than once.
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(change: &[(&'static str, &'static [&'static str])]) -> Result<Upgrade, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for (name, values) in change {
            headers.remove(*name);
            headers.extend(values.iter().map(|value| (HeaderName::from_static(name), HeaderValue::from_static(value))));
        }
        negotiate(&headers)
    }

    #[test]
    fn the_first_protocol_of_the_client_that_is_served_is_taken() {
        let check = |offered: &'static [&'static str], expected: Option<(Protocol, Option<&str>)>| {
            let got = ask(&[("sec-websocket-protocol", offered)]);
            let name = |upgrade: &Upgrade| {
                let response = upgrade.response(());
                response.headers().get(SEC_WEBSOCKET_PROTOCOL).map(|name| name.to_str().unwrap().to_owned())
            };
            let got = got.as_ref().ok().map(|upgrade| (upgrade.protocol(), name(upgrade)));
            assert_eq!(got, expected.map(|(protocol, name)| (protocol, name.map(str::to_owned))), "{offered:?}");
        };
        check(&["v5.channel.k8s.io"], Some((Protocol::V5, Some("v5.channel.k8s.io"))));
        check(&["v5.channel.k8s.io,v4.channel.k8s.io"], Some((Protocol::V5, Some("v5.channel.k8s.io"))));
        check(&["v4.channel.k8s.io, v5.channel.k8s.io"], Some((Protocol::V4, Some("v4.channel.k8s.io"))));
        check(&["v9.channel.k8s.io", "v4.channel.k8s.io"], Some((Protocol::V4, Some("v4.channel.k8s.io"))));
        check(&["channel.k8s.io"], Some((Protocol::V1, Some("channel.k8s.io"))));
        check(&[], Some((Protocol::V1, None)));
        check(&[""], Some((Protocol::V1, None)));
        check(&["v9.channel.k8s.io"], None);
        check(&["SPDY/3.1+portforward.k8s.io"], None);
    }

    #[test]
    fn what_is_no_websocket_request_is_refused_with_a_reason() {
        let check = |change: &[(&'static str, &'static [&'static str])], expected: &str| {
            assert_eq!(ask(change).unwrap_err().to_string(), expected);
        };
        check(&[("upgrade", &[])], "Upgrade request required");
        check(&[("connection", &["keep-alive"])], "Upgrade request required");
        check(&[("upgrade", &["SPDY/3.1"])], "unable to upgrade: this server speaks WebSocket here, not SPDY/3.1");
        check(&[("sec-websocket-version", &["8"])], "unable to upgrade: WebSocket version 13 is required");
        let key = "unable to upgrade: Sec-WebSocket-Key is missing or malformed";
        check(&[("sec-websocket-key", &[])], key);
        check(&[("sec-websocket-key", &["short"])], key);
        let protocol = "unable to upgrade: unable to negotiate protocol: client supports [\"x\", \"y\"], \
                        server accepts [\"v5.channel.k8s.io\", \"v4.channel.k8s.io\", \"channel.k8s.io\"]";
        check(&[("sec-websocket-protocol", &["x, y"])], protocol);
    }

    #[test]
    fn the_answer_proves_that_the_key_was_read() {
        // The example of RFC 6455, section 1.3.
        let response = ask(&[("connection", &["keep-alive, Upgrade"])]).unwrap().response(());
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response.headers()[UPGRADE], "websocket");
    }
}
