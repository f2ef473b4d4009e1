//! What is mounted into a container: volumes, the hosts file, the file for its last words.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use remora_cri::{Mount, MountPropagation, UserNamespace};

use super::expand::expand;
use super::{StartOrder, termination_message};
use crate::context::Context;
use crate::sandbox::hosts;
use crate::volumes;

/// Why a mount cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MountError {
    #[error("cannot make {path}: {source}")]
    File {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("failed to prepare subPath for volumeMount {volume:?} of container {container:?}: {why}")]
    SubPath { volume: String, container: String, why: String },
    #[error(transparent)]
    Volume(#[from] volumes::VolumeError),
}

/// Everything that is mounted, in the order of the spec.
pub(crate) fn mounts(
    context: &Context,
    pod: &Pod,
    container: &Container,
    order: &StartOrder,
    envs: &[(String, String)],
) -> Result<Vec<Mount>, MountError> {
    let mut all = Vec::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        all.push(volume(context, pod, container, mount, index, envs)?);
    }
    let taken = |path: &str| container.volume_mounts.iter().flatten().any(|m| m.mount_path == path);
    if !taken("/etc/hosts") {
        let file = hosts::write(context, pod, &order.sandbox_ips);
        let file = file.map_err(|source| MountError::File { path: "the pod's hosts file".to_owned(), source })?;
        all.push(bind("/etc/hosts", &file, false));
    }
    if let Some(path) = container.termination_message_path.as_deref().filter(|p| !p.is_empty()) {
        let file = termination_message::file(&context.pod_folder(pod), &container.name, order.restart_count);
        make_message_file(&file).map_err(|source| MountError::File { path: file.display().to_string(), source })?;
        all.push(bind(path, &file, false));
    }
    Ok(all)
}

/// In a pod with a user namespace, the owners of everything that is mounted are the pod's ids (kubernetes
/// `pkg/kubelet/kuberuntime/kuberuntime_container_linux.go`).
pub(super) fn mapped(mounts: Vec<Mount>, users: Option<&UserNamespace>) -> Vec<Mount> {
    let Some(users) = users else { return mounts };
    let map = |mount| Mount { uid_mappings: users.uids.clone(), gid_mappings: users.gids.clone(), ..mount };
    mounts.into_iter().map(map).collect()
}

fn volume(
    context: &Context,
    pod: &Pod,
    container: &Container,
    mount: &VolumeMount,
    index: usize,
    envs: &[(String, String)],
) -> Result<Mount, MountError> {
    let volume = volumes::folder(context, pod, &mount.name)?;
    let expression = mount.sub_path_expr.as_deref().filter(|e| !e.is_empty());
    let sub_path = match expression {
        Some(text) => Some(expand(text, |name| super::lookup(envs, name))),
        None => mount.sub_path.clone().filter(|p| !p.is_empty()),
    };
    let host = match sub_path {
        Some(path) => sub_path_target(context, pod, container, mount, index, &volume, Path::new(&path))?,
        None => volume,
    };
    let propagation = match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => MountPropagation::HostToContainer,
        Some("Bidirectional") => MountPropagation::Bidirectional,
        _ => MountPropagation::Private,
    };
    let read_only = mount.read_only.unwrap_or(false) || volumes::is_read_only(pod, &mount.name);
    Ok(Mount { propagation: propagation as i32, ..bind(&mount.mount_path, &host, read_only) })
}

/// A folder or file inside a volume. The container may change the volume while we look: so the place is opened without
/// leaving the volume, and what was opened is bound, not its name.
fn sub_path_target(
    context: &Context,
    pod: &Pod,
    container: &Container,
    mount: &VolumeMount,
    index: usize,
    volume: &Path,
    path: &Path,
) -> Result<PathBuf, MountError> {
    let fail = |why: String| MountError::SubPath { volume: mount.name.clone(), container: container.name.clone(), why };
    if path.is_absolute() || path.components().any(|c| c == Component::ParentDir) {
        return Err(fail("it must be a relative path without \"..\"".to_owned()));
    }
    let opened = open_or_make(volume, path).map_err(&fail)?;
    let base = context.pod_folder(pod).join("volume-subpaths").join(&mount.name).join(&container.name);
    let target = base.join(index.to_string());
    let is_folder = opened.metadata().map_err(|e| fail(e.to_string()))?.is_dir();
    if is_folder {
        std::fs::create_dir_all(&target).map_err(|e| fail(e.to_string()))?;
    } else {
        remora_sys::mount::make_file_target(&target).map_err(|e| fail(e.to_string()))?;
    }
    let source = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    context.mounts.bind(&source, &target).map_err(|e| fail(e.to_string()))?;
    Ok(target)
}

/// Missing folders are made one by one, each inside its opened parent, so that no link can lead the making outside. They are as open as the volume:
/// with an fsGroup, its members are to write there too (kubernetes `pkg/kubelet/kubelet_pods.go`, `makeMounts`).
fn open_or_make(volume: &Path, path: &Path) -> Result<File, String> {
    let open = |path: &Path| remora_sys::rootfs::open_inside(volume, path).map_err(|e| e.to_string());
    if let Some(file) = open(path)? {
        return Ok(file);
    }
    let permissions = std::fs::metadata(volume).map_err(|e| e.to_string())?.permissions();
    let mut at = PathBuf::from(".");
    for part in path.components().filter(|c| matches!(c, Component::Normal(_))) {
        let parent = open(&at)?.ok_or("a part of it vanished")?;
        let child = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(part);
        at.push(part);
        match std::fs::create_dir(&child) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.to_string()),
            Ok(()) => {
                let made = open(&at)?.ok_or("a part of it vanished")?;
                give(&made, &child, permissions.clone()).map_err(|e| e.to_string())?;
            }
        }
    }
    Ok(open(path)?.ok_or("it vanished")?)
}

/// Gives a new folder its mode, which the umask has cut; not what a link in its place leads to.
fn give(made: &File, child: &Path, permissions: std::fs::Permissions) -> std::io::Result<()> {
    let (opened, named) = (made.metadata()?, std::fs::symlink_metadata(child)?);
    if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
        return Err(std::io::Error::other("it was replaced meanwhile"));
    }
    std::fs::set_permissions(format!("/proc/self/fd/{}", made.as_raw_fd()), permissions)
}

fn bind(container_path: &str, host_path: &Path, readonly: bool) -> Mount {
    Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.display().to_string(),
        readonly,
        ..Mount::default()
    }
}

/// Empty, and writable for whatever user the container runs as.
fn make_message_file(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o666).open(path)?;
    // The mode at creation is cut by the umask.
    file.set_permissions(std::fs::Permissions::from_mode(0o666))
}
