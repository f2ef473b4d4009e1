//! What pods and containers use, as the runtime measures it, and pods as others see them.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::Pod;
use remora_cri::{
    Container, ContainerStats, CpuUsage, FilesystemUsage, ListContainerStatsRequest, ListPodSandboxStatsRequest,
    MemoryUsage, NetworkInterfaceUsage, NetworkUsage, PodSandboxStats, SwapUsage, labels,
};
use remora_decide::AttemptState;
use remora_decide::usage::{Counted, Counter};
use remora_model::usage::{ContainerUsage, Cpu, Filesystem, Interface, Memory, Network, PodUsage, Swap};
use serde_json::{Value, json};

use super::machine::{number, of_whole, time};
use super::{Extent, StatsError};
use crate::actor::View;
use crate::context::{Context, id_of};
use crate::pods::Pods;

/// The counters of all that runs.
pub(super) async fn counters(context: &Context) -> Result<Vec<(Counted, Counter)>, StatsError> {
    let mut counters = Vec::new();
    for sandbox in sandboxes(context).await? {
        let linux = sandbox.linux.unwrap_or_default();
        let uid = sandbox.attributes.and_then(|of| of.metadata).map(|of| of.uid).unwrap_or_default();
        counters.extend(linux.cpu.map(|cpu| (Counted::Pod(uid), counter(&cpu))));
        counters.extend(
            linux
                .containers
                .into_iter()
                .filter_map(|container| Some((Counted::Container(container.attributes?.id), counter(&container.cpu?)))),
        );
    }
    Ok(counters)
}

fn counter(cpu: &CpuUsage) -> Counter {
    Counter { at: time(cpu.timestamp), total: number(cpu.usage_core_nano_seconds.clone()) }
}

async fn sandboxes(context: &Context) -> Result<Vec<PodSandboxStats>, StatsError> {
    let request = ListPodSandboxStatsRequest { filter: None };
    Ok(context.config.runtime.list_pod_sandbox_stats(request).await?.stats)
}

/// What each pod uses that is known here and runs, in the order of their names.
pub(super) async fn usage(context: &Context, pods: &Pods, extent: Extent) -> Result<Vec<PodUsage>, StatsError> {
    let mut layers = if extent == Extent::All { layers(context).await? } else { HashMap::new() };
    let mut all = Vec::new();
    for sandbox in sandboxes(context).await? {
        let uid = sandbox.attributes.as_ref().and_then(|of| of.metadata.as_ref()).map(|of| of.uid.clone());
        let Some(handle) = uid.and_then(|uid| pods.get(&uid)) else { continue };
        let view = handle.view();
        let mut usage = of_pod(&view, sandbox);
        if extent == Extent::All {
            for container in &mut usage.containers {
                container.layer = layers.remove(&container.id).and_then(|layer| part(&layer));
            }
        }
        all.push(usage);
    }
    all.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    Ok(all)
}

/// By container id.
async fn layers(context: &Context) -> Result<HashMap<String, FilesystemUsage>, StatsError> {
    let request = ListContainerStatsRequest { filter: None };
    let listed = context.config.runtime.list_container_stats(request).await?.stats;
    Ok(listed.into_iter().filter_map(|of| Some((of.attributes?.id, of.writable_layer?))).collect())
}

fn part(usage: &FilesystemUsage) -> Option<Filesystem> {
    let mount = usage.fs_id.as_ref()?.mountpoint.clone();
    let space = remora_sys::file::space(mount.as_ref()).ok()?;
    Some(Filesystem {
        used: number(usage.used_bytes.clone()),
        inodes_used: number(usage.inodes_used.clone()),
        ..of_whole(&space, time(usage.timestamp))
    })
}

