//! `/metrics/cadvisor`: cAdvisor's series of pods and containers, as far as a runtime's stats go. A pod's own are those without a container's
//! name; its network is one of them. Source: cAdvisor `metrics/prometheus.go`; labels: kubernetes `pkg/kubelet/server/server.go`,
//! `containerPrometheusLabelsFunc`.

use http::{Response, StatusCode};
use jiff::Timestamp;
use remora_http::Body;
use remora_model::usage::{Cpu, Filesystem, Interface, Memory, NodeUsage, Swap};

use super::exposition::{epoch, seconds};
use super::{Exposition, Kind, Sample};
use crate::agent::AgentError;
use crate::answer;

/// The text.
pub(crate) fn answer(usage: Result<NodeUsage, AgentError>) -> Response<Body> {
    match usage {
        Ok(usage) => Exposition::answer(text(&usage)),
        Err(error) => answer::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// The node, a pod or a container.
struct Subject<'u> {
    /// `container`, `id`, `image`, `name`, `namespace`, `pod`.
    labels: [(&'static str, String); 6],
    since: Timestamp,
    cpu: Option<Cpu>,
    memory: Option<Memory>,
    swap: Option<Swap>,
    layer: Option<Filesystem>,
    processes: Option<u64>,
    network: &'u [Interface],
    network_at: Option<Timestamp>,
}

fn labels(
    container: &str,
    id: String,
    image: &str,
    name: &str,
    namespace: &str,
    pod: &str,
) -> [(&'static str, String); 6] {
    let text = str::to_owned;
    [
        ("container", text(container)),
        ("id", id),
        ("image", text(image)),
        ("name", text(name)),
        ("namespace", text(namespace)),
        ("pod", text(pod)),
    ]
}

fn subjects(usage: &NodeUsage) -> Vec<Subject<'_>> {
    let mut all = vec![Subject {
        labels: labels("", "/".to_owned(), "", "", "", ""),
        since: usage.since,
        cpu: usage.cpu,
        memory: usage.memory,
        swap: usage.swap,
        layer: usage.filesystem,
        processes: usage.processes.map(|processes| processes.running),
        network: usage.network.as_ref().map_or(&[], |network| &network.interfaces),
        network_at: usage.network.as_ref().map(|network| network.at),
    }];
    for pod in &usage.pods {
        all.push(Subject {
            labels: labels("", format!("/kubepods/pod{}", pod.uid), "", "", &pod.namespace, &pod.name),
            since: pod.since,
            cpu: pod.cpu,
            memory: pod.memory,
            swap: None,
            layer: None,
            processes: pod.processes,
            network: pod.network.as_ref().map_or(&[], |network| &network.interfaces),
            network_at: pod.network.as_ref().map(|network| network.at),
        });
        all.extend(pod.containers.iter().map(|of| Subject {
            labels: labels(
                &of.name,
                format!("/kubepods/pod{}/{}", pod.uid, of.id),
                &of.image,
                &of.id,
                &pod.namespace,
                &pod.name,
            ),
            since: of.since,
            cpu: of.cpu,
            memory: of.memory,
            swap: of.swap,
            layer: of.layer,
            processes: None,
            network: &[],
            network_at: None,
        }));
    }
    all
}

/// A family, a label that tells its samples apart, and what goes into it.
struct Series {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    more: &'static [(&'static str, &'static str)],
    value: fn(&Subject<'_>) -> Sample,
}

const fn series(name: &'static str, kind: Kind, help: &'static str, value: fn(&Subject<'_>) -> Sample) -> Series {
    Series { name, kind, help, more: &[], value }
}

fn of_memory(subject: &Subject<'_>, part: fn(&Memory) -> u64) -> Sample {
    subject.memory.as_ref().map(|memory| (part(memory) as f64, Some(memory.at)))
}

use Kind::{Counter, Gauge};

const SERIES: [Series; 13] = [
    Series {
        more: &[("cpu", "total")],
        ..series("container_cpu_usage_seconds_total", Counter, "Cumulative cpu time consumed in seconds.", |of| {
            of.cpu.map(|cpu| (seconds(cpu.total), Some(cpu.at)))
        })
    },
    series("container_memory_working_set_bytes", Gauge, "Current working set in bytes.", |of| {
        of_memory(of, |memory| memory.working_set)
    }),
    series(
        "container_memory_usage_bytes",
        Gauge,
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        |of| of_memory(of, |memory| memory.usage),
    ),
    series("container_memory_rss", Gauge, "Size of RSS in bytes.", |of| of_memory(of, |memory| memory.rss)),
    series("container_memory_cache", Gauge, "Number of bytes of page cache memory.", |of| {
        of_memory(of, |memory| memory.usage.saturating_sub(memory.rss))
    }),
    series("container_memory_swap", Gauge, "Container swap usage in bytes.", |of| {
        of.swap.map(|swap| (swap.usage as f64, Some(swap.at)))
    }),
    Series {
        more: &[("failure_type", "pgfault"), ("scope", "container")],
        ..series("container_memory_failures_total", Counter, "Cumulative count of memory allocation failures.", |of| {
            of_memory(of, |memory| memory.page_faults)
        })
    },
    Series {
        more: &[("failure_type", "pgmajfault"), ("scope", "container")],
        ..series("container_memory_failures_total", Counter, "Cumulative count of memory allocation failures.", |of| {
            of_memory(of, |memory| memory.major_page_faults)
        })
    },
    series("container_spec_memory_limit_bytes", Gauge, "Memory limit for the container.", |of| {
        let memory = of.memory?;
        // Without a limit cAdvisor says 0.
        Some((memory.available.map_or(0, |available| available + memory.working_set) as f64, None))
    }),
    Series {
        more: &[("device", "")],
        ..series(
            "container_fs_usage_bytes",
            Gauge,
            "Number of bytes that are consumed by the container on this filesystem.",
            |of| of.layer.map(|layer| (layer.used as f64, Some(layer.at))),
        )
    },
    Series {
        more: &[("device", "")],
        ..series(
            "container_fs_limit_bytes",
            Gauge,
            "Number of bytes that can be consumed by the container on this filesystem.",
            |of| of.layer.map(|layer| (layer.capacity as f64, Some(layer.at))),
        )
    },
    series("container_processes", Gauge, "Number of processes running inside the container.", |of| {
        of.processes.map(|count| (count as f64, None))
    }),
    series("container_start_time_seconds", Gauge, "Start time of the container since unix epoch in seconds.", |of| {
        Some((epoch(of.since), None)).filter(|(since, _)| *since > 0.0)
    }),
];

/// A family of networks.
type OfInterface = (&'static str, &'static str, fn(&Interface) -> u64);

const OF_INTERFACES: [OfInterface; 4] = [
    ("container_network_receive_bytes_total", "Cumulative count of bytes received", |one| one.received),
    ("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving", |one| {
        one.receive_errors
    }),
    ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", |one| one.sent),
    ("container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting", |one| {
        one.send_errors
    }),
];

fn text(usage: &NodeUsage) -> String {
    let mut text = Exposition::default();
    let subjects = subjects(usage);
    for series in &SERIES {
        for subject in &subjects {
            let Some((value, at)) = (series.value)(subject) else { continue };
            text.family(series.name, series.kind, series.help);
            text.sample(series.name, &with(subject, series.more), value, at);
        }
    }
    for (name, help, value) in &OF_INTERFACES {
        for subject in &subjects {
            for interface in subject.network {
                text.family(name, Counter, help);
                text.sample(
                    name,
                    &with(subject, &[("interface", &interface.name)]),
                    value(interface),
                    subject.network_at,
                );
            }
        }
    }
    text.family("machine_cpu_cores", Gauge, "Number of logical CPU cores.");
    text.sample("machine_cpu_cores", &[], usage.cpus, None);
    text.family("machine_memory_bytes", Gauge, "Amount of memory installed on the machine.");
    text.sample("machine_memory_bytes", &[], usage.memory_bytes, None);
    text.finish()
}

fn with<'s>(subject: &'s Subject<'_>, more: &[(&'s str, &'s str)]) -> Vec<(&'s str, &'s str)> {
    let own = subject.labels.iter().map(|(label, value)| (*label, value.as_str()));
    own.chain(more.iter().copied()).collect()
}
