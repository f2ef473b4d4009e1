//! Small ways into JSON objects: reading by path, setting what is missing. Shared by the rules of every kind.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A JSON object.
pub type Object = Map<String, Value>;

/// A value that has this type when it is in canonical form; nothing is its default.
pub fn typed<T: DeserializeOwned + Default>(value: &Value) -> T {
    T::deserialize(value).unwrap_or_default()
}

/// The value at a path of field names; null if there is none.
pub fn at<'v>(value: &'v Value, path: &[&str]) -> &'v Value {
    path.iter().try_fold(value, |v, name| v.get(name)).unwrap_or(&Value::Null)
}

/// The string at a path; empty if there is none.
pub fn text<'v>(value: &'v Value, path: &[&str]) -> &'v str {
    at(value, path).as_str().unwrap_or_default()
}

/// The integer at a path.
pub fn integer(value: &Value, path: &[&str]) -> Option<i64> {
    at(value, path).as_i64()
}

/// The boolean at a path; false if there is none.
pub fn flag(value: &Value, path: &[&str]) -> bool {
    at(value, path).as_bool().unwrap_or_default()
}

/// The list at a path; empty if there is none.
pub fn list<'v>(value: &'v Value, path: &[&str]) -> &'v [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}

/// The object under a field, made if it is missing or null.
pub fn object_mut<'v>(value: &'v mut Value, name: &str) -> &'v mut Object {
    as_object_mut(field_mut(value, name))
}

/// The value as an object, made one if it is anything else.
pub fn as_object_mut(value: &mut Value) -> &mut Object {
    if !value.is_object() {
        *value = Value::Object(Object::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("just made an object"),
    }
}

/// The value under a field, null if it was missing.
pub fn field_mut<'v>(value: &'v mut Value, name: &str) -> &'v mut Value {
    as_object_mut(value).entry(name).or_insert(Value::Null)
}

/// The entries of a list under a field, if there is one.
pub fn items_mut<'v>(value: &'v mut Value, name: &str) -> impl Iterator<Item = &'v mut Value> {
    value.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Sets a field that is missing or null.
pub fn set_default(value: &mut Value, name: &str, default: impl Into<Value>) {
    let slot = field_mut(value, name);
    if slot.is_null() {
        *slot = default.into();
    }
}

/// Sets a field, or removes it for null.
pub fn set(value: &mut Value, name: &str, to: Value) {
    let map = as_object_mut(value);
    if to.is_null() {
        map.remove(name);
    } else {
        map.insert(name.to_owned(), to);
    }
}

/// Gives `to` the field of `from`, or removes it where `from` has none.
pub fn copy_field(from: &Value, to: &mut Value, name: &str) {
    set(to, name, from.get(name).cloned().unwrap_or(Value::Null));
}

/// Removes a field.
pub fn remove(value: &mut Value, name: &str) {
    if let Some(map) = value.as_object_mut() {
        map.remove(name);
    }
}
