//! The working directory: made if it is not there, in the root or in the volume that it lies in. runc makes it, and Kubernetes' users rely on it;
//! libcontainer does not. On another container's root nothing is ever made.

use std::path::{Component, Path, PathBuf};

use remora_cri::Mount;
use remora_sys::rootfs::{look_inside, make_folders_inside};

use crate::Error;
use crate::users::Users;

/// Makes it, unless it is there or in a volume that cannot be written to: then the low-level runtime says that it is missing. The owner is the
/// container's root.
pub(super) fn make(dir: &Path, mounts: &[Mount], rootfs: &Path, users: Option<&Users>) -> Result<(), Error> {
    let Some((place, inside)) = place(dir, mounts, rootfs) else { return Ok(()) };
    if look_inside(&place, &inside)?.is_some() {
        return Ok(());
    }
    let owner = users.map_or((0, 0), |users| (users.ids.uids.outside, users.ids.gids.outside));
    Ok(make_folders_inside(&place, &inside, owner)?)
}

/// The folder of the host in which it lies, and its path there; none in a read-only volume.
fn place(dir: &Path, mounts: &[Mount], rootfs: &Path) -> Option<(PathBuf, PathBuf)> {
    let dir = clean(dir);
    let below = |mount: &Mount| {
        let inside = dir.strip_prefix(clean(Path::new(&mount.container_path))).ok()?;
        Some((Path::new("/").join(inside), mount.clone()))
    };
    // The innermost has the shortest way left; of two on one place the last is on top.
    let volume = mounts.iter().rev().filter_map(below).min_by_key(|(inside, _)| inside.components().count());
    match volume {
        Some((_, mount)) if mount.readonly => None,
        Some((inside, mount)) => Some((PathBuf::from(mount.host_path), inside)),
        None => Some((rootfs.to_owned(), dir)),
    }
}

/// An absolute path without `.` and `..`, as Go's `filepath.Clean` has it.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lies_in_the_innermost_volume_or_in_the_root() {
        let mount = |container_path: &str, host_path: &str, readonly| Mount {
            container_path: container_path.into(),
            host_path: host_path.into(),
            readonly,
            ..Mount::default()
        };
        let mounts = [
            mount("/data", "/v/data", false),
            mount("/data/in/", "/v/in", false),
            mount("/fixed", "/v/fixed", true),
            mount("/twice", "/v/first", true),
            mount("/twice", "/v/second", false),
        ];
        let check = |dir: &str, expected: Option<(&str, &str)>| {
            let expected = expected.map(|(place, inside)| (PathBuf::from(place), PathBuf::from(inside)));
            assert_eq!(place(Path::new(dir), &mounts, Path::new("/root")), expected, "{dir}");
        };
        check("/", Some(("/root", "/")));
        check("/made/for/me", Some(("/root", "/made/for/me")));
        check("/data", Some(("/v/data", "/")));
        check("/data/x", Some(("/v/data", "/x")));
        check("/data/in/x/y", Some(("/v/in", "/x/y")));
        check("/database", Some(("/root", "/database")));
        check("/data/../up", Some(("/root", "/up")));
        check("/../..", Some(("/root", "/")));
        check("/fixed/x", None);
        check("/twice/x", Some(("/v/second", "/x")));
    }
}
