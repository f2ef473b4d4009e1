//! Nodes: what of them their agent says (status) and what their users (upstream: `nodeStrategy`, `ValidateNodeUpdate`).

use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};
use serde_json::Value;

use crate::object::{at, copy_field, field_mut, list, set, text};
use crate::pod::validation::scheduling::validate_taint;
use crate::strategy::Ctx;

/// Until it says otherwise, a node gives all that it has.
pub fn set_defaults(node: &mut Value) {
    let status = field_mut(node, "status");
    if status.get("allocatable").is_none_or(Value::is_null) {
        let capacity = at(status, &["capacity"]).clone();
        set(status, "allocatable", capacity);
    }
}

/// Taints are well formed and told apart by key and effect.
pub fn validate(node: &Value) -> FieldErrors {
    let spec = Path::new("spec");
    let path = spec.child("taints");
    let mut errors = FieldErrors::new();
    let mut seen = Vec::new();
    for (i, taint) in list(node, &["spec", "taints"]).iter().enumerate() {
        let path = path.index(i);
        let [key, value, effect] = ["key", "value", "effect"].map(|field| text(taint, &[field]));
        errors.extend(validate_taint(key, value, effect, &path));
        if seen.contains(&(key, effect)) {
            let error = FieldError::duplicate(&path, taint.clone());
            errors.push(FieldError { detail: "taints must be unique by key and effect pair".to_owned(), ..error });
        }
        seen.push((key, effect));
    }
    errors
}

/// The status is the agent's, through its subresource.
pub fn prepare_update(new: &mut Value, old: &Value, _: &Ctx) {
    copy_field(old, new, "status");
}

/// Only the status is taken.
pub fn prepare_status(new: &mut Value, old: &Value, _: &Ctx) {
    copy_field(old, new, "spec");
}

/// What names the machine may be set once.
pub fn validate_update(new: &Value, old: &Value) -> FieldErrors {
    let spec = Path::new("spec");
    let mut errors = validate(new);
    for (field, detail) in [
        ("providerID", "node updates may not change providerID except from \"\" to valid"),
        ("podCIDR", "node updates may not change podCIDR except from \"\" to valid"),
        ("podCIDRs", "node updates may not change podCIDR except from \"\" to valid"),
    ] {
        let before = at(old, &["spec", field]);
        if !before.is_null() && before != at(new, &["spec", field]) {
            errors.push(FieldError::forbidden(&spec.child(field), detail));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn taints_are_unique_and_well_formed() {
        let node = json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "Wibble"}]}});
        let errors = validate(&node);
        assert_eq!(errors.len(), 2);
        assert_eq!(
            errors[1].to_string(),
            "spec.taints[2].effect: Unsupported value: \"Wibble\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\""
        );
    }

    #[test]
    fn a_provider_id_is_set_once() {
        let old = json!({"spec": {"providerID": "a"}});
        assert_eq!(validate_update(&json!({"spec": {}}), &old).len(), 1);
        assert!(validate_update(&old, &json!({"spec": {}})).is_empty());
    }
}
