//! Leases (upstream: `ValidateLeaseSpec`).

use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};
use serde_json::Value;

use crate::object::integer;

/// The duration is positive, the count of transitions not negative.
pub fn validate(lease: &Value) -> FieldErrors {
    let spec = Path::new("spec");
    let mut errors = FieldErrors::new();
    if let Some(seconds) = integer(lease, &["spec", "leaseDurationSeconds"]).filter(|n| *n <= 0) {
        let place = spec.child("leaseDurationSeconds");
        errors.push(FieldError::invalid(&place, seconds, "must be greater than 0"));
    }
    if let Some(count) = integer(lease, &["spec", "leaseTransitions"]).filter(|n| *n < 0) {
        let place = spec.child("leaseTransitions");
        errors.push(FieldError::invalid(&place, count, "must be greater than or equal to 0"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::validate;
    use serde_json::json;

    #[test]
    fn numbers_are_in_range() {
        assert!(validate(&json!({"spec": {"leaseDurationSeconds": 40, "leaseTransitions": 0}})).is_empty());
        assert_eq!(validate(&json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}})).len(), 2);
    }
}
