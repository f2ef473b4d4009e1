//! HTTP GET as a probe or a hook: over TLS with whatever certificate the pod shows, following redirects within the pod.
//!
//! Source: kubernetes `pkg/probe/http`, `pkg/kubelet/lifecycle/handlers.go`.

use http::header::{ACCEPT, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use remora_http::client::{Answer, ClientError, Security, authority, connect, http1};

use super::{MOST_BYTES, not_connected, port};

/// Who asks.
pub(super) const PROBE: &str = "kube-probe/1.34";
const HOOK: &str = "kube-lifecycle/1.34";
/// How many places are asked at most.
const MOST_PLACES: usize = 10;

/// What to get.
#[derive(Clone, Debug)]
pub(in crate::probes) struct HttpGet {
    first: Place,
    headers: Vec<(String, String)>,
    asker: &'static str,
    /// Any answer will do.
    any_status: bool,
}

/// Where one request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    security: Security,
    host: String,
    port: u16,
    /// With its query; begins with a slash.
    path: String,
}

impl HttpGet {
    pub(super) fn new(action: &HTTPGetAction, container: &Container, ip: &str) -> Self {
        let https = action.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        let first = Place {
            security: if https { Security::Unverified } else { Security::Plain },
            host: action.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| ip.to_owned()),
            port: port(&action.port, container),
            path: as_path(action.path.as_deref().unwrap_or_default()),
        };
        let headers = action.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect();
        Self { first, headers, asker: PROBE, any_status: false }
    }

    /// The same as a hook, which is content with any answer.
    pub(super) fn of_hook(self) -> Self {
        Self { asker: HOOK, any_status: true, ..self }
    }

    /// Asks, and asks on where it is sent to; another host's answer is not asked for, and the pod counts as well.
    pub(super) async fn run(&self) -> Result<(), String> {
        let mut place = self.first.clone();
        for _ in 0..MOST_PLACES {
            let failed = |error: &dyn std::fmt::Display| format!("Get {:?}: {error}", place.url());
            let answer = self.ask(&place).await.map_err(|error| match error {
                AskError::Client(error @ ClientError::Connect(_)) => {
                    failed(&not_connected(&authority(&place.host, place.port), &error))
                }
                other => failed(&other),
            })?;
            let (head, body) = answer.response.into_parts();
            read_some(body).await;
            match place.sent_to(head.status, &head.headers) {
                Some(next) if next.host == self.first.host => place = next,
                _ => return self.judge(head.status),
            }
        }
        Err(format!("Get {:?}: stopped after {MOST_PLACES} redirects", place.url()))
    }

    /// Whom it asks first.
    pub(super) fn host(&self) -> &str {
        &self.first.host
    }

    pub(super) fn timed_out(&self) -> String {
        let url = self.first.url();
        format!("Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)")
    }

    fn judge(&self, status: StatusCode) -> Result<(), String> {
        match status.as_u16() {
            200..=399 => Ok(()),
            _ if self.any_status => Ok(()),
            code => Err(format!("HTTP probe failed with statuscode: {code}")),
        }
    }

    async fn ask(&self, place: &Place) -> Result<Answer, AskError> {
        let mut request = Request::get(&place.path).body(Empty::<bytes::Bytes>::new())?;
        *request.headers_mut() = self.headers(place)?;
        let tcp = connect(&place.host, place.port).await?;
        Ok(http1(tcp, place.security, &place.host, request).await?)
    }

    /// The pod's own, and ours where it has none. An empty one is not sent.
    fn headers(&self, place: &Place) -> Result<HeaderMap, http::Error> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::try_from(authority(&place.host, place.port))?);
        headers.insert(USER_AGENT, HeaderValue::from_static(self.asker));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        for usual in [HOST, USER_AGENT, ACCEPT] {
            if self.headers.iter().any(|(name, _)| usual.as_str().eq_ignore_ascii_case(name)) {
                headers.remove(usual);
            }
        }
        for (name, value) in self.headers.iter().filter(|(_, value)| !value.is_empty()) {
            headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
        Ok(headers)
    }
}

#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Request(#[from] http::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Place {
    fn url(&self) -> String {
        format!("{}://{}{}", self.scheme(), authority(&self.host, self.port), self.path)
    }

    fn scheme(&self) -> &'static str {
        if self.security == Security::Plain { "http" } else { "https" }
    }

    /// Where an answer sends us, if it does.
    fn sent_to(&self, status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let location = headers.get(LOCATION)?.to_str().ok()?;
        if let Some(path) = location.strip_prefix('/').filter(|rest| !rest.starts_with('/')) {
            return Some(Self { path: as_path(path), ..self.clone() });
        }
        let uri: Uri = match location.strip_prefix("//") {
            Some(rest) => format!("{}://{rest}", self.scheme()).parse().ok()?,
            None if has_scheme(location) => location.parse().ok()?,
            None => return Some(Self { path: as_path(&format!("{}{location}", self.folder())), ..self.clone() }),
        };
        let is_https = uri.scheme_str() == Some("https");
        Some(Self {
            security: if is_https { Security::Unverified } else { Security::Plain },
            host: uri.host()?.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }

    /// The path up to its last slash.
    fn folder(&self) -> &str {
        let path = self.path.split('?').next().unwrap_or_default();
        &path[..=path.rfind('/').unwrap_or(0)]
    }
}

/// Whether a reference is absolute (RFC 3986, section 3.1): one in a query makes it none.
fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else { return false };
    let other = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(other)
}

