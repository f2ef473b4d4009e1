//! Volumes that outlive pods: a claim leads to a persistent volume, and that to a folder of this machine.
//!
//! In the pod's own folder stands a link to it, so that taking the pod's volumes down can never touch what they hold.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use http::Request;
use k8s_openapi::api::core::v1::{HostPathVolumeSource, Pod};
use serde_json::Value;

use super::{VolumeError, host_path, make_folder};
use crate::context::{Context, id_of};

/// The folder of the claim's volume, made if the volume says that it may be.
pub(super) async fn resolve(context: &Context, pod: &Pod, claim: &str) -> Result<PathBuf, VolumeError> {
    let namespace = id_of(pod).namespace;
    let found = get(context, &format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims"), claim).await?;
    let name = text(&found, "/spec/volumeName");
    if text(&found, "/status/phase") != "Bound" || name.is_empty() {
        return Err(VolumeError::Claim(format!("persistentvolumeclaim {claim:?} is not bound")));
    }
    let volume = get(context, "/api/v1/persistentvolumes", name).await?;
    let source = place(&volume, &found).map_err(VolumeError::Claim)?;
    let path = PathBuf::from(&source.path);
    let is_new = !path.exists();
    host_path::check(&source)?;
    if is_new && path.exists() && is_ours(&volume) {
        // Whatever user a container has, it is to write there.
        let failed = |source| VolumeError::Write { path: path.display().to_string(), source };
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).map_err(failed)?;
    }
    Ok(path)
}

/// Lets the pod's own folder lead there.
pub(super) fn link(at: &Path, to: &Path) -> Result<(), VolumeError> {
    let failed = |source| VolumeError::Write { path: at.display().to_string(), source };
    if std::fs::read_link(at).is_ok_and(|there| there == to) {
        return Ok(());
    }
    if let Some(parent) = at.parent() {
        make_folder(parent, 0o750)?;
    }
    match std::fs::remove_file(at) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    symlink(to, at).map_err(failed)
}

/// Where the data of this volume of this claim is.
fn place(volume: &Value, claim: &Value) -> Result<HostPathVolumeSource, String> {
    let name = text(volume, "/metadata/name");
    if text(volume, "/spec/claimRef/uid") != text(claim, "/metadata/uid") {
        return Err(format!("persistentvolume {name:?} is bound to another claim"));
    }
    if text(volume, "/spec/volumeMode") == "Block" {
        return Err(format!("persistentvolume {name:?} is a device, which no container of this node can have"));
    }
    let (path, kind) = match (text(volume, "/spec/hostPath/path"), text(volume, "/spec/local/path")) {
        ("", "") => return Err(format!("persistentvolume {name:?} is of a kind that this node cannot mount")),
        ("", local) => (local, "Directory"),
        (path, _) => (path, text(volume, "/spec/hostPath/type")),
    };
    Ok(HostPathVolumeSource { path: path.to_owned(), type_: Some(kind.to_owned()).filter(|kind| !kind.is_empty()) })
}

/// Made by the binder of our own API server for a claim.
fn is_ours(volume: &Value) -> bool {
    text(volume, "/metadata/annotations/pv.kubernetes.io~1provisioned-by") == "remora.dev/local-path"
}

/// As JSON: for two more types of objects no more code is needed.
async fn get(context: &Context, collection: &str, name: &str) -> Result<Value, VolumeError> {
    let failed = |why: String| VolumeError::Claim(format!("cannot read {name:?}: {why}"));
    // The name is a pod's author's; it leads to no other path.
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) || name.starts_with('.') {
        return Err(failed("no object has such a name".to_owned()));
    }
    let request = Request::get(format!("{collection}/{name}")).body(Vec::new()).map_err(|e| failed(e.to_string()))?;
    match context.config.client.request(request).await {
        Ok(found) => Ok(found),
        Err(kube::Error::Api(status)) => Err(VolumeError::Claim(status.message.clone())),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_volume_leads_to_a_folder_only_for_its_own_claim() {
        let claim = json!({"metadata": {"uid": "c"}});
        let check = |spec: Value, expected: Result<(&str, Option<&str>), &str>| {
            let volume = json!({"metadata": {"name": "v"}, "spec": spec});
            let found = place(&volume, &claim);
            let found = found.as_ref().map(|source| (source.path.as_str(), source.type_.as_deref()));
            assert_eq!(found.map_err(String::as_str), expected);
        };
        let reference = json!({"uid": "c"});
        check(json!({"claimRef": reference, "hostPath": {"path": "/srv"}}), Ok(("/srv", None)));
        check(json!({"claimRef": reference, "local": {"path": "/srv"}}), Ok(("/srv", Some("Directory"))));
        let taken = "persistentvolume \"v\" is bound to another claim";
        check(json!({"claimRef": {"uid": "d"}, "hostPath": {"path": "/srv"}}), Err(taken));
        check(json!({"hostPath": {"path": "/srv"}}), Err(taken));
        let remote = "persistentvolume \"v\" is of a kind that this node cannot mount";
        check(json!({"claimRef": reference, "nfs": {"server": "s"}}), Err(remote));
        let device = "persistentvolume \"v\" is a device, which no container of this node can have";
        check(json!({"claimRef": reference, "volumeMode": "Block", "local": {"path": "/dev/x"}}), Err(device));
    }

    #[test]
    fn taking_a_link_down_leaves_what_it_leads_to() {
        let place = tempfile::tempdir().unwrap();
        let (data, pod) = (place.path().join("data"), place.path().join("pod"));
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("kept"), "").unwrap();
        let at = pod.join("volumes/kubernetes.io~local-volume/v");
        for _ in 0..2 {
            link(&at, &data).unwrap();
        }
        assert_eq!(std::fs::read_link(&at).unwrap(), data);
        super::super::remove(&crate::PlainFolders, &pod).unwrap();
        assert!(data.join("kept").exists() && !at.exists());
    }
}
