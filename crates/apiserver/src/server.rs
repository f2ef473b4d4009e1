//! The way of one request: authenticate, authorize, route to one [`ApiRequest`], act, answer. Joins the verbs; holds no
//! rule of its own. Called by the HTTP server of [`remora_http`] (and by tests, directly).

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use jiff::Timestamp;
use remora_http::{Body, Connection, Handler, Observer, User, body};
use remora_model::{Status, kinds};
use remora_rules::rbac::node;
use remora_store::Store;

use crate::audit::{Auditor, Counters, Trail};
use crate::auth::authz::{self, Attributes};
use crate::auth::token::{TokenKey, Verifier};
use crate::auth::{Authorizer, authn, impersonate};
use crate::body::read;
use crate::discovery::{self, Documents};
use crate::flow::{Gate, Seat};
use crate::metrics::{Counted, Metrics};
use crate::nodes::{self, Nodes};
use crate::objects::Objects;
use crate::request::{Accepted, ApiRequest, Part, Query, Refusal, RequestInfo, SessionKind, media};
use crate::sizes::Sizes;
use crate::{bootstrap, health, openapi, pods, proxy, response, usage, verbs};

/// How long a request that is no watch, log or session may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest body; upstream's limit, in bytes.
pub const MAX_BODY: usize = 3 * 1024 * 1024;

/// What an API server is made of.
pub struct Config {
    /// Where objects live.
    pub store: Arc<dyn Store>,
    /// Whom to ask for logs and sessions.
    pub nodes: Arc<dyn Nodes>,
    /// Signs and verifies service account tokens.
    pub key: Arc<dyn TokenKey>,
    /// Is told of requests, if anybody.
    pub audit: Option<Auditor>,
    /// How many requests are answered at one time: see [`crate::flow`].
    pub max_in_flight: usize,
}

/// The API server. Clones share everything.
#[derive(Clone)]
pub struct ApiServer {
    state: Arc<State>,
}

/// What all requests share.
pub struct State {
    clock: fn() -> Timestamp,
    objects: Objects,
    authorizer: Arc<Authorizer>,
    nodes: Arc<dyn Nodes>,
    key: Arc<dyn TokenKey>,
    tokens: Verifier,
    audit: Option<Auditor>,
    gate: Gate,
    sizes: Sizes,
    metrics: Metrics,
    documents: Documents,
    schemas: openapi::Schemas,
}

impl State {
    /// The store, by objects.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Who may do what.
    pub fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }

    /// Whom to ask for logs and sessions.
    pub fn nodes(&self) -> &dyn Nodes {
        self.nodes.as_ref()
    }

    /// Signs and verifies tokens.
    pub fn key(&self) -> &dyn TokenKey {
        self.key.as_ref()
    }

    /// Those that were verified.
    pub fn tokens(&self) -> &Verifier {
        &self.tokens
    }

    /// How large collections are.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The time. Only the audit log reads the clock itself, for it begins before a request is known to anybody.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

impl ApiServer {
    /// An API server over these parts. It does no work yet.
    pub fn new(config: Config) -> Self {
        Self::with_clock(config, Timestamp::now)
    }

    /// The same with another clock, for tests of what depends on it.
    pub fn with_clock(config: Config, clock: fn() -> Timestamp) -> Self {
        let Config { store, nodes, key, audit, max_in_flight } = config;
        let gate = Gate::new(max_in_flight);
        let counters = audit.as_ref().map(Auditor::counters).cloned();
        let authorizer = Arc::new(Authorizer::default());
        let state = State {
            clock,
            objects: Objects::new(store, Arc::clone(&authorizer)),
            authorizer,
            nodes,
            key,
            tokens: Verifier::default(),
            audit,
            metrics: Metrics::new(&counters.unwrap_or_else(Counters::default), gate.counters()),
            gate,
            sizes: Sizes::default(),
            documents: Documents::default(),
            schemas: openapi::Schemas::default(),
        };
        Self { state: Arc::new(state) }
    }

