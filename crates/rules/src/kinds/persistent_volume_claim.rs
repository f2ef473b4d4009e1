//! Claims for persistent volumes (upstream: `ValidatePersistentVolumeClaim`, `persistentvolumeclaimStrategy`). Which volume a claim gets is in
//! `remora-controllers`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use remora_model::field::FieldErrors;
use remora_model::quantity::Quantity;
use remora_model::{FieldError, Path};
use serde_json::{Value, json};

use super::persistent_volume::{immutable, validate_access_modes, validate_class_and_mode, validate_positive};
use crate::object::{at, copy_field, field_mut, set, set_default, text, typed};
use crate::selector::labels;
use crate::strategy::Ctx;

const SPEC: Path<'static> = Path::new("spec");
const IMMUTABLE: &str =
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";

/// A file system, which nobody has given yet.
pub fn set_defaults(claim: &mut Value) {
    set_default(field_mut(claim, "spec"), "volumeMode", "Filesystem");
    set_default(field_mut(claim, "status"), "phase", "Pending");
}

/// Nothing is given yet.
pub fn prepare_create(claim: &mut Value) {
    set(claim, "status", json!({"phase": "Pending"}));
}

/// The status stays.
pub fn prepare_update(new: &mut Value, old: &Value, _: &Ctx) {
    copy_field(old, new, "status");
}

/// Nothing but the status is taken.
pub fn prepare_status(new: &mut Value, old: &Value, _: &Ctx) {
    copy_field(old, new, "spec");
}

/// How much, and how it is to be used.
pub fn validate(claim: &Value) -> FieldErrors {
    let spec = at(claim, &["spec"]);
    let mut errors = validate_access_modes(spec, "at least 1 access mode is required");
    if !at(spec, &["selector"]).is_null() {
        let selector: LabelSelector = typed(at(spec, &["selector"]));
        errors.extend(labels::validate(&selector, &SPEC.child("selector")));
    }
    let path = SPEC.child("resources");
    match text(spec, &["resources", "requests", "storage"]) {
        "" => errors.push(FieldError::required(&path.key("storage"), "")),
        amount => errors.extend(validate_positive(amount, &path.key("storage"))),
    }
    errors.extend(validate_class_and_mode(spec));
    errors
}

/// What was asked for stays, so that quotas hold; a volume is given once.
pub fn validate_update(new: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(new);
    let [mut before, mut after] = [old, new].map(|of| at(of, &["spec"]).clone());
    if text(&before, &["volumeName"]).is_empty() {
        copy_field(&after, &mut before, "volumeName");
    }
    // A claim from before there was a default class gets it afterwards.
    if at(&before, &["storageClassName"]).is_null() {
        copy_field(&after, &mut before, "storageClassName");
    }
    if text(new, &["status", "phase"]) == "Bound" {
        let requested = at(&before, &["resources", "requests"]).clone();
        set(field_mut(&mut after, "resources"), "requests", requested);
        copy_field(&before, &mut after, "volumeAttributesClassName");
    }
    if before != after {
        errors.push(FieldError::forbidden(&SPEC, IMMUTABLE));
    }
    let path = SPEC.child("resources");
    let amount = |of: &Value, path: &[&str]| Quantity::parse(text(of, path)).map(Quantity::value).unwrap_or_default();
    let requested = |of: &Value| amount(of, &["spec", "resources", "requests", "storage"]);
    if requested(new) < requested(old) && requested(new) <= amount(old, &["status", "capacity", "storage"]) {
        let requests = path.child("requests");
        let path = requests.child("storage");
        errors.push(FieldError::forbidden(&path, "field can not be less than status.capacity"));
    }
    errors.extend(immutable("volumeMode", new, old));
    errors
}

