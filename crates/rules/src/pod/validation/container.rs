//! Containers of all kinds: what each must be, and what only some kinds may have. The differences between the kinds are
//! rows of data.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Container;
use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};
use serde_json::Value;

use super::volume::Volumes;
use super::{Spec, env, handler, mount, one_of, port, resources, security};
use crate::metadata::names;
use crate::metadata::validation::invalid;
use crate::object::{list, text};

/// What a container's rules look at besides itself.
pub(super) struct Context<'a, 'p> {
    pub(super) pod: &'a Spec<'p>,
    pub(super) volumes: &'a Volumes,
}

/// Fields of a container in the order of Go's struct, and whether an ephemeral container may set them.
const EPHEMERAL_MAY: [(&str, bool); 25] = [
    ("name", true),
    ("image", true),
    ("command", true),
    ("args", true),
    ("workingDir", true),
    ("ports", false),
    ("envFrom", true),
    ("env", true),
    ("resources", false),
    ("resizePolicy", false),
    ("restartPolicy", false),
    ("restartPolicyRules", false),
    ("volumeMounts", true),
    ("volumeDevices", true),
    ("livenessProbe", false),
    ("readinessProbe", false),
    ("startupProbe", false),
    ("lifecycle", false),
    ("terminationMessagePath", true),
    ("terminationMessagePolicy", true),
    ("imagePullPolicy", true),
    ("securityContext", true),
    ("stdin", true),
    ("stdinOnce", true),
    ("tty", true),
];

fn named(containers: &[Container]) -> impl Iterator<Item = &str> {
    containers.iter().map(|c| c.name.as_str())
}

/// `spec.containers`.
pub(super) fn validate_ordinary(ctx: &Context<'_, '_>, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if ctx.pod.containers.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let mut seen = BTreeSet::new();
    for (i, container) in ctx.pod.containers.iter().enumerate() {
        let path = path.index(i);
        errors.extend(common(ctx, container, &path));
        errors.extend(unique(&mut seen, container, &path));
        errors.extend(lively(ctx, container, &path));
        if container.restart_policy.is_some() {
            errors.push(FieldError::forbidden(&path.child("restartPolicy"), "may not be set for non-init containers"));
        }
    }
    errors.extend(port::host_conflicts(&ctx.pod.containers, path));
    errors
}

/// `spec.initContainers`: sidecars are lively, the others only run once.
pub(super) fn validate_init(ctx: &Context<'_, '_>, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut seen: BTreeSet<&str> = named(&ctx.pod.containers).collect();
    for (i, container) in ctx.pod.init.iter().enumerate() {
        let path = path.index(i);
        errors.extend(common(ctx, container, &path));
        let policy = container.restart_policy.as_deref();
        if let Some(word) = policy.filter(|word| *word != "Always") {
            errors.push(FieldError::not_supported(&path.child("restartPolicy"), word, &["Always"]));
        }
        errors.extend(unique(&mut seen, container, &path));
        if policy == Some("Always") {
            errors.extend(lively(ctx, container, &path));
        } else {
            errors.extend(not_lively(container, &path));
        }
    }
    errors
}

/// `spec.ephemeralContainers`: what is not on the list of allowed fields is forbidden, in the struct's order.
pub(super) fn validate_ephemeral(ctx: &Context<'_, '_>, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut seen: BTreeSet<&str> = named(&ctx.pod.init).chain(named(&ctx.pod.containers)).collect();
    let possible_targets = seen.clone();
    let raw = list(ctx.pod.raw, &["ephemeralContainers"]);
    for (i, (container, raw)) in ctx.pod.ephemeral.iter().zip(raw).enumerate() {
        let path = path.index(i);
        errors.extend(common(ctx, container, &path));
        errors.extend(unique(&mut seen, container, &path));
        errors.extend(only_allowed(raw, &path));
        errors.extend(no_sub_paths(raw, &path));
        let target = ctx.pod.targets[i];
        if !target.is_empty() && !possible_targets.contains(target) {
            errors.push(FieldError::not_found(&path.child("targetContainerName"), target));
        }
    }
    errors
}

fn only_allowed(raw: &Value, path: &Path<'_>) -> FieldErrors {
    let forbidden = EPHEMERAL_MAY.iter().filter(|(field, may)| !may && is_set(raw, field));
    forbidden
        .map(|(field, _)| FieldError::forbidden(&path.child(field), "cannot be set for an Ephemeral Container"))
        .collect()
}

