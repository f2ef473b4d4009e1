//! A deployment and its replica sets, as numbers and as words: which one is of the present template, which are older, of what revision, how
//! large they may be, what they are annotated with. Pure. Source of the rules: upstream's `deployment_util.go`.

use std::collections::BTreeMap;
use std::hash::Hasher;

use fnv::FnvHasher;
use remora_model::kinds;
use remora_rules::int_or_percent::{self, Round};
use remora_rules::object::{at, field_mut, integer, object_mut, remove, set, text};
use serde_json::{Value, json};

use crate::objects::controller_reference;

pub(super) const HASH_LABEL: &str = "pod-template-hash";
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Not passed on to replica sets.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];
/// Letters of names: no vowels and no look-alikes.
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const LONGEST_NAME: usize = 253;
const LONGEST_HISTORY: usize = 2000;

/// How many pods an object wants.
pub(super) fn replicas(object: &Value) -> i64 {
    integer(object, &["spec", "replicas"]).unwrap_or(1)
}

/// A number of the status.
pub(super) fn counted(object: &Value, field: &str) -> i64 {
    integer(object, &["status", field]).unwrap_or_default()
}

/// How many pods some replica sets want together.
pub(super) fn wanted(sets: &[Value]) -> i64 {
    sets.iter().map(replicas).sum()
}

/// A number of the status of some replica sets, together.
pub(super) fn total(sets: &[Value], field: &str) -> i64 {
    sets.iter().map(|set| counted(set, field)).sum()
}

/// Whether pods are replaced bit by bit.
pub(super) fn is_rolling(deployment: &Value) -> bool {
    text(deployment, &["spec", "strategy", "type"]) == "RollingUpdate"
}

/// How many pods there may be more than wanted, and how many fewer may be available.
fn fences(deployment: &Value) -> (i64, i64) {
    let rolling = at(deployment, &["spec", "strategy", "rollingUpdate"]);
    let of =
        |field: &str, round| int_or_percent::of(at(rolling, &[field]), replicas(deployment), round).unwrap_or_default();
    match (of("maxSurge", Round::Up), of("maxUnavailable", Round::Down)) {
        // Both may round to nothing, and then nothing would ever happen.
        (0, 0) => (0, 1),
        fences => fences,
    }
}

/// How many pods there may be more than wanted.
pub(super) fn max_surge(deployment: &Value) -> i64 {
    if is_rolling(deployment) { fences(deployment).0 } else { 0 }
}

/// How many fewer pods than wanted may be available.
pub(super) fn max_unavailable(deployment: &Value) -> i64 {
    match is_rolling(deployment) {
        true => fences(deployment).1.min(replicas(deployment)),
        false => 0,
    }
}

/// A deployment's replica sets: the one of its present template, and all others, the oldest first.
pub(super) fn split(deployment: &Value, mut all: Vec<Value>) -> (Option<Value>, Vec<Value>) {
    sort_by_age(&mut all);
    let wanted = bare_template(deployment);
    let new = all.iter().position(|set| bare_template(set) == wanted).map(|i| all.remove(i));
    (new, all)
}

/// The oldest first.
pub(super) fn sort_by_age(sets: &mut [Value]) {
    let age = |set: &Value| {
        (text(set, &["metadata", "creationTimestamp"]).to_owned(), text(set, &["metadata", "name"]).to_owned())
    };
    sets.sort_by_key(age);
}

/// The template without the label that tells replica sets apart.
fn bare_template(object: &Value) -> Value {
    let mut template = at(object, &["spec", "template"]).clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels") {
        remove(labels, HASH_LABEL);
    }
    template
}

/// The revision of a replica set; 0 for none.
pub(super) fn revision(set: &Value) -> i64 {
    annotation(set, REVISION).parse().unwrap_or_default()
}

/// The highest revision.
pub(super) fn max_revision(sets: &[Value]) -> i64 {
    sets.iter().map(revision).max().unwrap_or_default()
}

fn annotation<'v>(object: &'v Value, name: &str) -> &'v str {
    text(object, &["metadata", "annotations", name])
}

/// The number that a replica set's annotation says, if it says one.
fn noted(set: &Value, name: &str) -> Option<i64> {
    annotation(set, name).parse::<i32>().ok().filter(|number| *number >= 0).map(i64::from)
}

/// How many pods its deployment wanted when this was last written.
pub(super) fn desired(set: &Value) -> Option<i64> {
    noted(set, DESIRED)
}

/// How many pods its deployment could have when this was last written.
pub(super) fn max_before(set: &Value) -> Option<i64> {
    noted(set, MAX)
}

/// The replica set with another size, and the deployment's size noted on it.
pub(super) fn sized(deployment: &Value, old: &Value, size: i64) -> Value {
    let mut new = old.clone();
    set(field_mut(&mut new, "spec"), "replicas", size.into());
    note_size(deployment, &mut new);
    new
}

