//! JSON merge patch (RFC 7386).

use remora_model::Status;
use serde_json::Value;

/// What the patch makes of the object.
///
/// # Errors
/// 400 if the patch is no object.
pub fn apply(old: &Value, patch: &Value) -> Result<Value, Status> {
    if !patch.is_object() {
        return Err(Status::bad_request("Invalid JSON Patch"));
    }
    let mut made = old.clone();
    json_patch::merge(&mut made, patch);
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn members_are_set_merged_and_removed() {
        let old = json!({"a": {"b": 1, "c": 2}, "l": [1, 2]});
        let patch = json!({"a": {"b": null, "d": 3}, "l": [9], "n": {"x": null}});
        assert_eq!(apply(&old, &patch).unwrap(), json!({"a": {"c": 2, "d": 3}, "l": [9], "n": {}}));
        assert_eq!(apply(&old, &json!([])).unwrap_err().code, 400);
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), (0..3).prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[abc]", inner, 0..3).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    fn json_object() -> impl Strategy<Value = Value> {
        prop::collection::btree_map("[abc]", json_value(), 0..4).prop_map(|m| Value::Object(m.into_iter().collect()))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_second_time_changes_nothing(old in json_object(), patch in json_object()) {
            let once = apply(&old, &patch).unwrap();
            prop_assert_eq!(apply(&once, &patch).unwrap(), once);
        }

        #[test]
        fn the_empty_patch_changes_nothing(old in json_object()) {
            prop_assert_eq!(apply(&old, &json!({})).unwrap(), old);
        }
    }
}
