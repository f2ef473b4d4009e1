//! Strategic merge patch: structs and maps merge, lists are replaced, or merged by a key where the schema says so
//! (k8s.io/apimachinery `pkg/util/strategicpatch`). Keys and strategies come from `remora_model::schema`.
//!
//! Directives: `$patch: replace|delete` in a map or list entry, `$retainKeys`, `$deleteFromPrimitiveList/x`,
//! `$setElementOrder/x`. Without an order, entries that the list did not have come first; with one, they stand where it says.

use remora_model::Status;
use remora_model::kinds::Kind;
use remora_model::schema::{Field, Merge, Shape, Type, type_of};
use serde_json::Value;

use super::go_print;
use crate::object::Object;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

/// What the patch makes of an object of a kind.
///
/// # Errors
/// 400 if the patch or a directive is malformed, 500 for an entry without its merge key, as upstream.
pub fn apply(kind: &Kind, old: &Value, patch: &Value) -> Result<Value, Status> {
    let (Value::Object(old), Value::Object(patch)) = (old, patch) else {
        return Err(Status::bad_request("error decoding patch: the patch is not a JSON object"));
    };
    merge_map(old.clone(), patch.clone(), type_of(kind.schema)).map(Value::Object)
}

/// `of` is the type of a struct, nothing for a map with free keys.
fn merge_map(mut original: Object, mut patch: Object, of: Option<&Type>) -> Result<Object, Status> {
    match patch.remove(DIRECTIVE) {
        None => {}
        Some(Value::String(word)) if word == "replace" => return Ok(patch),
        Some(Value::String(word)) if word == "delete" => return Ok(Object::new()),
        Some(word) => return Err(unknown_directive(&word, patch)),
    }
    retain_keys(&mut original, &mut patch)?;
    delete_from_sets(&mut original, &mut patch)?;
    merge_ordered_lists(&mut original, &mut patch, of)?;
    for (name, value) in patch {
        merge_member(&mut original, name, value, of)?;
    }
    Ok(original)
}

fn merge_member(original: &mut Object, name: String, patch: Value, of: Option<&Type>) -> Result<(), Status> {
    if patch.is_null() {
        original.remove(&name);
        return Ok(());
    }
    let field = of.and_then(|t| t.field(&name));
    let merged = match (original.remove(&name), patch) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            merge_map(old, new, field.and_then(|f| f.shape.as_struct())).map(Value::Object)?
        }
        (Some(Value::Array(old)), Value::Array(new)) => Value::Array(merge_list(old, new, field, None)?),
        (_, new) => without_nulls(new),
    };
    original.insert(name, merged);
    Ok(())
}

/// In what the object did not have, a null has nothing to remove.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, v)| !v.is_null());
            Value::Object(kept.map(|(k, v)| (k, without_nulls(v))).collect())
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// Drops the members that the directive does not name.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), Status> {
    let Some(directive) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let malformed = || Status::bad_request("invalid patch format of retainKeys");
    let keep = directive.as_array().ok_or_else(malformed)?;
    let named = |name: &str| keep.iter().any(|k| k == name);
    if !patch.keys().all(|name| name.starts_with('$') || named(name)) {
        return Err(malformed());
    }
    original.retain(|name, _| named(name));
    Ok(())
}

fn delete_from_sets(original: &mut Object, patch: &mut Object) -> Result<(), Status> {
    for (name, directive) in take_prefixed(patch, DELETE_FROM) {
        let Value::Array(gone) = directive else {
            return Err(Status::bad_request("invalid patch format of primitive list"));
        };
        if let Some(Value::Array(items)) = original.get_mut(&name) {
            items.retain(|item| !gone.contains(item));
        }
    }
    Ok(())
}

