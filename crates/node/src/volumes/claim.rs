//! Volumes that outlive pods: a claim leads to a persistent volume, and that to a folder of this machine.
//!
//! In the pod's own folder stands a link to it, so that taking the pod's volumes down can never touch what they hold.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use http::Request;
use k8s_openapi::api::core::v1::{HostPathVolumeSource, Pod};
use serde_json::Value;

use remora_decide::allows_node;

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
    check_node(context, &volume).await?;
    let path = PathBuf::from(&source.path);
    if is_ours(&volume) {
        make_open(&path)?;
    }
    host_path::check(&source)?;
    Ok(path)
}

/// Before anything is made: on a node that has not got the volume, an empty folder would pass for it.
async fn check_node(context: &Context, volume: &Value) -> Result<(), VolumeError> {
    if volume.pointer("/spec/nodeAffinity/required").is_none() {
        return Ok(());
    }
    let name = &context.config.node_name;
    let node = get(context, "/api/v1/nodes", name).await?;
    let labels = node.pointer("/metadata/labels").unwrap_or(&Value::Null);
    match allows_node(volume, name, labels) {
        true => Ok(()),
        false => Err(VolumeError::OtherNode { volume: text(volume, "/metadata/name").to_owned() }),
    }
}

/// Makes a claim's folder, unless it is there: whatever user a container has, it is to write there. It has its name once it is open, so that no crash leaves one that is closed.
fn make_open(path: &Path) -> Result<(), VolumeError> {
    let failed = |source| VolumeError::Write { path: path.display().to_string(), source };
    if path.try_exists().map_err(failed)? {
        return Ok(());
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    // Another pod may be about to make it too, and be faster.
    let is_made = || path.is_dir();
    let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&new);
    // The umask had its say about the mode.
    let opened = made.and_then(|()| fs::set_permissions(&new, fs::Permissions::from_mode(0o777)));
    match opened {
        Err(_) if is_made() => return Ok(()),
        opened => opened.map_err(failed)?,
    }
    match remora_sys::file::rename_new(&new, path) {
        Err(_) if is_made() => match fs::remove_dir(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        },
        renamed => renamed.map_err(VolumeError::from),
    }
}

/// Lets the pod's own folder lead there.
pub(super) fn link(at: &Path, to: &Path) -> Result<(), VolumeError> {
    let failed = |source| VolumeError::Write { path: at.display().to_string(), source };
    if fs::read_link(at).is_ok_and(|there| there == to) {
        return Ok(());
    }
    if let Some(parent) = at.parent() {
        make_folder(parent, 0o750)?;
    }
    match fs::remove_file(at) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
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
    fn a_claims_folder_is_open_once_it_has_its_name() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("volumes/pvc-1");
        // What a crash may leave.
        fs::create_dir_all(place.path().join("volumes/pvc-1.new")).unwrap();
        for _ in 0..2 {
            make_open(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o777);
            assert_eq!(fs::read_dir(place.path().join("volumes")).unwrap().count(), 1);
        }
        // What its user has made of it stays.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        make_open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
    }

    #[test]
    fn pods_that_make_a_folder_at_once_get_the_same_one() {
        let place = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let path = place.path().join(round.to_string());
            std::thread::scope(|scope| {
                for pod in 0..4 {
                    let path = &path;
                    scope.spawn(move || {
                        make_open(path).unwrap();
                        fs::write(path.join(pod.to_string()), "").unwrap();
                    });
                }
            });
            assert_eq!(fs::read_dir(&path).unwrap().count(), 4);
        }
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 50, "none is left half made");
    }

    #[test]
    fn taking_a_link_down_leaves_what_it_leads_to() {
        let place = tempfile::tempdir().unwrap();
        let (data, pod) = (place.path().join("data"), place.path().join("pod"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("kept"), "").unwrap();
        let at = pod.join("volumes/kubernetes.io~local-volume/v");
        for _ in 0..2 {
            link(&at, &data).unwrap();
        }
        assert_eq!(fs::read_link(&at).unwrap(), data);
        super::super::remove(&crate::PlainFolders, &pod).unwrap();
        assert!(data.join("kept").exists() && !at.exists());
    }
}
