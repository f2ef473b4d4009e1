//! JSON patch (RFC 6902): a list of operations, applied in order, all or none.

use json_patch::{Patch, PatchOperation};
use remora_model::Status;
use serde_json::Value;

/// Upstream's limit of operations in one patch.
const OPERATIONS_MAX: usize = 10_000;
/// What all `copy` operations together may copy, in nodes and bytes: each could double the object.
const COPIED_MAX: usize = 3 * 1024 * 1024;

/// What the operations make of the object.
///
/// # Errors
/// 400 if it is no JSON patch, 413 if there are too many operations, 422 if one of them does not apply.
pub fn apply(old: &Value, patch: &Value) -> Result<Value, Status> {
    let count = patch.as_array().map_or(0, Vec::len);
    if count > OPERATIONS_MAX {
        let message = format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {count}");
        return Err(Status { message, ..Status::too_large(OPERATIONS_MAX) });
    }
    let Patch(operations): Patch = serde_json::from_value(patch.clone())
        .map_err(|why| Status::bad_request(format!("error decoding patch: {why}")))?;
    let mut made = old.clone();
    let mut copied = 0;
    for operation in operations {
        copied += copied_by(&made, &operation);
        if copied > COPIED_MAX {
            return Err(Status::rejected());
        }
        json_patch::patch(&mut made, &[operation]).map_err(|_| Status::rejected())?;
    }
    Ok(made)
}

fn copied_by(object: &Value, operation: &PatchOperation) -> usize {
    match operation {
        PatchOperation::Copy(copy) => copy.from.resolve(object).map_or(0, weight),
        _ => 0,
    }
}

/// About how many bytes a value takes.
fn weight(value: &Value) -> usize {
    8 + match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(map) => map.iter().map(|(k, v)| k.len() + weight(v)).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn code(patch: &Value) -> u16 {
        apply(&json!({"a": {"b": "x"}}), patch).map_or_else(|status| status.code, |_| 200)
    }

    #[test]
    fn operations_apply_in_order_or_not_at_all() {
        let patch = json!([{"op": "add", "path": "/l", "value": []}, {"op": "add", "path": "/l/-", "value": 1}, {"op": "remove", "path": "/a"}]);
        assert_eq!(apply(&json!({"a": 1}), &patch).unwrap(), json!({"l": [1]}));
        assert_eq!(code(&json!([{"op": "remove", "path": "/zz"}])), 422);
        assert_eq!(code(&json!([{"op": "test", "path": "/a/b", "value": "y"}])), 422);
        assert_eq!(code(&json!([{"op": "wibble", "path": "/a"}])), 400);
        assert_eq!(code(&json!({"op": "remove"})), 400);
    }

    #[test]
    fn patches_that_cost_too_much_are_refused() {
        let many: Vec<Value> = vec![json!({"op": "test", "path": "/a/b", "value": "x"}); OPERATIONS_MAX + 1];
        assert_eq!(code(&many.into()), 413);
        let doubling: Vec<Value> =
            (0..64).map(|i| json!({"op": "copy", "from": "", "path": format!("/a/{i}")})).collect();
        assert_eq!(code(&doubling.into()), 422);
    }
}