/// Merges the lists whose order the patch gives.
fn merge_ordered_lists(original: &mut Object, patch: &mut Object, of: Option<&Type>) -> Result<(), Status> {
    for (name, directive) in take_prefixed(patch, SET_ORDER) {
        let Value::Array(order) = directive else {
            return Err(Status::bad_request("invalid patch format of setElementOrder list"));
        };
        let field = of.and_then(|t| t.field(&name));
        let new = match patch.remove(&name) {
            // Nulled or replaced as a whole: the order has nothing to say.
            Some(whole) if !whole.is_array() => {
                patch.insert(name, whole);
                continue;
            }
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        let old = original.remove(&name);
        if old.is_none() && new.is_empty() {
            continue;
        }
        let old = old.and_then(|v| if let Value::Array(items) = v { Some(items) } else { None }).unwrap_or_default();
        let merged = merge_list(old, new, field, Some(order))?;
        original.insert(name, Value::Array(merged));
    }
    Ok(())
}

fn take_prefixed(patch: &mut Object, prefix: &str) -> Vec<(String, Value)> {
    let names: Vec<String> = patch.keys().filter(|k| k.starts_with(prefix)).cloned().collect();
    names.into_iter().filter_map(|k| patch.remove(&k).map(|v| (k[prefix.len()..].to_owned(), v))).collect()
}

fn merge_list(
    old: Vec<Value>,
    new: Vec<Value>,
    field: Option<&Field>,
    order: Option<Vec<Value>>,
) -> Result<Vec<Value>, Status> {
    match field.map(|f| (f.merge, &f.shape)) {
        Some((Merge::ByKey(key), Shape::List(item))) => {
            let Split { kept, added, replaced } = take_directives(old.clone(), new, key)?;
            if replaced {
                return Ok(added);
            }
            let merged = merge_entries(kept, &added, key, item.as_struct())?;
            Ok(in_order(merged, order.unwrap_or(added), &old, |a, b| a.get(key) == b.get(key)))
        }
        Some((Merge::Set, _)) => {
            let mut merged = old.clone();
            for value in &new {
                if !merged.contains(value) {
                    merged.push(value.clone());
                }
            }
            Ok(in_order(merged, order.unwrap_or(new), &old, |a, b| a == b))
        }
        _ => Ok(new),
    }
}

/// What the directives among a list's entries leave of it and of the patch.
struct Split {
    kept: Vec<Value>,
    added: Vec<Value>,
    replaced: bool,
}

fn take_directives(mut kept: Vec<Value>, new: Vec<Value>, key: &'static str) -> Result<Split, Status> {
    let (mut added, mut replaced) = (Vec::with_capacity(new.len()), false);
    for entry in new {
        match entry.get(DIRECTIVE) {
            None => added.push(entry),
            Some(word) if word == "replace" => replaced = true,
            Some(word) if word == "delete" => {
                let value = key_of(&entry, key)?;
                kept.retain(|old| old.get(key) != Some(value));
            }
            Some(word) => return Err(unknown_directive(word, entry.as_object().cloned().unwrap_or_default())),
        }
    }
    Ok(Split { kept, added, replaced })
}

fn merge_entries(
    mut merged: Vec<Value>,
    added: &[Value],
    key: &'static str,
    of: Option<&Type>,
) -> Result<Vec<Value>, Status> {
    for entry in added {
        let value = key_of(entry, key)?;
        let found = merged.iter_mut().find(|old| old.get(key) == Some(value));
        match (found, entry) {
            (Some(old), Value::Object(new)) => {
                let before = old.as_object_mut().map(std::mem::take).unwrap_or_default();
                *old = Value::Object(merge_map(before, new.clone(), of)?);
            }
            _ => merged.push(without_nulls(entry.clone())),
        }
    }
    Ok(merged)
}

fn key_of<'v>(entry: &'v Value, key: &str) -> Result<&'v Value, Status> {
    // Upstream answers 500 here: the error has no status of its own.
    entry
        .get(key)
        .ok_or_else(|| Status::unknown(format!("map: {} does not contain declared merge key: {key}", go_print(entry))))
}

fn unknown_directive(word: &Value, patch: Object) -> Status {
    let shown = go_print(&Value::Object(patch));
    Status::unknown(format!("unknown patch type: {} in map: {shown}", go_print(word)))
}

