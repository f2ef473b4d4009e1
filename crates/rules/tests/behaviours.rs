//! The 47 recorded pods (`data/behaviours.json`: specs, statuses and what kubectl showed of them on Kubernetes v1.34.4):
//! each is accepted, its class is the recorded one, its status is in canonical form, and our table shows the same.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

use jiff::Timestamp;
use remora_model::canonical::canonicalize;
use remora_model::json::Parsed;
use remora_model::kinds::core;
use remora_model::schema::type_of;
use remora_rules::decode::{self, FieldValidation};
use remora_rules::pod;
use remora_rules::strategy::{Ctx, strategy};
use remora_rules::table;
use serde_json::{Value, json};

fn ctx() -> Ctx {
    Ctx { now: Timestamp::UNIX_EPOCH, uid: "u".to_owned(), suffix: "xxxxx".to_owned() }
}

fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("data/behaviours.json")).unwrap()
}

/// The pod as the API server would store it, then with its ephemeral containers added one by one.
fn stored(case: &Value) -> Value {
    let pods = core("pods");
    let body = json!({"metadata": {"name": case["name"], "namespace": "behaviours"}, "spec": case["spec"]});
    let parsed = Parsed { value: body, duplicates: Vec::new() };
    let mut object = decode::body(pods, parsed, FieldValidation::Strict).unwrap().object;
    pod::admission::admit(&mut object, Some(&json!({})), "xxxxx").unwrap();
    pod::priority::admit(&mut object, &[]).unwrap();
    let mut object = strategy(pods, "").unwrap().create(pods, object, &ctx()).unwrap();
    for container in case["ephemeralContainers"].as_array().unwrap() {
        let mut wanted = object.clone();
        match wanted["spec"].get_mut("ephemeralContainers") {
            Some(list) => list.as_array_mut().unwrap().push(container.clone()),
            None => wanted["spec"]["ephemeralContainers"] = json!([container]),
        }
        let parsed = Parsed { value: wanted, duplicates: Vec::new() };
        let wanted = decode::body(pods, parsed, FieldValidation::Strict).unwrap().object;
        object = pod::ephemeral::update_ephemeral_containers(&object, wanted, &ctx()).unwrap();
    }
    object
}

#[test]
fn every_recorded_pod_is_accepted_with_its_recorded_class() {
    for case in cases() {
        let object = stored(&case);
        assert_eq!(object["status"]["qosClass"], case["status"]["qosClass"], "{}", case["name"]);
        let generation = 1 + case["ephemeralContainers"].as_array().unwrap().len();
        assert_eq!(object["metadata"]["generation"], generation, "{}", case["name"]);
    }
}

#[test]
fn every_recorded_status_is_in_canonical_form() {
    for case in cases() {
        let canonical = canonicalize(type_of("PodStatus").unwrap(), case["status"].clone()).unwrap();
        assert!(canonical.unknown.is_empty(), "{}: {:?}", case["name"], canonical.unknown);
        // The recordings leave times out; canonical form writes those that are not pointers as null.
        assert_eq!(without_nulls(canonical.value), case["status"], "{}", case["name"]);
    }
}

#[test]
fn every_recorded_pod_is_shown_as_kubectl_showed_it() {
    for case in cases() {
        let mut object = stored(&case);
        object["status"] = case["status"].clone();
        let cells = table::cells(core("pods"), &object, ctx().now);
        let shown = json!({"ready": cells[1], "status": cells[2]});
        assert_eq!(shown, case["kubectlGetPods"], "{}", case["name"]);
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let set = map.into_iter().filter(|(_, v)| !v.is_null());
            Value::Object(set.map(|(k, v)| (k, without_nulls(v))).collect())
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
