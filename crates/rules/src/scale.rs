//! The number of replicas alone: what `…/scale` shows of an object, and what writing it changes there (autoscaling/v1 `Scale`; upstream:
//! `scaleFromDeployment`, `ValidateScale`). Kinds that have it keep the number in `spec.replicas`.

use remora_model::kinds::SCALE;
use remora_model::{FieldError, Path, Status};
use serde_json::{Value, json};

use crate::metadata::place;
use crate::object::{at, field_mut, integer, set, text, typed};
use crate::selector::labels;

/// What is shown of an object. If that has a resourceVersion, so has its scale.
pub fn of(object: &Value) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        set(&mut metadata, field, at(object, &["metadata", field]).clone());
    }
    let mut spec = json!({});
    if let Some(replicas) = integer(object, &["spec", "replicas"]).filter(|replicas| *replicas != 0) {
        set(&mut spec, "replicas", replicas.into());
    }
    let mut status = json!({"replicas": integer(object, &["status", "replicas"]).unwrap_or_default()});
    let selector = labels::text(&typed(at(object, &["spec", "selector"])));
    if !selector.is_empty() {
        set(&mut status, "selector", selector.into());
    }
    json!({"kind": SCALE.kind, "apiVersion": SCALE.api_version(), "metadata": metadata, "spec": spec, "status": status})
}

/// The object with the number of replicas of a decoded scale; with its resourceVersion, if it names one, so that it must be met.
///
/// # Errors
/// 400 if the scale is of another object, 409 if it is of one that was there before, 422 if the number is negative.
pub fn put(old: &Value, scale: &Value) -> Result<Value, Status> {
    let name = text(old, &["metadata", "name"]);
    let replicas = integer(scale, &["spec", "replicas"]).unwrap_or_default();
    if replicas < 0 {
        let spec = Path::new("spec");
        let error = FieldError::invalid(&spec.child("replicas"), replicas, "must be greater than or equal to 0");
        return Err(Status::invalid(SCALE.qualified(), name, &[error]));
    }
    place::check_uid(&SCALE, scale, old)?;
    let mut new = old.clone();
    set(field_mut(&mut new, "spec"), "replicas", replicas.into());
    let version = at(scale, &["metadata", "resourceVersion"]).clone();
    set(field_mut(&mut new, "metadata"), "resourceVersion", version);
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> Value {
        json!({
            "metadata": {"name": "web", "namespace": "n", "uid": "u", "labels": {"a": "b"}},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}},
            "status": {"replicas": 2, "readyReplicas": 1},
        })
    }

    #[test]
    fn an_objects_scale_is_its_numbers_and_its_selector() {
        let expected = json!({
            "kind": "Scale", "apiVersion": "autoscaling/v1",
            "metadata": {"name": "web", "namespace": "n", "uid": "u"},
            "spec": {"replicas": 3}, "status": {"replicas": 2, "selector": "app=web"},
        });
        assert_eq!(of(&deployment()), expected);
    }

    #[test]
    fn writing_a_scale_changes_the_number_and_nothing_else() {
        let new = put(&deployment(), &json!({"metadata": {"name": "web"}, "spec": {"replicas": 5}})).unwrap();
        let mut expected = deployment();
        expected["spec"]["replicas"] = 5.into();
        assert_eq!(new, expected);
        let error = put(&deployment(), &json!({"spec": {"replicas": -1}})).unwrap_err();
        assert_eq!(
            error.message,
            "Scale.autoscaling \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
        );
        let other = json!({"metadata": {"uid": "x"}, "spec": {"replicas": 5}});
        assert_eq!(put(&deployment(), &other).unwrap_err().code, 409);
    }
}
