//! Security contexts of pods and containers.

use k8s_openapi::api::core::v1::{AppArmorProfile, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext};
use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};

use super::{mount, one_of};
use crate::metadata::names::range;

/// The largest user or group.
const ID_MAX: i64 = i32::MAX as i64;

fn validate_id(path: &Path<'_>, id: Option<i64>) -> Option<FieldError> {
    let id = id.filter(|id| !(0..=ID_MAX).contains(id))?;
    Some(FieldError::invalid(path, id, range(0, ID_MAX)))
}

pub(super) fn validate(context: Option<&SecurityContext>, host_users: Option<bool>, path: &Path<'_>) -> FieldErrors {
    let Some(context) = context else { return FieldErrors::new() };
    let mut errors = FieldErrors::new();
    errors.extend(validate_id(&path.child("runAsUser"), context.run_as_user));
    errors.extend(validate_id(&path.child("runAsGroup"), context.run_as_group));
    if let Some(word) = context.proc_mount.as_deref() {
        let place = path.child("procMount");
        errors.extend(one_of(&place, Some(word), &["Default", "Unmasked"]));
        if word == "Unmasked" && host_users != Some(false) {
            let detail = "`hostUsers` must be false to use `Unmasked`";
            errors.push(FieldError::invalid(&place, word, detail));
        }
    }
    errors.extend(validate_seccomp(context.seccomp_profile.as_ref(), &path.child("seccompProfile")));
    if context.allow_privilege_escalation == Some(false) {
        errors.extend(validate_no_escalation(context, path));
    }
    errors.extend(validate_app_armor(context.app_armor_profile.as_ref(), &path.child("appArmorProfile")));
    errors
}

fn validate_no_escalation(context: &SecurityContext, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let shown = || serde_json::to_value(context).unwrap_or_default();
    if context.privileged == Some(true) {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.push(FieldError::invalid(path, shown(), detail));
    }
    let added = context.capabilities.iter().flat_map(|c| c.add.iter().flatten());
    if added.into_iter().any(|capability| capability == "CAP_SYS_ADMIN") {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        errors.push(FieldError::invalid(path, shown(), detail));
    }
    errors
}

fn validate_seccomp(profile: Option<&SeccompProfile>, path: &Path<'_>) -> FieldErrors {
    let Some(profile) = profile else { return FieldErrors::new() };
    let mut errors = FieldErrors::new();
    let file = profile.localhost_profile.as_deref();
    let place = path.child("localhostProfile");
    if profile.type_ == "Localhost" {
        match file {
            None | Some("") => {
                errors.push(FieldError::required(&place, "must be set when seccomp type is Localhost"));
            }
            Some(file) => errors.extend(mount::stays_below(file, &place)),
        }
    } else if let Some(file) = file {
        errors.push(FieldError::invalid(&place, file, "can only be set when seccomp type is Localhost"));
    }
    let known = ["Localhost", "RuntimeDefault", "Unconfined"];
    errors.extend(one_of(&path.child("type"), Some(&profile.type_), &known));
    errors
}

fn validate_app_armor(profile: Option<&AppArmorProfile>, path: &Path<'_>) -> FieldErrors {
    let Some(profile) = profile else { return FieldErrors::new() };
    let mut errors = FieldErrors::new();
    let name = profile.localhost_profile.as_deref();
    let place = path.child("localhostProfile");
    match (profile.type_.as_str(), name) {
        ("Localhost", None | Some("")) => {
            errors.push(FieldError::required(&place, "must be set when AppArmor type is Localhost"));
        }
        ("Localhost", Some(_)) => {}
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            errors.push(FieldError::invalid(&place, name, "can only be set when AppArmor type is Localhost"));
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => {
            errors.push(FieldError::required(&path.child("type"), "type is required when appArmorProfile is set"))
        }
        (word, _) => {
            let known = ["Localhost", "RuntimeDefault", "Unconfined"];
            errors.push(FieldError::not_supported(&path.child("type"), word, &known));
        }
    }
    errors
}

pub(super) fn validate_pod(spec: &PodSpec, path: &Path<'_>) -> FieldErrors {
    let Some(context) = &spec.security_context else { return FieldErrors::new() };
    let mut errors = FieldErrors::new();
    errors.extend(validate_id(&path.child("fsGroup"), context.fs_group));
    errors.extend(validate_id(&path.child("runAsUser"), context.run_as_user));
    errors.extend(validate_id(&path.child("runAsGroup"), context.run_as_group));
    for (i, group) in context.supplemental_groups.iter().flatten().enumerate() {
        errors.extend(validate_id(&path.child("supplementalGroups").index(i), Some(*group)));
    }
    if spec.share_process_namespace == Some(true) && spec.host_pid == Some(true) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(FieldError::invalid(&Path::new("spec").child("shareProcessNamespace"), true, detail));
    }
    errors.extend(validate_sysctls(context, path));
    for (field, word, known) in [
        ("fsGroupChangePolicy", &context.fs_group_change_policy, ["Always", "OnRootMismatch"]),
        ("supplementalGroupsPolicy", &context.supplemental_groups_policy, ["Merge", "Strict"]),
    ] {
        if word.is_some() {
            errors.extend(one_of(&path.child(field), word.as_deref(), &known));
        }
    }
    errors.extend(validate_seccomp(context.seccomp_profile.as_ref(), &path.child("seccompProfile")));
    errors.extend(validate_app_armor(context.app_armor_profile.as_ref(), &path.child("appArmorProfile")));
    errors
}

fn validate_sysctls(context: &PodSecurityContext, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut seen = Vec::new();
    for (i, sysctl) in context.sysctls.iter().flatten().enumerate() {
        let sysctls = path.child("sysctls");
        let place = sysctls.index(i);
        let place = place.child("name");
        match sysctl.name.as_str() {
            "" => errors.push(FieldError::required(&place, "")),
            name if !is_sysctl(name) => {
                let detail = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
                errors.push(FieldError::invalid(&place, name, detail));
            }
            name if seen.contains(&name) => errors.push(FieldError::duplicate(&place, name)),
            name => seen.push(name),
        }
    }
    errors
}

fn is_sysctl(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    let part = |p: &str| edge(p.as_bytes().first()) && edge(p.as_bytes().last()) && p.as_bytes().iter().all(inner);
    name.len() <= 253 && name.split(['.', '/']).all(part)
}

/// A user namespace cannot be had beside the host's other namespaces.
pub(super) fn validate_host_users(spec: &PodSpec, path: &Path<'_>) -> FieldErrors {
    if spec.host_users != Some(false) {
        return FieldErrors::new();
    }
    [("hostNetwork", spec.host_network), ("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc)]
        .iter()
        .filter(|(_, set)| *set == Some(true))
        .map(|(field, _)| FieldError::forbidden(&path.child(field), "when `hostUsers` is false"))
        .collect()
}
