//! Pods in few words, as a user would send them.

use serde_json::{Value, json};

/// A pod with these containers; `spec` is laid over what a user would write.
pub fn pod(name: &str, containers: &[Value], spec: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": containers, "terminationGracePeriodSeconds": 30},
    });
    if let (Some(into), Some(from)) = (pod["spec"].as_object_mut(), spec.as_object()) {
        into.extend(from.clone());
    }
    pod
}

/// A container of busybox that pulls only if it must; `more` is laid over it.
pub fn container(name: &str, more: Value) -> Value {
    let mut container = json!({"name": name, "image": "busybox", "imagePullPolicy": "IfNotPresent"});
    if let (Some(into), Some(from)) = (container.as_object_mut(), more.as_object()) {
        into.extend(from.clone());
    }
    container
}

/// The strategic patch by which kubectl adds ephemeral containers.
pub fn ephemeral_patch(containers: &[Value]) -> Value {
    let order: Vec<Value> = containers.iter().map(|c| json!({"name": c["name"]})).collect();
    json!({"spec": {"$setElementOrder/ephemeralContainers": order, "ephemeralContainers": containers}})
}
