//! The definitions: k8s-openapi's schemas under upstream's names, with what Kubernetes' clients look for: kinds
//! (`x-kubernetes-group-version-kind`) and merge keys (from `remora_model::schema`). Pure.

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::authentication::v1 as authentication;
use k8s_openapi::api::authorization::v1 as authorization;
use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::events::v1 as events;
use k8s_openapi::api::node::v1 as node;
use k8s_openapi::api::policy::v1 as policy;
use k8s_openapi::api::rbac::v1 as rbac;
use k8s_openapi::api::scheduling::v1 as scheduling;
use k8s_openapi::api::storage::v1 as storage;
use remora_model::Kind;
use remora_model::kinds::{METRICS_GROUP, RBAC_GROUP};
use remora_model::schema::{Merge, Type, type_of};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::{Dialect, metrics};

const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";

/// Where definitions stand in a document, as references to them have it.
pub(super) fn reference(dialect: Dialect, name: &str) -> String {
    match dialect {
        Dialect::V2 => format!("#/definitions/{name}"),
        Dialect::V3 => format!("#/components/schemas/{name}"),
    }
}

/// The definitions of these kinds and of all that they are made of.
pub(super) fn definitions(dialect: Dialect, kinds: &[&'static Kind]) -> Map<String, Value> {
    let mut settings = SchemaSettings::openapi3();
    settings.definitions_path = match dialect {
        Dialect::V2 => "/definitions".into(),
        Dialect::V3 => "/components/schemas".into(),
    };
    settings.transforms.clear();
    let mut generator = SchemaGenerator::new(settings);
    for kind in kinds {
        register(kind, &mut generator);
    }
    let mut found = generator.take_definitions(false);
    for (name, definition) in &mut found {
        finish(dialect, name, definition);
    }
    for kind in kinds {
        let gvk = json!([{"group": kind.group, "kind": kind.kind, "version": kind.version}]);
        if let Some(definition) = definition_name(kind).and_then(|name| found.get_mut(&name)) {
            definition["x-kubernetes-group-version-kind"] = gvk;
        }
    }
    found
}

/// Upstream's name for a kind's definition.
pub(super) fn definition_name(kind: &Kind) -> Option<String> {
    let settings = SchemaSettings::openapi3();
    let schema = register(kind, &mut SchemaGenerator::new(settings))?;
    schema.as_value().get("$ref")?.as_str()?.rsplit('/').next().map(str::to_owned)
}

/// Adds a kind's definition; a kind of the table that is missing here is found by a test.
fn register(kind: &Kind, generator: &mut SchemaGenerator) -> Option<schemars::Schema> {
    Some(match (kind.group, kind.kind) {
        ("", "ConfigMap") => generator.subschema_for::<core::ConfigMap>(),
        ("", "Endpoints") => generator.subschema_for::<core::Endpoints>(),
        ("", "Event") => generator.subschema_for::<core::Event>(),
        ("", "LimitRange") => generator.subschema_for::<core::LimitRange>(),
        ("", "Namespace") => generator.subschema_for::<core::Namespace>(),
        ("", "Node") => generator.subschema_for::<core::Node>(),
        ("", "PersistentVolume") => generator.subschema_for::<core::PersistentVolume>(),
        ("", "PersistentVolumeClaim") => generator.subschema_for::<core::PersistentVolumeClaim>(),
        ("", "Pod") => generator.subschema_for::<core::Pod>(),
        ("", "PodTemplate") => generator.subschema_for::<core::PodTemplate>(),
        ("", "ResourceQuota") => generator.subschema_for::<core::ResourceQuota>(),
        ("", "Secret") => generator.subschema_for::<core::Secret>(),
        ("", "Service") => generator.subschema_for::<core::Service>(),
        ("", "ServiceAccount") => generator.subschema_for::<core::ServiceAccount>(),
        ("apps", "Deployment") => generator.subschema_for::<apps::Deployment>(),
        ("apps", "ReplicaSet") => generator.subschema_for::<apps::ReplicaSet>(),
        ("authentication.k8s.io", "SelfSubjectReview") => {
            generator.subschema_for::<authentication::SelfSubjectReview>()
        }
        ("authentication.k8s.io", "TokenReview") => generator.subschema_for::<authentication::TokenReview>(),
        ("authorization.k8s.io", "LocalSubjectAccessReview") => {
            generator.subschema_for::<authorization::LocalSubjectAccessReview>()
        }
        ("authorization.k8s.io", "SelfSubjectAccessReview") => {
            generator.subschema_for::<authorization::SelfSubjectAccessReview>()
        }
        ("authorization.k8s.io", "SelfSubjectRulesReview") => {
            generator.subschema_for::<authorization::SelfSubjectRulesReview>()
        }
        ("authorization.k8s.io", "SubjectAccessReview") => {
            generator.subschema_for::<authorization::SubjectAccessReview>()
        }
        ("coordination.k8s.io", "Lease") => generator.subschema_for::<coordination::Lease>(),
        ("discovery.k8s.io", "EndpointSlice") => generator.subschema_for::<discovery::EndpointSlice>(),
        ("events.k8s.io", "Event") => generator.subschema_for::<events::Event>(),
        (METRICS_GROUP, "NodeMetrics") => generator.subschema_for::<metrics::NodeMetrics>(),
        (METRICS_GROUP, "PodMetrics") => generator.subschema_for::<metrics::PodMetrics>(),
        ("node.k8s.io", "RuntimeClass") => generator.subschema_for::<node::RuntimeClass>(),
        ("policy", "PodDisruptionBudget") => generator.subschema_for::<policy::PodDisruptionBudget>(),
        ("scheduling.k8s.io", "PriorityClass") => generator.subschema_for::<scheduling::PriorityClass>(),
        ("storage.k8s.io", "StorageClass") => generator.subschema_for::<storage::StorageClass>(),
        (RBAC_GROUP, "ClusterRole") => generator.subschema_for::<rbac::ClusterRole>(),
        (RBAC_GROUP, "ClusterRoleBinding") => generator.subschema_for::<rbac::ClusterRoleBinding>(),
        (RBAC_GROUP, "Role") => generator.subschema_for::<rbac::Role>(),
        (RBAC_GROUP, "RoleBinding") => generator.subschema_for::<rbac::RoleBinding>(),
        _ => return None,
    })
}

/// Brings one definition into Kubernetes' form.
fn finish(dialect: Dialect, name: &str, definition: &mut Value) {
    match name {
        QUANTITY | INT_OR_STRING => {
            let description = definition.get("description").cloned().unwrap_or_default();
            *definition = int_or_string(dialect, name == INT_OR_STRING);
            definition["description"] = description;
            return;
        }
        _ => wrap_references(dialect, definition),
    }
    loosen_metadata(definition);
    if let Some(of) = go_type(name) {
        add_merge_keys(definition, of);
    }
}

fn int_or_string(dialect: Dialect, is_int: bool) -> Value {
    match (dialect, is_int) {
        (Dialect::V2, true) => json!({"type": "string", "format": "int-or-string"}),
        (Dialect::V2, false) => json!({"type": "string"}),
        (Dialect::V3, true) => json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
        (Dialect::V3, false) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
    }
}

/// OpenAPI 3.0 ignores what stands beside `$ref`, so that upstream wraps the reference; 2.0 documents leave it.
fn wrap_references(dialect: Dialect, value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(|v| wrap_references(dialect, v));
            if dialect == Dialect::V3 && map.len() > 1 && map.get("$ref").is_some_and(Value::is_string) {
                let reference = map.remove("$ref").unwrap_or_default();
                map.insert("allOf".to_owned(), json!([{ "$ref": reference }]));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|v| wrap_references(dialect, v)),
        _ => {}
    }
}

