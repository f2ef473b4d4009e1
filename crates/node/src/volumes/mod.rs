//! A pod's volumes: made before its containers start, taken down when the last has ended.
//!
//! Each volume is a folder `pods/UID/volumes/KIND/NAME`, as a kubelet lays it out; tokens, secrets and memory volumes are
//! a tmpfs. Kinds: emptyDir, hostPath, configMap, secret, downwardAPI, projected, and claims whose volume is a folder of this machine.

mod atomic_writer;
mod claim;
mod host_path;
pub(crate) mod lookup;
mod measure;
mod payload;
pub(crate) mod sources;
mod token;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, Pod, Volume};
use remora_model::quantity::Quantity;

use crate::context::Context;
use crate::mounts::Mounts;
use crate::users;
pub(crate) use measure::measure;
use payload::Payload;
use sources::Used;

/// What is there.
#[derive(Debug, Default)]
pub(crate) struct SetUp {
    /// When it must be done again, because a token runs out.
    pub(crate) refresh: Option<Timestamp>,
    /// What it was made of: when that changes, it must be done again.
    pub(crate) used: Used,
    /// Why something is not: the first volume that could not be made.
    pub(crate) failure: Option<MountFailure>,
}

impl SetUp {
    /// What has become of one volume. One that fails does not keep the others from being made anew: a pod's token would run out.
    fn add(&mut self, volume: &str, made: Result<Self, VolumeError>) {
        match made {
            Ok(one) => {
                self.refresh = self.refresh.into_iter().chain(one.refresh).min();
                self.used.extend(one.used);
            }
            Err(error) => {
                self.failure.get_or_insert_with(|| MountFailure::of(volume, &error));
            }
        }
    }
}

/// A volume could not be set up. The words are those of an event.
#[derive(Debug)]
pub(crate) struct MountFailure {
    /// What has failed, as a kubelet calls it.
    pub(crate) step: &'static str,
    pub(crate) volume: String,
    pub(crate) message: String,
}

impl MountFailure {
    fn of(volume: &str, error: &VolumeError) -> Self {
        let (step, volume) = match error {
            VolumeError::OtherNode { volume } => ("MountVolume.NodeAffinity check", volume.as_str()),
            _ => ("MountVolume.SetUp", volume),
        };
        Self { step, volume: volume.to_owned(), message: error.to_string() }
    }
}

