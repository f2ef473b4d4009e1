//! `POST pods/NAME/binding`: a scheduler gives a pod its node (upstream: `BindingREST`, `assignPod`).

use remora_model::field::FieldErrors;
use remora_model::status::Qualified;
use remora_model::{FieldError, Path, Status};
use serde_json::{Value, json};

use crate::object::{at, field_mut, list, object_mut, set, text};
use crate::strategy::Ctx;
use crate::time::seconds;

/// The pod with its node, a `PodScheduled` condition and the binding's annotations.
///
/// # Errors
/// 422 if the binding names no node, 409 if the pod has one already, is being deleted, or is not the one meant.
pub fn bind(pod: &Value, binding: &Value, ctx: &Ctx) -> Result<Value, Status> {
    let name = text(pod, &["metadata", "name"]);
    let errors = validate(binding);
    if !errors.is_empty() {
        return Err(Status::invalid(Qualified::core("Binding"), name, &errors));
    }
    let conflict = |why: String| Err(Status::conflict(Qualified::core("pods/binding"), name, &why));
    let [wanted, uid] = [binding, pod].map(|o| text(o, &["metadata", "uid"]));
    if !wanted.is_empty() && wanted != uid {
        return conflict(format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}"));
    }
    if !at(pod, &["metadata", "deletionTimestamp"]).is_null() {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let node = text(pod, &["spec", "nodeName"]);
    if !node.is_empty() {
        return conflict(format!("pod {name} is already assigned to node \"{node}\""));
    }
    if !list(pod, &["spec", "schedulingGates"]).is_empty() {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut bound = pod.clone();
    set(field_mut(&mut bound, "spec"), "nodeName", text(binding, &["target", "name"]).into());
    add_annotations(&mut bound, at(binding, &["metadata", "annotations"]));
    set_scheduled(&mut bound, ctx);
    Ok(bound)
}

fn validate(binding: &Value) -> FieldErrors {
    let target = Path::new("target");
    let mut errors = FieldErrors::new();
    let kind = text(binding, &["target", "kind"]);
    if !matches!(kind, "" | "Node") {
        errors.push(FieldError::not_supported(&target.child("kind"), kind, &["Node", "<empty>"]));
    }
    if text(binding, &["target", "name"]).is_empty() {
        errors.push(FieldError::required(&target.child("name"), ""));
    }
    errors
}

/// What the scheduler notes on the pod; it counts more than what was there.
fn add_annotations(pod: &mut Value, more: &Value) {
    let Some(more) = more.as_object().filter(|m| !m.is_empty()) else { return };
    let annotations = object_mut(field_mut(pod, "metadata"), "annotations");
    annotations.extend(more.iter().map(|(key, value)| (key.clone(), value.clone())));
}

fn set_scheduled(pod: &mut Value, ctx: &Ctx) {
    let generation = at(pod, &["metadata", "generation"]).clone();
    let mut condition = json!({
        "type": "PodScheduled", "status": "True",
        "lastProbeTime": null, "lastTransitionTime": seconds(ctx.now),
    });
    set(&mut condition, "observedGeneration", generation);
    let status = field_mut(pod, "status");
    let mut conditions = list(status, &["conditions"]).to_vec();
    conditions.retain(|c| text(c, &["type"]) != "PodScheduled");
    conditions.push(condition);
    set(status, "conditions", conditions.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ctx() -> Ctx {
        Ctx { now: "2026-01-02T03:04:05Z".parse().unwrap(), uid: "u".to_owned(), suffix: "abcde".to_owned() }
    }

    #[test]
    fn a_pod_is_bound_once() {
        let pod = json!({"metadata": {"name": "p", "generation": 1}, "spec": {}, "status": {"phase": "Pending"}});
        let binding = json!({"target": {"kind": "Node", "name": "anchor"}});
        let bound = bind(&pod, &binding, &ctx()).unwrap();
        assert_eq!(bound["spec"]["nodeName"], "anchor");
        assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
        let again = bind(&bound, &binding, &ctx()).unwrap_err();
        assert_eq!(
            (again.code, again.message.as_str()),
            (409, "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"anchor\"")
        );
        assert_eq!(bind(&pod, &json!({"target": {}}), &ctx()).unwrap_err().code, 422);
    }
}
