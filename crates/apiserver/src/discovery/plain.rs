//! The old discovery documents: `APIVersions`, `APIGroupList`, `APIGroup`, `APIResourceList`. Pure.

use remora_model::Kind;
use remora_model::kinds::{KINDS, Subresource, Verb};
use serde_json::{Map, Value, json};

/// The groups but the core one, each with its one version, in the order of the table.
pub(super) fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    for kind in KINDS.iter().filter(|k| !k.group.is_empty()) {
        if !found.contains(&(kind.group, kind.version)) {
            found.push((kind.group, kind.version));
        }
    }
    found
}

/// `/`
pub(super) fn paths() -> Value {
    let mut paths: Vec<String> = vec!["/api".into(), "/api/v1".into(), "/apis".into()];
    for (group, version) in group_versions() {
        paths.extend([format!("/apis/{group}"), format!("/apis/{group}/{version}")]);
    }
    let more = ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"];
    paths.extend(more.map(str::to_owned));
    json!({ "paths": paths })
}

/// `/api`
pub(super) fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

/// `/apis`
pub(super) fn groups() -> Value {
    let mut names: Vec<&str> = group_versions().into_iter().map(|(group, _)| group).collect();
    names.dedup();
    let groups: Vec<Value> = names.into_iter().filter_map(group_entry).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`
pub(super) fn group(name: &str) -> Option<Value> {
    let mut entry = group_entry(name)?;
    entry["kind"] = "APIGroup".into();
    entry["apiVersion"] = "v1".into();
    Some(entry)
}

fn group_entry(name: &str) -> Option<Value> {
    let all = group_versions();
    let versions = all.iter().filter(|(group, _)| *group == name);
    let versions: Vec<Value> = versions
        .map(|(group, version)| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    let preferred = versions.first()?.clone();
    Some(json!({"name": name, "versions": versions, "preferredVersion": preferred}))
}

/// `/api/VERSION`, `/apis/GROUP/VERSION`
pub(super) fn resources(group: &str, version: &str) -> Value {
    let kinds: Vec<&Kind> = KINDS.iter().filter(|k| k.group == group && k.version == version).collect();
    let group_version = kinds.first().map(|k| k.api_version()).unwrap_or_default();
    let mut resources = Vec::new();
    for kind in kinds {
        resources.push(resource(kind));
        resources.extend(kind.subresources.iter().map(|sub| subresource(kind, sub)));
    }
    let mut list = json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": resources});
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    list
}

/// The words of verbs.
pub(super) fn words(verbs: &[Verb]) -> Vec<&'static str> {
    verbs.iter().map(|v| v.as_str()).collect()
}

fn resource(kind: &Kind) -> Value {
    let mut entry = json!({
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": words(kind.verbs),
    });
    set_names(&mut entry, kind);
    entry
}

/// Short names and categories, if there are any.
pub(super) fn set_names(entry: &mut Value, kind: &Kind) {
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
}

fn subresource(kind: &Kind, sub: &Subresource) -> Value {
    let mut entry = Map::new();
    entry.insert("name".into(), format!("{}/{}", kind.plural, sub.name).into());
    entry.insert("singularName".into(), "".into());
    entry.insert("namespaced".into(), kind.namespaced.into());
    if !sub.version.is_empty() {
        entry.insert("group".into(), sub.group.into());
        entry.insert("version".into(), sub.version.into());
    }
    entry.insert("kind".into(), sub.kind.into());
    entry.insert("verbs".into(), json!(words(sub.verbs)));
    entry.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_name_their_subresources() {
        let list = resources("", "v1");
        let names: Vec<&str> =
            list["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
        assert!(names.contains(&"pods/ephemeralcontainers") && names.contains(&"serviceaccounts/token"), "{names:?}");
        assert_eq!((&list["groupVersion"], list.get("apiVersion")), (&json!("v1"), None));
    }

    #[test]
    fn every_group_is_listed_once() {
        let list = groups();
        let names: Vec<&str> = list["groups"].as_array().unwrap().iter().filter_map(|g| g["name"].as_str()).collect();
        let expected = [
            "apps",
            "authentication.k8s.io",
            "authorization.k8s.io",
            "coordination.k8s.io",
            "discovery.k8s.io",
            "events.k8s.io",
            "metrics.k8s.io",
            "node.k8s.io",
            "policy",
            "rbac.authorization.k8s.io",
            "scheduling.k8s.io",
            "storage.k8s.io",
        ];
        assert_eq!(names, expected);
        assert_eq!(group("events.k8s.io").unwrap()["preferredVersion"]["groupVersion"], "events.k8s.io/v1");
        assert!(group("none").is_none());
    }
}
