//! Where a container's file systems come from: the kernel's, the sandbox's files, and what CRI asks for.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Mount;
use remora_cri::{ContainerConfig, MountPropagation};

use crate::facts::EtcFiles;
use crate::{SandboxFiles, SpecError};

/// All mounts, in the order in which they are made: a place before what lies below it.
pub(crate) fn mounts(
    container: &ContainerConfig,
    files: &SandboxFiles,
    privileged: bool,
    readonly_root: bool,
) -> Result<Vec<Mount>, SpecError> {
    let asked = asked(container)?;
    let covered = |place: &Path| asked.iter().any(|mount| mount.destination() == place);
    let sandbox = sandbox_files(files, readonly_root).into_iter().filter(|mount| !covered(mount.destination()));
    // A mount over `/dev` hides everything that the kernel's defaults would put below it, and likewise for `/sys` and `/proc`.
    let hidden = |place: &Path| asked.iter().any(|mount| place.starts_with(mount.destination()));
    let kernel = kernel(privileged).into_iter().filter(|mount| !hidden(mount.destination()));
    let mut mounts: Vec<Mount> = kernel.collect();
    let mut bound: Vec<Mount> = sandbox.chain(asked.iter().cloned()).collect();
    bound.sort_by_key(|mount| mount.destination().components().count());
    mounts.extend(bound);
    Ok(mounts)
}

/// How the root must be shared with the host so that the mounts' propagation can work.
pub(crate) fn rootfs_propagation(container: &ContainerConfig) -> Option<&'static str> {
    let wants = |wanted| container.mounts.iter().any(|mount| mount.propagation() == wanted);
    if wants(MountPropagation::Bidirectional) {
        Some("rshared")
    } else if wants(MountPropagation::HostToContainer) {
        Some("rslave")
    } else {
        None
    }
}

/// A mount; the spec's serializer leaves out what is none.
pub(crate) fn mount(destination: &str, kind: &str, source: impl Into<PathBuf>, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount.set_destination(destination.into());
    mount.set_typ(Some(kind.to_owned()));
    mount.set_source(Some(source.into()));
    mount.set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}

fn kernel(privileged: bool) -> Vec<Mount> {
    let access = if privileged { "rw" } else { "ro" };
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", access]),
    ]
}

fn sandbox_files(files: &SandboxFiles, readonly_root: bool) -> Vec<Mount> {
    let access = if readonly_root { "ro" } else { "rw" };
    let etc = files.etc.iter().flat_map(|etc| EtcFiles::PLACES.into_iter().zip(etc.sources()));
    etc.map(|(place, source)| mount(place, "bind", source, &["rbind", "rprivate", access]))
        .chain([mount("/dev/shm", "bind", &files.shm, &["rbind", "rprivate", "rw"])])
        .collect()
}

fn asked(container: &ContainerConfig) -> Result<Vec<Mount>, SpecError> {
    container.mounts.iter().map(bind).collect()
}

fn bind(asked: &remora_cri::Mount) -> Result<Mount, SpecError> {
    if asked.image.as_ref().is_some_and(|image| !image.image.is_empty()) {
        return Err(SpecError::Unsupported("image volumes"));
    }
    if !asked.uid_mappings.is_empty() || !asked.gid_mappings.is_empty() {
        return Err(SpecError::Unsupported("id-mapped mounts"));
    }
    let host_path = absolute("mount source", &asked.host_path)?;
    let destination = normal(&absolute("mount destination", &asked.container_path)?);
    let propagation = match asked.propagation() {
        MountPropagation::Private => "rprivate",
        MountPropagation::HostToContainer => "rslave",
        MountPropagation::Bidirectional => "rshared",
    };
    let access = match (asked.readonly, asked.recursive_read_only) {
        (true, true) => "rro",
        (true, false) => "ro",
        (false, _) => "rw",
    };
    let mut mount = mount("", "bind", host_path, &["rbind", propagation, access]);
    mount.set_destination(destination);
    Ok(mount)
}

fn absolute(what: &'static str, path: &str) -> Result<PathBuf, SpecError> {
    match Path::new(path).is_absolute() {
        true => Ok(PathBuf::from(path)),
        false => Err(SpecError::RelativePath { what, path: path.to_owned() }),
    }
}

/// Without `.`, `..` and doubled or trailing slashes, so that two ways of writing a place are one. It cannot leave `/`.
pub(crate) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::ParentDir => _ = normal.pop(),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_mount(container_path: &str, host_path: &str) -> remora_cri::Mount {
        remora_cri::Mount { container_path: container_path.into(), host_path: host_path.into(), ..Default::default() }
    }

    fn places(mounts: Vec<remora_cri::Mount>) -> Result<Vec<String>, String> {
        let container = ContainerConfig { mounts, ..Default::default() };
        let files = SandboxFiles { etc: Some(EtcFiles::default()), ..SandboxFiles::default() };
        let mounts = super::mounts(&container, &files, false, false).map_err(|e| e.to_string())?;
        Ok(mounts.iter().map(|mount| mount.destination().display().to_string()).collect())
    }

    #[test]
    fn what_cri_mounts_takes_the_place_of_the_default_and_parents_come_first() {
        let found = places(vec![
            asked_mount("/data/deep/er", "/a"),
            asked_mount("/etc/hosts/", "/b"),
            asked_mount("/data", "/c"),
        ]);
        let expected = [
            "/proc",
            "/dev",
            "/dev/pts",
            "/dev/mqueue",
            "/sys",
            "/sys/fs/cgroup",
            "/data",
            "/etc/hostname",
            "/etc/resolv.conf",
            "/dev/shm",
            "/etc/hosts",
            "/data/deep/er",
        ];
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn a_mount_over_dev_keeps_what_the_host_has_there() {
        let found = places(vec![asked_mount("/dev", "/dev")]).unwrap();
        assert_eq!(
            found,
            ["/proc", "/sys", "/sys/fs/cgroup", "/dev", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/dev/shm"]
        );
    }

    #[test]
    fn paths_that_are_not_absolute_are_refused() {
        let check = |container_path, host_path, expected: &str| {
            assert_eq!(places(vec![asked_mount(container_path, host_path)]).unwrap_err(), expected);
        };
        check("data", "/a", "mount destination \"data\" is not an absolute path");
        check("/data", "a", "mount source \"a\" is not an absolute path");
    }

    #[test]
    fn destinations_cannot_climb_out_of_the_root() {
        assert_eq!(normal(Path::new("/../../etc/./x//y/")), Path::new("/etc/x/y"));
    }
}