/// Puts entries that `order` names into its order, and the others between them as the old list had them: an entry that
/// only the server has goes before the first named one that followed it in the old list; one that the old list did not
/// have gives no such hint, so it goes first.
fn in_order(merged: Vec<Value>, order: Vec<Value>, old: &[Value], same: impl Fn(&Value, &Value) -> bool) -> Vec<Value> {
    let place = |list: &[Value], entry: &Value| list.iter().position(|other| same(other, entry));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|entry| place(&order, entry).is_some());
    named.sort_by_key(|entry| place(&order, entry));
    others.sort_by_key(|entry| place(old, entry));
    let mut out = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for entry in named {
        let here = place(old, &entry);
        while let (Some(here), Some(next)) = (here, others.peek()) {
            match place(old, next) {
                Some(there) if there < here => out.extend(others.next()),
                _ => break,
            }
        }
        out.push(entry);
    }
    out.extend(others);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use remora_model::kinds::core;
    use serde_json::json;

    fn check(old: Value, patch: Value, expected: Value) {
        assert_eq!(apply(core("pods"), &old, &patch).unwrap(), expected);
    }

    fn spec(names: &[&str]) -> Value {
        let containers: Vec<Value> = names.iter().map(|n| json!({"name": n})).collect();
        json!({"spec": {"containers": containers}})
    }

    #[test]
    fn entries_merge_by_their_key_and_new_ones_come_first() {
        check(
            json!({"spec": {"containers": [{"name": "a", "image": "x", "tty": true}, {"name": "b"}]}}),
            json!({"spec": {"containers": [{"name": "n"}, {"name": "a", "image": "y", "tty": null}]}}),
            json!({"spec": {"containers": [{"name": "n"}, {"name": "a", "image": "y"}, {"name": "b"}]}}),
        );
    }

    #[test]
    fn an_order_that_is_given_is_kept() {
        check(
            spec(&["a", "b"]),
            json!({"spec": {"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}, {"name": "n"}], "containers": [{"name": "n"}]}}),
            spec(&["a", "b", "n"]),
        );
        check(
            spec(&["a", "b", "c"]),
            json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}}),
            spec(&["b", "c", "a"]),
        );
    }

    #[test]
    fn directives_delete_replace_and_retain() {
        check(spec(&["a", "b"]), json!({"spec": {"containers": [{"$patch": "delete", "name": "a"}]}}), spec(&["b"]));
        check(spec(&["a", "b"]), json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "c"}]}}), spec(&["c"]));
        check(
            json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
            json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}}),
            json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}}),
        );
        check(
            json!({"metadata": {"finalizers": ["a/b", "c/d"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/b"], "finalizers": ["e/f"]}}),
            json!({"metadata": {"finalizers": ["e/f", "c/d"]}}),
        );
        check(
            json!({"metadata": {"labels": {"a": "b"}}}),
            json!({"metadata": {"labels": {"$patch": "replace", "c": "d"}}}),
            json!({"metadata": {"labels": {"c": "d"}}}),
        );
    }

    #[test]
    fn lists_without_a_key_and_lists_of_others_are_replaced() {
        check(
            json!({"spec": {"containers": [{"name": "a", "command": ["x", "y"]}], "tolerations": [{"key": "a"}]}}),
            json!({"spec": {"containers": [{"name": "a", "command": ["z"]}], "tolerations": [{"key": "b"}]}}),
            json!({"spec": {"containers": [{"name": "a", "command": ["z"]}], "tolerations": [{"key": "b"}]}}),
        );
    }

    #[test]
    fn malformed_patches_get_upstreams_codes() {
        for (patch, code, message) in [
            (
                json!({"spec": {"containers": [{"image": "busybox"}]}}),
                500,
                "map: map[image:busybox] does not contain declared merge key: name",
            ),
            (json!({"spec": {"$patch": "wibble"}}), 500, "unknown patch type: wibble in map: map[]"),
            (json!({"spec": {"$retainKeys": 1}}), 400, "invalid patch format of retainKeys"),
        ] {
            let status = apply(core("pods"), &spec(&["a"]), &patch).unwrap_err();
            assert_eq!((status.code, status.message.as_str()), (code, message));
        }
        assert_eq!(apply(core("pods"), &spec(&[]), &json!([])).unwrap_err().code, 400);
    }

    fn container() -> impl Strategy<Value = Value> {
        ("[a-d]", prop::option::of("[xy]"), prop::option::of(any::<bool>())).prop_map(|(name, image, tty)| {
            let mut entry = json!({ "name": name });
            if let Some(image) = image {
                entry["image"] = image.into();
            }
            if let Some(tty) = tty {
                entry["tty"] = tty.into();
            }
            entry
        })
    }

    fn pod() -> impl Strategy<Value = Value> {
        prop::collection::btree_map("[a-d]", container(), 0..4).prop_map(|entries| {
            let containers: Vec<Value> = entries
                .into_iter()
                .map(|(name, mut entry)| {
                    entry["name"] = name.into();
                    entry
                })
                .collect();
            json!({"metadata": {"labels": {"l": containers.len().to_string()}}, "spec": {"containers": containers}})
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_second_time_changes_nothing(old in pod(), patch in pod()) {
            let once = apply(core("pods"), &old, &patch).unwrap();
            prop_assert_eq!(apply(core("pods"), &once, &patch).unwrap(), once);
        }

        #[test]
        fn the_empty_patch_changes_nothing(old in pod()) {
            prop_assert_eq!(apply(core("pods"), &old, &json!({})).unwrap(), old);
        }
    }
}
