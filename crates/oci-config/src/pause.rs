//! The spec of a sandbox's pause process: process 1 of a PID namespace that the pod's containers share.

use std::path::PathBuf;

use oci_spec::runtime::{
    Capabilities, Linux, LinuxCapabilities, LinuxDeviceCgroup, LinuxDeviceType, LinuxResources, Root, Spec,
};

use crate::{
    CgroupVersion, Join, NamespacePaths, ResolvedUser, UserNamespace, mounts, namespaces, process, spec, user_namespace,
};

/// What a pause process is made of.
#[derive(Clone, Debug)]
pub struct PauseRequest {
    /// An empty folder; the program is bound into it.
    pub rootfs: PathBuf,
    /// The program on the host.
    pub program: PathBuf,
    /// Folders of the host with the libraries that a dynamically linked program needs; bound read-only at the same places.
    pub libraries: Vec<PathBuf>,
    /// Its arguments, the program's name not among them.
    pub args: Vec<String>,
    /// Its cgroup, from the hierarchy's root.
    pub cgroups_path: PathBuf,
    /// Which hierarchy holds the controllers.
    pub cgroup_version: CgroupVersion,
    /// The sandbox's; the PID namespace is always a new one.
    pub namespaces: NamespacePaths,
    /// Which ids of the host the pod's are; none: the host's own.
    pub user_namespace: Option<UserNamespace>,
}

/// The pause process's `config.json`: user 65535 as upstream's pause image, no capability, a read-only root.
pub fn pause_spec(request: &PauseRequest) -> Spec {
    let user = ResolvedUser { uid: 65535, gid: 65535, additional_gids: vec![65535] };
    let args = std::iter::once("/pause".to_owned()).chain(request.args.iter().cloned()).collect();
    let mut process = process::bare(args, &user);
    process.set_no_new_privileges(Some(true));
    process.set_capabilities(Some(no_capabilities()));
    let mut root = Root::default();
    root.set_path(request.rootfs.clone());
    root.set_readonly(Some(true));
    let mut spec = spec::empty();
    spec.set_root(Some(root));
    spec.set_process(Some(process));
    let mut binds = vec![
        mounts::mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mounts::mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mounts::mount("/pause", "bind", &request.program, &["bind", "rprivate", "ro"]),
    ];
    for folder in &request.libraries {
        binds.push(mounts::mount(&folder.to_string_lossy(), "bind", folder, &["rbind", "rprivate", "ro"]));
    }
    spec.set_mounts(Some(binds));
    spec.set_annotations(None);
    spec.set_linux(Some(linux(request)));
    spec
}

fn linux(request: &PauseRequest) -> Linux {
    let mut deny = LinuxDeviceCgroup::default();
    deny.set_allow(false);
    deny.set_typ(Some(LinuxDeviceType::A));
    deny.set_access(Some("rwm".to_owned()));
    let mut resources = LinuxResources::default();
    resources.set_devices(Some(vec![deny]));
    let paths = NamespacePaths { pid: Join::New, ..request.namespaces.clone() };
    let mut linux = Linux::default();
    linux.set_resources(Some(resources));
    linux.set_cgroups_path(Some(request.cgroups_path.clone()));
    linux.set_namespaces(Some(namespaces::namespaces(&paths, request.cgroup_version, false)));
    if let Some((uids, gids)) = user_namespace::to_oci(request.user_namespace.as_ref()) {
        linux.set_uid_mappings(Some(uids));
        linux.set_gid_mappings(Some(gids));
    }
    linux.set_devices(None);
    linux.set_masked_paths(None);
    linux.set_readonly_paths(None);
    linux
}

fn no_capabilities() -> LinuxCapabilities {
    let none = || Some(Capabilities::new());
    let mut capabilities = LinuxCapabilities::default();
    capabilities.set_bounding(none());
    capabilities.set_effective(none());
    capabilities.set_permitted(none());
    capabilities.set_inheritable(none());
    capabilities.set_ambient(none());
    capabilities
}
