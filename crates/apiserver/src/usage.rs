//! `metrics.k8s.io/v1beta1`: what nodes and pods use, for `kubectl top`. Kept nowhere: each request asks the nodes that can be reached from here, which
//! compare two readings. The words are those of metrics-server (sigs.k8s.io/metrics-server `pkg/api`).

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use http::{Response, StatusCode};
use jiff::Timestamp;
use remora_http::Body;
use remora_model::quantity::Quantity;
use remora_model::usage::{Cpu, Memory, NodeUsage, PodUsage};
use remora_model::{Kind, ObjectKey, Status, kinds};
use remora_store::{KeyValue, Revision};
use serde_json::{Value, json};

use crate::request::{Collection, ListOptions};
use crate::selection::Selection;
use crate::server::Call;
use crate::verbs::list::{self, Page};
use crate::{encode, forms};

/// Whether a kind is one of these.
pub fn is_usage(kind: &Kind) -> bool {
    kind.group == kinds::METRICS_GROUP
}

/// Of each node or pod that is selected; of those that have just begun, nothing is known yet.
pub async fn list(call: &Call, what: &Collection, options: &ListOptions) -> Result<Response<Body>, Status> {
    let page = selected(call, what, options).await?;
    forms::answer_list(call, what.kind, &page)
}

/// Of one.
///
/// # Errors
/// 404 if nothing is known of it.
pub async fn get(call: &Call, key: &ObjectKey) -> Result<Response<Body>, Status> {
    let what = Collection { kind: key.kind, namespace: key.namespace.clone() };
    let options = ListOptions { field_selector: format!("metadata.name={}", key.name), ..ListOptions::default() };
    let page = selected(call, &what, &options).await?;
    let name = key.namespace.as_ref().map_or_else(|| key.name.clone(), |namespace| format!("{namespace}/{}", key.name));
    let found = page.items.first().ok_or_else(|| Status::kind_not_found(key.kind, &name))?;
    forms::answer(call, StatusCode::OK, key.kind, &found.value, Some(found.mod_revision))
}

/// What is used by those of the collection's objects that are selected, in their order.
async fn selected(call: &Call, what: &Collection, options: &ListOptions) -> Result<Page, Status> {
    let of = Collection { kind: kinds::core(what.kind.plural), namespace: what.namespace.clone() };
    let (label_selector, field_selector) = (options.label_selector.clone(), options.field_selector.clone());
    let all = ListOptions { label_selector, field_selector, ..ListOptions::default() };
    let selection = Selection::parse(&of, &all)?;
    let page = list::read(call.state.objects().store().as_ref(), &selection, &all).await?;
    let objects: Vec<Value> = page.items.iter().map(|kv| encode::decode(&kv.value)).collect();
    let is_pods = what.kind.namespaced;
    let nodes = objects.iter().map(|object| text(object, if is_pods { "/spec/nodeName" } else { "/metadata/name" }));
    let used = ask(call, nodes).await?;
    let now = call.state.now();
    let shown =
        objects.iter().filter_map(|object| if is_pods { pod(object, &used, now) } else { node(object, &used, now) });
    let items = shown.map(|shown| item(what.kind, shown, page.revision)).collect();
    Ok(Page { items, ..page })
}

fn item(kind: &'static Kind, shown: Value, revision: Revision) -> KeyValue {
    KeyValue::written(Default::default(), encode::stored(kind, &shown), revision, None)
}

fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// Each of these nodes that can be reached, once and all together.
async fn ask<'n>(call: &Call, nodes: impl Iterator<Item = &'n str>) -> Result<BTreeMap<&'n str, NodeUsage>, Status> {
    let meters: BTreeMap<&str, _> = nodes.filter_map(|node| Some((node, call.state.nodes().meter_of(node)?))).collect();
    let asked = join_all(meters.iter().map(async |(node, meter)| Ok((*node, meter.usage().await?)))).await;
    let answered: Result<BTreeMap<&str, NodeUsage>, String> = asked.into_iter().collect();
    answered.map_err(Status::service_unavailable)
}

fn node(object: &Value, used: &BTreeMap<&str, NodeUsage>, now: Timestamp) -> Option<Value> {
    let usage = used.get(text(object, "/metadata/name"))?;
    let measured = Measured::of(usage.cpu?, usage.memory?)?;
    let mut shown = about(object, measured.at, measured.window, now);
    shown["usage"] = measured.shown();
    Some(shown)
}

