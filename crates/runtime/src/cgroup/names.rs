//! Where cgroups are, by name alone; nothing is made here.
//!
//! ```text
//! cgroupfs   /remora-ID/kubepods/burstable/podUID/CONTAINER
//! systemd    /remora_ID.slice/remora_ID-kubepods.slice/…/remora_ID-kubepods-burstable-podUID.slice/remora_ID-CONTAINER.scope/container
//!                                                        the pod: a slice with the pod's limits     delegated to us ◀┘       └▶ the container's own
//! ```
//!
//! A path says which of the two it is, so that what one daemon has made the next one can take away, whatever driver that one was given.

use std::path::{Component, Path, PathBuf};

use remora_cri::{CgroupDriver, SLICE, expand_slice, slice_part};

const SCOPE: &str = ".scope";
/// Below the scope: what is there systemd leaves alone. As crun calls it.
const OWN: &str = "container";
/// Beside it: where the scope's holder is.
const HOLDER: &str = "holder";

/// The cgroup below which all of a runtime's lie.
pub(crate) fn root(driver: CgroupDriver, root: &str) -> PathBuf {
    match driver {
        CgroupDriver::Cgroupfs => Path::new("/").join(root),
        CgroupDriver::Systemd => expand_slice(&slice_part(root)).into(),
    }
}

/// A pod's cgroup: below the runtime's own, whatever the request says (it may name that itself); a sandbox that names none has one of its own.
///
/// `asked` is a path, or, as the kubelet has it for systemd, a slice (the last part of a path counts, as for containerd).
pub(crate) fn pod(driver: CgroupDriver, root: &str, asked: &str, id: &str) -> PathBuf {
    match driver {
        CgroupDriver::Cgroupfs => pod_folder(root, asked, id),
        CgroupDriver::Systemd => pod_slice(&slice_part(root), asked, id),
    }
}

/// A container's cgroup in a pod's.
pub(crate) fn container(pod: &Path, id: &str) -> PathBuf {
    match slice_root(pod) {
        None => pod.join(id),
        Some(root) => pod.join(format!("{root}-{id}{SCOPE}")).join(OWN),
    }
}

/// The cgroup of a pod's QoS class, as kubelets name them; none for a pod in none (or guaranteed: those have no class above them).
pub(crate) fn class(pod: &Path) -> Option<&Path> {
    let class = pod.parent()?;
    let name = name_of(class)?;
    let last = name.strip_suffix(SLICE).map_or(name, |slice| slice.rsplit('-').next().unwrap_or(slice));
    ["burstable", "besteffort"].contains(&last).then_some(class)
}

/// Where the holder of a scope is.
pub(crate) fn holder(scope: &Path) -> PathBuf {
    scope.join(HOLDER)
}

/// What systemd has for a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit<'a> {
    /// As systemd calls it.
    pub(crate) name: &'a str,
    /// The slice that it lies in; empty at the top.
    pub(crate) slice: &'a str,
    /// The unit's cgroup.
    pub(crate) cgroup: &'a Path,
}

/// The unit that stands for a cgroup: a pod's slice, or the scope that a container's cgroup lies in. None for a plain folder.
pub(crate) fn unit(cgroup: &Path) -> Option<Unit<'_>> {
    slice_root(cgroup)?;
    let cgroup = if cgroup.ends_with(OWN) { cgroup.parent()? } else { cgroup };
    let slice = cgroup.parent().and_then(name_of).unwrap_or_default();
    is_unit(cgroup).then_some(Unit { name: name_of(cgroup)?, slice, cgroup })
}

fn pod_folder(root: &str, asked: &str, id: &str) -> PathBuf {
    let own = Path::new("/").join(root);
    let asked: PathBuf = Path::new("/").join(parts(asked).collect::<PathBuf>());
    let below = asked.strip_prefix(&own).or(asked.strip_prefix("/")).unwrap_or(&asked);
    let below = if below.as_os_str().is_empty() { Path::new(id) } else { below };
    own.join(below)
}

fn pod_slice(root: &str, asked: &str, id: &str) -> PathBuf {
    let last = parts(asked).last().unwrap_or_default();
    let asked = match last.strip_suffix(SLICE) {
        // Empty parts, as in `a--b`, name no slice.
        Some(name) => name.split('-').filter(|part| !part.is_empty()).map(slice_part).collect::<Vec<_>>(),
        None => parts(asked).map(slice_part).collect(),
    };
    let below = if asked.first().is_some_and(|first| first == root) { &asked[1..] } else { &asked[..] };
    let below = if below.is_empty() { id.to_owned() } else { below.join("-") };
    expand_slice(&format!("{root}-{below}")).into()
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    Path::new(path).components().filter_map(|component| match component {
        Component::Normal(part) => part.to_str(),
        _ => None,
    })
}

