//! Where a container mounts the pod's volumes.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, VolumeMount};
use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};

use super::volume::Volumes;

pub(super) fn validate(volumes: &Volumes, container: &Container, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let privileged = container.security_context.as_ref().and_then(|s| s.privileged) == Some(true);
    let devices: BTreeSet<&str> =
        container.volume_devices.iter().flatten().map(|device| device.device_path.as_str()).collect();
    let mut seen = BTreeSet::new();
    let mounts = path.child("volumeMounts");
    for (i, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = mounts.index(i);
        errors.extend(validate_name(volumes, &mount.name, &path));
        let place = path.child("mountPath");
        let target = mount.mount_path.as_str();
        if target.is_empty() {
            errors.push(FieldError::required(&place, ""));
        }
        if !seen.insert(target) {
            errors.push(FieldError::invalid(&place, target, "must be unique"));
        }
        if devices.contains(target) {
            errors.push(FieldError::invalid(&place, target, "must not already exist as a path in volumeDevices"));
        }
        errors.extend(validate_sub_paths(mount, &path));
        errors.extend(validate_propagation(mount, privileged, &path.child("mountPropagation")));
        errors.extend(validate_recursive(mount, &path.child("recursiveReadOnly")));
    }
    errors.extend(validate_devices(volumes, container, &path.child("volumeDevices")));
    errors
}

fn validate_name(volumes: &Volumes, name: &str, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let place = path.child("name");
    if name.is_empty() {
        errors.push(FieldError::required(&place, ""));
    }
    if !volumes.contains(name) {
        errors.push(FieldError::not_found(&place, name));
    }
    errors
}

fn validate_sub_paths(mount: &VolumeMount, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let [sub_path, expression] = [&mount.sub_path, &mount.sub_path_expr].map(|p| p.as_deref().unwrap_or_default());
    if !sub_path.is_empty() {
        errors.extend(stays_below(sub_path, &path.child("subPath")));
    }
    if !expression.is_empty() {
        if !sub_path.is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(&path.child("subPathExpr"), expression, detail));
        }
        errors.extend(stays_below(expression, &path.child("subPathExpr")));
    }
    errors
}

/// A path that leads into the volume and not out of it.
pub(super) fn stays_below(target: &str, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if target.starts_with('/') {
        errors.push(FieldError::invalid(path, target, "must be a relative path"));
    }
    errors.extend(no_back_steps(target, path));
    errors
}

/// No `..` in it.
pub(crate) fn no_back_steps(target: &str, path: &Path<'_>) -> Option<FieldError> {
    let steps_back = target.split('/').any(|part| part == "..");
    steps_back.then(|| FieldError::invalid(path, target, "must not contain '..'"))
}

fn validate_propagation(mount: &VolumeMount, privileged: bool, path: &Path<'_>) -> Option<FieldError> {
    match mount.mount_propagation.as_deref()? {
        "None" | "HostToContainer" => None,
        "Bidirectional" if privileged => None,
        "Bidirectional" => {
            let detail = "Bidirectional mount propagation is available only to privileged containers";
            Some(FieldError::forbidden(path, detail))
        }
        word => Some(FieldError::not_supported(path, word, &["Bidirectional", "HostToContainer", "None"])),
    }
}

fn validate_recursive(mount: &VolumeMount, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    match mount.recursive_read_only.as_deref() {
        None | Some("Disabled") => {}
        Some("IfPossible" | "Enabled") => {
            if mount.read_only != Some(true) {
                errors.push(FieldError::forbidden(path, "may only be specified when readOnly is true"));
            }
            if !matches!(mount.mount_propagation.as_deref(), None | Some("None")) {
                let detail = "may only be specified when mountPropagation is None or not specified";
                errors.push(FieldError::forbidden(path, detail));
            }
        }
        Some(word) => errors.push(FieldError::not_supported(path, word, &["Disabled", "IfPossible", "Enabled"])),
    }
    errors
}

fn validate_devices(volumes: &Volumes, container: &Container, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (i, device) in container.volume_devices.iter().flatten().enumerate() {
        let path = path.index(i);
        if device.name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        }
        if !names.insert(&device.name) {
            errors.push(FieldError::invalid(&path.child("name"), device.name.as_str(), "must be unique"));
        }
        if !volumes.contains(&device.name) {
            errors.push(FieldError::not_found(&path.child("name"), device.name.as_str()));
        } else if !volumes.is_claim(&device.name) {
            let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
            errors.push(FieldError::invalid(&path.child("name"), device.name.as_str(), detail));
        }
        let place = path.child("devicePath");
        match device.device_path.as_str() {
            "" => errors.push(FieldError::required(&place, "")),
            target if !paths.insert(target) => errors.push(FieldError::invalid(&place, target, "must be unique")),
            target => errors.extend(no_back_steps(target, &place)),
        }
    }
    errors
}
