//! Resource quotas as objects (upstream: `ValidateResourceQuota`). How they are kept is in [`crate::quota`].

use remora_model::field::FieldErrors;
use remora_model::quantity::Quantity;
use remora_model::{FieldError, Path};
use serde_json::{Value, json};

use crate::metadata::names;
use crate::metadata::validation::invalid;
use crate::object::{at, copy_field, list, set, text};
use crate::quota;
use crate::strategy::Ctx;

const SPEC: Path<'static> = Path::new("spec");
const SCOPES: [&str; 6] =
    ["BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating"];
const COUNTED: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

/// Nothing is counted yet.
pub fn prepare_create(quota: &mut Value) {
    set(quota, "status", json!({}));
}

/// The status stays: it is its subresource's.
pub fn prepare_update(new: &mut Value, old: &Value, _: &Ctx) {
    copy_field(old, new, "status");
}

/// Nothing but the status changes.
pub fn prepare_status(new: &mut Value, old: &Value, _: &Ctx) {
    copy_field(old, new, "spec");
}

/// Names, amounts and scopes.
pub fn validate(quota: &Value) -> FieldErrors {
    let spec = at(quota, &["spec"]);
    let mut errors = validate_amounts(at(spec, &["hard"]), &SPEC.child("hard"));
    errors.extend(validate_scopes(spec));
    errors.extend(validate_selector(spec));
    errors
}

/// For whom a quota is stays.
pub fn validate_update(new: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(new);
    let scopes = |of: &Value| {
        let mut words: Vec<String> =
            list(of, &["spec", "scopes"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        words.sort();
        words
    };
    if scopes(new) != scopes(old) {
        errors.push(FieldError::invalid(&SPEC.child("scopes"), scopes(new), "field is immutable"));
    }
    errors
}

/// What was counted are amounts too.
pub fn validate_status(new: &Value, _: &Value) -> FieldErrors {
    let status = Path::new("status");
    let of = |field: &str| validate_amounts(at(new, &["status", field]), &status.child(field));
    let mut errors = of("hard");
    errors.extend(of("used"));
    errors
}

fn validate_amounts(amounts: &Value, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (name, amount) in amounts.as_object().into_iter().flatten() {
        let place = path.key(name);
        errors.extend(validate_name(name, &place));
        let Ok(amount) = Quantity::parse(amount.as_str().unwrap_or_default()) else { continue };
        if amount.sign() < 0 {
            errors.push(FieldError::invalid(&place, amount.canonical(), "must be greater than or equal to 0"));
        }
        if (COUNTED.contains(&name.as_str()) || name.starts_with("count/")) && !amount.is_whole() {
            errors.push(FieldError::invalid(&place, amount.canonical(), "must be an integer"));
        }
    }
    errors
}

fn validate_name(name: &str, path: &Path<'_>) -> FieldErrors {
    let errors = invalid(path, name, names::qualified_name);
    if errors.is_empty() && !name.contains('/') && !is_standard(name) {
        return vec![FieldError::invalid(path, name, "must be a standard resource for quota")];
    }
    errors
}

fn is_standard(name: &str) -> bool {
    COUNTED.contains(&name) || name == "requests.storage" || quota::is_compute(name)
}

/// Resources that a scope can tell pods apart by.
fn is_valid_for(scope: &str, name: &str) -> bool {
    match scope {
        "BestEffort" => name == "pods",
        _ => name == "pods" || matches!(quota::plain(name), "cpu" | "memory"),
    }
}

fn validate_scopes(spec: &Value) -> FieldErrors {
    let (path, shown) = (SPEC.child("scopes"), at(spec, &["scopes"]));
    let scopes: Vec<&str> = list(spec, &["scopes"]).iter().filter_map(Value::as_str).collect();
    let mut errors = FieldErrors::new();
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            errors.push(FieldError::invalid(&path, shown.clone(), "unsupported scope"));
        }
        errors.extend(unsupported(spec, scope, &path, shown));
    }
    for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
        if pair.iter().all(|scope| scopes.contains(scope)) {
            errors.push(FieldError::invalid(&path, shown.clone(), "conflicting scopes"));
        }
    }
    errors
}

