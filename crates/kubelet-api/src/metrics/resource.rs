//! `/metrics/resource`. Source: kubernetes `pkg/kubelet/metrics/collectors/resource_metrics.go`.

use http::Response;
use remora_http::Body;
use remora_model::usage::{ContainerUsage, Cpu, Memory, NodeUsage, PodUsage, Swap};

use super::exposition::{epoch, seconds};
use super::{Exposition, Kind, Sample};
use crate::agent::AgentError;

/// The text, also if the agent cannot tell: then only that.
pub(crate) fn answer(usage: Result<NodeUsage, AgentError>) -> Response<Body> {
    let mut text = Exposition::default();
    match &usage {
        Ok(usage) => write(&mut text, usage),
        Err(error) => tracing::warn!(%error, "what pods use cannot be told"),
    }
    let failed = u8::from(usage.is_err());
    let help = "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise";
    text.family("resource_scrape_error", Kind::Gauge, help);
    text.sample("resource_scrape_error", &[], failed, None);
    Exposition::answer(text.finish())
}

/// A family and what of a thing goes into it.
struct Series<T> {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    value: fn(&T) -> Sample,
}

fn cpu(cpu: &Option<Cpu>) -> Sample {
    cpu.map(|cpu| (seconds(cpu.total), Some(cpu.at)))
}

fn memory(memory: &Option<Memory>) -> Sample {
    memory.map(|memory| (memory.working_set as f64, Some(memory.at)))
}

fn swap(swap: &Option<Swap>) -> Sample {
    swap.map(|swap| (swap.usage as f64, Some(swap.at)))
}

const OF_NODE: [Series<NodeUsage>; 3] = [
    Series {
        name: "node_cpu_usage_seconds_total",
        kind: Kind::Counter,
        help: "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
        value: |node| cpu(&node.cpu),
    },
    Series {
        name: "node_memory_working_set_bytes",
        kind: Kind::Gauge,
        help: "[STABLE] Current working set of the node in bytes",
        value: |node| memory(&node.memory),
    },
    Series {
        name: "node_swap_usage_bytes",
        kind: Kind::Gauge,
        help: "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems",
        value: |node| swap(&node.swap),
    },
];

const OF_POD: [Series<PodUsage>; 2] = [
    Series {
        name: "pod_cpu_usage_seconds_total",
        kind: Kind::Counter,
        help: "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
        value: |pod| cpu(&pod.cpu),
    },
    Series {
        name: "pod_memory_working_set_bytes",
        kind: Kind::Gauge,
        help: "[STABLE] Current working set of the pod in bytes",
        value: |pod| memory(&pod.memory),
    },
];

const OF_CONTAINER: [Series<ContainerUsage>; 4] = [
    Series {
        name: "container_cpu_usage_seconds_total",
        kind: Kind::Counter,
        help: "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
        value: |container| cpu(&container.cpu),
    },
    Series {
        name: "container_memory_working_set_bytes",
        kind: Kind::Gauge,
        help: "[STABLE] Current working set of the container in bytes",
        value: |container| memory(&container.memory),
    },
    Series {
        name: "container_swap_usage_bytes",
        kind: Kind::Gauge,
        help: "[ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems",
        value: |container| swap(&container.swap),
    },
    Series {
        name: "container_start_time_seconds",
        kind: Kind::Gauge,
        help: "[STABLE] Start time of the container since unix epoch in seconds",
        value: |container| Some((epoch(container.since), None)).filter(|(since, _)| *since > 0.0),
    },
];

fn write(text: &mut Exposition, usage: &NodeUsage) {
    for series in &OF_NODE {
        write_family(text, series, [(usage, Vec::new())].into_iter());
    }
    for series in &OF_POD {
        let pods = usage.pods.iter().map(|pod| (pod, of_pod(pod).to_vec()));
        write_family(text, series, pods);
    }
    for series in &OF_CONTAINER {
        let all = usage.pods.iter().flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)));
        let all = all.map(|(pod, container)| {
            let labels = [[("container", container.name.as_str())].as_slice(), &of_pod(pod)].concat();
            (container, labels)
        });
        write_family(text, series, all);
    }
}

fn of_pod(pod: &PodUsage) -> [(&str, &str); 2] {
    [("namespace", &pod.namespace), ("pod", &pod.name)]
}

/// A family without samples is left out.
fn write_family<'u, T: 'u>(
    text: &mut Exposition,
    series: &Series<T>,
    things: impl Iterator<Item = (&'u T, Vec<(&'u str, &'u str)>)>,
) {
    for (thing, labels) in things {
        if let Some((value, at)) = (series.value)(thing) {
            text.family(series.name, series.kind, series.help);
            text.sample(series.name, &labels, value, at);
        }
    }
}
