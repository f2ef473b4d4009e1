//! What `/metrics` tells, in Prometheus' text format, under kube-apiserver's names where it has such a metric.

use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use remora_http::{Observer, Responded};

use crate::audit::Counters;
use crate::flow::FlowCounters;

/// What a response says of its request, for counting; the server leaves it in the response's extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counted {
    /// `get`, `list`, …
    pub verb: String,
    /// Empty for core.
    pub group: String,
    /// `pods`; empty for paths that are no resources.
    pub resource: String,
    /// `status`, or empty.
    pub subresource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: String,
    group: String,
    resource: String,
    subresource: String,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerbLabels {
    verb: String,
    resource: String,
    subresource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    group: String,
    resource: String,
}

/// Seconds; kube-apiserver's buckets with finer ones below.
const BUCKETS: [f64; 14] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

/// The API server's metrics. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<VerbLabels, Histogram, fn() -> Histogram>,
    watchers: Family<KindLabels, Gauge>,
    objects: Family<KindLabels, Gauge>,
    revision: Gauge<i64, AtomicI64>,
}

fn durations() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Metrics {
    /// With what the audit log and the gate count.
    pub fn new(audit: &Counters, flow: &FlowCounters) -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        let durations = Family::new_with_constructor(durations as fn() -> Histogram);
        let watchers = Family::default();
        let objects = Family::default();
        let revision = Gauge::default();
        registry.register("apiserver_request", "Requests, by verb, resource and HTTP status", requests.clone());
        let help = "Seconds from the request's head to the response's head";
        registry.register("apiserver_request_duration_seconds", help, durations.clone());
        registry.register("apiserver_longrunning_requests", "Watches that run now", watchers.clone());
        registry.register("apiserver_storage_objects", "Objects in the store, by resource", objects.clone());
        registry.register("apiserver_audit_event", "Events written to the audit log", audit.events.clone());
        registry.register(
            "apiserver_audit_error",
            "Events that the audit log has lost, by cause",
            audit.errors.clone(),
        );
        let help = "Requests refused because there were too many, by priority level and reason";
        registry.register("apiserver_flowcontrol_rejected_requests", help, flow.rejected.clone());
        let help = "Requests that wait for their turn";
        registry.register("apiserver_flowcontrol_current_inqueue_requests", help, flow.waiting.clone());
        let help = "Requests that are being answered";
        registry.register("apiserver_flowcontrol_current_executing_requests", help, flow.executing.clone());
        let help = "Seats that requests take which are being answered";
        registry.register("apiserver_flowcontrol_current_executing_seats", help, flow.seats.clone());
        registry.register("remora_store_revision", "The store's newest revision", revision.clone());
        Self { registry: Arc::new(registry), requests, durations, watchers, objects, revision }
    }

    /// Sets how many objects of a resource are stored.
    pub fn stored(&self, group: &str, resource: &str, count: u64) {
        let labels = KindLabels { group: group.to_owned(), resource: resource.to_owned() };
        self.objects.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The text of `/metrics`.
    ///
    /// # Errors
    /// If a metric cannot be written.
    pub fn text(&self, revision: u64) -> Result<String, Error> {
        self.revision.set(i64::try_from(revision).unwrap_or(i64::MAX));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Counts a watch for as long as the returned guard lives.
    pub fn watching(&self, group: &str, resource: &str) -> Watching {
        let labels = KindLabels { group: group.to_owned(), resource: resource.to_owned() };
        let gauge = self.watchers.get_or_create_owned(&labels);
        gauge.inc();
        Watching { gauge }
    }
}

/// One running watch.
#[derive(Debug)]
pub struct Watching {
    gauge: Gauge,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl Observer for Metrics {
    fn responded(&self, responded: &Responded<'_>) {
        let counted = responded.extensions.get::<Counted>().cloned().unwrap_or_default();
        let Counted { verb, group, resource, subresource } = counted;
        let labels = VerbLabels { verb: verb.clone(), resource: resource.clone(), subresource: subresource.clone() };
        self.durations.get_or_create(&labels).observe(responded.duration.as_secs_f64());
        let code = responded.status.as_u16();
        self.requests.get_or_create(&RequestLabels { verb, group, resource, subresource, code }).inc();
    }
}