/// Whether a folder's name is one of a unit of ours.
pub(crate) fn is_unit(folder: &Path) -> bool {
    name_of(folder).is_some_and(|name| name.ends_with(SLICE) || name.ends_with(SCOPE))
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// The name of the slice at the root of a path, without its ending.
fn slice_root(path: &Path) -> Option<&str> {
    parts(path.to_str()?).next()?.strip_suffix(SLICE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use CgroupDriver::{Cgroupfs, Systemd};

    #[test]
    fn a_pods_cgroup_is_always_below_the_runtimes_own() {
        let check = |asked, expected| assert_eq!(pod(Cgroupfs, "remora-n", asked, "s1"), Path::new(expected));
        check("/kubepods/podu1", "/remora-n/kubepods/podu1");
        check("kubepods", "/remora-n/kubepods");
        check("/../../x", "/remora-n/x");
        check("/remora-n/kubepods", "/remora-n/kubepods");
        check("remora-n", "/remora-n/s1");
        check("", "/remora-n/s1");
        check("/", "/remora-n/s1");
    }

    #[test]
    fn a_pods_class_is_above_it() {
        let check = |driver, asked, expected: Option<&str>| {
            let pod = pod(driver, "n-1", asked, "s1");
            assert_eq!(class(&pod).and_then(name_of), expected, "{asked}");
        };
        check(Cgroupfs, "kubepods/burstable/podu", Some("burstable"));
        check(Cgroupfs, "kubepods/besteffort/podu", Some("besteffort"));
        check(Cgroupfs, "kubepods/podu", None);
        check(Cgroupfs, "", None);
        check(Systemd, "kubepods/burstable/podu", Some("n_1-kubepods-burstable.slice"));
        check(Systemd, "kubepods/podu", None);
    }

    #[test]
    fn a_pods_slice_lies_in_those_that_its_name_says() {
        let check = |asked, expected: &[&str]| {
            let expected: PathBuf = ["/", "n_1.slice"].iter().chain(expected).collect();
            assert_eq!(pod(Systemd, "n-1", asked, "s1"), expected, "{asked}");
        };
        let burstable = ["n_1-kubepods.slice", "n_1-kubepods-burstable.slice", "n_1-kubepods-burstable-podu_1.slice"];
        check("/n-1/kubepods/burstable/podu-1", &burstable);
        check("kubepods-burstable-podu_1.slice", &burstable);
        check("/n_1.slice/n_1-kubepods.slice/n_1-kubepods-burstable-podu_1.slice", &burstable);
        check("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podu_1.slice", &burstable);
        check("", &["n_1-s1.slice"]);
        check("/", &["n_1-s1.slice"]);
        check("n_1.slice", &["n_1-s1.slice"]);
        check("-.slice", &["n_1-s1.slice"]);
        check("a--b.slice", &["n_1-a.slice", "n_1-a-b.slice"]);
        check("/../../x", &["n_1-x.slice"]);
        check("/a b/.c", &[r"n_1-a\x20b.slice", r"n_1-a\x20b-\x2ec.slice"]);
    }

    #[test]
    fn a_path_says_which_units_stand_for_it() {
        let slice = pod(Systemd, "n-1", "/kubepods/podu", "s1");
        let name = |path: &Path| unit(path).map(|unit| (unit.name.to_owned(), unit.slice.to_owned()));
        let names = |name: &str, slice: &str| Some((name.to_owned(), slice.to_owned()));
        assert_eq!(name(&slice), names("n_1-kubepods-podu.slice", "n_1-kubepods.slice"));
        let inside = container(&slice, "c1");
        assert_eq!(inside, slice.join("n_1-c1.scope/container"));
        assert_eq!(name(&inside), names("n_1-c1.scope", "n_1-kubepods-podu.slice"));
        assert_eq!(unit(&inside).unwrap().cgroup, slice.join("n_1-c1.scope"));
        assert_eq!(name(&root(Systemd, "n-1")), names("n_1.slice", ""));
        let folder = pod(Cgroupfs, "n-1", "/kubepods/podu", "s1");
        assert_eq!(container(&folder, "c1"), folder.join("c1"));
        assert_eq!((unit(&folder), unit(&container(&folder, "c1"))), (None, None));
        // Names that only look like it.
        assert_eq!(unit(Path::new("/n-1/a.slice")), None);
        assert_eq!(unit(&container(Path::new("/n-1/a.slice"), "container")), None);
    }
}
