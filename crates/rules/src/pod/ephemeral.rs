//! Ephemeral containers: the rules of the subresource `pods/NAME/ephemeralcontainers` (KEP-277; upstream:
//! `podEphemeralContainersStrategy`, `ValidatePodEphemeralContainersUpdate`). What one may have is validated with the rest
//! of the pod, in [`super::validation`]; here is what may change.

use remora_model::field::FieldErrors;
use remora_model::text::quoted;
use remora_model::{FieldError, Path, Status};
use serde_json::Value;

use super::admission::MIRROR_ANNOTATION;
use super::{diff, gates, validation};
use crate::metadata::place::raise_generation;
use crate::object::{at, copy_field, field_mut, list, text};
use crate::strategy::{Ctx, strategy};

/// Of the request only `spec.ephemeralContainers` is taken; a changed spec raises the generation by one.
pub fn prepare(new: &mut Value, old: &Value, _: &Ctx) {
    let mut kept = old.clone();
    copy_field(at(new, &["spec"]), field_mut(&mut kept, "spec"), "ephemeralContainers");
    *new = kept;
    gates::drop_disabled(new);
    raise_generation(new, old);
}

/// Static pods have none. Else the whole new pod, then: none that is there may be changed or removed; the order may change.
/// Phase, deletion and node are not looked at.
pub fn validate_update(new: &Value, old: &Value) -> FieldErrors {
    if !at(old, &["metadata", "annotations", MIRROR_ANNOTATION]).is_null() {
        return vec![FieldError::forbidden(&Path::ROOT, "static pods do not support ephemeral containers")];
    }
    let mut errors = validation::validate(new);
    let spec = Path::new("spec");
    let path = spec.child("ephemeralContainers");
    let named = |name| list(new, &["spec", "ephemeralContainers"]).iter().find(move |c| text(c, &["name"]) == name);
    for container in list(old, &["spec", "ephemeralContainers"]) {
        let name = text(container, &["name"]);
        let subject = format!("existing ephemeral containers {} may not be", quoted(name));
        match named(name) {
            None => errors.push(FieldError::forbidden(&path, format!("{subject} removed\n"))),
            Some(now) if now != container => {
                let diff = diff::show(name, container, now);
                errors.push(FieldError::forbidden(&path, format!("{subject} changed\n{diff}")));
            }
            Some(_) => {}
        }
    }
    errors
}

/// The whole of an update through the subresource, for callers that have no strategy at hand: `requested` is decoded
/// and defaulted, the result is what is to be stored.
///
/// # Errors
/// As [`crate::strategy::Strategy::update`].
pub fn update_ephemeral_containers(old: &Value, requested: Value, ctx: &Ctx) -> Result<Value, Status> {
    let pods = remora_model::kinds::core("pods");
    match strategy(pods, "ephemeralcontainers") {
        Some(rules) => rules.update(pods, old, requested, ctx),
        None => Err(Status::method_not_allowed()),
    }
}
