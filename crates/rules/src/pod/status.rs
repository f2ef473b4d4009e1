//! A pod's status: what a write to `pods/NAME/status` may do, and the QoS class (upstream: `podStatusStrategy`,
//! `ValidatePodStatusUpdate`, `pkg/apis/core/helper/qos`). What a status should say is the node's matter.

use remora_model::field::FieldErrors;
use remora_model::quantity::Quantity;
use remora_model::{FieldError, Path};
use serde_json::Value;

use super::admission::validate_mirror;
use crate::object::{at, copy_field, field_mut, list, text};
use crate::strategy::Ctx;

const STATUS: Path<'static> = Path::new("status");
const RESOURCES: [&str; 2] = ["cpu", "memory"];

/// The spec and the owners keep their old value.
pub fn prepare(new: &mut Value, old: &Value, _: &Ctx) {
    copy_field(old, new, "spec");
    let metadata = field_mut(new, "metadata");
    copy_field(at(old, &["metadata"]), metadata, "ownerReferences");
    copy_field(at(old, &["metadata"]), metadata, "deletionTimestamp");
    let status = field_mut(new, "status");
    if text(status, &["qosClass"]).is_empty() {
        copy_field(at(old, &["status"]), status, "qosClass");
    }
}

/// A container that has ended and is not to be restarted has ended for good; and a pod is no mirror for a while.
pub fn validate(new: &Value, old: &Value) -> FieldErrors {
    let policy = text(new, &["spec", "restartPolicy"]);
    let mut errors = FieldErrors::new();
    errors.extend(validate_mirror(new, old));
    errors.extend(transitions(new, old, "containerStatuses", policy));
    errors.extend(transitions(new, old, "initContainerStatuses", policy));
    // Ephemeral containers are never restarted, whatever the pod's policy.
    errors.extend(transitions(new, old, "ephemeralContainerStatuses", "Never"));
    let qos = [new, old].map(|pod| text(pod, &["status", "qosClass"]));
    if !qos[1].is_empty() && qos[0] != qos[1] {
        errors.push(FieldError::invalid(&STATUS.child("qosClass"), qos[0], "field is immutable"));
    }
    errors
}

fn transitions(new: &Value, old: &Value, field: &str, policy: &str) -> FieldErrors {
    if policy == "Always" {
        return FieldErrors::new();
    }
    let ended = |status: &Value| !at(status, &["state", "terminated"]).is_null();
    let may_leave = |status: &Value| {
        let name = text(status, &["name"]);
        let failed = at(status, &["state", "terminated", "exitCode"]).as_i64() != Some(0);
        !ended(status) || (failed && policy == "OnFailure") || is_sidecar(new, name)
    };
    let path = STATUS.child(field);
    let bound = list(old, &["status", field]).iter().enumerate().filter(|(_, status)| !may_leave(status));
    bound
        .filter(|(_, before)| {
            let same = |status: &&Value| text(status, &["name"]) == text(before, &["name"]);
            list(new, &["status", field]).iter().find(same).is_some_and(|now| !ended(now))
        })
        .map(|(i, _)| {
            FieldError::forbidden(&path.index(i).child("state"), "may not be transitioned to non-terminated state")
        })
        .collect()
}

fn is_sidecar(pod: &Value, name: &str) -> bool {
    list(pod, &["spec", "initContainers"])
        .iter()
        .any(|c| text(c, &["name"]) == name && text(c, &["restartPolicy"]) == "Always")
}

/// `Guaranteed` if every container limits cpu and memory and requests as much, `BestEffort` if none says anything,
/// else `Burstable`. Ephemeral containers have no say.
pub fn qos_class(pod: &Value) -> &'static str {
    let whole = at(pod, &["spec", "resources"]);
    let parts: Vec<&Value> = if whole.is_object() {
        vec![whole]
    } else {
        let lists = ["containers", "initContainers"];
        lists.iter().flat_map(|f| list(pod, &["spec", f])).map(|c| at(c, &["resources"])).collect()
    };
    let amount =
        |of: &Value, side: &str, name: &str| Quantity::parse(text(of, &[side, name])).ok().filter(|q| q.sign() > 0);
    let silent =
        |of: &Value| RESOURCES.iter().all(|r| amount(of, "limits", r).is_none() && amount(of, "requests", r).is_none());
    let guaranteed = |of: &Value| {
        RESOURCES.iter().all(|r| {
            let limit = amount(of, "limits", r);
            limit.is_some() && limit == amount(of, "requests", r)
        })
    };
    if parts.iter().all(|part| silent(part)) {
        "BestEffort"
    } else if parts.iter().all(|part| guaranteed(part)) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_qos_class_follows_requests_and_limits() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        for (containers, expected) in [
            (json!([{"name": "a", "resources": {}}]), "BestEffort"),
            (json!([{"resources": {"limits": both, "requests": {"cpu": "1000m", "memory": "1Gi"}}}]), "Guaranteed"),
            (json!([{"resources": {"limits": both, "requests": both}}, {"resources": {}}]), "Burstable"),
            (json!([{"resources": {"requests": {"cpu": "1"}}}]), "Burstable"),
            (json!([{"resources": {"requests": {"example.com/gpu": "1"}}}]), "BestEffort"),
        ] {
            assert_eq!(qos_class(&json!({"spec": {"containers": containers}})), expected, "{containers}");
        }
    }

    #[test]
    fn what_has_ended_for_good_may_not_run_again() {
        let pod = |policy: &str, field: &str, code: i64| json!({"spec": {"restartPolicy": policy}, "status": {field: [{"name": "c", "state": {"terminated": {"exitCode": code}}}]}});
        for (policy, field, code, refused) in [
            ("Always", "containerStatuses", 1, false),
            ("OnFailure", "containerStatuses", 1, false),
            ("OnFailure", "containerStatuses", 0, true),
            ("Never", "containerStatuses", 1, true),
            ("Always", "ephemeralContainerStatuses", 1, true),
        ] {
            let old = pod(policy, field, code);
            let mut new = old.clone();
            new["status"][field][0]["state"] = json!({"running": {}});
            let errors = validate(&new, &old);
            assert_eq!(!errors.is_empty(), refused, "{policy} {field} {code}");
            if let Some(error) = errors.first() {
                assert_eq!(
                    error.to_string(),
                    format!("status.{field}[0].state: Forbidden: may not be transitioned to non-terminated state")
                );
            }
        }
    }
}
