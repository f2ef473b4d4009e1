//! Validation of metadata on create and on update, in upstream's order (k8s.io/apimachinery
//! `pkg/api/validation/objectmeta.go`).

use remora_model::field::FieldErrors;
use remora_model::text::quoted;
use remora_model::{FieldError, Path};
use serde_json::Value;

use super::names::{self, Check};
use crate::object::{at, integer, list, text};

const METADATA: Path<'static> = Path::new("metadata");
/// All annotations of an object together, keys included, in bytes.
const ANNOTATIONS_MAX: usize = 256 * 1024;

/// The sentences of a check as errors of one field.
pub fn invalid(field: &Path<'_>, value: &str, check: impl Fn(&str) -> Vec<String>) -> FieldErrors {
    check(value).into_iter().map(|sentence| FieldError::invalid(field, value, sentence)).collect()
}

/// What metadata must be, whatever was there before.
pub fn validate(object: &Value, namespaced: bool, name_check: Check) -> FieldErrors {
    let meta = at(object, &["metadata"]);
    let mut errors = FieldErrors::new();
    let generate_name = text(meta, &["generateName"]);
    if !generate_name.is_empty() {
        let path = METADATA.child("generateName");
        errors.extend(invalid(&path, generate_name, |name| names::of_prefix(name_check, name)));
    }
    match text(meta, &["name"]) {
        "" => errors.push(FieldError::required(&METADATA.child("name"), "name or generateName is required")),
        name => errors.extend(invalid(&METADATA.child("name"), name, name_check)),
    }
    let (namespace, path) = (text(meta, &["namespace"]), METADATA.child("namespace"));
    match (namespaced, namespace) {
        (true, "") => errors.push(FieldError::required(&path, "")),
        (true, namespace) => errors.extend(invalid(&path, namespace, names::dns_label)),
        (false, "") => {}
        (false, _) => errors.push(FieldError::forbidden(&path, "not allowed on this type")),
    }
    errors.extend(validate_maps(meta));
    errors.extend(validate_finalizers(meta));
    errors
}

/// What may change of metadata. Call it after [`super::place::keep_system_fields`].
pub fn validate_update(new: &Value, old: &Value) -> FieldErrors {
    let (new, old) = (at(new, &["metadata"]), at(old, &["metadata"]));
    let mut errors = FieldErrors::new();
    if !at(old, &["deletionTimestamp"]).is_null() {
        errors.extend(no_new_finalizers(new, old));
    }
    if integer(new, &["generation"]) < integer(old, &["generation"]) {
        let generation = integer(new, &["generation"]).unwrap_or_default();
        errors.push(FieldError::invalid(&METADATA.child("generation"), generation, "must not be decremented"));
    }
    const IMMUTABLE: [&str; 6] =
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"];
    for field in IMMUTABLE {
        let (now, before) = (at(new, &[field]), at(old, &[field]));
        if now != before {
            errors.push(FieldError::invalid(&METADATA.child(field), now.clone(), "field is immutable"));
        }
    }
    errors.extend(validate_maps(new));
    errors
}

fn validate_maps(meta: &Value) -> FieldErrors {
    let mut errors = validate_labels(at(meta, &["labels"]), &METADATA.child("labels"));
    errors.extend(validate_annotations(at(meta, &["annotations"]), &METADATA.child("annotations")));
    errors.extend(validate_owners(list(meta, &["ownerReferences"]), &METADATA.child("ownerReferences")));
    errors
}

/// The keys and values of a map of labels, also of node selectors.
pub fn validate_labels(labels: &Value, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        errors.extend(invalid(path, key, names::qualified_name));
        errors.extend(invalid(path, value.as_str().unwrap_or_default(), names::label_value));
    }
    errors
}

/// The keys of a map of annotations, and its size; also of what pods are made of.
pub fn validate_annotations(annotations: &Value, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        // Upstream allows upper case in keys of annotations.
        errors.extend(invalid(path, key, |key| names::qualified_name(&key.to_lowercase())));
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_MAX));
    }
    errors
}

fn validate_owners(owners: &[Value], path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut controller: Option<&str> = None;
    for owner in owners {
        let version = text(owner, &["apiVersion"]);
        if version.is_empty() {
            errors.push(FieldError::invalid(&path.child("apiVersion"), version, "version must not be empty"));
        }
        for field in ["kind", "name", "uid"] {
            let value = text(owner, &[field]);
            if value.is_empty() {
                errors.push(FieldError::invalid(&path.child(field), value, format!("{field} must not be empty")));
            }
        }
        if (version, text(owner, &["kind"])) == ("v1", "Event") {
            errors.push(FieldError::invalid(path, owner.clone(), "/v1, Kind=Event is disallowed from being an owner"));
        }
        if at(owner, &["controller"]).as_bool() == Some(true) {
            let kind = text(owner, &["kind"]);
            match controller {
                None => controller = Some(kind),
                Some(first) => errors.push(FieldError::invalid(path, Value::from(owners.to_vec()), format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {kind}"
                ))),
            }
        }
    }
    errors
}

fn validate_finalizers(meta: &Value) -> FieldErrors {
    const STANDARD: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
    let path = METADATA.child("finalizers");
    let mut errors = FieldErrors::new();
    for name in list(meta, &["finalizers"]).iter().filter_map(Value::as_str) {
        errors.extend(invalid(&path, name, names::qualified_name));
        if !name.contains('/') && !STANDARD.contains(&name) {
            let sentence = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(&path, name, sentence));
        }
    }
    let has = |name: &str| list(meta, &["finalizers"]).iter().any(|f| f == name);
    if has("orphan") && has("foregroundDeletion") {
        let sentence = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(&path, at(meta, &["finalizers"]).clone(), sentence));
    }
    errors
}

fn no_new_finalizers(new: &Value, old: &Value) -> Option<FieldError> {
    let before = list(old, &["finalizers"]);
    let added: Vec<String> = list(new, &["finalizers"])
        .iter()
        .filter(|f| !before.contains(f))
        .filter_map(Value::as_str)
        .map(quoted)
        .collect();
    let sentence = "no new finalizers can be added if the object is being deleted, found new finalizers";
    let detail = format!("{sentence} []string{{{}}}", added.join(", "));
    (!added.is_empty()).then(|| FieldError::forbidden(&METADATA.child("finalizers"), detail))
}
