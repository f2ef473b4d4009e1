//! `--custom`: a partial container laid over an entry, as a strategic merge lays it (source: kubectl `pkg/cmd/debug/debug.go`). Pure.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::PlanError;

/// Lists that are merged by a key of their items, as `k8s.io/api` marks them; all others replace.
const MERGED_BY: [(&str, &str); 4] =
    [("env", "name"), ("volumeMounts", "mountPath"), ("volumeDevices", "devicePath"), ("ports", "containerPort")];

/// What a custom profile may not set.
const NOT_MODIFIABLE: [&str; 5] = ["name", "command", "image", "lifecycle", "volumeDevices"];

/// Why a custom profile is refused: kubectl's words.
pub(crate) const REFUSAL: &str =
    "name, command, image, lifecycle and volume devices are not modifiable via custom profile";

/// Whether a partial container sets nothing that it may not set.
pub(crate) fn is_allowed(custom: &Value) -> bool {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    NOT_MODIFIABLE.iter().all(|field| custom.get(field).is_none_or(is_empty))
}

/// A container with the custom profile, if there is one, laid over it.
pub(crate) fn applied<T: Serialize + DeserializeOwned>(container: &T, custom: Option<&Value>) -> Result<T, PlanError> {
    let no_container = |error: serde_json::Error| PlanError::NoContainer(error.to_string());
    let mut value = serde_json::to_value(container).map_err(no_container)?;
    if let Some(custom) = custom {
        merge(&mut value, custom);
    }
    serde_json::from_value(value).map_err(no_container)
}

/// Lays `custom` over `entry`.
fn merge(entry: &mut Value, custom: &Value) {
    let (Some(entry), Some(custom)) = (entry.as_object_mut(), custom.as_object()) else { return };
    for (field, value) in custom {
        let key = MERGED_BY.iter().find(|(list, _)| list == field).map(|(_, key)| *key);
        match (key, value) {
            (Some(key), Value::Array(items)) => merge_items(entry, field, key, items),
            _ => merge_field(entry, field, value),
        }
    }
}

fn merge_field(entry: &mut Map<String, Value>, field: &str, value: &Value) {
    match (value, entry.get_mut(field)) {
        (Value::Null, _) => drop(entry.remove(field)),
        (Value::Object(_), Some(old @ Value::Object(_))) => merge(old, value),
        _ => drop(entry.insert(field.to_owned(), value.clone())),
    }
}

fn merge_items(entry: &mut Map<String, Value>, field: &str, key: &str, items: &[Value]) {
    let list = entry.entry(field).or_insert_with(|| Value::Array(Vec::new()));
    let Some(list) = list.as_array_mut() else { return };
    for item in items {
        match list.iter_mut().find(|old| old[key] == item[key]) {
            Some(old) => merge(old, item),
            None => list.push(item.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_partial_container_is_laid_over_the_entry() {
        let check = |custom: Value, expected: Value| {
            let mut entry =
                json!({"name": "d", "env": [{"name": "A", "value": "1"}], "securityContext": {"runAsUser": 1}});
            merge(&mut entry, &custom);
            assert_eq!(entry, expected);
        };
        check(
            json!({"env": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}]}),
            json!({"name": "d", "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}], "securityContext": {"runAsUser": 1}}),
        );
        check(
            json!({"securityContext": {"runAsUser": null, "privileged": true}, "args": ["x"]}),
            json!({"name": "d", "env": [{"name": "A", "value": "1"}], "securityContext": {"privileged": true}, "args": ["x"]}),
        );
    }

    #[test]
    fn what_makes_the_container_may_not_be_customized() {
        let check = |custom: Value, expected| assert_eq!(is_allowed(&custom), expected, "{custom}");
        check(json!({"securityContext": {}}), true);
        check(json!({"command": []}), true);
        check(json!({"command": ["sh"]}), false);
        check(json!({"image": "x"}), false);
    }
}
