//! What replica sets and deployments make pods of (upstream: `ValidatePodTemplateSpecForReplicaSet`): a pod's metadata and spec, held to the
//! pod's own rules, and a selector that finds what is made of it. And such a template as an object of its own (`podTemplateStrategy`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};
use serde_json::Value;

use crate::metadata::validation::{validate_annotations, validate_labels};
use crate::object::{at, field_mut, integer, list, set, text, typed};
use crate::pod::{defaults, gates, validation};
use crate::selector::labels;
use crate::strategy::Ctx;

/// Fills in the template of a spec, or of an object that is one.
pub fn set_defaults(spec: &mut Value) {
    defaults::set_template_defaults(field_mut(spec, "template"));
}

/// Takes out what no pod may have here.
pub fn prepare(object: &mut Value) {
    if let Some(template) = object.pointer_mut("/spec/template") {
        gates::drop_disabled(template);
    }
}

/// Takes out what no pod may have, of an object that is a template.
pub fn prepare_create(object: &mut Value) {
    drop_disabled(object);
    set(field_mut(object, "metadata"), "generation", 1.into());
}

/// Its generation counts its changes.
pub fn prepare_update(new: &mut Value, old: &Value, _: &Ctx) {
    drop_disabled(new);
    if new.get("template") != old.get("template") {
        let generation = integer(old, &["metadata", "generation"]).unwrap_or_default() + 1;
        set(field_mut(new, "metadata"), "generation", generation.into());
    }
}

fn drop_disabled(object: &mut Value) {
    if let Some(template) = object.get_mut("template") {
        gates::drop_disabled(template);
    }
}

/// An object that is a template: its pods may restart as they like.
pub fn validate_object(object: &Value) -> FieldErrors {
    validate_template(at(object, &["template"]), &Path::new("template"))
}

/// The selector of a spec, and the template that it must select.
pub fn validate(spec: &Value, path: &Path<'_>) -> FieldErrors {
    let place = path.child("selector");
    let given = at(spec, &["selector"]);
    if given.is_null() {
        let mut errors = vec![FieldError::required(&place, "")];
        // No selector selects nothing.
        errors.extend(validate_own_template(at(spec, &["template"]), |_| false, &path.child("template")));
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
            errors.extend(validate_own_template(at(spec, &["template"]), selects, &path.child("template")));
        }
    }
    errors
}

/// The template of what keeps pods running.
fn validate_own_template(template: &Value, selects: impl Fn(&Value) -> bool, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let labels = at(template, &["metadata", "labels"]);
    if !selects(labels) {
        let why = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(&path.child("metadata").child("labels"), labels.clone(), why));
    }
    errors.extend(validate_template(template, path));
    let spec = path.child("spec");
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

fn validate_template(template: &Value, path: &Path<'_>) -> FieldErrors {
    let labels = at(template, &["metadata", "labels"]);
    let mut errors = FieldErrors::new();
    errors.extend(validate_labels(labels, &path.child("labels")));
    errors.extend(validate_annotations(at(template, &["metadata", "annotations"]), &path.child("annotations")));
    let spec = path.child("spec");
    errors.extend(validation::validate_template(template, &spec));
    if !list(template, &["spec", "ephemeralContainers"]).is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(&spec.child("ephemeralContainers"), why));
    }
    errors
}

/// Which pods are whose stays.
pub fn validate_update(new: &Value, old: &Value) -> Option<FieldError> {
    let [new, old] = [new, old].map(|object| at(object, &["spec", "selector"]));
    let spec = Path::new("spec");
    (new != old).then(|| FieldError::invalid(&spec.child("selector"), new.clone(), "field is immutable"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::kinds;
    use serde_json::json;

    use crate::strategy::strategy;

    fn ctx() -> Ctx {
        Ctx { now: jiff::Timestamp::UNIX_EPOCH, uid: "u".to_owned(), suffix: "x".to_owned() }
    }

    fn template(spec: Value) -> Value {
        json!({"metadata": {"namespace": "a", "name": "t"}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": spec}})
    }

    #[test]
    fn a_template_is_an_object_whose_generation_counts_its_changes() {
        let kind = kinds::core("podtemplates");
        let rules = strategy(kind, "").unwrap();
        let mut made = template(json!({"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}));
        rules.set_defaults(&mut made);
        let made = rules.create(kind, made, &ctx()).unwrap();
        assert_eq!(made["metadata"]["generation"], 1);
        assert_eq!(made["template"]["spec"]["containers"][0]["imagePullPolicy"], "Always");
        let mut labelled = made.clone();
        labelled["metadata"]["labels"] = json!({"x": "y"});
        assert_eq!(rules.update(kind, &made, labelled, &ctx()).unwrap()["metadata"]["generation"], 1);
        let mut other = made.clone();
        other["template"]["metadata"]["labels"]["a"] = "c".into();
        assert_eq!(rules.update(kind, &made, other, &ctx()).unwrap()["metadata"]["generation"], 2);
    }

    #[test]
    fn a_template_is_held_to_the_rules_of_pods() {
        let check = |spec: Value, expected: &[&str]| {
            let found = validate_object(&template(spec));
            let fields: Vec<String> = found.iter().map(|error| error.field.clone()).collect();
            assert_eq!(fields, expected);
        };
        let entry = |name: &str| json!({"name": name, "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"});
        let spec = |containers: Value| json!({"containers": containers, "restartPolicy": "OnFailure", "dnsPolicy": "Default", "terminationGracePeriodSeconds": 1});
        check(spec(json!([entry("c")])), &[]);
        check(spec(json!([entry("C")])), &["template.spec.containers[0].name"]);
        check(spec(json!([])), &["template.spec.containers"]);
    }
}
