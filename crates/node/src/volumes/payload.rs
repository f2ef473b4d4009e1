//! The files of a volume that is made of API objects.
//!
//! Source: kubernetes `pkg/volume/{configmap,secret,downwardapi,projected}`.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, Pod, ServiceAccountTokenProjection, Volume, VolumeProjection,
};

use super::sources::{Kind, Source, Used};
use super::{VolumeError, lookup, token};
use crate::container::{field_value, resource_field};
use crate::context::{Context, id_of};

const USUAL_MODE: i32 = 0o644;

/// What a volume holds.
#[derive(Debug, Default)]
pub(super) struct Payload {
    /// By path below the volume.
    pub(super) files: Files,
    /// Never on a disk.
    pub(super) in_memory: bool,
    /// When a token must be renewed.
    pub(super) refresh: Option<Timestamp>,
    /// What it was made of.
    pub(super) used: Used,
}

pub(super) type Files = BTreeMap<String, File>;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) content: Vec<u8>,
    pub(super) mode: u32,
    /// The owner, where it is not root.
    pub(super) user: Option<u32>,
}

/// The files of a volume.
pub(super) async fn of(
    context: &Context,
    pod: &Pod,
    volume: &Volume,
    pod_ips: &[String],
) -> Result<Payload, VolumeError> {
    let mut payload = Payload::default();
    if let Some(source) = &volume.config_map {
        let optional = source.optional.unwrap_or(false);
        let data = config_map(context, pod, &mut payload.used, &source.name, optional).await?;
        let mode = source.default_mode.unwrap_or(USUAL_MODE);
        pick(&mut payload.files, data, source.items.as_deref(), mode, optional, "config")?;
    } else if let Some(source) = &volume.secret {
        payload.in_memory = true;
        let (name, optional) = (source.secret_name.as_deref().unwrap_or_default(), source.optional.unwrap_or(false));
        let data = secret(context, pod, &mut payload.used, name, optional).await?;
        let mode = source.default_mode.unwrap_or(USUAL_MODE);
        pick(&mut payload.files, data, source.items.as_deref(), mode, optional, "secret")?;
    } else if let Some(source) = &volume.downward_api {
        payload.in_memory = true;
        let mode = source.default_mode.unwrap_or(USUAL_MODE);
        downward(context, pod, &mut payload.files, source.items.as_deref().unwrap_or_default(), mode, pod_ips)?;
    } else if let Some(source) = &volume.projected {
        payload.in_memory = true;
        let mode = source.default_mode.unwrap_or(USUAL_MODE);
        for part in source.sources.iter().flatten() {
            projection(context, pod, &mut payload, part, mode, pod_ips).await?;
        }
    }
    Ok(payload)
}

async fn projection(
    context: &Context,
    pod: &Pod,
    payload: &mut Payload,
    part: &VolumeProjection,
    mode: i32,
    pod_ips: &[String],
) -> Result<(), VolumeError> {
    if let Some(source) = &part.config_map {
        let optional = source.optional.unwrap_or(false);
        let data = config_map(context, pod, &mut payload.used, &source.name, optional).await?;
        pick(&mut payload.files, data, source.items.as_deref(), mode, optional, "config")?;
    }
    if let Some(source) = &part.secret {
        let optional = source.optional.unwrap_or(false);
        let data = secret(context, pod, &mut payload.used, &source.name, optional).await?;
        pick(&mut payload.files, data, source.items.as_deref(), mode, optional, "secret")?;
    }
    if let Some(source) = &part.downward_api {
        downward(context, pod, &mut payload.files, source.items.as_deref().unwrap_or_default(), mode, pod_ips)?;
    }
    if let Some(source) = &part.service_account_token {
        token_file(context, pod, payload, source, mode).await?;
    }
    if part.cluster_trust_bundle.is_some() {
        return Err(VolumeError::Unsupported("clusterTrustBundle".to_owned()));
    }
    Ok(())
}

/// A token is readable for its owner alone; if all containers run as one user, that user is the owner, and with an
/// fsGroup the group may read it (KEP-1205).
async fn token_file(
    context: &Context,
    pod: &Pod,
    payload: &mut Payload,
    source: &ServiceAccountTokenProjection,
    mode: i32,
) -> Result<(), VolumeError> {
    let token = token::request(context, pod, source).await?;
    let of_pod = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let user = single_user(pod);
    let mode = match (user, of_pod.and_then(|c| c.fs_group)) {
        (_, Some(_)) => 0o600,
        (Some(_), None) => 0o600,
        (None, None) => mode,
    };
    put(&mut payload.files, &source.path, token.text.into_bytes(), mode, user)?;
    payload.refresh = payload.refresh.into_iter().chain([token.refresh]).min();
    Ok(())
}

