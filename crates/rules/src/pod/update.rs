//! Changing a pod: nearly nothing of its spec may change (upstream: `ValidatePodUpdate`).

use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};
use serde_json::Value;

use super::admission::validate_mirror;
use super::{diff, gates, validation};
use crate::metadata::names::range;
use crate::metadata::place::raise_generation;
use crate::object::{at, copy_field, field_mut, items_mut, list, set};
use crate::strategy::Ctx;

/// The sentence, to the byte.
pub const REFUSAL: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

const SPEC: Path<'static> = Path::new("spec");

/// The status keeps its old value; a changed spec raises the generation.
pub fn prepare(new: &mut Value, old: &Value, _: &Ctx) {
    gates::drop_disabled(new);
    copy_field(old, new, "status");
    raise_generation(new, old);
}

/// The whole new pod, then what differs from the old one.
pub fn validate(new: &Value, old: &Value) -> FieldErrors {
    let mut errors = validation::validate(new);
    errors.extend(validate_mirror(new, old));
    for field in ["containers", "initContainers"] {
        if list(new, &["spec", field]).len() != list(old, &["spec", field]).len() {
            let detail = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(&SPEC.child(field), detail));
            return errors;
        }
    }
    errors.extend(validate_deadline(at(new, &["spec"]), at(old, &["spec"])));
    errors.extend(validate_tolerations(at(new, &["spec"]), at(old, &["spec"])));
    errors.extend(validate_gates(at(new, &["spec"]), at(old, &["spec"])));
    if !errors.is_empty() {
        return errors;
    }
    let munged = with_allowed_changes(old, new);
    if at(&munged, &["spec"]) != at(new, &["spec"]) {
        let diff = diff::show("spec", at(&munged, &["spec"]), at(new, &["spec"]));
        errors.push(FieldError::forbidden(&SPEC, format!("{REFUSAL}\n{diff}")));
    }
    errors
}

/// A deadline may be set and shortened, not lengthened or removed.
fn validate_deadline(new: &Value, old: &Value) -> Option<FieldError> {
    let path = SPEC.child("activeDeadlineSeconds");
    let [new, old] = [new, old].map(|spec| at(spec, &["activeDeadlineSeconds"]).as_i64());
    match (new, old) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            Some(FieldError::invalid(&path, new, range(0, i64::from(i32::MAX))))
        }
        (Some(new), Some(old)) if new > old => {
            Some(FieldError::invalid(&path, new, "must be less than or equal to previous value"))
        }
        (None, Some(_)) => {
            Some(FieldError::invalid(&path, Value::Null, "must not update from a positive integer to nil value"))
        }
        _ => None,
    }
}

/// Tolerations may be added; of one that was there only its time may change.
fn validate_tolerations(new: &Value, old: &Value) -> Option<FieldError> {
    let without_time = |toleration: &Value| {
        let mut bare = toleration.clone();
        set(&mut bare, "tolerationSeconds", Value::Null);
        bare
    };
    let kept: Vec<Value> = list(new, &["tolerations"]).iter().map(without_time).collect();
    let lost = list(old, &["tolerations"]).iter().any(|t| !kept.contains(&without_time(t)));
    let detail = "existing toleration can not be modified except its tolerationSeconds";
    lost.then(|| FieldError::forbidden(&SPEC.child("tolerations"), detail))
}

/// Gates can only be taken away.
fn validate_gates(new: &Value, old: &Value) -> FieldErrors {
    let before = list(old, &["schedulingGates"]);
    let path = SPEC.child("schedulingGates");
    let added = list(new, &["schedulingGates"]).iter().enumerate().filter(|(_, gate)| !before.contains(gate));
    added
        .map(|(_, gate)| {
            let name = gate.get("name").and_then(Value::as_str).unwrap_or_default();
            FieldError::forbidden(&path, format!("only deletion is allowed, but found new scheduling gate '{name}'"))
        })
        .collect()
}

/// The old pod with the changes that are allowed taken from the new one: whatever still differs is not.
fn with_allowed_changes(old: &Value, new: &Value) -> Value {
    let mut munged = old.clone();
    let gated = !list(old, &["spec", "schedulingGates"]).is_empty();
    let (spec, wanted) = (field_mut(&mut munged, "spec"), at(new, &["spec"]));
    for field in ["containers", "initContainers"] {
        for (container, new) in items_mut(spec, field).zip(list(wanted, &[field])) {
            copy_field(new, container, "image");
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        copy_field(wanted, spec, field);
    }
    let grace = |spec: &Value| at(spec, &["terminationGracePeriodSeconds"]).as_i64();
    if grace(wanted) == Some(1) && grace(spec).is_some_and(|old| old < 0) {
        copy_field(wanted, spec, "terminationGracePeriodSeconds");
    }
    if gated {
        copy_field(wanted, spec, "nodeSelector");
        copy_field(wanted, spec, "affinity");
    }
    munged
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: Value) -> Value {
        json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec})
    }

    fn first_error(old: Value, new: Value) -> Option<String> {
        let deadline = validate_deadline(&new, &old);
        let found = deadline.or_else(|| validate_tolerations(&new, &old));
        found.or_else(|| validate_gates(&new, &old).into_iter().next()).map(|e| e.to_string())
    }

    #[test]
    fn deadlines_tolerations_and_gates_move_one_way_only() {
        for (old, new, expected) in [
            (json!({"activeDeadlineSeconds": 5}), json!({"activeDeadlineSeconds": 4}), None),
            (
                json!({"activeDeadlineSeconds": 5}),
                json!({"activeDeadlineSeconds": 6}),
                Some("spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value"),
            ),
            (
                json!({"activeDeadlineSeconds": 5}),
                json!({}),
                Some(
                    "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
                ),
            ),
            (
                json!({"tolerations": [{"key": "a", "tolerationSeconds": 1}]}),
                json!({"tolerations": [{"key": "b"}, {"key": "a", "tolerationSeconds": 2}]}),
                None,
            ),
            (
                json!({"tolerations": [{"key": "a"}]}),
                json!({}),
                Some(
                    "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
                ),
            ),
            (
                json!({}),
                json!({"schedulingGates": [{"name": "g"}]}),
                Some("spec.schedulingGates: Forbidden: only deletion is allowed, but found new scheduling gate 'g'"),
            ),
        ] {
            assert_eq!(first_error(old, new).as_deref(), expected);
        }
    }

    #[test]
    fn images_may_change_and_commands_may_not() {
        let old = pod(json!({"containers": [{"name": "c", "image": "a", "command": ["x"]}]}));
        let mut new = old.clone();
        new["spec"]["containers"][0]["image"] = "b".into();
        assert_eq!(with_allowed_changes(&old, &new), new);
        new["spec"]["containers"][0]["command"] = json!(["y"]);
        assert_ne!(with_allowed_changes(&old, &new), new);
    }
}
