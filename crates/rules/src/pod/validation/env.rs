//! Environment variables and where they come from.

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, EnvVarSource, ObjectFieldSelector, ResourceFieldSelector};
use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};

use crate::metadata::names;
use crate::metadata::validation::invalid;

/// The fields of a pod that a variable may show.
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Those that a file of a volume may show: they are rewritten when they change, so labels and annotations are, too.
const VOLUME_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(super) fn validate(vars: &[EnvVar], path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (i, var) in vars.iter().enumerate() {
        let path = path.index(i);
        match var.name.as_str() {
            "" => errors.push(FieldError::required(&path.child("name"), "")),
            name => errors.extend(invalid(&path.child("name"), name, names::env_name)),
        }
        if let Some(source) = &var.value_from {
            errors.extend(validate_source(var, source, &path.child("valueFrom")));
        }
    }
    errors
}

fn validate_source(var: &EnvVar, source: &EnvVarSource, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut count = 0;
    if let Some(field) = &source.field_ref {
        count += 1;
        errors.extend(validate_field(field, &ENV_FIELDS, &path.child("fieldRef")));
    }
    if let Some(resource) = &source.resource_field_ref {
        count += 1;
        errors.extend(validate_resource(resource, false, &path.child("resourceFieldRef")));
    }
    if let Some(key) = &source.config_map_key_ref {
        count += 1;
        errors.extend(validate_key(&key.name, &key.key, &path.child("configMapKeyRef")));
    }
    if let Some(key) = &source.secret_key_ref {
        count += 1;
        errors.extend(validate_key(&key.name, &key.key, &path.child("secretKeyRef")));
    }
    let has_value = var.value.as_deref().is_some_and(|v| !v.is_empty());
    match count {
        0 => {
            let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.push(FieldError::invalid(path, "", detail));
        }
        _ if has_value => {
            errors.push(FieldError::invalid(path, "", "may not be specified when `value` is not empty"));
        }
        1 => {}
        _ => errors.push(FieldError::invalid(path, "", "may not have more than one field specified at a time")),
    }
    errors
}

fn validate_key(name: &str, key: &str, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    match key {
        "" => errors.push(FieldError::required(&path.child("key"), "")),
        key => errors.extend(invalid(&path.child("key"), key, names::config_key)),
    }
    errors
}

/// A field of a pod, as the downward API of variables or of volumes allows it.
pub(super) fn validate_field(field: &ObjectFieldSelector, known: &[&str], path: &Path<'_>) -> Option<FieldError> {
    if field.api_version.as_deref().unwrap_or_default().is_empty() {
        return Some(FieldError::required(&path.child("apiVersion"), ""));
    }
    let place = path.child("fieldPath");
    let wanted = field.field_path.as_str();
    if wanted.is_empty() {
        return Some(FieldError::required(&place, ""));
    }
    if let Some((map, key)) = subscript(wanted) {
        return match map {
            "metadata.labels" | "metadata.annotations" if names::qualified_name(&key.to_lowercase()).is_empty() => None,
            "metadata.labels" | "metadata.annotations" => {
                Some(FieldError::invalid(&place, wanted, names::qualified_name(key).join("; ")))
            }
            map => Some(FieldError::invalid(&place, map, "does not support subscript")),
        };
    }
    let exists = ENV_FIELDS.contains(&wanted) || VOLUME_FIELDS.contains(&wanted);
    if !exists {
        let detail = format!("error converting fieldPath: field label not supported: {wanted}");
        return Some(FieldError::invalid(&place, wanted, detail));
    }
    (!known.contains(&wanted)).then(|| FieldError::not_supported(&place, wanted, known))
}

/// A field of a pod that a file of a volume shows.
pub(super) fn validate_volume_field(field: &ObjectFieldSelector, path: &Path<'_>) -> Option<FieldError> {
    validate_field(field, &VOLUME_FIELDS, path)
}

/// `metadata.labels['app']` → (`metadata.labels`, `app`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['")
}

/// A resource of a container, shown in a variable or, with the container named, in a file.
pub(super) fn validate_resource(of: &ResourceFieldSelector, in_volume: bool, path: &Path<'_>) -> Option<FieldError> {
    if in_volume && of.container_name.as_deref().unwrap_or_default().is_empty() {
        return Some(FieldError::required(&path.child("containerName"), ""));
    }
    let place = path.child("resource");
    let known = RESOURCES.contains(&of.resource.as_str())
        || ["limits.hugepages-", "requests.hugepages-"].iter().any(|p| of.resource.starts_with(p));
    match of.resource.as_str() {
        "" => Some(FieldError::required(&place, "")),
        _ if known => None,
        resource => Some(FieldError::not_supported(&place, resource, &RESOURCES)),
    }
}

pub(super) fn validate_from(sources: &[EnvFromSource], path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (i, source) in sources.iter().enumerate() {
        let path = path.index(i);
        if let Some(prefix) = source.prefix.as_deref().filter(|p| !p.is_empty()) {
            errors.extend(invalid(&path.child("prefix"), prefix, names::env_name));
        }
        let names = [
            ("configMapRef", source.config_map_ref.as_ref().map(|r| r.name.as_str())),
            ("secretRef", source.secret_ref.as_ref().map(|r| r.name.as_str())),
        ];
        for (field, name) in names {
            if name == Some("") {
                errors.push(FieldError::required(&path.child(field).child("name"), ""));
            }
        }
        match names.iter().filter(|(_, name)| name.is_some()).count() {
            0 => {
                let detail = "must specify one of: `configMapRef` or `secretRef`";
                errors.push(FieldError::invalid(&path, "", detail));
            }
            1 => {}
            _ => errors.push(FieldError::invalid(&path, "", "may not have more than one field specified at a time")),
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_downward_api_knows_its_fields() {
        let path = Path::new("f");
        let check = |field_path: &str, in_volume: bool, expected: Option<&str>| {
            let field = ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: field_path.to_owned() };
            let known: &[&str] = if in_volume { &VOLUME_FIELDS } else { &ENV_FIELDS };
            assert_eq!(validate_field(&field, known, &path).map(|e| e.body()).as_deref(), expected, "{field_path}");
        };
        check("metadata.name", false, None);
        check("metadata.labels['app']", false, None);
        check("metadata.labels", true, None);
        check("status.podIP", false, None);
        check(
            "spec.foo",
            false,
            Some("Invalid value: \"spec.foo\": error converting fieldPath: field label not supported: spec.foo"),
        );
        check("metadata.name['x']", false, Some("Invalid value: \"metadata.name\": does not support subscript"));
        check("", false, Some("Required value"));
        assert!(validate_field(&ObjectFieldSelector::default(), &ENV_FIELDS, &path).is_some());
    }
}
