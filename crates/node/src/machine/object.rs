//! The Node object: made at the first start, brought up to date at each one.
//!
//! Source: kubernetes `pkg/kubelet/kubelet_node_status.go`, `pkg/kubelet/nodestatus/setters.go`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeFeatures,
    NodeRuntimeHandler, NodeRuntimeHandlerFeatures, NodeStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use remora_cri::{ListImagesRequest, RuntimeFeatures, RuntimeHandler, StatusRequest, StatusResponse};
use remora_decide::NoteType;
use serde_json::json;

use super::facts::{architecture, node_info};
use crate::context::Context;

/// What a kubelet shows of images at most.
const MOST_IMAGES: usize = 50;

/// Creates the Node object or takes the one that is there, and writes its status. At the start, tells what a kubelet tells.
pub(crate) async fn register(context: &Context, starting: bool) -> Result<(), kube::Error> {
    let config = &context.config;
    let api: Api<Node> = Api::all(config.client.clone());
    let wanted = object(&config.node_name);
    let found = match api.create(&PostParams::default(), &wanted).await {
        Ok(node) => node,
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let labels =
                json!({"metadata": {"labels": wanted.metadata.labels, "annotations": wanted.metadata.annotations}});
            api.patch(&config.node_name, &PatchParams::default(), &Patch::Merge(&labels)).await?
        }
        Err(error) => return Err(error),
    };
    let say = |reason, message: String| context.recorder.node(&found, NoteType::Normal, reason, message);
    if starting {
        say("Starting", "Starting kubelet.".to_owned());
    }
    let before = found.status.clone().unwrap_or_default();
    let status = status(context, &before, context.now()).await;
    let reasons = ["NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID", "NodeReady"];
    let changed: Vec<&'static str> = reasons.into_iter().filter(|r| is_news(r, &before, &status)).collect();
    let patch = json!({"status": status});
    api.patch_status(&config.node_name, &PatchParams::default(), &Patch::Strategic(&patch)).await?;
    for reason in changed {
        say(reason, format!("Node {} status is now: {reason}", config.node_name));
    }
    if starting {
        say("NodeAllocatableEnforced", "Updated Node Allocatable limit across pods".to_owned());
    }
    Ok(())
}

/// A condition whose status was another one before.
fn is_news(reason: &str, before: &NodeStatus, now: &NodeStatus) -> bool {
    let kind = match reason {
        "NodeHasSufficientMemory" => "MemoryPressure",
        "NodeHasNoDiskPressure" => "DiskPressure",
        "NodeHasSufficientPID" => "PIDPressure",
        _ => "Ready",
    };
    let of = |s: &NodeStatus| s.conditions.iter().flatten().find(|c| c.type_ == kind).map(|c| c.status.clone());
    of(before) != of(now) && (kind != "Ready" || of(now).as_deref() == Some("True"))
}

fn object(name: &str) -> Node {
    let labels = [
        ("beta.kubernetes.io/arch", architecture()),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
    ];
    let labels: BTreeMap<String, String> = labels.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let annotation = ("volumes.kubernetes.io/controller-managed-attach-detach".to_owned(), "true".to_owned());
    Node {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            annotations: Some([annotation].into()),
            ..ObjectMeta::default()
        },
        ..Node::default()
    }
}

async fn status(context: &Context, before: &NodeStatus, now: Timestamp) -> NodeStatus {
    let config = &context.config;
    let runtime = config.runtime.status(StatusRequest { verbose: false }).await;
    let addresses = config.node_ips.iter().map(|ip| ("InternalIP", ip.to_string()));
    let addresses = addresses.chain([("Hostname", config.node_name.clone())]);
    NodeStatus {
        addresses: Some(addresses.map(|(t, address)| NodeAddress { type_: t.to_owned(), address }).collect()),
        capacity: Some(context.machine.capacity()),
        allocatable: Some(context.machine.capacity()),
        conditions: Some(conditions(&runtime, before, now)),
        daemon_endpoints: Some(NodeDaemonEndpoints { kubelet_endpoint: config.kubelet_port.map(endpoint) }),
        images: Some(images(context).await),
        node_info: Some(node_info(&context.runtime_version)),
        features: runtime.as_ref().ok().and_then(|answer| answer.features.as_ref()).map(features),
        runtime_handlers: runtime.ok().map(|answer| answer.runtime_handlers.into_iter().map(handler).collect()),
        ..NodeStatus::default()
    }
}

/// Where the node's own API is.
fn endpoint(port: u16) -> DaemonEndpoint {
    DaemonEndpoint { port: port.into() }
}

/// What of KEP-3619 the runtime can. A runtime that says nothing of it is one from before that.
fn features(of_runtime: &RuntimeFeatures) -> NodeFeatures {
    NodeFeatures { supplemental_groups_policy: Some(of_runtime.supplemental_groups_policy) }
}

/// What pods of a RuntimeClass can have: users of their own (KEP-127), mounts that are read-only all the way down (KEP-3857).
fn handler(of_runtime: RuntimeHandler) -> NodeRuntimeHandler {
    let features = of_runtime.features.unwrap_or_default();
    NodeRuntimeHandler {
        name: Some(of_runtime.name),
        features: Some(NodeRuntimeHandlerFeatures {
            recursive_read_only_mounts: Some(features.recursive_read_only_mounts),
            user_namespaces: Some(features.user_namespaces),
        }),
    }
}

/// The runtime's own conditions decide whether the node is ready.
fn conditions(
    runtime: &Result<StatusResponse, remora_cri::Error>,
    before: &NodeStatus,
    now: Timestamp,
) -> Vec<NodeCondition> {
    let fine = |t, reason, message| condition(before, now, t, "False", reason, message);
    let ready = match not_ready(runtime) {
        None => condition(before, now, "Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        Some(why) => condition(before, now, "Ready", "False", "KubeletNotReady", &why),
    };
    vec![
        fine("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        fine("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        fine("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ready,
    ]
}

fn not_ready(runtime: &Result<StatusResponse, remora_cri::Error>) -> Option<String> {
    match runtime {
        Err(error) => Some(format!("container runtime is down: {error}")),
        Ok(answer) => {
            let conditions = answer.status.iter().flat_map(|status| &status.conditions);
            let bad: Vec<String> = conditions
                .filter(|c| !c.status)
                .map(|c| format!("{}=false reason:{} message:{}", c.r#type, c.reason, c.message))
                .collect();
            (!bad.is_empty()).then(|| bad.join(", "))
        }
    }
}

fn condition(
    before: &NodeStatus,
    now: Timestamp,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
) -> NodeCondition {
    let old = before.conditions.iter().flatten().find(|c| c.type_ == kind && c.status == status);
    NodeCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(Time(now)),
        last_transition_time: old.and_then(|c| c.last_transition_time.clone()).or(Some(Time(now))),
    }
}

/// The largest images, as kubelets list them.
async fn images(context: &Context) -> Vec<ContainerImage> {
    let mut images = match context.config.images.list_images(ListImagesRequest { filter: None }).await {
        Ok(answer) => answer.images,
        Err(error) => {
            tracing::warn!(%error, "the images cannot be listed");
            Vec::new()
        }
    };
    images.sort_by_key(|i| std::cmp::Reverse(i.size));
    images.truncate(MOST_IMAGES);
    let names = |i: &remora_cri::Image| i.repo_digests.iter().chain(&i.repo_tags).cloned().collect();
    images.iter().map(|i| ContainerImage { names: Some(names(i)), size_bytes: i64::try_from(i.size).ok() }).collect()
}
