//! `pods/NAME/proxy/…`, `services/NAME/proxy/…` and `nodes/NAME/proxy/…`: the request is passed on to what listens there, and its answer, or what it is upgraded to, comes
//! back. Where it goes is [`remora_rules::proxy`]'s business. Source of the behaviour: apimachinery's `UpgradeAwareHandler`; links in
//! pages are not rewritten.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use percent_encoding::percent_decode_str;
use remora_http::client::{self, ClientError, Security};
use remora_http::{Body, Connection, MemoryConnector, body, exchange, upgrade};
use remora_model::{ObjectKey, Status, kinds};
use remora_rules::proxy::{self, Asked};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::auth::authz::{Attributes, forbidden};
use crate::pods;
use crate::server::Call;

/// How long what is asked may take to accept the connection, and then to agree on TLS.
const CONNECT: Duration = Duration::from_secs(10);
/// How many places behind a service are looked at. Nearly always the first is one: whoever writes Endpoints that are none must not keep us busy.
const MOST_LOOKS: usize = 16;
/// What counts between two ends of one connection only (RFC 9110, section 7.6.1), beside what `Connection` names.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// Older names of the same.
const MORE_HOP_BY_HOP: [&str; 2] = ["keep-alive", "proxy-connection"];

/// Passes a request on.
pub async fn answer(call: &Call, key: &ObjectKey, body: Body) -> Result<Response<Body>, Status> {
    let place = Place::of(&call.parts.uri)?;
    let server = find(call, key).await?;
    let wants_upgrade = wants_upgrade(&call.parts.headers);
    if place.path.is_empty() && !wants_upgrade && matches!(call.parts.method, Method::GET | Method::HEAD) {
        return Ok(to_its_root(&call.parts.uri));
    }
    if wants_upgrade {
        server.may_begin_a_session(call, key)?;
    }
    let request = passed_on(call, &place, &server, wants_upgrade, body)?;
    let host = request.headers().get(header::HOST).cloned();
    let mut response = server.ask(request, &call.connection).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return if wants_upgrade { Ok(join(call, response)) } else { Err(failed("it answers another protocol")) };
    }
    without_hops(response.headers_mut());
    let host = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
    if let Server::Address(address, _) = &server {
        redirect(response.headers_mut(), place.prefix, *address, host);
    }
    *response.version_mut() = Version::default();
    Ok(response)
}

fn failed(why: impl std::fmt::Display) -> Status {
    Status::service_unavailable(format!("error trying to reach service: {why}"))
}

/// Where a request is passed on to.
enum Server {
    /// What listens there, and how it is asked.
    Address(SocketAddr, Security),
    /// The agent of a node in this process: it knows us as one who may have everything.
    Agent(MemoryConnector),
}

impl Server {
    /// A WebSocket begins with a GET, and one to the agent may be a shell: who may only read may not have it. What a pod makes of an upgrade is
    /// its own affair.
    fn may_begin_a_session(&self, call: &Call, key: &ObjectKey) -> Result<(), Status> {
        let Self::Agent(_) = self else { return Ok(()) };
        let (resource, subresource, name) = ("nodes", "proxy", key.name.as_str());
        let what = Attributes::Resource { verb: "create", group: "", resource, subresource, namespace: "", name };
        let decision = call.state.authorizer().decide(&call.user, &what);
        if decision.allowed { Ok(()) } else { Err(forbidden(&call.user, &what, &decision.reason)) }
    }

    /// The head of its answer.
    async fn ask(&self, request: Request<Body>, connection: &Arc<Connection>) -> Result<Response<Body>, Status> {
        let answered = match self {
            Self::Address(address, security) => exchange(reach(*address, *security).await?, request, connection).await,
            Self::Agent(connector) => {
                let io = connector.connect().await.map_err(failed)?;
                exchange(io.into_tokio(), request, connection).await
            }
        };
        answered.map_err(failed)
    }

    /// What stands for a host that the client has not named.
    fn host(&self) -> String {
        match self {
            Self::Address(address, _) => address.to_string(),
            Self::Agent(_) => "kubelet".to_owned(),
        }
    }
}

async fn reach(server: SocketAddr, security: Security) -> Result<client::Stream, Status> {
    let connected = tokio::time::timeout(CONNECT, TcpStream::connect(server)).await;
    let tcp = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let tcp = tcp.map_err(|error| failed(format_args!("dial tcp {server}: {}", in_gos_words(&error))))?;
    let secured = tokio::time::timeout(CONNECT, client::secured(tcp, security, &server.ip().to_string())).await;
    let late = |_| Err(ClientError::Tls(io::ErrorKind::TimedOut.into()));
    secured.unwrap_or_else(late).map_err(failed)
}

