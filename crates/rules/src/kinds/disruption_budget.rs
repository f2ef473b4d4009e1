//! Disruption budgets as objects (upstream: `podDisruptionBudgetStrategy`, `ValidatePodDisruptionBudget`). What they allow is in
//! [`crate::disruption`].

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};
use serde_json::{Value, json};

use super::replica_set::counts;
use crate::int_or_percent;
use crate::metadata::place::raise_generation;
use crate::object::{at, copy_field, field_mut, set, typed};
use crate::selector::labels;
use crate::strategy::Ctx;

const SPEC: Path<'static> = Path::new("spec");
const COUNTS: [&str; 4] = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
const POLICIES: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];

/// Nothing is counted yet, and nothing allowed.
pub fn prepare_create(budget: &mut Value) {
    let nothing = json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
    set(budget, "status", nothing);
    set(field_mut(budget, "metadata"), "generation", 1.into());
}

/// The status stays.
pub fn prepare_update(new: &mut Value, old: &Value, _: &Ctx) {
    copy_field(old, new, "status");
    raise_generation(new, old);
}

/// Nothing but the status is taken.
pub fn prepare_status(new: &mut Value, old: &Value, _: &Ctx) {
    copy_field(old, new, "spec");
}

/// One amount, and whose.
pub fn validate(budget: &Value) -> FieldErrors {
    let spec = at(budget, &["spec"]);
    let amounts = ["minAvailable", "maxUnavailable"].map(|field| (field, at(spec, &[field])));
    let mut errors = FieldErrors::new();
    if amounts.iter().all(|(_, amount)| !amount.is_null()) {
        // Upstream shows its own struct, whose fields have no JSON names.
        let [least, most] = amounts.map(|(_, amount)| amount);
        let [selector, policy] = ["selector", "unhealthyPodEvictionPolicy"].map(|field| at(spec, &[field]));
        let shown = format!(
            "{{\"MinAvailable\":{least},\"Selector\":{selector},\"MaxUnavailable\":{most},\"UnhealthyPodEvictionPolicy\":{policy}}}"
        );
        let why = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError { value: shown, ..FieldError::invalid(&SPEC, 0, why) });
    }
    for (field, amount) in amounts.into_iter().filter(|(_, amount)| !amount.is_null()) {
        errors.extend(int_or_percent::validate(amount, &SPEC.child(field)));
        errors.extend(int_or_percent::not_more_than_all(amount, &SPEC.child(field)));
    }
    errors.extend(labels::validate(&typed::<LabelSelector>(at(spec, &["selector"])), &SPEC.child("selector")));
    if let Some(policy) = at(spec, &["unhealthyPodEvictionPolicy"]).as_str().filter(|word| !POLICIES.contains(word)) {
        errors.push(FieldError::not_supported(&SPEC.child("unhealthyPodEvictionPolicy"), policy, &POLICIES));
    }
    errors
}

/// What is counted is not negative.
pub fn validate_status(new: &Value, _: &Value) -> FieldErrors {
    counts(at(new, &["status"]), &Path::new("status"), &COUNTS)
}
