//! The cells of what runs pods, and of what scales it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::cells::{age, name, or};
use crate::object::{at, integer, list, text, typed};
use crate::selector::labels;

fn number(object: &Value, path: &[&str]) -> i64 {
    integer(object, path).unwrap_or_default()
}

pub(super) fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let ready = format!("{}/{}", number(object, &["status", "readyReplicas"]), number(object, &["spec", "replicas"]));
    let mut cells = vec![
        name(object),
        ready.into(),
        number(object, &["status", "updatedReplicas"]).into(),
        number(object, &["status", "availableReplicas"]).into(),
        age(object, now),
    ];
    cells.extend(containers(object));
    cells.push(labels::text(&typed(at(object, &["spec", "selector"]))).into());
    cells
}

pub(super) fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = vec![
        name(object),
        number(object, &["spec", "replicas"]).into(),
        number(object, &["status", "replicas"]).into(),
        number(object, &["status", "readyReplicas"]).into(),
        age(object, now),
    ];
    cells.extend(containers(object));
    cells.push(or(&labels::text(&typed(at(object, &["spec", "selector"]))), "<none>").into());
    cells
}

pub(super) fn pod_template(object: &Value, _: Timestamp) -> Vec<Value> {
    let mut cells = vec![name(object)];
    cells.extend(containers_of(at(object, &["template"])));
    // As a selector of such pods is written.
    let chosen = LabelSelector {
        match_labels: typed(at(object, &["template", "metadata", "labels"])),
        ..LabelSelector::default()
    };
    cells.push(or(&labels::text(&chosen), "<none>").into());
    cells
}

pub(super) fn scale(object: &Value, now: Timestamp) -> Vec<Value> {
    let [desired, available] = ["spec", "status"].map(|part| number(object, &[part, "replicas"]).into());
    vec![name(object), desired, available, age(object, now)]
}

pub(super) fn disruption_budget(object: &Value, now: Timestamp) -> Vec<Value> {
    let amount = |field: &str| match at(object, &["spec", field]) {
        Value::Null => "N/A".into(),
        Value::String(percent) => Value::from(percent.as_str()),
        number => number.to_string().into(),
    };
    vec![
        name(object),
        amount("minAvailable"),
        amount("maxUnavailable"),
        number(object, &["status", "disruptionsAllowed"]).into(),
        age(object, now),
    ]
}

/// Names and images of the template's containers.
fn containers(object: &Value) -> [Value; 2] {
    containers_of(at(object, &["spec", "template"]))
}

fn containers_of(template: &Value) -> [Value; 2] {
    let all = list(template, &["spec", "containers"]);
    ["name", "image"].map(|field| all.iter().map(|one| text(one, &[field])).collect::<Vec<_>>().join(",").into())
}
