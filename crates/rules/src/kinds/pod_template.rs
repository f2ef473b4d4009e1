//! What replica sets and deployments make pods of (upstream: `ValidatePodTemplateSpecForReplicaSet`): a pod's metadata and spec, held to the
//! pod's own rules, and a selector that finds what is made of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};
use serde_json::Value;

use crate::metadata::validation::{validate_annotations, validate_labels};
use crate::object::{at, field_mut, list, text, typed};
use crate::pod::{defaults, gates, validation};
use crate::selector::labels;

/// Fills in the template of a spec.
pub fn set_defaults(spec: &mut Value) {
    defaults::set_template_defaults(field_mut(spec, "template"));
}

/// Takes out what no pod may have here.
pub fn prepare(object: &mut Value) {
    if let Some(template) = object.pointer_mut("/spec/template") {
        gates::drop_disabled(template);
    }
}

/// The selector of a spec, and the template that it must select.
pub fn validate(spec: &Value, path: &Path<'_>) -> FieldErrors {
    let place = path.child("selector");
    let given = at(spec, &["selector"]);
    if given.is_null() {
        let mut errors = vec![FieldError::required(&place, "")];
        // No selector selects nothing.
        errors.extend(validate_template(at(spec, &["template"]), |_| false, &path.child("template")));
        return errors;
    }
    let selector: LabelSelector = typed(given);
    let mut errors = labels::validate(&selector, &place);
    let is_well_formed = errors.is_empty();
    if selector == LabelSelector::default() {
        errors.push(FieldError::invalid(&place, given.clone(), "empty selector is invalid for deployment"));
    }
    match labels::Selector::of(&selector).filter(|_| is_well_formed) {
        None => errors.push(FieldError::invalid(&place, given.clone(), "invalid label selector")),
        Some(found) => {
            let selects = |labels: &Value| found.matches(labels);
            errors.extend(validate_template(at(spec, &["template"]), selects, &path.child("template")));
        }
    }
    errors
}

fn validate_template(template: &Value, selects: impl Fn(&Value) -> bool, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let metadata = path.child("metadata");
    let labels = at(template, &["metadata", "labels"]);
    if !selects(labels) {
        let why = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(&metadata.child("labels"), labels.clone(), why));
    }
    errors.extend(validate_labels(labels, &path.child("labels")));
    errors.extend(validate_annotations(at(template, &["metadata", "annotations"]), &path.child("annotations")));
    let spec = path.child("spec");
    errors.extend(validation::validate_template(template, &spec));
    if !list(template, &["spec", "ephemeralContainers"]).is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(&spec.child("ephemeralContainers"), why));
    }
    let restarts = text(template, &["spec", "restartPolicy"]);
    if restarts != "Always" {
        errors.push(FieldError::not_supported(&spec.child("restartPolicy"), restarts, &["Always"]));
    }
    if !at(template, &["spec", "activeDeadlineSeconds"]).is_null() {
        let why = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.push(FieldError::forbidden(&spec.child("activeDeadlineSeconds"), why));
    }
    errors
}

/// Which pods are whose stays.
pub fn validate_update(new: &Value, old: &Value) -> Option<FieldError> {
    let [new, old] = [new, old].map(|object| at(object, &["spec", "selector"]));
    let spec = Path::new("spec");
    (new != old).then(|| FieldError::invalid(&spec.child("selector"), new.clone(), "field is immutable"))
}
