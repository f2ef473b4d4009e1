//! Storage classes (upstream: `pkg/apis/storage/validation`), and which of them is the default one (admission plugin DefaultStorageClass).

use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};
use serde_json::Value;

use super::persistent_volume::one_of;
use crate::metadata::names;
use crate::metadata::validation::invalid;
use crate::object::{at, set_default, text};

/// Marks the class of claims that name none.
pub const DEFAULT_ANNOTATION: &str = "storageclass.kubernetes.io/is-default-class";

/// Who makes the volumes of the class that every cluster of ours has: the binder itself.
pub const LOCAL_PROVISIONER: &str = "remora.dev/local-path";

/// Volumes go with their claims, and are bound at once.
pub fn set_defaults(class: &mut Value) {
    set_default(class, "reclaimPolicy", "Delete");
    set_default(class, "volumeBindingMode", "Immediate");
}

/// Who makes its volumes, and what becomes of them.
pub fn validate(class: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let path = Path::new("provisioner");
    match text(class, &["provisioner"]) {
        "" => errors.push(FieldError::required(&path, "")),
        name => errors.extend(invalid(&path, &name.to_lowercase(), names::qualified_name)),
    }
    let policy = text(class, &["reclaimPolicy"]);
    errors.extend(one_of(&Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]));
    let mode = text(class, &["volumeBindingMode"]);
    errors.extend(one_of(&Path::new("volumeBindingMode"), mode, &["Immediate", "WaitForFirstConsumer"]));
    errors
}

/// What its volumes are like stays.
pub fn validate_update(new: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(new);
    for field in ["parameters", "provisioner", "reclaimPolicy"] {
        if at(new, &[field]) != at(old, &[field]) {
            errors.push(FieldError::forbidden(&Path::new(field), format!("updates to {field} are forbidden.")));
        }
    }
    let mode = at(new, &["volumeBindingMode"]);
    if mode != at(old, &["volumeBindingMode"]) {
        errors.push(FieldError::invalid(&Path::new("volumeBindingMode"), mode.clone(), "field is immutable"));
    }
    errors
}

/// The class of claims that name none: of several defaults the newest, then the first by name.
pub fn default_of(classes: &[Value]) -> Option<&Value> {
    let is_default = |class: &&Value| {
        let annotations = at(class, &["metadata", "annotations"]);
        [DEFAULT_ANNOTATION, "storageclass.beta.kubernetes.io/is-default-class"]
            .iter()
            .any(|key| text(annotations, &[key]) == "true")
    };
    let age = |class: &&Value| {
        let name = std::cmp::Reverse(text(class, &["metadata", "name"]).to_owned());
        (text(class, &["metadata", "creationTimestamp"]).to_owned(), name)
    };
    classes.iter().filter(is_default).max_by_key(age)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(errors: &FieldErrors) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_class_says_who_makes_its_volumes() {
        let mut class = json!({"metadata": {"name": "c"}});
        set_defaults(&mut class);
        assert_eq!(words(&validate(&class)), ["provisioner: Required value"]);
        class["provisioner"] = "remora.dev/local-path".into();
        assert_eq!(words(&validate(&class)), [""; 0]);
        let mut new = class.clone();
        new["reclaimPolicy"] = "Retain".into();
        new["volumeBindingMode"] = "WaitForFirstConsumer".into();
        let expected = [
            "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
            "volumeBindingMode: Invalid value: \"WaitForFirstConsumer\": field is immutable",
        ];
        assert_eq!(words(&validate_update(&new, &class)), expected);
    }

    #[test]
    fn of_several_defaults_the_newest_counts() {
        let class = |name: &str, day: u32, default: &str| json!({"metadata": {"name": name, "creationTimestamp": format!("2026-01-0{day}T00:00:00Z"), "annotations": {DEFAULT_ANNOTATION: default}}});
        let classes = [class("a", 1, "true"), class("c", 2, "true"), class("b", 2, "true"), class("z", 3, "false")];
        assert_eq!(default_of(&classes).map(|class| text(class, &["metadata", "name"])), Some("b"));
        assert_eq!(default_of(&classes[3..]), None);
    }
}
