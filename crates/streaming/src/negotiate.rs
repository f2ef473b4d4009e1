//! From a request's headers to the protocol of its session and what carries it, or why there can be none. Pure: nothing is answered
//! here. Called by the API server before it answers. Source of the rules: RFC 6455, section 4.2, and upstream's `wsstream`, `httpstream`
//! (`Handshake`) and KEP-4006.

use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::Protocol;

/// Protocols by the names that clients have for them.
type Names<T> = [(&'static str, T)];

const SESSIONS_OVER_WEBSOCKET: &Names<Protocol> =
    &[("v5.channel.k8s.io", Protocol::V5), ("v4.channel.k8s.io", Protocol::V4), ("channel.k8s.io", Protocol::V1)];
const SESSIONS_OVER_SPDY: &Names<Protocol> = &[
    ("v4.channel.k8s.io", Protocol::V4),
    ("v3.channel.k8s.io", Protocol::V3),
    ("v2.channel.k8s.io", Protocol::V2),
    ("channel.k8s.io", Protocol::V1),
];
const FORWARDS_OVER_WEBSOCKET: &Names<ForwardProtocol> =
    &[("SPDY/3.1+portforward.k8s.io", ForwardProtocol::Tunnel), ("v4.channel.k8s.io", ForwardProtocol::Channels)];
const FORWARDS_OVER_SPDY: &Names<ForwardProtocol> = &[("portforward.k8s.io", ForwardProtocol::Spdy)];
/// Upstream also serves them in base64, to clients of before RFC 6455.
const MESSAGES: &Names<()> = &[("binary.k8s.io", ())];
/// Upstream's names of the headers in which SPDY's clients and servers name protocols.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_STREAM_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
const SPDY: &str = "SPDY/3.1";
const VERSION: &str = "13";
/// Sixteen bytes in base64.
const KEY_LENGTH: usize = 24;

/// How a port-forward is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardProtocol {
    /// Two SPDY streams for each forwarded connection.
    Spdy,
    /// The same, and SPDY's bytes are the messages of a WebSocket connection (KEP-4006).
    Tunnel,
    /// Two channels of a WebSocket connection for each port, and one forwarded connection for each port.
    Channels,
}

/// What carries a session's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The channels of a WebSocket connection: see [`accept`](crate::accept).
    WebSocket,
    /// The streams of a SPDY connection: see [`spdy::accept`](crate::spdy::accept).
    Spdy,
}

/// A session that can be had: answer with [`Upgrade::response`], then go on by its [`carrier`](Upgrade::carrier).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade<P = Protocol> {
    protocol: P,
    /// As the client named it; none if it named none.
    name: Option<&'static str>,
    /// What proves that a WebSocket's key was read; none is SPDY.
    accept: Option<String>,
}

impl<P: Copy> Upgrade<P> {
    /// What will be spoken.
    pub fn protocol(&self) -> P {
        self.protocol
    }

    /// Over what.
    pub fn carrier(&self) -> Carrier {
        match self.accept {
            Some(_) => Carrier::WebSocket,
            None => Carrier::Spdy,
        }
    }

    /// The answer: 101.
    pub fn response<B>(&self, body: B) -> Response<B> {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        let (upgrade, name) = match self.carrier() {
            Carrier::WebSocket => ("websocket", SEC_WEBSOCKET_PROTOCOL),
            Carrier::Spdy => (SPDY, STREAM_PROTOCOL),
        };
        headers.insert(UPGRADE, HeaderValue::from_static(upgrade));
        // Base64 is always a header value.
        let accept = self.accept.as_ref().and_then(|accept| HeaderValue::try_from(accept).ok());
        headers.extend(accept.map(|accept| (SEC_WEBSOCKET_ACCEPT, accept)));
        headers.extend(self.name.map(|value| (name, HeaderValue::from_static(value))));
        response
    }
}

/// Why a request gets no session. The text is for the client's user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A plain request.
    #[error("Upgrade request required")]
    NoUpgrade,
    /// An upgrade to something else.
    #[error("unable to upgrade: this server speaks WebSocket and SPDY/3.1 here, not {0}")]
    Unknown(String),
    /// Another WebSocket than RFC 6455's.
    #[error("unable to upgrade: WebSocket version 13 is required")]
    Version,
    /// No key, or one that is none.
    #[error("unable to upgrade: Sec-WebSocket-Key is missing or malformed")]
    Key,
    /// SPDY without a protocol.
    #[error("unable to upgrade: X-Stream-Protocol-Version is required")]
    NoProtocol,
    /// Only protocols that are not served.
    #[error("unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {served:?}")]
    Protocol {
        /// Over what.
        carrier: Carrier,
        /// What the client offered.
        offered: Vec<String>,
        /// What it could have had.
        served: Vec<&'static str>,
    },
}