/// Whether this change asks for more than before, and whom that is up to. Upstream: admission plugin PersistentVolumeClaimResize. That only a bound claim can grow is [`validate_update`]'s.
pub fn growth<'c>(new: &'c Value, old: &Value) -> Growth<'c> {
    let requested = |of: &Value| Quantity::parse(text(of, &["spec", "resources", "requests", "storage"])).ok();
    let class = text(new, &["spec", "storageClassName"]);
    match (requested(new), requested(old)) {
        (Some(wanted), Some(before)) if wanted <= before => Growth::None,
        _ if class.is_empty() || class != text(old, &["spec", "storageClassName"]) => Growth::Forbidden,
        _ => Growth::IfAllowedBy(class),
    }
}

/// Whether a claim may ask for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth<'c> {
    /// It does not.
    None,
    /// If the storage class of this name has `allowVolumeExpansion`.
    IfAllowedBy(&'c str),
    /// It has no class.
    Forbidden,
}

/// Why a claim cannot grow.
pub const NO_GROWTH: &str =
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(change: impl FnOnce(&mut Value)) -> Value {
        let mut claim = json!({"metadata": {"name": "c"}, "spec": {
            "resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"],
        }});
        set_defaults(&mut claim);
        change(&mut claim);
        claim
    }

    fn words(errors: &FieldErrors) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_claim_says_how_much_and_how_it_is_used() {
        let check = |change: fn(&mut Value), expected: &[&str]| {
            assert_eq!(words(&validate(&claim(change))), expected);
        };
        check(|_| {}, &[]);
        check(
            |claim| claim["spec"]["accessModes"] = json!([]),
            &["spec.accessModes: Required value: at least 1 access mode is required"],
        );
        check(|claim| claim["spec"]["resources"] = json!({}), &["spec.resources[storage]: Required value"]);
        check(
            |claim| claim["spec"]["resources"]["requests"]["storage"] = "-1".into(),
            &["spec.resources[storage]: Invalid value: \"-1\": must be greater than zero"],
        );
        check(
            |claim| claim["spec"]["accessModes"] = json!(["Write"]),
            &[
                "spec.accessModes: Unsupported value: \"Write\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
            ],
        );
    }

    #[test]
    fn a_claim_grows_if_its_class_allows_it() {
        let check = |class: &str, size: &str, expected: Growth<'_>| {
            let old = claim(|claim| claim["spec"]["storageClassName"] = class.into());
            let mut new = old.clone();
            new["spec"]["resources"]["requests"]["storage"] = size.into();
            assert_eq!(growth(&new, &old), expected, "{class} {size}");
        };
        check("c", "1Gi", Growth::None);
        check("c", "1024Mi", Growth::None);
        check("c", "1Mi", Growth::None);
        check("c", "2Gi", Growth::IfAllowedBy("c"));
        check("", "2Gi", Growth::Forbidden);
    }

    #[test]
    fn what_was_asked_for_stays_and_a_volume_is_given_once() {
        let check = |old: &Value, change: fn(&mut Value), expected: &[&str]| {
            let mut new = old.clone();
            change(&mut new);
            assert_eq!(words(&validate_update(&new, old)), expected);
        };
        let forbidden = format!("spec: Forbidden: {IMMUTABLE}");
        let open = claim(|_| {});
        check(&open, |new| new["spec"]["volumeName"] = "v".into(), &[]);
        check(&open, |new| new["spec"]["storageClassName"] = "local".into(), &[]);
        check(&open, |new| new["spec"]["resources"]["requests"]["storage"] = "2Gi".into(), &[&forbidden]);
        let bound = claim(|claim| {
            claim["spec"]["volumeName"] = "v".into();
            claim["status"] = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
        });
        check(&bound, |new| new["spec"]["volumeName"] = "w".into(), &[&forbidden]);
        check(&bound, |new| new["spec"]["resources"]["requests"]["storage"] = "2Gi".into(), &[]);
        let less = "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity";
        check(&bound, |new| new["spec"]["resources"]["requests"]["storage"] = "1Mi".into(), &[less]);
    }
}