fn note_size(deployment: &Value, object: &mut Value) {
    let wanted = replicas(deployment);
    let annotations = object_mut(field_mut(object, "metadata"), "annotations");
    annotations.insert(DESIRED.to_owned(), wanted.to_string().into());
    annotations.insert(MAX.to_owned(), (wanted + max_surge(deployment)).to_string().into());
}

/// The replica set of the present template with all that its deployment passes on to it, as the newest revision.
pub(super) fn renewed(deployment: &Value, old: &Value, newest: i64) -> Value {
    let mut new = old.clone();
    copy_annotations(deployment, &mut new);
    number(&mut new, newest);
    let seconds = at(deployment, &["spec", "minReadySeconds"]).clone();
    set(field_mut(&mut new, "spec"), "minReadySeconds", seconds);
    new
}

fn copy_annotations(deployment: &Value, to: &mut Value) {
    let passed: Vec<(String, Value)> = at(deployment, &["metadata", "annotations"])
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !OWN.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if !passed.is_empty() {
        object_mut(field_mut(to, "metadata"), "annotations").extend(passed);
    }
}

/// Gives it a revision, unless it has a higher one. Those that it had before are kept, as long as there is room.
fn number(object: &mut Value, newest: i64) {
    let before = annotation(object, REVISION).to_owned();
    if revision(object) >= newest {
        return;
    }
    let history = annotation(object, HISTORY).to_owned();
    let annotations = object_mut(field_mut(object, "metadata"), "annotations");
    annotations.insert(REVISION.to_owned(), newest.to_string().into());
    if !before.is_empty() {
        annotations.insert(HISTORY.to_owned(), longer(&history, &before).into());
    }
}

fn longer(history: &str, revision: &str) -> String {
    let mut kept: Vec<&str> = history.split(',').filter(|word| !word.is_empty()).chain([revision]).collect();
    while kept.len() > 1 && kept.iter().map(|word| word.len() + 1).sum::<usize>() > LONGEST_HISTORY {
        kept.remove(0);
    }
    kept.join(",")
}

/// A new replica set of the present template.
pub(super) fn made(deployment: &Value, revision: i64, size: i64) -> Value {
    let hash = template_hash(at(deployment, &["spec", "template"]), counted(deployment, "collisionCount"));
    let mut template = at(deployment, &["spec", "template"]).clone();
    object_mut(field_mut(&mut template, "metadata"), "labels").insert(HASH_LABEL.to_owned(), hash.clone().into());
    let mut selector = at(deployment, &["spec", "selector"]).clone();
    object_mut(&mut selector, "matchLabels").insert(HASH_LABEL.to_owned(), hash.clone().into());
    let mut new = json!({
        "kind": "ReplicaSet", "apiVersion": "apps/v1",
        "metadata": {
            "name": name(text(deployment, &["metadata", "name"]), &hash),
            "namespace": text(deployment, &["metadata", "namespace"]),
            "labels": template["metadata"]["labels"],
            "ownerReferences": [controller_reference(kinds::v1("apps", "deployments"), deployment)],
        },
        "spec": {"replicas": size, "selector": selector, "template": template},
    });
    set(field_mut(&mut new, "spec"), "minReadySeconds", at(deployment, &["spec", "minReadySeconds"]).clone());
    copy_annotations(deployment, &mut new);
    number(&mut new, revision);
    note_size(deployment, &mut new);
    new
}

/// The deployment's name, cut if need be, and the hash.
fn name(deployment: &str, hash: &str) -> String {
    let room = LONGEST_NAME.saturating_sub(hash.len() + 1);
    format!("{}-{hash}", deployment.get(..room).unwrap_or(deployment))
}

/// A short word for a template: the hash of Fowler, Noll and Vo, folded to 32 bits, in letters that make no words. Ours is of the template's JSON, whose
/// members are in order; it tells templates apart as upstream's does, and has other values.
fn template_hash(template: &Value, collisions: i64) -> String {
    let sorted = sorted(template).to_string();
    let mut hash = FnvHasher::default();
    hash.write(sorted.as_bytes());
    if collisions > 0 {
        hash.write(collisions.to_string().as_bytes());
    }
    let hash = hash.finish();
    let folded = (hash >> 32) ^ (hash & u64::from(u32::MAX));
    folded.to_string().bytes().map(|digit| char::from(SAFE[usize::from(digit) % SAFE.len()])).collect()
}

/// With the members of all objects in order, whichever map holds them.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let ordered: BTreeMap<&String, Value> =
                members.iter().map(|(name, member)| (name, sorted(member))).collect();
            ordered.into_iter().map(|(name, member)| (name.clone(), member)).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
