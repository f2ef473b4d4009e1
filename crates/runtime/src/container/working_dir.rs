//! The working directory: made if it is not there, in the root or in the volume that it lies in. runc makes it, and Kubernetes' users rely on it;
//! libcontainer does not. On another container's root nothing is ever made.

use std::path::{Component, Path, PathBuf};

use remora_cri::Mount;
use remora_sys::rootfs::{look_beneath, look_inside, make_folders_beneath, make_folders_inside};

use crate::Error;
use crate::users::Users;

/// Makes it, unless it is there or in a volume that cannot be written to: then the low-level runtime says that it is missing. The owner is the
/// container's root.
pub(super) fn make(dir: &Path, mounts: &[Mount], rootfs: &Path, users: Option<&Users>) -> Result<(), Error> {
    let owner = users.map_or((0, 0), |users| (users.ids.uids.outside, users.ids.gids.outside));
    match place(dir, mounts) {
        Place::Root(dir) if look_inside(rootfs, &dir)?.is_none() => Ok(make_folders_inside(rootfs, &dir, owner)?),
        Place::Volume(folder, dir) if look_beneath(&folder, &dir)?.is_none() => {
            Ok(make_folders_beneath(&folder, &dir, owner)?)
        }
        Place::Root(_) | Place::Volume(..) | Place::ReadOnly => Ok(()),
    }
}

/// What it lies in, and its path there.
#[derive(Debug, PartialEq)]
enum Place {
    Root(PathBuf),
    /// A folder of the host. An absolute link in it leads from the container's root, which is not whole yet: the way over it is left to the low-level
    /// runtime.
    Volume(PathBuf, PathBuf),
    /// A volume that cannot be written to.
    ReadOnly,
}

fn place(dir: &Path, mounts: &[Mount]) -> Place {
    let dir = clean(dir);
    let below = |place: &str| Some(Path::new("/").join(dir.strip_prefix(clean(Path::new(place))).ok()?));
    let volumes = mounts.iter().rev().filter_map(|mount| Some((below(&mount.container_path)?, mount)));
    // The innermost has the shortest way left; of two on one place the last is on top.
    let volume = volumes.min_by_key(|(inside, _)| inside.components().count());
    match volume {
        Some((_, mount)) if mount.readonly => Place::ReadOnly,
        Some((inside, mount)) => Place::Volume(PathBuf::from(&mount.host_path), inside),
        None => Place::Root(dir),
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
        let check = |dir: &str, expected: Place| assert_eq!(place(Path::new(dir), &mounts), expected, "{dir}");
        let root = |dir: &str| Place::Root(dir.into());
        let volume = |folder: &str, dir: &str| Place::Volume(folder.into(), dir.into());
        check("/", root("/"));
        check("/made/for/me", root("/made/for/me"));
        check("/data", volume("/v/data", "/"));
        check("/data/x", volume("/v/data", "/x"));
        check("/data/in/x/y", volume("/v/in", "/x/y"));
        check("/database", root("/database"));
        check("/data/../up", root("/up"));
        check("/../..", root("/"));
        check("/fixed/x", Place::ReadOnly);
        check("/twice/x", volume("/v/second", "/x"));
    }
}