/// Begins with a slash, ends before a fragment, and what a request line cannot hold is escaped.
fn as_path(text: &str) -> String {
    let text = text.split('#').next().unwrap_or_default();
    let mut path = if text.starts_with('/') { String::new() } else { "/".to_owned() };
    for byte in text.bytes() {
        match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => path.push_str(&format!("%{byte:02X}")),
            0x21..=0x7e => path.push(char::from(byte)),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

/// So that a server which has begun to answer is not cut off; a long answer is.
async fn read_some(mut body: impl http_body::Body<Data = bytes::Bytes> + Unpin) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, bytes::Bytes::len);
        if read >= MOST_BYTES {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn place(path: &str) -> Place {
        Place { security: Security::Plain, host: "10.0.0.1".to_owned(), port: 80, path: path.to_owned() }
    }

    #[test]
    fn redirects_lead_where_a_browser_would_go() {
        for (location, expected) in [
            ("/b?x=1", "http://10.0.0.1:80/b?x=1"),
            ("b", "http://10.0.0.1:80/a/b"),
            ("login?next=http://x", "http://10.0.0.1:80/a/login?next=http://x"),
            ("b/c:d", "http://10.0.0.1:80/a/b/c:d"),
            ("HTTP://10.0.0.1/b", "http://10.0.0.1:80/b"),
            ("https://10.0.0.1:8443/b", "https://10.0.0.1:8443/b"),
            ("https://elsewhere", "https://elsewhere:443/"),
            ("//elsewhere/b", "http://elsewhere:80/b"),
        ] {
            let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(location))]);
            let next = place("/a/old?y=/z").sent_to(StatusCode::FOUND, &headers).unwrap();
            assert_eq!(next.url(), expected, "{location}");
            assert_eq!(place("/").sent_to(StatusCode::OK, &headers), None);
        }
    }

    #[test]
    fn a_redirect_without_a_scheme_keeps_that_of_the_probe() {
        let secure = Place { security: Security::Unverified, port: 8443, ..place("/a/old") };
        for (location, expected) in [
            ("//10.0.0.1/b", "https://10.0.0.1:443/b"),
            ("//10.0.0.1:8443/b", "https://10.0.0.1:8443/b"),
            ("/b", "https://10.0.0.1:8443/b"),
            ("b", "https://10.0.0.1:8443/a/b"),
            ("http://10.0.0.1/b", "http://10.0.0.1:80/b"),
        ] {
            let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(location))]);
            assert_eq!(secure.sent_to(StatusCode::FOUND, &headers).unwrap().url(), expected, "{location}");
        }
    }

    #[test]
    fn a_path_is_what_a_request_line_can_hold() {
        for (text, expected) in [("", "/"), ("healthz?a=b", "/healthz?a=b"), ("/a b#c", "/a%20b"), ("/ä", "/%C3%A4")] {
            assert_eq!(as_path(text), expected);
        }
    }

    /// A server that gives these answers one after the other; what it was asked.
    async fn served(answers: &'static [&'static str]) -> (u16, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            for answer in answers {
                let (mut tcp, _) = listener.accept().await.unwrap();
                let mut text = Vec::new();
                while !text.ends_with(b"\r\n\r\n") {
                    text.push(tcp.read_u8().await.unwrap());
                }
                heard.lock().unwrap().push(String::from_utf8(text).unwrap());
                tcp.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (port, asked)
    }

    fn get(port: u16, headers: serde_json::Value) -> HttpGet {
        let action = serde_json::json!({"port": port, "path": "/healthz", "httpHeaders": headers});
        HttpGet::new(&serde_json::from_value(action).unwrap(), &Container::default(), "127.0.0.1")
    }

    #[tokio::test]
    async fn the_status_decides_unless_it_is_a_hook() {
        const BAD: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
        let none = || serde_json::json!([]);
        let (port, _) = served(&["HTTP/1.0 200 OK\r\n\r\nhello", BAD, BAD, "SSH-2.0-x\r\n"]).await;
        assert_eq!(get(port, none()).run().await, Ok(()));
        let failed = "HTTP probe failed with statuscode: 503".to_owned();
        assert_eq!(get(port, none()).run().await, Err(failed));
        assert_eq!(get(port, none()).of_hook().run().await, Ok(()));
        let said = get(port, none()).run().await.unwrap_err();
        assert!(said.starts_with(&format!("Get \"http://127.0.0.1:{port}/healthz\": ")), "{said}");
    }

    #[tokio::test]
    async fn a_redirect_within_the_pod_is_followed_and_the_pods_headers_are_sent() {
        let (port, asked) = served(&[
            "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n",
        ])
        .await;
        let headers = serde_json::json!([{"name": "X-A", "value": "1"}, {"name": "host", "value": "web"}, {"name": "Accept", "value": ""}]);
        assert_eq!(get(port, headers).run().await, Ok(()), "another host is not asked");
        let asked = asked.lock().unwrap();
        assert!(asked[1].starts_with("GET /login HTTP/1.1\r\n"), "{asked:?}");
        for text in asked.iter() {
            assert!(text.contains("\r\nx-a: 1\r\n") && text.contains("host: web\r\n"), "{text}");
            assert!(text.contains("user-agent: kube-probe/1.34\r\n") && !text.contains("accept"), "{text}");
        }
    }
}
