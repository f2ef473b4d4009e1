//! The cells of what holds data.

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{age, name, or};
use crate::kinds::storage_class::default_of;
use crate::object::{at, flag, list, text};

const SHORT: [(&str, &str); 4] =
    [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];

pub(super) fn volume(object: &Value, now: Timestamp) -> Vec<Value> {
    let claim = match at(object, &["spec", "claimRef"]) {
        Value::Null => String::new(),
        claim => format!("{}/{}", text(claim, &["namespace"]), text(claim, &["name"])),
    };
    vec![
        name(object),
        or(text(object, &["spec", "capacity", "storage"]), "0").into(),
        modes(at(object, &["spec"])),
        text(object, &["spec", "persistentVolumeReclaimPolicy"]).into(),
        phase(object),
        claim.into(),
        text(object, &["spec", "storageClassName"]).into(),
        or(text(object, &["spec", "volumeAttributesClassName"]), "<unset>").into(),
        text(object, &["status", "reason"]).into(),
        age(object, now),
        or(text(object, &["spec", "volumeMode"]), "<unset>").into(),
    ]
}

pub(super) fn claim(object: &Value, now: Timestamp) -> Vec<Value> {
    let is_bound = !text(object, &["spec", "volumeName"]).is_empty();
    let capacity = if is_bound { text(object, &["status", "capacity", "storage"]) } else { "" };
    let short = if is_bound { modes(at(object, &["status"])) } else { "".into() };
    vec![
        name(object),
        phase(object),
        text(object, &["spec", "volumeName"]).into(),
        if is_bound { or(capacity, "0").into() } else { "".into() },
        short,
        text(object, &["spec", "storageClassName"]).into(),
        or(text(object, &["spec", "volumeAttributesClassName"]), "<unset>").into(),
        age(object, now),
        or(text(object, &["spec", "volumeMode"]), "<unset>").into(),
    ]
}

pub(super) fn class(object: &Value, now: Timestamp) -> Vec<Value> {
    let is_default = default_of(std::slice::from_ref(object)).is_some();
    let shown = format!("{}{}", text(object, &["metadata", "name"]), if is_default { " (default)" } else { "" });
    vec![
        shown.into(),
        text(object, &["provisioner"]).into(),
        or(text(object, &["reclaimPolicy"]), "Delete").into(),
        or(text(object, &["volumeBindingMode"]), "Immediate").into(),
        flag(object, &["allowVolumeExpansion"]).into(),
        age(object, now),
    ]
}

fn phase(object: &Value) -> Value {
    let is_ending = !at(object, &["metadata", "deletionTimestamp"]).is_null();
    if is_ending { "Terminating".into() } else { text(object, &["status", "phase"]).into() }
}

/// In upstream's order, each once.
fn modes(of: &Value) -> Value {
    let modes = list(of, &["accessModes"]);
    let short = SHORT.iter().filter(|(mode, _)| modes.iter().any(|given| given == mode)).map(|(_, short)| *short);
    short.collect::<Vec<_>>().join(",").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn volumes_and_claims_are_shown_in_short() {
        let volume_of_claim = json!({
            "metadata": {"name": "v"},
            "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"], "volumeMode": "Filesystem",
                "persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": "a", "name": "c"},
            },
            "status": {"phase": "Bound"},
        });
        let cells = volume(&volume_of_claim, Timestamp::UNIX_EPOCH);
        let expected = ["v", "1Gi", "RWO,RWX", "Retain", "Bound", "a/c", "", "<unset>", ""];
        assert_eq!(cells[..9], expected.map(Value::from));
        let open = json!({"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"]}, "status": {"phase": "Pending"}});
        let cells = claim(&open, Timestamp::UNIX_EPOCH);
        assert_eq!(cells[..7], ["c", "Pending", "", "", "", "", "<unset>"].map(Value::from));
    }
}
