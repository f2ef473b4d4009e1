//! `/stats/summary`: what is used, as the kubelet's Summary (k8s.io/kubelet `pkg/apis/stats/v1alpha1`). Pure.

use jiff::Timestamp;
use remora_model::usage::{ContainerUsage, Cpu, Filesystem, Interface, Memory, Network, NodeUsage, PodUsage, Swap};
use serde_json::{Map, Value, json};

use crate::agent::Parts;

/// The Summary; with CPU and memory only, if no more was asked for.
pub(crate) fn of(usage: &NodeUsage, parts: Parts) -> Value {
    let mut node = object(json!({"nodeName": usage.node, "startTime": time(usage.since)}));
    put_usage(&mut node, usage.cpu, usage.memory, usage.swap);
    if parts == Parts::All {
        put(&mut node, "network", usage.network.as_ref().map(network));
        put(&mut node, "fs", usage.filesystem.as_ref().map(filesystem));
        let images = usage.images.as_ref().map(filesystem);
        let runtime =
            images.map(|images| json!({"imageFs": images, "containerFs": usage.filesystem.as_ref().map(filesystem)}));
        put(&mut node, "runtime", runtime);
        put(
            &mut node,
            "rlimit",
            usage.processes.map(|of| json!({"time": time(of.at), "maxpid": of.most, "curproc": of.running})),
        );
    }
    let pods: Vec<Value> = usage.pods.iter().map(|of| pod(of, parts)).collect();
    json!({"node": node, "pods": pods})
}

fn pod(usage: &PodUsage, parts: Parts) -> Value {
    let containers: Vec<Value> = usage.containers.iter().map(|of| container(of, parts)).collect();
    let mut pod = object(json!({
        "podRef": {"name": usage.name, "namespace": usage.namespace, "uid": usage.uid},
        "startTime": time(usage.since),
        "containers": containers,
    }));
    put_usage(&mut pod, usage.cpu, usage.memory, None);
    if parts == Parts::All {
        put(&mut pod, "network", usage.network.as_ref().map(network));
        put(&mut pod, "process_stats", usage.processes.map(|count| json!({"process_count": count})));
        put(&mut pod, "ephemeral-storage", ephemeral_storage(usage).as_ref().map(filesystem));
    }
    Value::Object(pod)
}

/// What the pod's containers have written; none of them may be unknown.
fn ephemeral_storage(pod: &PodUsage) -> Option<Filesystem> {
    let parts = pod.containers.iter().flat_map(|of| [of.layer, of.logs]);
    let parts: Vec<Filesystem> = parts.collect::<Option<Vec<_>>>()?;
    let first = parts.first().copied()?;
    let sum = |of: fn(&Filesystem) -> u64| parts.iter().map(of).sum();
    Some(Filesystem { used: sum(|part| part.used), inodes_used: sum(|part| part.inodes_used), ..first })
}

fn container(usage: &ContainerUsage, parts: Parts) -> Value {
    let mut container = object(json!({"name": usage.name, "startTime": time(usage.since)}));
    put_usage(&mut container, usage.cpu, usage.memory, usage.swap);
    if parts == Parts::All {
        put(&mut container, "rootfs", usage.layer.as_ref().map(filesystem));
        put(&mut container, "logs", usage.logs.as_ref().map(filesystem));
    }
    Value::Object(container)
}

fn put_usage(to: &mut Map<String, Value>, cpu: Option<Cpu>, memory: Option<Memory>, swap: Option<Swap>) {
    put(to, "cpu", cpu.map(of_cpu));
    put(to, "memory", memory.map(of_memory));
    put(to, "swap", swap.map(of_swap));
}

fn of_cpu(cpu: Cpu) -> Value {
    let mut shown = object(json!({"time": time(cpu.at)}));
    put(&mut shown, "usageNanoCores", cpu.rate.map(|rate| rate.nano_cores.into()));
    put(&mut shown, "usageCoreNanoSeconds", Some(cpu.total.into()));
    Value::Object(shown)
}

fn of_memory(memory: Memory) -> Value {
    let mut shown = object(json!({"time": time(memory.at)}));
    put(&mut shown, "availableBytes", memory.available.map(Value::from));
    let rest = json!({
        "usageBytes": memory.usage,
        "workingSetBytes": memory.working_set,
        "rssBytes": memory.rss,
        "pageFaults": memory.page_faults,
        "majorPageFaults": memory.major_page_faults,
    });
    shown.extend(object(rest));
    Value::Object(shown)
}

fn of_swap(swap: Swap) -> Value {
    let mut shown = object(json!({"time": time(swap.at)}));
    put(&mut shown, "swapAvailableBytes", swap.available.map(Value::from));
    put(&mut shown, "swapUsageBytes", Some(swap.usage.into()));
    Value::Object(shown)
}

fn network(network: &Network) -> Value {
    let mut shown = object(json!({"time": time(network.at)}));
    if let Some(first) = network.interfaces.first() {
        shown.extend(object(interface(first)));
    }
    put(&mut shown, "interfaces", Some(network.interfaces.iter().map(interface).collect()));
    Value::Object(shown)
}

fn interface(of: &Interface) -> Value {
    json!({
        "name": of.name,
        "rxBytes": of.received,
        "rxErrors": of.receive_errors,
        "txBytes": of.sent,
        "txErrors": of.send_errors,
    })
}

fn filesystem(of: &Filesystem) -> Value {
    json!({
        "time": time(of.at),
        "availableBytes": of.available,
        "capacityBytes": of.capacity,
        "usedBytes": of.used,
        "inodesFree": of.inodes_free,
        "inodes": of.inodes,
        "inodesUsed": of.inodes_used,
    })
}

/// Whole seconds, as Go's `metav1.Time` writes them.
fn time(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or_default().to_string()
}

fn put(to: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    to.extend(value.map(|value| (name.to_owned(), value)));
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
