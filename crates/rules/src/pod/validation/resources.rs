//! What containers ask for and may use.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use remora_model::field::FieldErrors;
use remora_model::quantity::Quantity;
use remora_model::{FieldError, Path};

use super::{Spec, one_of};
use crate::metadata::names;
use crate::metadata::validation::invalid;

/// What is said of names without a prefix that are none of Kubernetes' own.
pub(crate) const NOT_STANDARD: &str = "must be a standard resource type or fully qualified";

type Amounts = BTreeMap<String, Written>;

pub(super) fn validate(resources: Option<&ResourceRequirements>, path: &Path<'_>) -> FieldErrors {
    let Some(resources) = resources else { return FieldErrors::new() };
    let empty = Amounts::new();
    let limits = resources.limits.as_ref().unwrap_or(&empty);
    let requests = resources.requests.as_ref().unwrap_or(&empty);
    let mut errors = validate_amounts(limits, &path.child("limits"));
    let place = path.child("requests");
    for (name, request) in requests {
        errors.extend(validate_amount(name, request, &place));
        match limits.get(name) {
            Some(limit) => errors.extend(validate_below(name, request, limit, &place)),
            None if !may_overcommit(name) => {
                let detail = "Limit must be set for non overcommitable resources";
                errors.push(FieldError::required(&path.child("limits"), detail));
            }
            None => {}
        }
    }
    errors
}

/// What a pod needs beside its containers is judged, and named, as if it were limits (upstream: `validateOverhead`).
pub(crate) fn validate_overhead(amounts: &Amounts, path: &Path<'_>) -> FieldErrors {
    validate_amounts(amounts, &path.child("limits"))
}

/// Each amount alone: its name and that it is not negative.
fn validate_amounts(amounts: &Amounts, path: &Path<'_>) -> FieldErrors {
    amounts.iter().flat_map(|(name, amount)| validate_amount(name, amount, path)).collect()
}

fn validate_amount(name: &str, amount: &Written, path: &Path<'_>) -> FieldErrors {
    let place = path.key(name);
    let mut errors = validate_name(name, &place);
    match Quantity::parse(&amount.0) {
        Ok(amount) if amount.sign() < 0 => {
            errors.push(FieldError::invalid(&place, amount.canonical(), "must be greater than or equal to 0"));
        }
        Ok(amount) if name.contains('/') && !amount.is_whole() => {
            errors.push(FieldError::invalid(&place, amount.canonical(), "must be an integer"));
        }
        Ok(_) => {}
        Err(why) => errors.push(FieldError::invalid(&place, amount.0.as_str(), why.to_string())),
    }
    errors
}

/// The name of a resource of containers (upstream: `ValidateContainerResourceName`).
pub(crate) fn validate_name(name: &str, path: &Path<'_>) -> FieldErrors {
    let errors = invalid(path, name, names::qualified_name);
    if !errors.is_empty() || name.contains('/') || is_standard(name) {
        return errors;
    }
    [NOT_STANDARD, "must be a standard resource for containers"].map(|why| FieldError::invalid(path, name, why)).into()
}

/// Whether containers have this resource without anybody's adding it.
pub(crate) fn is_standard(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-")
}

/// Only what the kernel can take back may be promised twice.
fn may_overcommit(name: &str) -> bool {
    !name.contains('/') && !name.starts_with("hugepages-") || name.starts_with("kubernetes.io/")
}

fn validate_below(name: &str, request: &Written, limit: &Written, path: &Path<'_>) -> Option<FieldError> {
    let (Ok(request), Ok(limit)) = (Quantity::parse(&request.0), Quantity::parse(&limit.0)) else { return None };
    let shown = limit.canonical();
    if !may_overcommit(name) && request != limit {
        let detail = format!("must be equal to {name} limit of {shown}");
        return Some(FieldError::invalid(path, request.canonical(), detail));
    }
    let detail = format!("must be less than or equal to {name} limit of {shown}");
    (request > limit).then(|| FieldError::invalid(path, request.canonical(), detail))
}

pub(super) fn validate_resize(pod: &Spec<'_>, container: &Container, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut seen = Vec::new();
    for (i, policy) in container.resize_policy.iter().flatten().enumerate() {
        let name = policy.resource_name.as_str();
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(&path.index(i), name));
        }
        seen.push(name);
        // Upstream names the list, not the entry.
        errors.extend(one_of(path, Some(name), &["cpu", "memory"]));
        let word = policy.restart_policy.as_str();
        errors.extend(one_of(path, Some(word), &["NotRequired", "RestartContainer"]));
        if word != "NotRequired" && pod.spec.restart_policy.as_deref() == Some("Never") {
            let detail = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(path, word, detail));
        }
    }
    errors
}
