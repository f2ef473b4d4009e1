//! The way of one request: read what is asked, let it pass, answer. Joins the other modules; holds no rule of its own.

use std::sync::Arc;
use std::time::Instant;

use http::request::Parts as Head;
use http::{Request, Response, StatusCode};
use remora_http::{Body, Connection, Handler, Limits};
use remora_streaming::PodStreams;

use crate::access::{self, Access, Denied};
use crate::agent::{Agent, Parts};
use crate::endpoint::{Asked, Endpoint};
use crate::metrics::{Exposition, Metrics, container, probes, resource};
use crate::{answer, pods, sessions, summary};

/// What the API is made of.
#[derive(Clone)]
pub struct Config {
    /// The agent.
    pub agent: Arc<dyn Agent>,
    /// Its pods' logs and sessions.
    pub streams: Arc<dyn PodStreams>,
    /// Who may ask.
    pub access: Arc<dyn Access>,
    /// The time.
    pub clock: fn() -> jiff::Timestamp,
}

/// The kubelet's HTTP API. Clones share everything.
#[derive(Clone)]
pub struct KubeletApi {
    state: Arc<State>,
}

/// What all requests share.
pub(crate) struct State {
    pub(crate) config: Config,
    metrics: Metrics,
}

/// A request that may be answered.
pub(crate) struct Call {
    pub(crate) state: Arc<State>,
    pub(crate) head: Head,
    pub(crate) connection: Arc<Connection>,
}

impl Call {
    pub(crate) fn agent(&self) -> &dyn Agent {
        self.state.config.agent.as_ref()
    }
}

/// What one such server lets its clients cost: less than an API server, whose clients are many.
pub fn limits() -> Limits {
    Limits { connections: 512, ..Limits::default() }
}

impl KubeletApi {
    /// Over these parts. It does no work yet.
    pub fn new(config: Config) -> Self {
        Self { state: Arc::new(State { config, metrics: Metrics::default() }) }
    }
}

impl Handler for KubeletApi {
    /// Nothing that can be asked here has a body: none is read.
    async fn call(&self, request: Request<Body>, connection: Arc<Connection>) -> Response<Body> {
        let (begun, (head, _)) = (Instant::now(), request.into_parts());
        let asked = Asked::parse(&head.method, head.uri.path());
        let counted = self.state.metrics.begin(&head.method, &asked);
        let response = self.respond(head, asked, connection).await;
        counted.end(begun.elapsed());
        response
    }
}

impl KubeletApi {
    async fn respond(&self, head: Head, asked: Asked, connection: Arc<Connection>) -> Response<Body> {
        let admitted = access::admit(self.state.config.access.as_ref(), &connection, &head.headers, &asked).await;
        match admitted {
            Ok(user) => tracing::debug!(user = user.name, method = %head.method, path = head.uri.path(), "asked"),
            Err(denied) => return refuse(denied),
        }
        let call = Call { state: Arc::clone(&self.state), head, connection };
        act(&call, asked.endpoint).await
    }
}

fn refuse(denied: Denied) -> Response<Body> {
    match denied {
        Denied::Unknown => answer::text(StatusCode::UNAUTHORIZED, "Unauthorized"),
        Denied::Forbidden(why) => answer::text(StatusCode::FORBIDDEN, why),
        Denied::Failed(error, why) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "nobody can be let in");
            answer::text(StatusCode::INTERNAL_SERVER_ERROR, why)
        }
    }
}

async fn act(call: &Call, endpoint: Endpoint) -> Response<Body> {
    match endpoint {
        Endpoint::Healthz(check) => healthz(call, &check).await,
        Endpoint::Pods => pods::bound(call),
        Endpoint::RunningPods => pods::running(call).await,
        Endpoint::Logs(target) => sessions::logs(call, &target).await,
        Endpoint::Exec(target) => sessions::exec(call, &target),
        Endpoint::Attach(target) => sessions::attach(call, &target),
        Endpoint::PortForward(target) => sessions::port_forward(call, &target),
        Endpoint::Run(target) => sessions::run(call, &target).await,
        Endpoint::Summary => stats_summary(call).await,
        Endpoint::Metrics => match call.state.metrics.text(call.agent()) {
            Ok(text) => answer::with_type(StatusCode::OK, crate::metrics::OPEN_METRICS, remora_http::body::full(text)),
            Err(error) => answer::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
        Endpoint::ResourceMetrics => resource::answer(call.agent().usage(Parts::CpuAndMemory).await),
        Endpoint::ContainerMetrics => container::answer(call.agent().usage(Parts::All).await),
        Endpoint::ProbeMetrics => Exposition::answer(probes::text(&call.agent().probes())),
        Endpoint::Checkpoint(target) => pods::checkpoint(call, &target),
        Endpoint::Configz => answer::json(&serde_json::json!({"kubeletconfig": call.agent().configuration()})),
        Endpoint::Disabled(why) => answer::text(StatusCode::METHOD_NOT_ALLOWED, why),
        Endpoint::OtherMethod => answer::text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed"),
        Endpoint::None => answer::no_page(),
    }
}

/// `ping` is that we answer; `syncloop` is upstream's name for the agent's own health.
async fn healthz(call: &Call, check: &str) -> Response<Body> {
    match check {
        "ping" | "log" => return answer::text(StatusCode::OK, "ok"),
        "" | "syncloop" => {}
        _ => return answer::no_page(),
    }
    match call.agent().is_well().await {
        Ok(()) => answer::text(StatusCode::OK, "ok"),
        Err(error) => {
            tracing::warn!(%error, "the node is not well");
            let text = "[+]ping ok\n[+]log ok\n[-]syncloop failed: reason withheld\nhealthz check failed\n";
            answer::text(StatusCode::INTERNAL_SERVER_ERROR, text)
        }
    }
}

async fn stats_summary(call: &Call) -> Response<Body> {
    let query = call.head.uri.query().unwrap_or_default();
    let only = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "only_cpu_and_memory");
    let parts = match only.as_ref().map(|(_, value)| value.as_ref()) {
        Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Parts::CpuAndMemory,
        _ => Parts::All,
    };
    match call.agent().usage(parts).await {
        Ok(usage) => answer::json(&summary::of(&usage, parts)),
        Err(error) => answer::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
