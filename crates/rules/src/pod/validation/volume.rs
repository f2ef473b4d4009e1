//! Volumes of a pod. Sources that this node can provide are judged in full; of the others (cloud disks and the like)
//! only that one source is given.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, ProjectedVolumeSource, Volume};
use remora_model::field::FieldErrors;
use remora_model::quantity::Quantity;
use remora_model::{FieldError, Path};

use super::{env, mount, one_of};
use crate::metadata::names;
use crate::metadata::validation::invalid;

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// The volumes with good names, and whether each is a claim (which alone may be a block device).
pub(super) struct Volumes(BTreeMap<String, bool>);

impl Volumes {
    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn is_claim(&self, name: &str) -> bool {
        self.0.get(name).copied().unwrap_or_default()
    }
}

pub(super) fn validate(volumes: &[Volume], path: &Path<'_>, errors: &mut FieldErrors) -> Volumes {
    let mut known = BTreeMap::new();
    for (i, volume) in volumes.iter().enumerate() {
        let path = path.index(i);
        let mut wrong = validate_source(volume, &path);
        match volume.name.as_str() {
            "" => wrong.push(FieldError::required(&path.child("name"), "")),
            name => {
                wrong.extend(invalid(&path.child("name"), name, names::dns_label));
                if known.contains_key(name) {
                    wrong.push(FieldError::duplicate(&path.child("name"), name));
                }
            }
        }
        if wrong.is_empty() {
            let claim = volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some();
            known.insert(volume.name.clone(), claim);
        }
        errors.append(&mut wrong);
    }
    Volumes(known)
}

/// The sources that are set, by their field.
fn sources(volume: &Volume) -> Vec<String> {
    let written = serde_json::to_value(volume).unwrap_or_default();
    let fields = written.as_object().into_iter().flatten();
    fields.filter(|(field, value)| *field != "name" && !value.is_null()).map(|(field, _)| field.clone()).collect()
}

fn validate_source(volume: &Volume, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let set = sources(volume);
    if set.is_empty() {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
    for extra in set.iter().skip(1) {
        errors.push(FieldError::forbidden(&path.child(extra), "may not specify more than 1 volume type"));
    }
    errors.extend(validate_local(volume, path));
    errors.extend(validate_files(volume, path));
    errors.extend(validate_others(volume, path));
    errors
}

fn validate_local(volume: &Volume, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if let Some(empty) = &volume.empty_dir {
        let limit = empty.size_limit.as_ref().and_then(|q| Quantity::parse(&q.0).ok());
        if limit.is_some_and(|q| q.sign() < 0) {
            let detail = "SizeLimit field must be a valid resource quantity";
            errors.push(FieldError::forbidden(&path.child("emptyDir").child("sizeLimit"), detail));
        }
    }
    if let Some(host) = &volume.host_path {
        let path = path.child("hostPath");
        match host.path.as_str() {
            "" => errors.push(FieldError::required(&path.child("path"), "")),
            target => errors.extend(mount::no_back_steps(target, &path.child("path"))),
        }
        if let Some(word) = host.type_.as_deref().filter(|word| !HOST_PATH_TYPES.contains(word)) {
            errors.push(FieldError::not_supported(&path.child("type"), word, &HOST_PATH_TYPES));
        }
    }
    errors
}

fn validate_files(volume: &Volume, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if let Some(secret) = &volume.secret {
        let path = path.child("secret");
        if secret.secret_name.as_deref().unwrap_or_default().is_empty() {
            errors.push(FieldError::required(&path.child("secretName"), ""));
        }
        errors.extend(validate_mode(secret.default_mode, &path.child("defaultMode")));
        errors.extend(validate_keys(secret.items.as_deref(), &path.child("items")));
    }
    if let Some(map) = &volume.config_map {
        let path = path.child("configMap");
        if map.name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        }
        errors.extend(validate_mode(map.default_mode, &path.child("defaultMode")));
        errors.extend(validate_keys(map.items.as_deref(), &path.child("items")));
    }
    if let Some(downward) = &volume.downward_api {
        let path = path.child("downwardAPI");
        errors.extend(validate_mode(downward.default_mode, &path.child("defaultMode")));
        errors.extend(validate_downward(downward.items.as_deref(), &path));
    }
    if let Some(projected) = &volume.projected {
        errors.extend(validate_projected(projected, &path.child("projected")));
    }
    errors
}

fn validate_mode(mode: Option<i32>, path: &Path<'_>) -> Option<FieldError> {
    let mode = mode.filter(|mode| !(0..=0o777).contains(mode))?;
    Some(FieldError::invalid(path, mode, MODE))
}