/// Why a volume cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error(transparent)]
    Lookup(#[from] lookup::LookupError),
    #[error("references non-existent {what} key: {key}")]
    NoKey { what: &'static str, key: String },
    #[error(transparent)]
    Field(#[from] crate::container::FieldError),
    #[error("{0}")]
    HostPath(String),
    #[error("failed to fetch token: {0}")]
    Token(String),
    #[error("volume {0:?} is not in the pod")]
    NoSuchVolume(String),
    #[error("{0}")]
    Claim(String),
    /// This persistent volume is another node's.
    #[error("no matching NodeSelectorTerms")]
    OtherNode { volume: String },
    #[error("volumes of this kind are not supported: {0}")]
    Unsupported(String),
    #[error("the path {0:?} leads out of the volume")]
    BadPath(String),
    #[error("cannot write {path}: {source}")]
    Write {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    System(#[from] remora_sys::Error),
}

/// Sets all volumes up. Doing it again changes nothing but what a token's age asks for.
pub(crate) async fn set_up(context: &Context, pod: &Pod, pod_ips: &[String]) -> SetUp {
    let mut all = SetUp::default();
    if let Err(error) = make_pod_folder(&context.pod_folder(pod)) {
        all.add("", Err(error));
        return all;
    }
    for volume in volumes_of(pod) {
        all.add(&volume.name, one(context, pod, volume, pod_ips).await);
    }
    all
}

/// Unmounts and removes all volumes, and gives the pod's range of ids back: nothing of it runs any more. What is not there is no error.
pub(crate) async fn tear_down(context: &Context, pod: &Pod) -> Result<(), String> {
    let folder = context.pod_folder(pod);
    let mounts = Arc::clone(&context.mounts);
    let done = tokio::task::spawn_blocking(move || {
        remove(&*mounts, &folder)?;
        let failed = |source| VolumeError::Write { path: folder.display().to_string(), source };
        users::give_back(&folder).map_err(failed)
    })
    .await;
    done.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}

/// Unmounts everything below a pod's folder and removes its volumes; the rest of the folder stays.
pub(crate) fn remove(mounts: &dyn Mounts, pod_folder: &Path) -> Result<(), VolumeError> {
    if !pod_folder.exists() {
        return Ok(());
    }
    mounts.unmount_below(pod_folder)?;
    for part in ["volumes", "volume-subpaths"] {
        let path = pod_folder.join(part);
        match std::fs::remove_dir_all(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(VolumeError::Write { path: path.display().to_string(), source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Where a volume of a pod is on this machine.
pub(crate) fn folder(context: &Context, pod: &Pod, name: &str) -> Result<PathBuf, VolumeError> {
    let volume = volumes_of(pod).find(|v| v.name == name);
    let volume = volume.ok_or_else(|| VolumeError::NoSuchVolume(name.to_owned()))?;
    Ok(match &volume.host_path {
        Some(source) => PathBuf::from(&source.path),
        None => {
            let own = context.pod_folder(pod).join("volumes").join(kind_of(volume)?).join(name);
            if volume.persistent_volume_claim.is_none() {
                return Ok(own);
            }
            let failed = |source| VolumeError::Write { path: own.display().to_string(), source };
            std::fs::read_link(&own).map_err(failed)?
        }
    })
}

/// Whether no container writes in a volume, whatever its mounts say: what a container put there, the agent would meet as root
/// (CVE-2017-1002102).
pub(crate) fn is_read_only(pod: &Pod, name: &str) -> bool {
    volumes_of(pod).any(|v| {
        let made_of_objects =
            v.config_map.is_some() || v.secret.is_some() || v.downward_api.is_some() || v.projected.is_some();
        let is_asked_for = v.persistent_volume_claim.as_ref().and_then(|claim| claim.read_only).unwrap_or(false);
        v.name == name && (made_of_objects || is_asked_for)
    })
}

/// Whether a volume shows the pod's own labels or annotations.
pub(crate) fn shows_metadata(pod: &Pod) -> bool {
    shows(pod, |file| {
        let field = file.field_ref.as_ref().map(|f| f.field_path.as_str()).unwrap_or_default();
        field.starts_with("metadata.labels") || field.starts_with("metadata.annotations")
    })
}

/// Whether a volume of the pod shows what its containers have.
pub(crate) fn shows_resources(pod: &Pod) -> bool {
    shows(pod, |file| file.resource_field_ref.is_some())
}

/// Whether a file of the downward API is such a one.
fn shows(pod: &Pod, is_such: impl Fn(&DownwardAPIVolumeFile) -> bool) -> bool {
    volumes_of(pod).any(|volume| {
        let own = volume.downward_api.iter().flat_map(|d| d.items.iter().flatten());
        let parts = volume.projected.iter().flat_map(|p| p.sources.iter().flatten());
        let projected = parts.flat_map(|part| part.downward_api.iter().flat_map(|d| d.items.iter().flatten()));
        own.chain(projected).any(&is_such)
    })
}

fn volumes_of(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|s| s.volumes.iter().flatten())
}

/// The folder's name of a kind, as kubelets call it.
fn kind_of(volume: &Volume) -> Result<&'static str, VolumeError> {
    Ok(match volume {
        Volume { empty_dir: Some(_), .. } => "kubernetes.io~empty-dir",
        Volume { host_path: Some(_), .. } => "kubernetes.io~host-path",
        Volume { config_map: Some(_), .. } => "kubernetes.io~configmap",
        Volume { secret: Some(_), .. } => "kubernetes.io~secret",
        Volume { downward_api: Some(_), .. } => "kubernetes.io~downward-api",
        Volume { projected: Some(_), .. } => "kubernetes.io~projected",
        Volume { persistent_volume_claim: Some(_), .. } => "kubernetes.io~local-volume",
        other => return Err(VolumeError::Unsupported(other.name.clone())),
    })
}

/// One volume; when its content runs out, and what it is made of.
async fn one(context: &Context, pod: &Pod, volume: &Volume, pod_ips: &[String]) -> Result<SetUp, VolumeError> {
    if let Some(source) = &volume.host_path {
        host_path::check(source)?;
        return Ok(SetUp::default());
    }
    if let Some(source) = &volume.persistent_volume_claim {
        let data = claim::resolve(context, pod, &source.claim_name).await?;
        let at = context.pod_folder(pod).join("volumes").join(kind_of(volume)?).join(&volume.name);
        return claim::link(&at, &data).map(|()| SetUp::default());
    }
    let folder = folder(context, pod, &volume.name)?;
    let mounts = Arc::clone(&context.mounts);
    if let Some(source) = &volume.empty_dir {
        let memory = source.medium.as_deref() == Some("Memory");
        let limit = source.size_limit.as_ref().and_then(|q| Quantity::parse(&q.0).ok()).map(|q| q.value());
        let group = fs_group(pod);
        let limit = limit.and_then(|l| u64::try_from(l).ok());
        let make = move || empty_dir(memory.then_some(&*mounts), &folder, limit, group);
        return blocking(make).await.map(|()| SetUp::default());
    }
    let payload = payload::of(context, pod, volume, pod_ips).await?;
    let Payload { files, in_memory, refresh, used } = payload;
    let group = fs_group(pod);
    blocking(move || {
        make_folder(&folder, 0o755)?;
        if in_memory {
            mounts.tmpfs(&folder, None, 0o755)?;
        }
        atomic_writer::write(&folder, &files, group)
    })
    .await?;
    Ok(SetUp { refresh, used, failure: None })
}

/// Mounts and writes must not hold up the agent's other pods.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
) -> Result<T, VolumeError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(VolumeError::Write { path: "a volume".to_owned(), source: std::io::Error::other(error) }),
    }
}

fn empty_dir(
    memory: Option<&dyn Mounts>,
    folder: &Path,
    limit: Option<u64>,
    group: Option<u32>,
) -> Result<(), VolumeError> {
    make_folder(folder, 0o777)?;
    if let Some(mounts) = memory {
        mounts.tmpfs(folder, limit, 0o777)?;
    }
    if let Some(group) = group {
        let failed = |source| VolumeError::Write { path: folder.display().to_string(), source };
        std::os::unix::fs::chown(folder, None, Some(group)).map_err(failed)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o2777)).map_err(failed)?;
    }
    Ok(())
}

/// A pod's own folder.
pub(crate) fn make_pod_folder(folder: &Path) -> Result<(), VolumeError> {
    make_folder(folder, 0o750)
}

/// A folder with exactly this mode, whatever the umask is.
fn make_folder(folder: &Path, mode: u32) -> Result<(), VolumeError> {
    let failed = |source| VolumeError::Write { path: folder.display().to_string(), source };
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(folder).map_err(failed)?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)).map_err(failed)
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let context = pod.spec.as_ref()?.security_context.as_ref()?;
    u32::try_from(context.fs_group?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_of_another_node_is_told_of_in_a_kubelets_words() {
        let pod = Pod::default();
        let words = |error: &VolumeError| {
            let MountFailure { step, volume, message } = MountFailure::of("data", error);
            let notes = remora_decide::notes(&remora_decide::Happening::MountFailed { step, volume, message }, &pod);
            notes.into_iter().map(|note| note.message).collect::<Vec<_>>()
        };
        let elsewhere = VolumeError::OtherNode { volume: "pvc-1".to_owned() };
        let expected = "MountVolume.NodeAffinity check failed for volume \"pvc-1\" : no matching NodeSelectorTerms";
        assert_eq!(words(&elsewhere), [expected]);
        let expected = "MountVolume.SetUp failed for volume \"data\" : it is gone";
        assert_eq!(words(&VolumeError::Claim("it is gone".to_owned())), [expected]);
    }

    #[test]
    fn a_volume_that_fails_does_not_keep_a_pods_token_from_being_renewed() {
        let at = |second| Timestamp::from_second(second).ok();
        let one = |refresh, name: &str| {
            let source = sources::Source { kind: sources::Kind::Secret, namespace: "a".into(), name: name.into() };
            SetUp { refresh, used: Used::from([(source, None)]), failure: None }
        };
        let mut all = SetUp::default();
        all.add("a", Ok(one(at(9), "one")));
        all.add("b", Err(VolumeError::HostPath("it is gone".to_owned())));
        all.add("c", Err(VolumeError::Token("no".to_owned())));
        all.add("token", Ok(one(at(7), "two")));
        let failure = all.failure.unwrap();
        assert_eq!((failure.volume.as_str(), failure.message.as_str()), ("b", "it is gone"), "the first is told");
        assert_eq!((all.refresh, all.used.len()), (at(7), 2), "the others are made");
    }

    #[test]
    fn cve_2017_1002102_volumes_made_of_objects_are_read_only() {
        let pod = serde_json::json!({"spec": {"containers": [], "volumes": [
            {"name": "map", "configMap": {"name": "one"}},
            {"name": "secret", "secret": {"secretName": "two"}},
            {"name": "down", "downwardAPI": {"items": []}},
            {"name": "all", "projected": {"sources": []}},
            {"name": "empty", "emptyDir": {}},
            {"name": "host", "hostPath": {"path": "/srv"}},
        ]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        for (name, expected) in
            [("map", true), ("secret", true), ("down", true), ("all", true), ("empty", false), ("host", false)]
        {
            assert_eq!(is_read_only(&pod, name), expected, "{name}");
        }
    }
}
