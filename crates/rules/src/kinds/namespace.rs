//! Namespaces: the label with their name, their phase, their finalizers (upstream: `namespaceStrategy`).

use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};
use serde_json::{Value, json};

use crate::metadata::names;
use crate::metadata::validation::invalid;
use crate::object::{at, copy_field, field_mut, list, object_mut, set, set_default, text};
use crate::strategy::Ctx;

/// So that selectors can name a namespace.
pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// Held by the namespace controller until everything in the namespace is gone.
pub const FINALIZER: &str = "kubernetes";

/// The label and the phase.
pub fn set_defaults(namespace: &mut Value) {
    set_name_label(namespace);
    set_default(field_mut(namespace, "status"), "phase", "Active");
}

fn set_name_label(namespace: &mut Value) {
    let name = text(namespace, &["metadata", "name"]).to_owned();
    if !name.is_empty() {
        object_mut(field_mut(namespace, "metadata"), "labels").insert(NAME_LABEL.to_owned(), name.into());
    }
}

/// Active and held. The label again, for a name that was generated.
pub fn prepare_create(namespace: &mut Value) {
    set_name_label(namespace);
    set(namespace, "status", json!({"phase": "Active"}));
    let mut finalizers = list(namespace, &["spec", "finalizers"]).to_vec();
    if !finalizers.iter().any(|f| f == FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    set(field_mut(namespace, "spec"), "finalizers", finalizers.into());
}

/// Only metadata is the users'.
pub fn prepare_update(new: &mut Value, old: &Value, _: &Ctx) {
    copy_field(old, new, "spec");
    copy_field(old, new, "status");
}

/// Of the subresource `status`: only the status is taken.
pub fn prepare_status(new: &mut Value, old: &Value, _: &Ctx) {
    copy_field(old, new, "spec");
}

/// A namespace is Terminating exactly if it is being deleted.
pub fn validate_status(new: &Value, _: &Value) -> FieldErrors {
    let status = Path::new("status");
    let phase = text(new, &["status", "phase"]);
    let deleted = !at(new, &["metadata", "deletionTimestamp"]).is_null();
    let detail = match (deleted, phase) {
        (false, "Active") | (true, "Terminating") => return FieldErrors::new(),
        (false, _) => "may only be 'Active' if `deletionTimestamp` is empty",
        (true, _) => "may only be 'Terminating' if `deletionTimestamp` is not empty",
    };
    vec![FieldError::invalid(&status.child("Phase"), phase, detail)]
}

/// Of the subresource `finalize`: only `spec.finalizers` is taken.
pub fn prepare_finalize(new: &mut Value, old: &Value, _: &Ctx) {
    copy_field(old, new, "status");
}

/// Finalizers are qualified names, or `kubernetes`.
pub fn validate_finalize(new: &Value, _: &Value) -> FieldErrors {
    let spec = Path::new("spec");
    let path = spec.child("finalizers");
    let mut errors = FieldErrors::new();
    for (i, name) in list(new, &["spec", "finalizers"]).iter().filter_map(Value::as_str).enumerate() {
        errors.extend(invalid(&path.index(i), name, names::qualified_name));
        if !name.contains('/') && name != FINALIZER {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(&path.index(i), name, detail));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_namespace_is_labelled_active_and_held() {
        let mut namespace = json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["x/y"]}});
        set_defaults(&mut namespace);
        prepare_create(&mut namespace);
        assert_eq!(
            namespace,
            json!({"metadata": {"name": "a", "labels": {NAME_LABEL: "a"}}, "spec": {"finalizers": ["x/y", "kubernetes"]}, "status": {"phase": "Active"}})
        );
    }

    #[test]
    fn the_phase_follows_deletion() {
        let active = json!({"metadata": {}, "status": {"phase": "Active"}});
        let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}, "status": {"phase": "Active"}});
        assert!(validate_status(&active, &active).is_empty());
        assert_eq!(validate_status(&deleted, &deleted).len(), 1);
    }
}
