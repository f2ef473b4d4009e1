//! Which namespaces a container gets anew, which it joins, and which it leaves to the host.

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType};

use crate::{CgroupVersion, Join, NamespacePaths};

/// The spec's list. The mount namespace is always new.
pub(crate) fn namespaces(paths: &NamespacePaths, version: CgroupVersion, privileged: bool) -> Vec<LinuxNamespace> {
    // As containerd: a cgroup namespace of its own on v2, unless the container is to see the host's.
    let cgroup = match (version, privileged) {
        (CgroupVersion::V2, false) => Join::New,
        (CgroupVersion::V2, true) | (CgroupVersion::V1, _) => Join::Host,
    };
    let wanted = [
        (LinuxNamespaceType::User, &paths.user),
        (LinuxNamespaceType::Mount, &Join::New),
        (LinuxNamespaceType::Pid, &paths.pid),
        (LinuxNamespaceType::Network, &paths.network),
        (LinuxNamespaceType::Ipc, &paths.ipc),
        (LinuxNamespaceType::Uts, &paths.uts),
        (LinuxNamespaceType::Cgroup, &cgroup),
    ];
    wanted.into_iter().filter_map(|(kind, join)| namespace(kind, join)).collect()
}

fn namespace(kind: LinuxNamespaceType, join: &Join) -> Option<LinuxNamespace> {
    let mut namespace = LinuxNamespace::default();
    namespace.set_typ(kind);
    match join {
        Join::Host => return None,
        Join::New => {}
        Join::Path(path) => _ = namespace.set_path(Some(path.clone())),
    }
    Some(namespace)
}