/// Canonical form leaves zero values out, but for the struct that Go cannot leave out: `resources: {}`.
fn is_set(raw: &Value, field: &str) -> bool {
    match raw.get(field) {
        None | Some(Value::Null) => false,
        Some(Value::Object(map)) => !(map.is_empty() && field == "resources"),
        Some(_) => true,
    }
}

/// Sub paths are bind mounts that stay until the pod ends: ephemeral containers get none.
fn no_sub_paths(raw: &Value, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (i, mount) in list(raw, &["volumeMounts"]).iter().enumerate() {
        let mounts = path.child("volumeMounts");
        for field in ["subPath", "subPathExpr"] {
            if !text(mount, &[field]).is_empty() {
                let place = mounts.index(i);
                errors.push(FieldError::forbidden(&place.child(field), "cannot be set for an Ephemeral Container"));
            }
        }
    }
    errors
}

fn unique<'c>(seen: &mut BTreeSet<&'c str>, container: &'c Container, path: &Path<'_>) -> Option<FieldError> {
    let new = container.name.is_empty() || seen.insert(&container.name);
    (!new).then(|| FieldError::duplicate(&path.child("name"), container.name.as_str()))
}

/// What holds for every container.
fn common(ctx: &Context<'_, '_>, container: &Container, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    match container.name.as_str() {
        "" => errors.push(FieldError::required(&path.child("name"), "")),
        name => errors.extend(invalid(&path.child("name"), name, names::dns_label)),
    }
    match container.image.as_deref().unwrap_or_default() {
        "" => errors.push(FieldError::required(&path.child("image"), "")),
        image if image.trim() != image => {
            let detail = "must not have leading or trailing whitespace";
            errors.push(FieldError::invalid(&path.child("image"), image, detail));
        }
        _ => {}
    }
    let policies = ["FallbackToLogsOnError", "File"];
    let policy = container.termination_message_policy.as_deref();
    errors.extend(one_of(&path.child("terminationMessagePolicy"), policy, &policies));
    errors.extend(port::validate(container.ports.as_deref().unwrap_or_default(), &path.child("ports")));
    errors.extend(env::validate(container.env.as_deref().unwrap_or_default(), &path.child("env")));
    errors.extend(env::validate_from(container.env_from.as_deref().unwrap_or_default(), &path.child("envFrom")));
    errors.extend(mount::validate(ctx.volumes, container, path));
    let policies = ["Always", "IfNotPresent", "Never"];
    errors.extend(one_of(&path.child("imagePullPolicy"), container.image_pull_policy.as_deref(), &policies));
    errors.extend(resources::validate(container.resources.as_ref(), &path.child("resources")));
    errors.extend(resources::validate_resize(ctx.pod, container, &path.child("resizePolicy")));
    let host_users = ctx.pod.spec.host_users;
    errors.extend(security::validate(container.security_context.as_ref(), host_users, &path.child("securityContext")));
    errors
}

/// Hooks and probes of containers that live as long as the pod.
fn lively(ctx: &Context<'_, '_>, container: &Container, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let grace = ctx.pod.grace();
    if let Some(lifecycle) = &container.lifecycle {
        errors.extend(handler::validate_lifecycle(lifecycle, grace, &path.child("lifecycle")));
    }
    errors.extend(handler::validate_liveness(container.liveness_probe.as_ref(), &path.child("livenessProbe")));
    errors.extend(handler::validate_readiness(container.readiness_probe.as_ref(), &path.child("readinessProbe")));
    errors.extend(handler::validate_liveness(container.startup_probe.as_ref(), &path.child("startupProbe")));
    errors
}

fn not_lively(container: &Container, path: &Path<'_>) -> FieldErrors {
    [
        ("lifecycle", container.lifecycle.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ]
    .iter()
    .filter(|(_, set)| *set)
    .map(|(field, _)| {
        FieldError::forbidden(&path.child(field), "may not be set for init containers without restartPolicy=Always")
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::EPHEMERAL_MAY;
    use remora_model::schema::type_of;

    #[test]
    fn the_list_of_allowed_fields_has_every_field_in_the_structs_order() {
        let schema = type_of("EphemeralContainer").unwrap();
        let fields: Vec<&str> = schema.fields.iter().map(|f| f.name).filter(|f| *f != "targetContainerName").collect();
        let listed: Vec<&str> = EPHEMERAL_MAY.iter().map(|(name, _)| *name).collect();
        assert_eq!(listed, fields);
    }
}