/// None unless all of its containers are known: a sum of some would be taken for the pod's.
fn pod(object: &Value, used: &BTreeMap<&str, NodeUsage>, now: Timestamp) -> Option<Value> {
    let of_node = used.get(text(object, "/spec/nodeName"))?;
    let uid = text(object, "/metadata/uid");
    let usage: &PodUsage = of_node.pods.iter().find(|pod| pod.uid == uid).filter(|pod| !pod.containers.is_empty())?;
    let measured = usage.containers.iter().map(|of| Some((of.name.as_str(), Measured::of(of.cpu?, of.memory?)?)));
    let measured: Vec<(&str, Measured)> = measured.collect::<Option<_>>()?;
    let at = measured.iter().map(|(_, of)| of.at).max()?;
    let window = measured.iter().map(|(_, of)| of.window).max()?;
    let mut shown = about(object, at, window, now);
    shown["containers"] = measured.iter().map(|(name, of)| json!({"name": name, "usage": of.shown()})).collect();
    Some(shown)
}

fn about(object: &Value, at: Timestamp, window: Duration, now: Timestamp) -> Value {
    let of = |name: &str| object["metadata"].get(name).filter(|value| !value.is_null()).cloned();
    let mut metadata = json!({"creationTimestamp": second(now)});
    for name in ["name", "namespace", "labels"] {
        if let Some(value) = of(name) {
            metadata[name] = value;
        }
    }
    json!({"metadata": metadata, "timestamp": second(at), "window": go_duration(window)})
}

fn second(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or_default().to_string()
}

/// What was measured of one thing.
struct Measured {
    at: Timestamp,
    window: Duration,
    nano_cores: u64,
    bytes: u64,
}

impl Measured {
    /// None before it has been seen twice.
    fn of(cpu: Cpu, memory: Memory) -> Option<Self> {
        let rate = cpu.rate?;
        Some(Self { at: cpu.at, window: rate.window, nano_cores: rate.nano_cores, bytes: memory.working_set })
    }

    fn shown(&self) -> Value {
        let binary = self.bytes.is_multiple_of(1024);
        let memory = if binary { format!("{}Ki", self.bytes / 1024) } else { self.bytes.to_string() };
        json!({"cpu": quantity(format!("{}n", self.nano_cores)), "memory": quantity(memory)})
    }
}

fn quantity(text: String) -> String {
    Quantity::parse(&text).map_or(text, Quantity::canonical)
}

/// As Go writes a duration, to the millisecond.
fn go_duration(of: Duration) -> String {
    match of.as_millis() {
        milliseconds @ 0..1000 => format!("{milliseconds}ms"),
        milliseconds => format!("{}s", milliseconds as f64 / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::usage::{ContainerUsage, Rate};

    fn container(name: &str, nano_cores: Option<u64>) -> ContainerUsage {
        let rate = nano_cores.map(|nano_cores| Rate { nano_cores, window: Duration::from_millis(15_250) });
        let at = Timestamp::from_second(100).unwrap();
        ContainerUsage {
            name: name.to_owned(),
            cpu: Some(Cpu { at, total: 1, rate }),
            memory: Some(Memory { working_set: 3 << 20, ..Memory::default() }),
            ..ContainerUsage::default()
        }
    }

    #[test]
    fn a_pod_is_shown_when_all_its_containers_have_been_measured() {
        let object = json!({
            "metadata": {"name": "web", "namespace": "a", "uid": "u", "labels": {"app": "web"}},
            "spec": {"nodeName": "n"},
        });
        let used = |containers: Vec<ContainerUsage>| {
            let pods = vec![PodUsage { uid: "u".to_owned(), containers, ..PodUsage::default() }];
            BTreeMap::from([("n", NodeUsage { pods, ..NodeUsage::default() })])
        };
        let shown = pod(
            &object,
            &used(vec![container("b", Some(500_000_000)), container("a", Some(1_234))]),
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(
            shown.unwrap(),
            json!({
                "metadata": {"name": "web", "namespace": "a", "labels": {"app": "web"}, "creationTimestamp": "1970-01-01T00:00:00Z"},
                "timestamp": "1970-01-01T00:01:40Z",
                "window": "15.25s",
                "containers": [
                    {"name": "b", "usage": {"cpu": "500m", "memory": "3Mi"}},
                    {"name": "a", "usage": {"cpu": "1234n", "memory": "3Mi"}},
                ],
            })
        );
        let check_none = |used| assert_eq!(pod(&object, &used, Timestamp::UNIX_EPOCH), None);
        check_none(used(vec![container("a", Some(1)), container("new", None)]));
        check_none(used(Vec::new()));
        check_none(BTreeMap::new());
    }

    #[test]
    fn windows_are_written_as_go_does() {
        for (milliseconds, expected) in [(0, "0ms"), (500, "500ms"), (1000, "1s"), (15_250, "15.25s"), (60_000, "60s")]
        {
            assert_eq!(go_duration(Duration::from_millis(milliseconds)), expected);
        }
    }
}
