//! Replica sets as objects (upstream: `rsStrategy`, `SetDefaults_ReplicaSet`, `ValidateReplicaSet`). What makes their pods is a controller.

use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};
use serde_json::{Value, json};

use super::pod_template;
use crate::int_or_percent::not_negative;
use crate::metadata::place::raise_generation;
use crate::object::{at, copy_field, field_mut, integer, remove, set, set_default};
use crate::strategy::Ctx;

/// One pod, unless it says otherwise; selector and labels are the template's where they are left out.
pub fn set_defaults(set: &mut Value) {
    let spec = field_mut(set, "spec");
    set_default(spec, "replicas", 1);
    pod_template::set_defaults(spec);
}

/// The status is the controller's.
pub fn prepare_create(object: &mut Value) {
    pod_template::prepare(object);
    set(object, "status", json!({"replicas": 0}));
    set(field_mut(object, "metadata"), "generation", 1.into());
}

/// The status stays.
pub fn prepare_update(new: &mut Value, old: &Value, _: &Ctx) {
    pod_template::prepare(new);
    copy_field(old, new, "status");
    raise_generation(new, old);
}

/// Nothing but the status is taken.
pub fn prepare_status(new: &mut Value, old: &Value, _: &Ctx) {
    copy_field(old, new, "spec");
    drop_terminating(new, old);
}

/// `terminatingReplicas` belongs to a feature that is off by default in v1.34.
pub(super) fn drop_terminating(new: &mut Value, old: &Value) {
    if at(old, &["status", "terminatingReplicas"]).is_null() {
        remove(field_mut(new, "status"), "terminatingReplicas");
    }
}

/// Counts, selector and template.
pub fn validate(object: &Value) -> FieldErrors {
    let (spec, path) = (at(object, &["spec"]), Path::new("spec"));
    let mut errors = counts(spec, &path, &["replicas", "minReadySeconds"]);
    errors.extend(pod_template::validate(spec, &path));
    errors
}

/// And the selector stays.
pub fn validate_update(new: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(new);
    errors.extend(pod_template::validate_update(new, old));
    errors
}

/// There are no more pods of any sort than there are pods.
pub fn validate_status(new: &Value, _: &Value) -> FieldErrors {
    let status = Path::new("status");
    let fields = ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
    let mut errors = counts(at(new, &["status"]), &status, &fields);
    errors.extend(no_more_than_there_are(new, &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"]));
    errors
}

/// Fields that are not negative.
pub(super) fn counts(of: &Value, path: &Path<'_>, fields: &[&str]) -> FieldErrors {
    let one = |field: &&str| not_negative(integer(of, &[field]).unwrap_or_default(), &path.child(field));
    fields.iter().flat_map(one).collect()
}

/// Fields of the status that count some of its `replicas`.
pub(super) fn no_more_than_there_are(object: &Value, fields: &[&str]) -> FieldErrors {
    let path = Path::new("status");
    let count = |field: &str| integer(object, &["status", field]).unwrap_or_default();
    let mut errors = FieldErrors::new();
    for field in fields.iter().filter(|field| count(field) > count("replicas")) {
        let why = "cannot be greater than status.replicas";
        errors.push(FieldError::invalid(&path.child(field), count(field), why));
    }
    let available = count("availableReplicas");
    if available > count("readyReplicas") {
        let why = "cannot be greater than readyReplicas";
        errors.push(FieldError::invalid(&path.child("availableReplicas"), available, why));
    }
    errors
}