    /// Stores what must be there before anything else works, namespaces and default roles, and begins to follow who may do what. What is
    /// there already is left alone, but for what default roles lack.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn prepare(&self) -> Result<(), Status> {
        bootstrap::system_namespaces(&self.state).await?;
        bootstrap::system_priority_classes(&self.state).await?;
        bootstrap::default_storage_class(&self.state).await?;
        bootstrap::default_access(&self.state).await?;
        self.state.authorizer.start(self.state.objects.store()).await
    }

    /// Stores the service by which clients and tools know the API server, which listens on this port.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn announce(&self, port: u16) -> Result<(), Status> {
        bootstrap::api_service(&self.state, port).await
    }

    /// What counts requests; give it to the HTTP server.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(self.state.metrics.clone())
    }
}

impl Handler for ApiServer {
    async fn call(&self, request: Request<Body>, connection: Arc<Connection>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let is_head = parts.method == http::Method::HEAD;
        let trail = Trail::begin(self.state.audit.as_ref(), &parts.headers);
        let response = AssertUnwindSafe(respond(&self.state, parts, body, connection, &trail)).catch_unwind().await;
        let response = response.unwrap_or_else(|panic| {
            trail.panicked(&panic_status());
            // The HTTP server logs it, and asks what to answer.
            resume_unwind(panic)
        });
        let response = if is_head { response.map(|_| body::empty()) } else { response };
        trail.answered(response)
    }

    fn panicked(&self) -> Response<Body> {
        response::status(&panic_status())
    }
}

fn panic_status() -> Status {
    Status::internal("the request could not be answered; the server's log says why")
}

/// A request that may be answered.
pub struct Call {
    /// What all requests share.
    pub state: Arc<State>,
    /// Whose it is, after impersonation.
    pub user: User,
    /// What the client accepts.
    pub accepted: Accepted,
    /// The query.
    pub query: Query,
    /// Method, headers, and what an upgrade needs.
    pub parts: Parts,
    /// Where it came from.
    pub connection: Arc<Connection>,
    /// What the audit log will say of it.
    pub trail: Arc<Trail>,
}

impl Call {
    /// The content type of the body.
    pub fn content_type(&self) -> Option<&str> {
        header(&self.parts.headers, CONTENT_TYPE)
    }
}