/// What clients of Kubernetes are used to read.
fn in_gos_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}

/// Where the object listens, and how it is asked.
async fn find(call: &Call, key: &ObjectKey) -> Result<Server, Status> {
    let asked = Asked::parse(&key.name, key.kind.singular)?;
    let at = |place| Server::Address(place, if asked.over_tls { Security::Unverified } else { Security::Plain });
    if key.kind == kinds::core("services") {
        return behind_service(call, key, &asked).await.map(at);
    }
    let object = ObjectKey::new(key.kind, key.namespace.as_deref(), asked.name);
    let found = call.state.objects().require(&object).await?.decoded();
    if key.kind == kinds::core("pods") {
        return asked.in_pod(&found).map(at);
    }
    match call.state.nodes().agent_of(asked.name) {
        Some(connector) if asked.means_agent(&found)? => Ok(Server::Agent(connector)),
        _ => asked.on_node(&found).map(at),
    }
}

/// Where one of the pods behind a service listens, any of them.
async fn behind_service(call: &Call, key: &ObjectKey, asked: &Asked<'_>) -> Result<SocketAddr, Status> {
    let objects = call.state.objects();
    let of = |plural: &str, name: &str| ObjectKey::new(kinds::core(plural), key.namespace.as_deref(), name);
    let port = match asked.port_number() {
        None => None,
        Some(number) => {
            let service = objects.require(&of("services", asked.name)).await?.decoded();
            Some(asked.port_of_service(&service, number)?.to_owned())
        }
    };
    let endpoints = objects.get(&of("endpoints", asked.name)).await?;
    let endpoints = endpoints.ok_or_else(|| Status::kind_not_found(key.kind, asked.name))?.decoded();
    let [a, b, ..] = Uuid::new_v4().into_bytes();
    let all = asked.in_endpoints(&endpoints, port.as_deref(), u16::from_be_bytes([a, b]).into())?;
    for candidate in all.into_iter().take(MOST_LOOKS) {
        if let Some(pod) = objects.get(&of("pods", candidate.pod)).await?
            && candidate.is_of(&pod.decoded())
        {
            return Ok(candidate.place);
        }
    }
    Err(asked.unavailable())
}

/// A request's path in two parts.
struct Place<'u> {
    /// Up to `proxy`.
    prefix: &'u str,
    /// What follows: empty, or from the `/` on.
    path: &'u str,
}

