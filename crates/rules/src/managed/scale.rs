//! Who manages the number of replicas, when that is applied alone (`…/scale`; upstream: `ScaleHandler` of apimachinery's managedfields). A scale
//! is written in a version of its own, and so are its managers there; on the object they stand in the object's version.
//!
//! One thing differs: where a manager has the number and more, and keeps both, upstream writes two entries for it, and forgets one of them at
//! the next write.

use remora_model::Kind;
use remora_model::kinds::SCALE;
use serde_json::Value;

use super::entries::{Entries, Entry, Manager};
use super::put_managers;
use super::set::Set;

/// Where the number is, in a scale and in all kinds that have one.
fn replicas() -> Set {
    Set::path(&["spec", "replicas"])
}

fn has_replicas(entry: &Entry) -> bool {
    !entry.fields().intersection(&replicas()).is_empty()
}

/// The managers of an object's scale, as its `metadata.managedFields`; none if nobody manages the number.
pub fn of(kind: &Kind, object: &Value) -> Option<Value> {
    let version = kind.api_version();
    let mut out = Entries::default();
    for entry in Entries::of(object).iter().filter(|entry| entry.manager.api_version == version) {
        if has_replicas(entry) {
            out.put(in_version(&SCALE, &entry.manager), replicas(), entry.time.clone());
        }
    }
    out.encode()
}

/// Gives an object the managers of its scale: who is not among them does not manage the number any more.
pub fn put(kind: &Kind, object: &mut Value, scale: &Value) {
    let version = kind.api_version();
    let of_scale = Entries::of(scale);
    let managers: Vec<(Manager, &Entry)> =
        of_scale.iter().filter(|entry| has_replicas(entry)).map(|of| (in_version(kind, &of.manager), of)).collect();
    let mut entries = Entries::of(object);
    for entry in entries.iter_mut() {
        if !managers.iter().any(|(manager, _)| entry.manager.is(manager)) {
            entry.lose(&replicas());
        }
    }
    entries.retain(|entry| entry.manager.api_version == version);
    for (manager, entry) in managers {
        if entries.find(&manager).is_none() {
            entries.put(manager, replicas(), entry.time.clone());
        }
    }
    put_managers(object, entries);
}

fn in_version(kind: &Kind, manager: &Manager) -> Manager {
    Manager { api_version: kind.api_version(), ..manager.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::kinds;
    use serde_json::json;

    fn entry(manager: &str, operation: &str, version: &str, fields: Value) -> Value {
        json!({
            "manager": manager, "operation": operation, "apiVersion": version, "time": "2026-01-02T03:04:05Z", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": fields},
        })
    }

    fn with(entries: Value) -> Value {
        json!({"metadata": {"managedFields": entries}})
    }

    #[test]
    fn a_scale_has_the_managers_of_the_number_in_its_own_version() {
        let deployments = kinds::v1("apps", "deployments");
        let object = with(json!([
            entry("a", "Apply", "apps/v1", json!({"f:replicas": {}})),
            entry("m", "Update", "apps/v1", json!({"f:replicas": {}, "f:paused": {}})),
            entry("n", "Update", "apps/v1", json!({"f:paused": {}})),
            entry("o", "Update", "apps/v1beta1", json!({"f:replicas": {}})),
        ]));
        let expected = json!([
            entry("a", "Apply", "autoscaling/v1", json!({"f:replicas": {}})),
            entry("m", "Update", "autoscaling/v1", json!({"f:replicas": {}})),
        ]);
        assert_eq!(of(deployments, &object), Some(expected));
        assert_eq!(of(deployments, &json!({})), None);
    }

    #[test]
    fn who_keeps_the_number_keeps_all_and_who_loses_it_keeps_the_rest() {
        let deployments = kinds::v1("apps", "deployments");
        let before = with(json!([
            entry("keeps", "Update", "apps/v1", json!({"f:replicas": {}, "f:paused": {}})),
            entry("loses", "Update", "apps/v1", json!({"f:replicas": {}, "f:paused": {}})),
            entry("only", "Update", "apps/v1", json!({"f:replicas": {}})),
        ]));
        let scale = with(json!([
            entry("new", "Apply", "autoscaling/v1", json!({"f:replicas": {}})),
            entry("keeps", "Update", "autoscaling/v1", json!({"f:replicas": {}})),
        ]));
        let mut object = before;
        put(deployments, &mut object, &scale);
        let expected = json!([
            entry("new", "Apply", "apps/v1", json!({"f:replicas": {}})),
            entry("keeps", "Update", "apps/v1", json!({"f:paused": {}, "f:replicas": {}})),
            entry("loses", "Update", "apps/v1", json!({"f:paused": {}})),
        ]);
        assert_eq!(object["metadata"]["managedFields"], expected);
    }
}
