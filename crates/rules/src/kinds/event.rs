//! Events: one kind of stored object, two API groups. The stored form is core/v1's; [`to_stored`] and [`from_stored`]
//! translate `events.k8s.io`'s (upstream: `pkg/apis/events`, `ValidateEventCreate`).

use remora_model::canonical::canonicalize;
use remora_model::field::FieldErrors;
use remora_model::schema::type_of;
use remora_model::{FieldError, Kind, Path};
use serde_json::Value;

use crate::metadata::names;
use crate::metadata::validation::invalid;
use crate::object::{as_object_mut, at, set, text};

/// Names in `events.k8s.io`, and in core/v1.
const NAMES: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];
const MESSAGE_MAX: usize = 1024;
const WORD_MAX: usize = 128;

/// Whether the kind is another view of what is stored as core/v1.
fn is_view(kind: &Kind) -> bool {
    kind.group == "events.k8s.io"
}

/// The stored form of a decoded object. Of every kind but `events.k8s.io`'s Event that is the object itself.
pub fn to_stored(kind: &Kind, object: Value) -> Value {
    if !is_view(kind) {
        return object;
    }
    translated(object, "v1", "Event", |name| NAMES.iter().find(|(new, _)| *new == name).map(|(_, old)| *old))
}

/// The object as a kind shows it.
pub fn from_stored(kind: &Kind, object: Value) -> Value {
    if !is_view(kind) {
        return object;
    }
    let to_new = |name: &str| NAMES.iter().find(|(_, old)| *old == name).map(|(new, _)| *new);
    translated(object, "events.k8s.io/v1", kind.schema, to_new)
}

fn translated(mut object: Value, version: &str, schema: &str, name: impl Fn(&str) -> Option<&'static str>) -> Value {
    let members = std::mem::take(as_object_mut(&mut object));
    let renamed = members.into_iter().map(|(key, value)| (name(&key).map_or(key, str::to_owned), value));
    let mut object = Value::Object(renamed.collect());
    set(&mut object, "apiVersion", version.into());
    // The forms differ in what is left out when empty.
    match type_of(schema).map(|of| canonicalize(of, object.clone())) {
        Some(Ok(canonical)) => canonical.value,
        _ => object,
    }
}

/// The event is where its object is; one with an `eventTime` says who reports what. On updates the same: clients count
/// repetitions up in place.
pub fn validate(event: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let involved = Path::new("involvedObject");
    let [namespace, of_object] =
        [&["metadata", "namespace"], &["involvedObject", "namespace"]].map(|path| text(event, path));
    let matches = match of_object {
        "" => matches!(namespace, "" | "default"),
        of_object => of_object == namespace,
    };
    if !matches {
        errors.push(FieldError::invalid(&involved.child("namespace"), of_object, "does not match event.namespace"));
    }
    if at(event, &["eventTime"]).is_null() {
        return errors;
    }
    let component = text(event, &["reportingComponent"]);
    if component.is_empty() {
        errors.push(FieldError::required(&Path::new("reportingController"), ""));
    }
    errors.extend(invalid(&Path::new("reportingController"), component, names::qualified_name));
    for field in ["reportingInstance", "action", "reason"] {
        match text(event, &[field]) {
            "" => errors.push(FieldError::required(&Path::new(field), "")),
            word if word.len() > WORD_MAX => errors.push(too_many_characters(field, WORD_MAX)),
            _ => {}
        }
    }
    if text(event, &["message"]).len() > MESSAGE_MAX {
        errors.push(too_many_characters("message", MESSAGE_MAX));
    }
    errors
}

fn too_many_characters(field: &str, max: usize) -> FieldError {
    FieldError::invalid(&Path::new(field), "", format!("can have at most {max} characters"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::kinds::{by_resource, core};
    use serde_json::json;

    #[test]
    fn both_views_show_the_same_event() {
        let old = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "n"},
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "n"}, "reason": "Started", "message": "m",
            "source": {"component": "kubelet"}, "firstTimestamp": "2026-01-02T03:04:05Z", "lastTimestamp": null,
            "count": 2, "type": "Normal", "eventTime": null, "reportingComponent": "", "reportingInstance": "",
        });
        let view = by_resource("events.k8s.io", "v1", "events").unwrap();
        let new = from_stored(view, old.clone());
        assert_eq!(new["regarding"]["name"], "p");
        assert_eq!(new["note"], "m");
        assert_eq!(new["deprecatedCount"], 2);
        assert_eq!(new["apiVersion"], "events.k8s.io/v1");
        assert!(new.get("reportingController").is_none());
        assert_eq!(to_stored(view, new), old);
        assert_eq!(from_stored(core("events"), old.clone()), old);
    }

    #[test]
    fn an_event_is_where_its_object_is() {
        let event = json!({"metadata": {"namespace": "a"}, "involvedObject": {"namespace": "b"}});
        assert_eq!(
            validate(&event)[0].to_string(),
            "involvedObject.namespace: Invalid value: \"b\": does not match event.namespace"
        );
        assert!(
            validate(&json!({"metadata": {"namespace": "default"}, "involvedObject": {"kind": "Node"}})).is_empty()
        );
    }
}