fn header(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The answer or the refusal; whatever it is, who asks for a deprecated kind is told.
async fn respond(
    state: &Arc<State>,
    parts: Parts,
    body: Body,
    connection: Arc<Connection>,
    trail: &Arc<Trail>,
) -> Response<Body> {
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let info = RequestInfo::parse(&parts.method, parts.uri.path(), &query);
    let kind = info.resource.as_ref().and_then(|of| kinds::by_resource(&of.group, &of.version, &of.resource));
    let answer = answer(state, parts, (query, info), body, connection, trail).await;
    let mut response = answer.unwrap_or_else(|refusal| match refusal {
        Refusal::NoPage => response::text(StatusCode::NOT_FOUND, "404 page not found\n"),
        Refusal::Status(status) => response::status(&status),
    });
    if let Some(warning) = kind.and_then(|kind| kind.deprecated) {
        response::warn(&mut response, &[warning.to_owned()]);
    }
    response
}

async fn answer(
    state: &Arc<State>,
    parts: Parts,
    (query, info): (Query, RequestInfo),
    body: Body,
    connection: Arc<Connection>,
    trail: &Arc<Trail>,
) -> Result<Response<Body>, Refusal> {
    let who = authn::authenticate(state, &connection, &parts.headers).await;
    trail.judge(&parts, &info, &connection, who.as_ref().ok());
    let user = admit(state, who?, &info, &parts.headers, trail).await?;
    let content_type = header(&parts.headers, CONTENT_TYPE).map(str::to_owned);
    let request = ApiRequest::route(&info, &parts.method, &query, content_type.as_deref())?;
    let accept = all_values(&parts.headers, ACCEPT);
    let accepted =
        if info.resource.is_some() && !is_stream(&request) { media::negotiate(&accept)? } else { Accepted::default() };
    let (state, trail) = (Arc::clone(state), Arc::clone(trail));
    // Until the answer's head is there: watches, logs and sessions go on without.
    let _seat = seat(&state, &user, &request).await?;
    let call = Call { state: Arc::clone(&state), user, accepted, query, parts, connection, trail };
    let mut response = in_time(&call, request, body, &accept).await?;
    response.extensions_mut().insert(counted(info));
    Ok(response)
}

/// Whose rights count, after impersonation; and whether they suffice.
async fn admit(
    state: &State,
    mut user: User,
    info: &RequestInfo,
    headers: &HeaderMap,
    trail: &Trail,
) -> Result<User, Status> {
    if let Some(other) = impersonate::impersonated(state.authorizer(), &user, headers)? {
        trail.impersonates(&other);
        user = other;
    }
    let what = Attributes::from(info);
    let mut decision = state.authorizer().decide(&user, &what);
    if !decision.allowed && node::wants_to_read(authz::who(&user), &what).is_some() {
        // To look at a namespace's pods costs what a list of them does; the request's own turn comes when it may be answered at all.
        let _seat = state.gate.enter(&user, 1).await?;
        if nodes::has_pod_that_names(state.objects(), &user, &what).await? {
            decision = authz::Decision { allowed: true, reason: String::new() };
        }
    }
    trail.decided(&decision);
    if decision.allowed { Ok(user) } else { Err(authz::forbidden(&user, &what, &decision.reason)) }
}

/// The request's turn; a long list waits for several seats. Whether the server is well can be asked at any time, and what is passed on, or comes from a node, may take for ever
/// elsewhere. Sessions wait for their pod when they have answered.
async fn seat(state: &State, user: &User, request: &ApiRequest) -> Result<Option<Seat>, Status> {
    let width = match request {
        ApiRequest::Health { .. } | ApiRequest::Proxy(..) | ApiRequest::Log(..) => return Ok(None),
        ApiRequest::List(what, options) => state.sizes.seats(what, options),
        ApiRequest::Watch(what, options) if options.wants_initial() => state.sizes.seats(what, &options.list),
        _ => 1,
    };
    state.gate.enter(user, width).await
}

/// A header that may be given several times, as one.
fn all_values(headers: &HeaderMap, name: http::HeaderName) -> String {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect();
    values.join(",")
}

/// Logs and sessions are no objects: any Accept will do.
fn is_stream(request: &ApiRequest) -> bool {
    matches!(
        request,
        ApiRequest::Log(..) | ApiRequest::Session(..) | ApiRequest::PortForward(..) | ApiRequest::Proxy(..)
    )
}

fn counted(info: RequestInfo) -> Counted {
    match info.resource {
        None => Counted { verb: info.verb, ..Counted::default() },
        Some(of) => Counted { verb: info.verb, group: of.group, resource: of.resource, subresource: of.subresource },
    }
}

/// Heads of answers come in bounded time; bodies of watches, logs and sessions are not meant, nor is what others answer.
async fn in_time(call: &Call, request: ApiRequest, body: Body, accept: &str) -> Result<Response<Body>, Status> {
    if matches!(request, ApiRequest::Proxy(..)) {
        return act(call, request, body, accept).await;
    }
    let acted = tokio::time::timeout(REQUEST_TIMEOUT, act(call, request, body, accept)).await;
    acted.unwrap_or_else(|_| Err(Status::timeout("request did not complete within the allotted timeout", 0)))
}

/// What the audit log tells of the body as it came is read before the rest is. Objects are told when they are decoded.
async fn audited(call: &Call, request: &ApiRequest, body: Body) -> Result<Body, Status> {
    if !call.trail.wants_request() || !is_told_as_it_came(request) {
        return Ok(body);
    }
    let bytes = read(body).await?;
    call.trail.requested(call.content_type(), bytes.clone());
    Ok(body::full(bytes))
}

fn is_told_as_it_came(request: &ApiRequest) -> bool {
    match request {
        ApiRequest::DeleteCollection(..) | ApiRequest::Patch(..) | ApiRequest::Delete(..) => true,
        ApiRequest::Create(..)
        | ApiRequest::Update(..)
        | ApiRequest::Bind(..)
        | ApiRequest::Evict(..)
        | ApiRequest::CreateToken(..)
        | ApiRequest::Health { .. }
        | ApiRequest::Version
        | ApiRequest::Metrics
        | ApiRequest::Discovery(_)
        | ApiRequest::OpenApi(_)
        | ApiRequest::List(..)
        | ApiRequest::Watch(..)
        | ApiRequest::Get(..)
        | ApiRequest::GetScale(..)
        | ApiRequest::Log(..)
        | ApiRequest::Session(..)
        | ApiRequest::PortForward(..)
        | ApiRequest::Proxy(..) => false,
    }
}

async fn act(call: &Call, request: ApiRequest, body: Body, accept: &str) -> Result<Response<Body>, Status> {
    let body = audited(call, &request, body).await?;
    match request {
        ApiRequest::Health { check, verbose } => health::answer(call, check.as_deref(), verbose).await,
        ApiRequest::Version => Ok(discovery::version()),
        ApiRequest::Metrics => health::metrics(call).await,
        ApiRequest::Discovery(what) => discovery::answer(&call.state.documents, &what, accept, &call.parts.headers),
        ApiRequest::OpenApi(what) => openapi::answer(&call.state.schemas, &what, accept, &call.parts.headers),
        ApiRequest::List(what, options) if usage::is_usage(what.kind) => usage::list(call, &what, &options).await,
        ApiRequest::List(what, options) => verbs::list::answer(call, &what, &options).await,
        ApiRequest::Watch(what, options) => verbs::watch::answer(call, &what, &options).await,
        ApiRequest::Create(what, options) => verbs::create::answer(call, &what, &options, body).await,
        ApiRequest::DeleteCollection(what, options) => {
            verbs::delete_collection::answer(call, &what, &options, body).await
        }
        ApiRequest::Get(key, _) if usage::is_usage(key.kind) => usage::get(call, &key).await,
        ApiRequest::Get(key, version) => verbs::get::answer(call, &key, version).await,
        ApiRequest::GetScale(key, version) => verbs::scale::get(call, &key, version).await,
        ApiRequest::Update(key, Part::Scale, options) => verbs::scale::update(call, &key, &options, body).await,
        ApiRequest::Patch(key, Part::Scale, options) => verbs::scale::patch(call, &key, &options, body).await,
        ApiRequest::Update(key, part, options) => verbs::update::answer(call, &key, part, &options, body).await,
        ApiRequest::Patch(key, part, options) => verbs::patch::answer(call, &key, part, &options, body).await,
        ApiRequest::Delete(key) => verbs::delete::answer(call, &key, body).await,
        ApiRequest::Bind(key, options) => pods::binding::answer(call, &key, &options, body).await,
        ApiRequest::Evict(key, options) => pods::eviction::answer(call, &key, &options, body).await,
        ApiRequest::CreateToken(key, options) => verbs::token::answer(call, &key, &options, body).await,
        ApiRequest::Log(key, options) => pods::log::answer(call, &key, &options).await,
        ApiRequest::Session(key, SessionKind::Exec, options) => pods::exec::exec(call, &key, options).await,
        ApiRequest::Session(key, SessionKind::Attach, options) => pods::exec::attach(call, &key, options).await,
        ApiRequest::PortForward(key, ports) => pods::port_forward::answer(call, &key, ports).await,
        ApiRequest::Proxy(key) => proxy::answer(call, &key, body).await,
    }
}