impl<'u> Place<'u> {
    /// The name is the one part that may itself be `proxy`, so that what counts is the first after it: a namespaced object's path has two more
    /// parts before it. Rights and route were read from the path without its percent signs: it must have the same parts here.
    ///
    /// # Errors
    /// 400 if a part up to `proxy` has an encoded `/`: no name has one.
    fn of(uri: &'u Uri) -> Result<Place<'u>, Status> {
        let path = uri.path();
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let is_namespaced = parts.nth(2).is_some_and(|part| percent_decode_str(part).eq("namespaces".bytes()));
        let count = if is_namespaced { 7 } else { 5 };
        let mut ends = path.char_indices().filter(|(at, _)| is_end_of_part(path, *at));
        let end = ends.nth(count - 1).map_or(path.len(), |(at, char)| at + char.len_utf8());
        let (prefix, path) = path.split_at(end);
        if prefix.to_ascii_lowercase().contains("%2f") {
            return Err(Status::bad_request("the path has an encoded slash before what is passed on"));
        }
        Ok(Place { prefix, path })
    }
}

fn is_end_of_part(path: &str, at: usize) -> bool {
    let bytes = path.as_bytes();
    bytes[at] != b'/' && bytes.get(at + 1).is_none_or(|next| *next == b'/')
}

/// A page's relative links work only below a path that ends with a slash.
fn to_its_root(uri: &Uri) -> Response<Body> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::from_str(&format!("{}/{query}", uri.path())) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    named_by_connection(headers).contains(&header::UPGRADE)
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

fn without_hops(headers: &mut HeaderMap) {
    for name in named_by_connection(headers).into_iter().chain(HOP_BY_HOP) {
        headers.remove(name);
    }
    for name in MORE_HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The request as the other server sees it: who asks proved that to us, and their proof is for nobody else.
fn passed_on(
    call: &Call,
    place: &Place<'_>,
    server: &Server,
    upgrades: bool,
    body: Body,
) -> Result<Request<Body>, Status> {
    let (parts, uri) = (&call.parts, &call.parts.uri);
    let path = if place.path.is_empty() { "/" } else { place.path };
    let target = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut headers = parts.headers.clone();
    without_hops(&mut headers);
    headers.remove(header::AUTHORIZATION);
    let taken_on: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in taken_on {
        headers.remove(name);
    }
    if upgrades {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        for value in parts.headers.get_all(header::UPGRADE) {
            headers.append(header::UPGRADE, value.clone());
        }
    }
    // HTTP/2 has no such header.
    let host = uri.authority().map_or_else(|| server.host(), ToString::to_string);
    let host = HeaderValue::from_str(&host).map_err(Status::internal)?;
    let host = headers.entry(header::HOST).or_insert(host).clone();
    headers.insert("x-forwarded-host", host);
    headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    headers.insert("x-forwarded-uri", HeaderValue::from_str(uri.path()).map_err(Status::internal)?);
    if let Some(address) = call.connection.address() {
        headers.append("x-forwarded-for", HeaderValue::from_str(&address.ip().to_string()).map_err(Status::internal)?);
    }
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = target.parse().map_err(Status::internal)?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Keeps redirections within the proxied server behind the proxy.
fn redirect(headers: &mut HeaderMap, prefix: &str, server: SocketAddr, host: &str) {
    let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
    let there = location.and_then(|location| proxy::redirected(location, prefix, server, host));
    if let Some(there) = there.and_then(|there| HeaderValue::from_str(&there).ok()) {
        headers.insert(header::LOCATION, there);
    }
}

/// Both ends speak another protocol from now on; their bytes are passed on until both have ended.
fn join(call: &Call, response: Response<Body>) -> Response<Body> {
    let mut answer = Response::new(body::empty());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = response.headers().clone();
    let (client, server) = (pods::upgraded(call), upgrade::on(response));
    let trail = Arc::clone(&call.trail);
    call.connection.spawn(async move {
        // For the audit log, the request ends with the session.
        let _open = trail;
        let (Some(mut client), Ok(mut server)) = tokio::join!(client, server) else { return };
        if let Err(error) = copy_bidirectional(&mut client, &mut server).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "a proxied session has ended");
        }
    });
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_what_follows_the_first_proxy() {
        for (uri, prefix, path) in [
            ("/api/v1/namespaces/a/pods/web:80/proxy", "/api/v1/namespaces/a/pods/web:80/proxy", ""),
            ("/api/v1/namespaces/a/pods/proxy/proxy/proxy//x?q", "/api/v1/namespaces/a/pods/proxy/proxy", "/proxy//x"),
            ("/api/v1/nodes/n/proxy/", "/api/v1/nodes/n/proxy", "/"),
            ("/api/v1/name%73paces/a/pods/web/proxy/a%2Fb", "/api/v1/name%73paces/a/pods/web/proxy", "/a%2Fb"),
            ("//api/v1/nodes/n/proxy/../é", "//api/v1/nodes/n/proxy", "/../é"),
        ] {
            let uri = uri.replace('é', "%C3%A9").parse().unwrap();
            let place = Place::of(&uri).unwrap();
            assert_eq!((place.prefix, place.path.replace("%C3%A9", "é").as_str()), (prefix, path));
        }
    }

    #[test]
    fn an_encoded_slash_does_not_move_what_is_passed_on() {
        for uri in [
            "/api/v1/namespaces/a%2Fpods/web/proxy/x",
            "/api/v1/namespaces/a/pods/web%2fproxy/x",
            "/api/v1%2Fnamespaces/a/pods/web/proxy",
            "/api%2Fv1/nodes/n/proxy/x/y",
        ] {
            let refused = Place::of(&uri.parse().unwrap()).err().unwrap();
            assert_eq!(refused.code, 400, "{uri}");
        }
    }

    #[test]
    fn what_is_between_two_ends_stays_there() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("connection", "keep-alive, X-Own"), ("x-own", "1"), ("te", "trailers"), ("accept", "*/*")]
        {
            headers.append(name, HeaderValue::from_static(value));
        }
        assert!(!wants_upgrade(&headers));
        without_hops(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
        headers.insert("connection", HeaderValue::from_static("Upgrade"));
        assert!(wants_upgrade(&headers));
    }
}