impl Refusal {
    /// The answer's status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Protocol { carrier: Carrier::Spdy, .. } => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// Headers of the answer: what the client could have asked for (RFC 6455, section 4.4; upstream's `Handshake`).
    pub fn headers(&self) -> HeaderMap {
        match self {
            Self::Protocol { carrier: Carrier::Spdy, served, .. } => {
                served.iter().map(|name| (ACCEPTED_STREAM_PROTOCOLS, HeaderValue::from_static(name))).collect()
            }
            _ => HeaderMap::from_iter([(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION))]),
        }
    }
}

/// The session that a request asks for. Of the protocols that a client offers, its first that is served is taken; a WebSocket client
/// that offers none gets the first version.
pub fn negotiate(headers: &HeaderMap) -> Result<Upgrade, Refusal> {
    upgrade(headers, (SESSIONS_OVER_WEBSOCKET, Protocol::V1), SESSIONS_OVER_SPDY)
}

/// Likewise, for the port-forward that a request asks for.
pub fn negotiate_forward(headers: &HeaderMap) -> Result<Upgrade<ForwardProtocol>, Refusal> {
    upgrade(headers, (FORWARDS_OVER_WEBSOCKET, ForwardProtocol::Channels), FORWARDS_OVER_SPDY)
}

/// Likewise, for bytes that only the server sends: none for a plain request, which is answered without an upgrade.
pub fn negotiate_messages(headers: &HeaderMap) -> Result<Option<Upgrade<()>>, Refusal> {
    let is_asked = tokens(headers, UPGRADE).next().is_some_and(|word| word.eq_ignore_ascii_case("websocket"));
    match upgrade(headers, (MESSAGES, ()), &[]) {
        Err(Refusal::NoUpgrade) => Ok(None),
        // A client that would rather have SPDY has always got a plain answer.
        Err(_) if !is_asked => Ok(None),
        upgrade => upgrade.map(Some),
    }
}

