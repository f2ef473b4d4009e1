//! Puts an object in its place: namespace and name of the URL, the fields that only the system sets.

use remora_model::{Kind, Status};
use serde_json::Value;

use crate::object::{copy_field, field_mut, integer, remove, set, text};
use crate::strategy::Ctx;

/// How long a generated name may be before its suffix of five, upstream's `maxNameLength - randomLength`.
const GENERATED_MAX: usize = 63 - 5;

/// Checks the object's namespace against the URL's, and sets it where it was left out.
///
/// # Errors
/// 400 if both are given and differ.
pub fn set_namespace(kind: &Kind, object: &mut Value, of_url: Option<&str>) -> Result<(), Status> {
    let wanted = if kind.namespaced { of_url.unwrap_or_default() } else { "" };
    let given = text(object, &["metadata", "namespace"]);
    if !given.is_empty() && given != wanted {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(message));
    }
    if !wanted.is_empty() {
        set(field_mut(object, "metadata"), "namespace", wanted.into());
    }
    Ok(())
}

/// Checks the object's name against the URL's, and sets it where it was left out.
///
/// # Errors
/// 400 if both are given and differ.
pub fn set_name(object: &mut Value, of_url: &str) -> Result<(), Status> {
    let given = text(object, &["metadata", "name"]);
    if !given.is_empty() && given != of_url {
        let message = format!("the name of the object ({given}) does not match the name on the URL ({of_url})");
        return Err(Status::bad_request(message));
    }
    set(field_mut(object, "metadata"), "name", of_url.into());
    Ok(())
}

/// 400 for an object that must give its name, and does not.
pub fn nameless(of_url: &str) -> Status {
    let why = format!("the name of the object ({of_url} based on URL) was undeterminable: name must be provided");
    Status::bad_request(why)
}

/// What the system sets on a new object, before its kind's strategy sees it.
///
/// # Errors
/// 500 if the client gave a resourceVersion.
pub fn fill_system_fields(object: &mut Value, ctx: &Ctx) -> Result<(), Status> {
    if !text(object, &["metadata", "resourceVersion"]).is_empty() {
        return Err(Status::unknown("resourceVersion should not be set on objects to be created"));
    }
    let name = generated_name(object, &ctx.suffix);
    let meta = field_mut(object, "metadata");
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
        remove(meta, field);
    }
    set(meta, "creationTimestamp", crate::time::seconds(ctx.now).into());
    set(meta, "uid", ctx.uid.clone().into());
    if let Some(name) = name {
        set(meta, "name", name.into());
    }
    Ok(())
}

fn generated_name(object: &Value, suffix: &str) -> Option<String> {
    let base = text(object, &["metadata", "generateName"]);
    if base.is_empty() || !text(object, &["metadata", "name"]).is_empty() {
        return None;
    }
    let mut cut = base.len().min(GENERATED_MAX);
    while !base.is_char_boundary(cut) {
        cut -= 1;
    }
    Some(format!("{}{suffix}", &base[..cut]))
}

/// Takes the resourceVersion off an object: the store splices it in on read. Empty if there is none.
pub fn take_resource_version(object: &mut Value) -> String {
    let taken = object.get_mut("metadata").and_then(Value::as_object_mut).and_then(|m| m.remove("resourceVersion"));
    taken.and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Checks that an update that names a uid means the stored object.
///
/// # Errors
/// 409 if it means another of the same name.
pub fn check_uid(kind: &Kind, new: &Value, old: &Value) -> Result<(), Status> {
    let [given, stored] = [new, old].map(|o| text(o, &["metadata", "uid"]));
    if given.is_empty() || given == stored {
        return Ok(());
    }
    let why = format!("Precondition failed: UID in precondition: {given}, UID in object meta: {stored}");
    Err(Status::conflict(kind.resource(), text(old, &["metadata", "name"]), &why))
}

/// What an update can neither set nor clear: it keeps its old value before anything is validated.
pub fn keep_system_fields(new: &mut Value, old: &Value) {
    let Some(before) = old.get("metadata") else { return };
    let meta = field_mut(new, "metadata");
    for field in ["selfLink", "resourceVersion"] {
        remove(meta, field);
    }
    for field in ["generation", "creationTimestamp"] {
        copy_field(before, meta, field);
    }
    // Left out they are kept; given they must be right, which validation sees to.
    for field in ["uid", "deletionGracePeriodSeconds"] {
        if meta.get(field).is_none() {
            copy_field(before, meta, field);
        }
    }
    if before.get("deletionTimestamp").is_some() {
        copy_field(before, meta, "deletionTimestamp");
    }
}

/// Raises the generation by one if the spec changed: for kinds whose spec is their users' wish.
pub fn raise_generation(new: &mut Value, old: &Value) {
    if new.get("spec") != old.get("spec") {
        let generation = integer(old, &["metadata", "generation"]).unwrap_or_default() + 1;
        set(field_mut(new, "metadata"), "generation", generation.into());
    }
}