fn of_pod(view: &View, sandbox: PodSandboxStats) -> PodUsage {
    let id = id_of(&view.pod);
    let linux = sandbox.linux.unwrap_or_default();
    let started = view.observed.reported.start_time.as_ref().map(|time| time.0);
    let mut containers: Vec<ContainerUsage> =
        linux.containers.into_iter().filter_map(|stats| of_container(view, stats)).collect();
    containers.sort_by(|one, other| one.name.cmp(&other.name));
    PodUsage {
        namespace: id.namespace.to_owned(),
        name: id.name.to_owned(),
        uid: id.uid.to_owned(),
        since: started.unwrap_or_default(),
        cpu: linux.cpu.as_ref().map(cpu),
        memory: linux.memory.map(memory),
        network: linux.network.map(network),
        processes: linux.process.map(|of| number(of.process_count)),
        containers,
    }
}

/// None for one that its actor does not know to run: it has just begun or ended.
fn of_container(view: &View, stats: ContainerStats) -> Option<ContainerUsage> {
    let id = stats.attributes?.id;
    let (name, attempt) = view.observed.attempts().find(|(_, attempt)| attempt.id == id)?;
    let AttemptState::Running { since } = attempt.state else { return None };
    Some(ContainerUsage {
        name: name.to_owned(),
        image: attempt.image.clone(),
        id,
        since,
        cpu: stats.cpu.as_ref().map(cpu),
        memory: stats.memory.map(memory),
        swap: stats.swap.map(swap),
        layer: None,
        logs: None,
    })
}

fn cpu(usage: &CpuUsage) -> Cpu {
    let Counter { at, total } = counter(usage);
    Cpu { at, total, rate: None }
}

fn memory(usage: MemoryUsage) -> Memory {
    Memory {
        at: time(usage.timestamp),
        usage: number(usage.usage_bytes),
        working_set: number(usage.working_set_bytes),
        rss: number(usage.rss_bytes),
        available: usage.available_bytes.map(|bytes| bytes.value),
        page_faults: number(usage.page_faults),
        major_page_faults: number(usage.major_page_faults),
    }
}

fn swap(usage: SwapUsage) -> Swap {
    Swap {
        at: time(usage.timestamp),
        usage: number(usage.swap_usage_bytes),
        available: usage.swap_available_bytes.map(|bytes| bytes.value),
    }
}

/// The default interface first.
fn network(usage: NetworkUsage) -> Network {
    let first = usage.default_interface.map(|of| of.name);
    let mut interfaces: Vec<Interface> = usage.interfaces.into_iter().map(interface).collect();
    interfaces.sort_by_key(|interface| Some(&interface.name) != first.as_ref());
    Network { at: time(usage.timestamp), interfaces }
}

fn interface(usage: NetworkInterfaceUsage) -> Interface {
    Interface {
        name: usage.name,
        received: number(usage.rx_bytes),
        receive_errors: number(usage.rx_errors),
        sent: number(usage.tx_bytes),
        send_errors: number(usage.tx_errors),
    }
}

/// A pod with the status that was last decided, as an item of a list.
pub(super) fn shown(view: &View) -> Value {
    let pod = Pod { status: Some(view.observed.reported.clone()), ..Pod::clone(&view.pod) };
    // Made of texts, numbers and times: it serializes.
    let mut value = serde_json::to_value(pod).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    value
}

/// Containers as pods, by what the runtime was told of them.
pub(super) fn running(containers: &[Container]) -> Vec<Value> {
    let mut pods: BTreeMap<[&str; 3], Vec<Value>> = BTreeMap::new();
    for container in containers {
        let label = |name: &str| container.labels.get(name).map_or("", String::as_str);
        let pod = [labels::POD_NAMESPACE, labels::POD_NAME, labels::POD_UID].map(label);
        let image = container.image.as_ref().map_or("", |image| &image.image);
        let shown = json!({"name": label(labels::CONTAINER_NAME), "image": image, "resources": {}});
        pods.entry(pod).or_default().push(shown);
    }
    let shown = pods.into_iter().map(|([namespace, name, uid], containers)| {
        json!({
            "metadata": {"name": name, "namespace": namespace, "uid": uid},
            "spec": {"containers": containers},
            "status": {},
        })
    });
    shown.collect()
}