fn validate_keys(items: Option<&[KeyToPath]>, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (i, item) in items.unwrap_or_default().iter().enumerate() {
        let path = path.index(i);
        if item.key.is_empty() {
            errors.push(FieldError::required(&path.child("key"), ""));
        }
        errors.extend(validate_file(&item.path, &path.child("path")));
        errors.extend(validate_mode(item.mode, &path.child("mode")));
    }
    errors
}

/// A file below the volume's root that hides nothing of ours (`..data`).
fn validate_file(target: &str, path: &Path<'_>) -> FieldErrors {
    if target.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let mut errors = mount::stays_below(target, path);
    if errors.is_empty() && target.starts_with("..") {
        errors.push(FieldError::invalid(path, target, "must not start with '..'"));
    }
    errors
}

fn validate_downward(items: Option<&[DownwardAPIVolumeFile]>, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    // Upstream names the list without the index here.
    for item in items.unwrap_or_default() {
        errors.extend(validate_file(&item.path, &path.child("path")));
        match (&item.field_ref, &item.resource_field_ref) {
            (Some(_), Some(_)) => {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(path, "resource", detail));
            }
            (Some(field), None) => errors.extend(env::validate_volume_field(field, &path.child("fieldRef"))),
            (None, Some(of)) => errors.extend(env::validate_resource(of, true, &path.child("resourceFieldRef"))),
            (None, None) => errors.push(FieldError::required(path, "one of fieldRef and resourceFieldRef is required")),
        }
        errors.extend(validate_mode(item.mode, &path.child("mode")));
    }
    errors
}

fn validate_projected(projected: &ProjectedVolumeSource, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    errors.extend(validate_mode(projected.default_mode, &path.child("defaultMode")));
    for (i, source) in projected.sources.iter().flatten().enumerate() {
        let sources = path.child("sources");
        let path = sources.index(i);
        let mut count = 0;
        let mut named = |field: &str, name: &str, items: Option<&[KeyToPath]>| {
            count += 1;
            let path = path.child(field);
            if name.is_empty() {
                errors.push(FieldError::required(&path.child("name"), ""));
            }
            errors.extend(validate_keys(items, &path.child("items")));
        };
        if let Some(secret) = &source.secret {
            named("secret", &secret.name, secret.items.as_deref());
        }
        if let Some(map) = &source.config_map {
            named("configMap", &map.name, map.items.as_deref());
        }
        if let Some(downward) = &source.downward_api {
            count += 1;
            errors.extend(validate_downward(downward.items.as_deref(), &path.child("downwardAPI")));
        }
        if let Some(token) = &source.service_account_token {
            count += 1;
            let path = path.child("serviceAccountToken");
            errors.extend(validate_token(token.expiration_seconds, &path));
            errors.extend(validate_file(&token.path, &path.child("path")));
        }
        if source.cluster_trust_bundle.is_some() || source.pod_certificate.is_some() {
            count += 1;
        }
        if count > 1 {
            errors.push(FieldError::forbidden(&path, "may not specify more than 1 volume type per source"));
        }
    }
    errors
}

fn validate_token(seconds: Option<i64>, path: &Path<'_>) -> Option<FieldError> {
    let seconds = seconds?;
    let place = path.child("expirationSeconds");
    match seconds {
        ..600 => Some(FieldError::invalid(&place, seconds, "may not specify a duration less than 10 minutes")),
        4_294_967_297.. => {
            Some(FieldError::invalid(&place, seconds, "may not specify a duration larger than 2^32 seconds"))
        }
        _ => None,
    }
}

fn validate_others(volume: &Volume, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if let Some(nfs) = &volume.nfs {
        let path = path.child("nfs");
        if nfs.server.is_empty() {
            errors.push(FieldError::required(&path.child("server"), ""));
        }
        if nfs.path.is_empty() {
            errors.push(FieldError::required(&path.child("path"), ""));
        } else if !nfs.path.starts_with('/') {
            errors.push(FieldError::invalid(&path.child("path"), nfs.path.as_str(), "must be an absolute path"));
        }
    }
    if volume.persistent_volume_claim.as_ref().is_some_and(|c| c.claim_name.is_empty()) {
        errors.push(FieldError::required(&path.child("persistentVolumeClaim").child("claimName"), ""));
    }
    if let Some(csi) = &volume.csi
        && csi.driver.is_empty()
    {
        errors.push(FieldError::required(&path.child("csi").child("driver"), ""));
    }
    if let Some(image) = &volume.image {
        let path = path.child("image");
        if image.reference.as_deref().unwrap_or_default().is_empty() {
            errors.push(FieldError::required(&path.child("reference"), ""));
        }
        let policies = ["Always", "IfNotPresent", "Never"];
        errors.extend(one_of(&path.child("pullPolicy"), image.pull_policy.as_deref(), &policies));
    }
    errors
}
