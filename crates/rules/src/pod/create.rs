//! A new pod: its first status, and what only a create may not have (upstream: `podStrategy`, `ValidatePodCreate`).

use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};
use serde_json::{Value, json};

use super::{gates, status, validation};
use crate::object::{field_mut, list, set};

/// Phase Pending, QoS class, generation 1; the status that a client sends is not taken.
pub fn prepare(pod: &mut Value) {
    gates::drop_disabled(pod);
    let qos = status::qos_class(pod);
    set(pod, "status", json!({"phase": "Pending", "qosClass": qos}));
    set(field_mut(pod, "metadata"), "generation", 1.into());
    say_why_not_scheduled(pod);
}

/// A gated pod says from the start why it is not scheduled.
fn say_why_not_scheduled(pod: &mut Value) {
    if list(pod, &["spec", "schedulingGates"]).is_empty() {
        return;
    }
    let condition = json!({
        "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
        "lastProbeTime": null, "lastTransitionTime": null,
    });
    set(field_mut(pod, "status"), "conditions", json!([condition]));
}

/// The whole pod, and: ephemeral containers are added to pods that exist.
pub fn validate(pod: &Value) -> FieldErrors {
    let mut errors = validation::validate(pod);
    if !list(pod, &["spec", "ephemeralContainers"]).is_empty() {
        let spec = Path::new("spec");
        errors.push(FieldError::forbidden(&spec.child("ephemeralContainers"), "cannot be set on create"));
    }
    errors
}
