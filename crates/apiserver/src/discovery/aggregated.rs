//! Aggregated discovery (KEP-3352): all resources of all groups in one `APIGroupDiscoveryList`. Pure.

use remora_model::Kind;
use remora_model::kinds::{KINDS, Subresource};
use serde_json::{Value, json};

use super::plain::{group_versions, set_names, words};

/// The content type of a document, which clients look at.
pub(super) fn content_type(version: &str) -> &'static str {
    match version {
        "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    }
}

/// The core group, or all others.
pub(super) fn groups(is_core: bool, version: &str) -> Value {
    let all = if is_core { vec![("", "v1")] } else { group_versions() };
    let items: Vec<Value> = all.into_iter().map(|(group, version)| item(group, version)).collect();
    let api_version = format!("apidiscovery.k8s.io/{version}");
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items})
}

fn item(group: &str, version: &str) -> Value {
    let kinds = KINDS.iter().filter(|k| k.group == group && k.version == version);
    let resources: Vec<Value> = kinds.map(resource).collect();
    let metadata = if group.is_empty() { json!({}) } else { json!({ "name": group }) };
    let versions = json!([{"version": version, "resources": resources, "freshness": "Current"}]);
    json!({"metadata": metadata, "versions": versions})
}

fn resource(kind: &Kind) -> Value {
    let mut entry = json!({
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": words(kind.verbs),
    });
    set_names(&mut entry, kind);
    if !kind.subresources.is_empty() {
        entry["subresources"] = kind.subresources.iter().map(|sub| subresource(kind, sub)).collect();
    }
    entry
}

fn subresource(kind: &Kind, sub: &Subresource) -> Value {
    let (group, version) = if sub.version.is_empty() { (kind.group, kind.version) } else { (sub.group, sub.version) };
    json!({
        "subresource": sub.name,
        "responseKind": {"group": group, "version": version, "kind": sub.kind},
        "verbs": words(sub.verbs),
    })
}
