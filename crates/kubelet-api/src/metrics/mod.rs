//! What is told in Prometheus' text format.
//!
//! | file | path |
//! |---|---|
//! | here | `/metrics`: what the agent and this server do |
//! | [`resource`] | `/metrics/resource`: what metrics-server reads |
//! | [`container`] | `/metrics/cadvisor`: cAdvisor's series, which dashboards are made of |
//! | [`probes`] | `/metrics/probes` |
//!
//! Names, labels and help are upstream's.

pub(crate) mod container;
mod exposition;
pub(crate) mod probes;
pub(crate) mod resource;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde_json::Value;

pub(crate) use exposition::{Exposition, Kind};

use crate::agent::Agent;
use crate::endpoint::Asked;

/// A sample's value, and when it was read; none if it is not known.
pub(crate) type Sample = Option<(f64, Option<Timestamp>)>;
/// What `/metrics` is written in.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Seconds; Prometheus' usual buckets.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Methods that are counted apart.
const METHODS: [Method; 5] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    path: &'static str,
    server_type: &'static str,
    long_running: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    container_state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeLabels {
    node: String,
}

/// What this server counts. Clones share it.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RequestLabels, Histogram, fn() -> Histogram>,
    inflight: Family<RequestLabels, Gauge>,
    running_pods: Gauge,
    running_containers: Family<StateLabels, Gauge>,
    node_name: Family<NodeLabels, Gauge>,
}

fn durations() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let metrics = Self {
            registry: Arc::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(durations as fn() -> Histogram),
            inflight: Family::default(),
            running_pods: Gauge::default(),
            running_containers: Family::default(),
            node_name: Family::default(),
        };
        let help = "Number of the http requests received since the server started";
        registry.register("kubelet_http_requests", help, metrics.requests.clone());
        let help = "Duration in seconds to serve http requests";
        registry.register("kubelet_http_requests_duration_seconds", help, metrics.durations.clone());
        let help = "Number of the inflight http requests";
        registry.register("kubelet_http_inflight_requests", help, metrics.inflight.clone());
        let help = "Number of pods that have a running pod sandbox";
        registry.register("kubelet_running_pods", help, metrics.running_pods.clone());
        let help = "Number of containers currently running";
        registry.register("kubelet_running_containers", help, metrics.running_containers.clone());
        let help = "The node's name. The count is always 1.";
        registry.register("kubelet_node_name", help, metrics.node_name.clone());
        Self { registry: Arc::new(registry), ..metrics }
    }
}

impl Metrics {
    /// Counts a request, and for as long as the guard lives that it is being answered.
    pub(crate) fn begin(&self, method: &Method, asked: &Asked) -> InFlight {
        let method = METHODS.iter().find(|known| *known == method).map_or("other", name);
        let long_running = if asked.is_long_running() { "true" } else { "false" };
        let labels = RequestLabels { method, path: asked.bucket, server_type: "readwrite", long_running };
        self.requests.get_or_create(&labels).inc();
        let gauge = self.inflight.get_or_create_owned(&labels);
        gauge.inc();
        InFlight { gauge, metrics: self.clone(), labels }
    }

    /// The text of `/metrics`.
    pub(crate) fn text(&self, agent: &dyn Agent) -> Result<String, fmt::Error> {
        let pods = agent.pods();
        let counts = pods.iter().map(running_containers).filter(|count| *count > 0);
        let (running, containers) = counts.fold((0, 0), |(pods, all), count| (pods + 1, all + count));
        self.running_pods.set(running);
        self.running_containers.get_or_create(&StateLabels { container_state: "running" }).set(containers);
        if let Some(node) = pods.iter().find_map(|pod| pod.pointer("/spec/nodeName")?.as_str()) {
            self.node_name.get_or_create(&NodeLabels { node: node.to_owned() }).set(1);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

fn running_containers(pod: &Value) -> i64 {
    let lists = ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"];
    let statuses = lists.into_iter().filter_map(|list| pod["status"][list].as_array()).flatten();
    let running = statuses.filter(|status| !status["state"]["running"].is_null()).count();
    i64::try_from(running).unwrap_or(i64::MAX)
}

/// A request that is being answered.
pub(crate) struct InFlight {
    gauge: Gauge,
    metrics: Metrics,
    labels: RequestLabels,
}

impl InFlight {
    /// Its answer has begun.
    pub(crate) fn end(self, after: Duration) {
        self.metrics.durations.get_or_create(&self.labels).observe(after.as_secs_f64());
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}
