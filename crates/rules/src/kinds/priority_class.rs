//! Priority classes (upstream: `pkg/apis/scheduling`). What they do to a pod is in [`crate::pod::priority`].

use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};
use serde_json::Value;

use crate::object::{flag, integer, set_default, text};

/// What users may name at most.
const HIGHEST: i64 = 1_000_000_000;
const RESERVED: &str = "system-";

/// A class that every cluster has.
pub struct SystemClass {
    /// Its name.
    pub name: &'static str,
    /// Its priority.
    pub value: i64,
    /// What it is for.
    pub description: &'static str,
}

/// The classes that every cluster has.
pub const SYSTEM_CLASSES: [SystemClass; 2] = [
    SystemClass {
        name: "system-node-critical",
        value: 2 * HIGHEST + 1000,
        description: "Used for system critical pods that must not be moved from their current node.",
    },
    SystemClass {
        name: "system-cluster-critical",
        value: 2 * HIGHEST,
        description: "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    },
];

/// A class preempts unless it says otherwise.
pub fn set_defaults(class: &mut Value) {
    set_default(class, "preemptionPolicy", "PreemptLowerPriority");
}

/// What begins with `system-` is the system's; what is left to others has a ceiling.
pub fn validate(class: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (name, value) = (text(class, &["metadata", "name"]), integer(class, &["value"]).unwrap_or_default());
    if name.starts_with(RESERVED) {
        if let Err(why) = check_system_class(class, name, value) {
            let path = Path::new("metadata");
            let detail =
                format!("priority class names with '{RESERVED}' prefix are reserved for system use only. error: {why}");
            errors.push(FieldError::forbidden(&path.child("name"), detail));
        }
    } else if value > HIGHEST {
        let detail = format!("maximum allowed value of a user defined priority is {HIGHEST}");
        errors.push(FieldError::forbidden(&Path::new("value"), detail));
    }
    match text(class, &["preemptionPolicy"]) {
        "PreemptLowerPriority" | "Never" => {}
        other => {
            let supported = ["Never", "PreemptLowerPriority"];
            errors.push(FieldError::not_supported(&Path::new("preemptionPolicy"), other, &supported));
        }
    }
    errors
}

fn check_system_class(class: &Value, name: &str, value: i64) -> Result<(), String> {
    let Some(known) = SYSTEM_CLASSES.iter().find(|known| known.name == name) else {
        return Err(format!("{name} is not a known system priority class"));
    };
    if value != known.value {
        return Err(format!("value of {name} PriorityClass must be {}", known.value));
    }
    if flag(class, &["globalDefault"]) {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}

/// Value and policy stay: pods have them by now.
pub fn validate_update(new: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if integer(new, &["value"]) != integer(old, &["value"]) {
        errors.push(FieldError::forbidden(&Path::new("value"), "may not be changed in an update."));
    }
    if new.get("preemptionPolicy") != old.get("preemptionPolicy") {
        let path = Path::new("preemptionPolicy");
        errors.push(FieldError::invalid(&path, text(new, &["preemptionPolicy"]), "field is immutable"));
    }
    errors
}

/// The name of another class that is the default already, if `class` is to be one (admission plugin Priority).
pub fn rival<'v>(class: &Value, existing: &'v [Value]) -> Option<&'v str> {
    let name = |of| text(of, &["metadata", "name"]);
    let mut defaults = existing.iter().filter(|other| flag(other, &["globalDefault"]) && name(other) != name(class));
    defaults.next().filter(|_| flag(class, &["globalDefault"])).map(|other| text(other, &["metadata", "name"]))
}

/// Why a class may not be the default beside another one.
pub fn rivalry(name: &str) -> String {
    format!("PriorityClass {name} is already marked as default. Only one default can exist")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn class(name: &str, value: i64) -> Value {
        json!({"metadata": {"name": name}, "value": value, "preemptionPolicy": "PreemptLowerPriority"})
    }

    #[test]
    fn what_is_the_systems_stays_so() {
        let check = |class: &Value, expected: &[&str]| {
            let errors: Vec<String> = validate(class).iter().map(ToString::to_string).collect();
            assert_eq!(errors, expected);
        };
        check(&class("high", HIGHEST), &[]);
        check(
            &class("high", HIGHEST + 1),
            &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
        );
        SYSTEM_CLASSES.iter().for_each(|known| check(&class(known.name, known.value), &[]));
        check(
            &class("system-mine", 1),
            &[
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-mine is not a known system priority class",
            ],
        );
        let mut odd = class("odd", 1);
        odd["preemptionPolicy"] = "Sometimes".into();
        check(
            &odd,
            &[
                "preemptionPolicy: Unsupported value: \"Sometimes\": supported values: \"Never\", \"PreemptLowerPriority\"",
            ],
        );
    }

    #[test]
    fn value_and_policy_stay() {
        let errors = validate_update(&class("a", 2), &class("a", 1));
        assert_eq!(errors[0].to_string(), "value: Forbidden: may not be changed in an update.");
    }

    #[test]
    fn there_is_one_default() {
        let default = |name: &str| json!({"metadata": {"name": name}, "globalDefault": true});
        assert_eq!(rival(&default("a"), &[default("b")]), Some("b"));
        assert_eq!(rival(&default("a"), &[default("a")]), None);
        assert_eq!(rival(&class("a", 1), &[default("b")]), None);
        assert_eq!(rivalry("b"), "PriorityClass b is already marked as default. Only one default can exist");
    }
}