fn upgrade<P: Copy>(
    headers: &HeaderMap,
    (over_websocket, unnamed): (&'static Names<P>, P),
    over_spdy: &'static Names<P>,
) -> Result<Upgrade<P>, Refusal> {
    let upgrade = tokens(headers, UPGRADE).next();
    let asked = tokens(headers, CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let Some(upgrade) = upgrade.filter(|_| asked) else { return Err(Refusal::NoUpgrade) };
    if upgrade.eq_ignore_ascii_case(SPDY) {
        let chosen = choose(headers, STREAM_PROTOCOL, over_spdy, Carrier::Spdy)?;
        let (name, protocol) = chosen.ok_or(Refusal::NoProtocol)?;
        return Ok(Upgrade { protocol, name: Some(name), accept: None });
    }
    if !upgrade.eq_ignore_ascii_case("websocket") {
        return Err(Refusal::Unknown(upgrade.to_owned()));
    }
    if tokens(headers, SEC_WEBSOCKET_VERSION).next() != Some(VERSION) {
        return Err(Refusal::Version);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let key = key.filter(|key| key.len() == KEY_LENGTH && key.ends_with(b"==")).ok_or(Refusal::Key)?;
    let chosen = choose(headers, SEC_WEBSOCKET_PROTOCOL, over_websocket, Carrier::WebSocket)?;
    let (name, protocol) = chosen.map_or((None, unnamed), |(name, protocol)| (Some(name), protocol));
    Ok(Upgrade { protocol, name, accept: Some(derive_accept_key(key)) })
}

/// The first that is served; none if the client names none.
fn choose<P: Copy>(
    headers: &HeaderMap,
    header: HeaderName,
    served: &'static Names<P>,
    carrier: Carrier,
) -> Result<Option<(&'static str, P)>, Refusal> {
    let offered: Vec<&str> = tokens(headers, header).collect();
    if offered.is_empty() {
        return Ok(None);
    }
    match offered.iter().find_map(|offer| served.iter().find(|(name, _)| name == offer)) {
        Some(chosen) => Ok(Some(*chosen)),
        None => Err(Refusal::Protocol {
            carrier,
            offered: offered.into_iter().map(str::to_owned).collect(),
            served: served.iter().map(|(name, _)| *name).collect(),
        }),
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
        negotiate(&headers(change))
    }

    fn headers(change: &[(&'static str, &'static [&'static str])]) -> HeaderMap {
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
        headers
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
        check(&[("upgrade", &["h2c"])], "unable to upgrade: this server speaks WebSocket and SPDY/3.1 here, not h2c");
        check(&[("upgrade", &["SPDY/3.1"])], "unable to upgrade: X-Stream-Protocol-Version is required");
        check(&[("sec-websocket-version", &["8"])], "unable to upgrade: WebSocket version 13 is required");
        let key = "unable to upgrade: Sec-WebSocket-Key is missing or malformed";
        check(&[("sec-websocket-key", &[])], key);
        check(&[("sec-websocket-key", &["short"])], key);
        let protocol = "unable to upgrade: unable to negotiate protocol: client supports [\"x\", \"y\"], \
                        server accepts [\"v5.channel.k8s.io\", \"v4.channel.k8s.io\", \"channel.k8s.io\"]";
        check(&[("sec-websocket-protocol", &["x, y"])], protocol);
    }

    #[test]
    fn over_spdy_a_protocol_must_be_named() {
        let check = |offered: &'static [&'static str], expected: Result<Protocol, StatusCode>| {
            let got = ask(&[("upgrade", &["spdy/3.1"]), ("x-stream-protocol-version", offered)]);
            let got = got.map(|upgrade| (upgrade.carrier(), upgrade.protocol())).map_err(|refusal| refusal.status());
            assert_eq!(got, expected.map(|protocol| (Carrier::Spdy, protocol)), "{offered:?}");
        };
        check(&["v4.channel.k8s.io", "v3.channel.k8s.io"], Ok(Protocol::V4));
        check(&["v9.channel.k8s.io, v3.channel.k8s.io"], Ok(Protocol::V3));
        check(&["v2.channel.k8s.io"], Ok(Protocol::V2));
        check(&["channel.k8s.io"], Ok(Protocol::V1));
        // Standard input always has an end over SPDY: nobody serves a fifth version.
        check(&["v5.channel.k8s.io"], Err(StatusCode::FORBIDDEN));
        check(&[], Err(StatusCode::BAD_REQUEST));
        let offered: &[(_, &[_])] =
            &[("upgrade", &["SPDY/3.1"]), ("x-stream-protocol-version", &["v4.channel.k8s.io"])];
        let response = ask(offered).unwrap().response(());
        assert_eq!(response.headers()[UPGRADE], "SPDY/3.1");
        assert_eq!(response.headers()[STREAM_PROTOCOL], "v4.channel.k8s.io");
        let offered: &[(_, &[_])] = &[("upgrade", &["SPDY/3.1"]), ("x-stream-protocol-version", &["x"])];
        let could = ask(offered).unwrap_err().headers();
        assert_eq!(could.get_all(ACCEPTED_STREAM_PROTOCOLS).into_iter().count(), SESSIONS_OVER_SPDY.len());
    }

    #[test]
    fn a_port_forward_has_protocols_of_its_own() {
        let check = |change: &[(&'static str, &'static [&'static str])], expected: Option<ForwardProtocol>| {
            let got = negotiate_forward(&headers(change)).map(|upgrade| upgrade.protocol()).ok();
            assert_eq!(got, expected, "{change:?}");
        };
        check(&[("sec-websocket-protocol", &["SPDY/3.1+portforward.k8s.io"])], Some(ForwardProtocol::Tunnel));
        check(&[("sec-websocket-protocol", &["v4.channel.k8s.io"])], Some(ForwardProtocol::Channels));
        check(&[], Some(ForwardProtocol::Channels));
        check(&[("sec-websocket-protocol", &["v5.channel.k8s.io"])], None);
        let spdy = ("upgrade", &["SPDY/3.1"][..]);
        check(&[spdy, ("x-stream-protocol-version", &["portforward.k8s.io"])], Some(ForwardProtocol::Spdy));
        check(&[spdy, ("x-stream-protocol-version", &["v4.channel.k8s.io"])], None);
        check(&[spdy], None);
    }

    #[test]
    fn messages_are_sent_to_those_that_ask_for_a_websocket() {
        let check = |change: &[(&'static str, &'static [&'static str])], expected: Result<bool, StatusCode>| {
            let got = negotiate_messages(&headers(change)).map(|upgrade| upgrade.is_some());
            assert_eq!(got.map_err(|refusal| refusal.status()), expected, "{change:?}");
        };
        check(&[], Ok(true));
        check(&[("sec-websocket-protocol", &["binary.k8s.io"])], Ok(true));
        check(&[("sec-websocket-protocol", &["base64.binary.k8s.io"])], Err(StatusCode::BAD_REQUEST));
        check(&[("sec-websocket-key", &[])], Err(StatusCode::BAD_REQUEST));
        check(&[("upgrade", &["SPDY/3.1"])], Ok(false));
        check(&[("upgrade", &[])], Ok(false));
        check(&[("connection", &[])], Ok(false));
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
