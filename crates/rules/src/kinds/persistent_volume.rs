//! Persistent volumes (upstream: `ValidatePersistentVolume`, `persistentvolumeStrategy`), and what they share with claims. Which claim gets which volume is
//! in `remora-controllers`.

use k8s_openapi::api::core::v1::VolumeNodeAffinity;
use remora_model::field::FieldErrors;
use remora_model::quantity::Quantity;
use remora_model::{FieldError, Path};
use serde_json::{Value, json};

use crate::metadata::names;
use crate::metadata::validation::invalid;
use crate::object::{at, copy_field, field_mut, list, set, set_default, text, typed};
use crate::pod::validation::{mount, scheduling};
use crate::strategy::Ctx;

const SPEC: Path<'static> = Path::new("spec");
const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const RECLAIM_POLICIES: [&str; 3] = ["Delete", "Recycle", "Retain"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
/// What a volume is besides where its data is.
const NOT_SOURCES: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

/// Kept after its claim, and a file system.
pub fn set_defaults(volume: &mut Value) {
    let spec = field_mut(volume, "spec");
    set_default(spec, "persistentVolumeReclaimPolicy", "Retain");
    set_default(spec, "volumeMode", "Filesystem");
    if let Some(source) = spec.get_mut("hostPath") {
        set_default(source, "type", "");
    }
    set_default(field_mut(volume, "status"), "phase", "Pending");
}

/// Nobody has looked at it yet.
pub fn prepare_create(volume: &mut Value) {
    let created = at(volume, &["metadata", "creationTimestamp"]).clone();
    set(volume, "status", json!({"phase": "Pending", "lastPhaseTransitionTime": created}));
}

/// The status stays.
pub fn prepare_update(new: &mut Value, old: &Value, _: &Ctx) {
    copy_field(old, new, "status");
}

/// Nothing but the status is taken; it knows since when it says so.
pub fn prepare_status(new: &mut Value, old: &Value, ctx: &Ctx) {
    copy_field(old, new, "spec");
    let phase = |of: &Value| text(of, &["status", "phase"]).to_owned();
    let is_given = at(new, &["status", "lastPhaseTransitionTime"]) != at(old, &["status", "lastPhaseTransitionTime"]);
    if phase(new) != phase(old) && !is_given {
        set(field_mut(new, "status"), "lastPhaseTransitionTime", crate::time::seconds(ctx.now).into());
    }
}

/// How large, for whom, and where.
pub fn validate(volume: &Value) -> FieldErrors {
    let spec = at(volume, &["spec"]);
    let mut errors = validate_access_modes(spec, "");
    errors.extend(validate_capacity(spec));
    let policy = text(spec, &["persistentVolumeReclaimPolicy"]);
    errors.extend(one_of(&SPEC.child("persistentVolumeReclaimPolicy"), policy, &RECLAIM_POLICIES));
    errors.extend(validate_affinity(spec));
    errors.extend(validate_source(spec));
    if policy == "Recycle" && is_root(text(spec, &["hostPath", "path"])) {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(FieldError::forbidden(&SPEC.child("persistentVolumeReclaimPolicy"), why));
    }
    errors.extend(validate_class_and_mode(spec));
    errors
}

/// Where the data is stays.
pub fn validate_update(new: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate(new);
    let source = |of: &Value| {
        let mut spec = at(of, &["spec"]).as_object().cloned().unwrap_or_default();
        spec.retain(|field, _| !NOT_SOURCES.contains(&field.as_str()));
        spec
    };
    if source(new) != source(old) {
        let why = "spec.persistentvolumesource is immutable after creation";
        errors.push(FieldError::forbidden(&SPEC.child("persistentvolumesource"), why));
    }
    errors.extend(immutable("volumeMode", new, old));
    if !at(old, &["spec", "nodeAffinity"]).is_null() {
        errors.extend(immutable("nodeAffinity", new, old));
    }
    errors
}

/// Upstream names the field so, without `spec`.
pub(super) fn immutable(field: &str, new: &Value, old: &Value) -> Option<FieldError> {
    let [before, after] = [old, new].map(|of| at(of, &["spec", field]));
    (before != after).then(|| FieldError::invalid(&Path::new(field), after.clone(), "field is immutable"))
}

/// At least one, and the one for a single pod alone.
pub(super) fn validate_access_modes(spec: &Value, if_none: &str) -> FieldErrors {
    let path = SPEC.child("accessModes");
    let modes: Vec<&str> = list(spec, &["accessModes"]).iter().filter_map(Value::as_str).collect();
    let mut errors = FieldErrors::new();
    if modes.is_empty() {
        errors.push(FieldError::required(&path, if_none));
    }
    errors.extend(modes.iter().flat_map(|mode| one_of(&path, mode, &ACCESS_MODES)));
    let known: Vec<&&str> = modes.iter().filter(|mode| ACCESS_MODES.contains(mode)).collect();
    if known.iter().any(|mode| **mode == "ReadWriteOncePod") && known.iter().any(|mode| **mode != "ReadWriteOncePod") {
        errors.push(FieldError::forbidden(&path, "may not use ReadWriteOncePod with other access modes"));
    }
    errors
}

/// Names of classes, and what the volume is for pods.
pub(super) fn validate_class_and_mode(spec: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let class = text(spec, &["storageClassName"]);
    if !class.is_empty() {
        errors.extend(invalid(&SPEC.child("storageClassName"), class, names::dns_subdomain));
    }
    if let Some(mode) = at(spec, &["volumeMode"]).as_str() {
        errors.extend(one_of(&SPEC.child("volumeMode"), mode, &VOLUME_MODES));
    }
    errors
}

pub(super) fn one_of(path: &Path<'_>, word: &str, words: &[&str]) -> Option<FieldError> {
    (!words.contains(&word)).then(|| FieldError::not_supported(path, word, words))
}

/// An amount of storage that is one.
pub(super) fn validate_positive(amount: &str, path: &Path<'_>) -> Option<FieldError> {
    let is_positive = Quantity::parse(amount).is_ok_and(|amount| amount.sign() > 0);
    (!is_positive).then(|| FieldError::invalid(path, amount, "must be greater than zero"))
}

fn validate_capacity(spec: &Value) -> FieldErrors {
    let (path, capacity) = (SPEC.child("capacity"), at(spec, &["capacity"]));
    let mut errors = FieldErrors::new();
    let amounts = capacity.as_object().cloned().unwrap_or_default();
    if amounts.is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    if amounts.len() > 1 || !amounts.contains_key("storage") {
        errors.push(FieldError::not_supported(&path, capacity.to_string().as_str(), &["storage"]));
    }
    for (name, amount) in &amounts {
        errors.extend(validate_positive(amount.as_str().unwrap_or_default(), &path.key(name)));
    }
    errors
}

fn validate_affinity(spec: &Value) -> FieldErrors {
    if at(spec, &["nodeAffinity"]).is_null() {
        return FieldErrors::new();
    }
    let path = SPEC.child("nodeAffinity");
    let path = path.child("required");
    let affinity: VolumeNodeAffinity = typed(at(spec, &["nodeAffinity"]));
    match affinity.required {
        Some(required) => scheduling::validate_selector(&required, &path),
        None => vec![FieldError::required(&path, "must specify required node constraints")],
    }
}

/// One place. What is in those that no node of ours can mount is their drivers' matter.
fn validate_source(spec: &Value) -> FieldErrors {
    let fields = spec.as_object().into_iter().flat_map(|spec| spec.keys());
    let mut sources = fields.filter(|field| !NOT_SOURCES.contains(&field.as_str()));
    let mut errors = FieldErrors::new();
    if sources.next().is_none() {
        errors.push(FieldError::required(&SPEC, "must specify a volume type"));
    }
    for extra in sources {
        errors.push(FieldError::forbidden(&SPEC.child(extra), "may not specify more than 1 volume type"));
    }
    for source in ["hostPath", "local"].into_iter().filter(|source| !at(spec, &[source]).is_null()) {
        let path = SPEC.child(source);
        let path = path.child("path");
        match text(spec, &[source, "path"]) {
            "" => errors.push(FieldError::required(&path, "")),
            place => errors.extend(mount::no_back_steps(place, &path)),
        }
    }
    if !at(spec, &["local"]).is_null() && at(spec, &["nodeAffinity"]).is_null() {
        let why = "Local volume requires node affinity";
        errors.push(FieldError::required(&Path::new("metadata").child("annotations"), why));
    }
    errors
}

fn is_root(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(|part| part.is_empty() || part == ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(change: impl FnOnce(&mut Value)) -> Value {
        let mut volume = json!({"metadata": {"name": "v"}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/srv"},
        }});
        set_defaults(&mut volume);
        change(&mut volume["spec"]);
        volume
    }

    fn words(errors: &FieldErrors) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_volume_says_how_large_it_is_for_whom_and_where() {
        let check = |change: fn(&mut Value), expected: &[&str]| {
            assert_eq!(words(&validate(&volume(change))), expected);
        };
        check(|_| {}, &[]);
        check(|spec| spec["accessModes"] = json!([]), &["spec.accessModes: Required value"]);
        check(
            |spec| spec["accessModes"] = json!(["ReadWriteOncePod", "ReadWriteOnce"]),
            &["spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"],
        );
        check(
            |spec| spec["capacity"] = json!({"storage": "0"}),
            &["spec.capacity[storage]: Invalid value: \"0\": must be greater than zero"],
        );
        check(|spec| remove(spec, "hostPath"), &["spec: Required value: must specify a volume type"]);
        check(
            |spec| spec["nfs"] = json!({"server": "s", "path": "/"}),
            &["spec.nfs: Forbidden: may not specify more than 1 volume type"],
        );
        check(
            |spec| spec["hostPath"]["path"] = "/a/../b".into(),
            &["spec.hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"],
        );
        check(
            |spec| {
                remove(spec, "hostPath");
                spec["local"] = json!({"path": "/srv"});
            },
            &["metadata.annotations: Required value: Local volume requires node affinity"],
        );
        check(
            |spec| spec["persistentVolumeReclaimPolicy"] = "Keep".into(),
            &[
                "spec.persistentVolumeReclaimPolicy: Unsupported value: \"Keep\": supported values: \"Delete\", \"Recycle\", \"Retain\"",
            ],
        );
        check(
            |spec| {
                spec["persistentVolumeReclaimPolicy"] = "Recycle".into();
                spec["hostPath"]["path"] = "//".into();
            },
            &["spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"],
        );
    }

    fn remove(spec: &mut Value, field: &str) {
        crate::object::remove(spec, field);
    }

    #[test]
    fn where_the_data_is_stays() {
        let old = volume(|_| {});
        assert_eq!(words(&validate_update(&volume(|spec| spec["capacity"]["storage"] = "2Gi".into()), &old)), [""; 0]);
        let moved = volume(|spec| spec["hostPath"]["path"] = "/other".into());
        let why = "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation";
        assert_eq!(words(&validate_update(&moved, &old)), [why]);
        let block = volume(|spec| spec["volumeMode"] = "Block".into());
        assert_eq!(words(&validate_update(&block, &old)), ["volumeMode: Invalid value: \"Block\": field is immutable"]);
    }
}