/// The user that every container runs as, if the spec says so.
fn single_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let of_pod = spec.security_context.as_ref().and_then(|c| c.run_as_user);
    let mut users = spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers)
        .map(|c| c.security_context.as_ref().and_then(|s| s.run_as_user).or(of_pod));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

type Data = BTreeMap<String, Vec<u8>>;

/// A config map's keys; its revision goes to what was used.
async fn config_map(
    context: &Context,
    pod: &Pod,
    used: &mut Used,
    name: &str,
    optional: bool,
) -> Result<Data, VolumeError> {
    let map = lookup::config_map(context, pod, name, optional).await?;
    let revision = map.as_ref().and_then(|map| map.metadata.resource_version.clone());
    used.insert(source(pod, Kind::ConfigMap, name), revision);
    let map = map.unwrap_or_default();
    let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
    Ok(text.chain(map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0))).collect())
}

/// A secret's keys; its revision goes to what was used.
async fn secret(
    context: &Context,
    pod: &Pod,
    used: &mut Used,
    name: &str,
    optional: bool,
) -> Result<Data, VolumeError> {
    let secret = lookup::secret(context, pod, name, optional).await?;
    let revision = secret.as_ref().and_then(|secret| secret.metadata.resource_version.clone());
    used.insert(source(pod, Kind::Secret, name), revision);
    Ok(secret.and_then(|s| s.data).unwrap_or_default().into_iter().map(|(k, v)| (k, v.0)).collect())
}

fn source(pod: &Pod, kind: Kind, name: &str) -> Source {
    Source { kind, namespace: id_of(pod).namespace.to_owned(), name: name.to_owned() }
}

/// All keys as files, or the chosen ones at their paths.
fn pick(
    files: &mut Files,
    data: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: bool,
    what: &'static str,
) -> Result<(), VolumeError> {
    let Some(items) = items.filter(|i| !i.is_empty()) else {
        return data.into_iter().try_for_each(|(key, content)| put(files, &key, content, mode, None));
    };
    for item in items {
        match data.get(&item.key) {
            Some(content) => put(files, &item.path, content.clone(), item.mode.unwrap_or(mode), None)?,
            None if optional => {}
            None => return Err(VolumeError::NoKey { what, key: item.key.clone() }),
        }
    }
    Ok(())
}

fn downward(
    context: &Context,
    pod: &Pod,
    files: &mut Files,
    items: &[DownwardAPIVolumeFile],
    mode: i32,
    pod_ips: &[String],
) -> Result<(), VolumeError> {
    let host_ips: Vec<String> = context.config.node_ips.iter().map(ToString::to_string).collect();
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => field_value(pod, &field.field_path, &host_ips, pod_ips)?,
            (None, Some(resource)) => resource_field(pod, None, resource, &context.machine)?,
            (None, None) => String::new(),
        };
        put(files, &item.path, text.into_bytes(), item.mode.unwrap_or(mode), None)?;
    }
    Ok(())
}

/// A path of an object's key may not lead out of the volume, whoever wrote the object.
fn put(files: &mut Files, path: &str, content: Vec<u8>, mode: i32, user: Option<u32>) -> Result<(), VolumeError> {
    let inside = |c: Component<'_>| matches!(c, Component::Normal(part) if !part.to_string_lossy().starts_with(".."));
    if path.is_empty() || !Path::new(path).components().all(inside) {
        return Err(VolumeError::BadPath(path.to_owned()));
    }
    let mode = u32::try_from(mode).unwrap_or(0o644) & 0o777;
    files.insert(path.to_owned(), File { content, mode, user });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside_the_volume() {
        for (path, fits) in [
            ("a", true),
            ("a/b", true),
            ("../a", false),
            ("/a", false),
            ("", false),
            ("..data", false),
            ("a/../b", false),
        ] {
            assert_eq!(put(&mut Files::new(), path, Vec::new(), 0o644, None).is_ok(), fits, "{path}");
        }
    }

    #[test]
    fn chosen_keys_go_where_they_are_sent() {
        let data = || BTreeMap::from([("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())]);
        let item = |key: &str| KeyToPath { key: key.into(), path: "x/y".into(), mode: Some(0o600) };
        let mut files = Files::new();
        pick(&mut files, data(), Some(&[item("a")]), 0o644, false, "config").unwrap();
        assert_eq!(files["x/y"], File { content: b"1".to_vec(), mode: 0o600, user: None });
        let error = pick(&mut files, data(), Some(&[item("c")]), 0o644, false, "config").unwrap_err();
        assert_eq!(error.to_string(), "references non-existent config key: c");
        assert!(pick(&mut files, data(), Some(&[item("c")]), 0o644, true, "config").is_ok());
    }
}
