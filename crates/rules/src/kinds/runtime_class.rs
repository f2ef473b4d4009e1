//! Runtime classes (upstream: `pkg/apis/node/validation`).

use k8s_openapi::api::core::v1::Toleration;
use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};
use serde_json::Value;

use crate::metadata::names;
use crate::metadata::validation::{invalid, validate_labels};
use crate::object::{at, text, typed};
use crate::pod::validation::{resources, scheduling};

const HANDLER: Path<'static> = Path::new("handler");

/// A handler's name, what its pods need beside their containers, and where they may run.
pub fn validate(class: &Value) -> FieldErrors {
    let mut errors = invalid(&HANDLER, text(class, &["handler"]), names::dns_label);
    let overhead = Path::new("overhead");
    errors.extend(resources::validate_overhead(&typed(at(class, &["overhead", "podFixed"])), &overhead));
    let scheduling = Path::new("scheduling");
    errors.extend(validate_labels(at(class, &["scheduling", "nodeSelector"]), &scheduling.child("nodeSelector")));
    errors.extend(validate_tolerations(
        &typed::<Vec<_>>(at(class, &["scheduling", "tolerations"])),
        &scheduling.child("tolerations"),
    ));
    errors
}

/// The handler stays.
pub fn validate_update(new: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(new);
    if new.get("handler") != old.get("handler") {
        errors.push(FieldError::invalid(&HANDLER, text(new, &["handler"]), "field is immutable"));
    }
    errors
}

fn validate_tolerations(tolerations: &[Toleration], path: &Path<'_>) -> FieldErrors {
    // How long it tolerates does not tell one from another.
    let key = |of: &Toleration| Toleration { toleration_seconds: None, ..of.clone() };
    let mut errors = FieldErrors::new();
    for (i, toleration) in tolerations.iter().enumerate() {
        let place = path.index(i);
        errors.extend(scheduling::validate_toleration(toleration, &place));
        if tolerations[..i].iter().any(|before| key(before) == key(toleration)) {
            errors.push(FieldError::duplicate(&place, serde_json::to_value(toleration).unwrap_or_default()));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(class: &Value, expected: &[&str]) {
        let errors: Vec<String> = validate(class).iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), expected.len(), "{errors:?}");
        for (error, expected) in errors.iter().zip(expected) {
            assert!(error.starts_with(expected), "{error:?} is not {expected:?}");
        }
    }

    #[test]
    fn handler_overhead_and_scheduling_are_judged() {
        check(&json!({"handler": "runc"}), &[]);
        check(&json!({"handler": ""}), &["handler: Invalid value: \"\""]);
        check(&json!({"handler": "a/b"}), &["handler: Invalid value: \"a/b\""]);
        check(
            &json!({"handler": "a", "overhead": {"podFixed": {"cpu": "-1"}}}),
            &["overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"],
        );
        let one =
            |seconds| json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
        let tolerations = [one(1), one(2)];
        check(
            &json!({"handler": "a", "scheduling": {"nodeSelector": {"a b": "c"}, "tolerations": tolerations}}),
            &["scheduling.nodeSelector: Invalid value: \"a b\"", "scheduling.tolerations[1]: Duplicate value"],
        );
    }

    #[test]
    fn a_handler_does_not_change() {
        let (old, new) = (json!({"handler": "a"}), json!({"handler": "b"}));
        assert!(validate_update(&old, &old).is_empty());
        assert_eq!(validate_update(&new, &old)[0].to_string(), "handler: Invalid value: \"b\": field is immutable");
    }
}