/// k8s-openapi requires the metadata of objects, upstream does not.
fn loosen_metadata(definition: &mut Value) {
    let is_object = definition.pointer("/properties/apiVersion").is_some();
    let Some(map) = definition.as_object_mut().filter(|_| is_object) else { return };
    if let Some(required) = map.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| name != "metadata");
        if required.is_empty() {
            map.remove("required");
        }
    }
}

/// Our table's type for a definition.
fn go_type(name: &str) -> Option<&'static Type> {
    let word = name.rsplit('.').next()?;
    let group = [("io.k8s.api.events.v1.", "events.k8s.io"), ("io.k8s.api.discovery.v1.", "discovery.k8s.io")];
    let of_group = group
        .iter()
        .filter(|(place, _)| name.starts_with(place))
        .find_map(|(_, group)| type_of(&format!("{group}/{word}")));
    of_group.or_else(|| type_of(word))
}

fn add_merge_keys(definition: &mut Value, of: &Type) {
    let Some(properties) = definition.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for field in &of.fields {
        let Some(property) = properties.get_mut(field.name) else { continue };
        let merges = match field.merge {
            Merge::Replace => None,
            Merge::Set => Some("merge"),
            Merge::ByKey(key) => {
                property["x-kubernetes-patch-merge-key"] = key.into();
                Some("merge")
            }
        };
        let words: Vec<&str> = merges.into_iter().chain(field.retain_keys.then_some("retainKeys")).collect();
        if !words.is_empty() {
            property["x-kubernetes-patch-strategy"] = words.join(",").into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::kinds::{KINDS, core as core_kind};

    #[test]
    fn every_kind_has_a_definition() {
        for kind in KINDS {
            assert!(definition_name(kind).is_some(), "{} of {:?}", kind.kind, kind.group);
        }
    }

    #[test]
    fn definitions_have_what_kubectl_looks_for() {
        let found = definitions(Dialect::V3, &[core_kind("pods")]);
        let pod = &found["io.k8s.api.core.v1.Pod"];
        assert_eq!(pod["x-kubernetes-group-version-kind"], json!([{"group": "", "kind": "Pod", "version": "v1"}]));
        assert_eq!(pod.get("required"), None);
        let spec = &found["io.k8s.api.core.v1.PodSpec"];
        let containers = &spec["properties"]["ephemeralContainers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
        assert_eq!(spec["properties"]["volumes"]["x-kubernetes-patch-strategy"], "merge,retainKeys");
        assert_eq!(spec["required"], json!(["containers"]));
        let wrapped = &pod["properties"]["spec"];
        assert_eq!(wrapped["allOf"][0]["$ref"], "#/components/schemas/io.k8s.api.core.v1.PodSpec");
        assert!(wrapped["description"].is_string());
    }

    #[test]
    fn no_reference_leads_nowhere() {
        for dialect in [Dialect::V2, Dialect::V3] {
            let kinds: Vec<&Kind> = KINDS.iter().collect();
            let found = definitions(dialect, &kinds);
            let text = serde_json::to_string(&found).unwrap();
            for part in text.split("\"$ref\":\"").skip(1) {
                let target = part.split('"').next().unwrap();
                let name = target.rsplit('/').next().unwrap();
                assert_eq!(target, reference(dialect, name));
                assert!(found.contains_key(name), "{name}");
            }
        }
    }
}