fn unsupported(spec: &Value, scope: &str, path: &Path<'_>, shown: &Value) -> FieldErrors {
    let names = at(spec, &["hard"]).as_object().into_iter().flatten().map(|(name, _)| name);
    let wrong = names.filter(|name| is_standard(name) && !is_valid_for(scope, name));
    wrong.map(|_| FieldError::invalid(path, shown.clone(), "unsupported scope applied to resource")).collect()
}

fn validate_selector(spec: &Value) -> FieldErrors {
    let selector = SPEC.child("scopeSelector");
    let path = selector.child("matchExpressions");
    let mut errors = FieldErrors::new();
    for (i, term) in list(spec, &["scopeSelector", "matchExpressions"]).iter().enumerate() {
        let place = path.index(i);
        let (scope, operator) = (text(term, &["scopeName"]), text(term, &["operator"]));
        if !SCOPES.contains(&scope) {
            errors.push(FieldError::invalid(&place.child("scopeName"), scope, "unsupported scope"));
        }
        errors.extend(unsupported(spec, scope, &selector, at(spec, &["scopeSelector"])));
        let values = list(term, &["values"]);
        let needs_exists = scope != "PriorityClass" && operator != "Exists";
        if needs_exists {
            let why = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(FieldError::invalid(&place.child("operator"), operator, why));
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(FieldError::required(&place.child("values"), why));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(FieldError::invalid(&place.child("values"), at(term, &["values"]).clone(), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.push(FieldError::invalid(&place.child("operator"), operator, "not a valid selector operator")),
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: Value, expected: &[&str]) {
        let errors: Vec<String> = validate(&json!({"spec": spec})).iter().map(ToString::to_string).collect();
        assert_eq!(errors, expected);
    }

    #[test]
    fn resources_are_those_that_can_be_limited() {
        let hard = json!({"pods": "1", "requests.cpu": "1", "limits.memory": "1Gi", "count/pods": "3", "requests.nvidia.com/gpu": "1"});
        check(json!({"hard": hard}), &[]);
        check(
            json!({"hard": {"gold": "1", "pods": "500m", "cpu": "-1"}}),
            &[
                "spec.hard[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
                "spec.hard[gold]: Invalid value: \"gold\": must be a standard resource for quota",
                "spec.hard[pods]: Invalid value: \"500m\": must be an integer",
            ],
        );
    }

    #[test]
    fn scopes_fit_each_other_and_the_resources() {
        check(json!({"hard": {"pods": "1"}, "scopes": ["BestEffort", "Terminating"]}), &[]);
        check(
            json!({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}),
            &["spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource"],
        );
        check(
            json!({"scopes": ["BestEffort", "NotBestEffort"]}),
            &["spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\"]: conflicting scopes"],
        );
        let term = |scope, operator, values: &[&str]| json!({"scopeSelector": {"matchExpressions": [{"scopeName": scope, "operator": operator, "values": values}]}});
        check(term("PriorityClass", "In", &["gold"]), &[]);
        check(
            term("PriorityClass", "In", &[]),
            &[
                "spec.scopeSelector.matchExpressions[0].values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ],
        );
    }

    #[test]
    fn scopes_stay() {
        let quota = |scopes: &[&str]| json!({"spec": {"scopes": scopes}});
        assert!(
            validate_update(&quota(&["Terminating", "BestEffort"]), &quota(&["BestEffort", "Terminating"])).is_empty()
        );
        let errors = validate_update(&quota(&["BestEffort"]), &quota(&[]));
        assert_eq!(errors[0].to_string(), "spec.scopes: Invalid value: [\"BestEffort\"]: field is immutable");
    }
}
