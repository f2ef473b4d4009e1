//! Facts about this machine, read once when the runtime opens.

use std::fs;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Capabilities;
use remora_oci_config::{CgroupVersion, parse_capability_mask};
use remora_sys::cgroup::Layout;

use crate::Error;
use crate::error::failed;

/// What the host is and may do.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// A new one for each start of the machine.
    pub(crate) boot: String,
    pub(crate) cgroups: Layout,
    pub(crate) held_capabilities: Capabilities,
    pub(crate) oom_score_adj_floor: Option<i32>,
    pub(crate) swap_controller: bool,
    pub(crate) hugetlb_controller: bool,
    /// Pods can have users of their own.
    pub(crate) user_namespaces: bool,
}

impl Host {
    pub(crate) fn detect() -> Result<Self, Error> {
        let cgroups = Layout::detect()?;
        let lowest = remora_sys::process::possible_oom_score_adj(-1000)?;
        Ok(Host {
            boot: read("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
            held_capabilities: held_capabilities()?,
            oom_score_adj_floor: Some(lowest).filter(|&lowest| lowest > -1000),
            swap_controller: swap_controller(&cgroups),
            hugetlb_controller: has_controller(&cgroups, "hugetlb"),
            user_namespaces: remora_sys::user_namespace::are_supported()?,
            cgroups,
        })
    }

    pub(crate) fn cgroup_version(&self) -> CgroupVersion {
        match self.cgroups {
            Layout::Unified(_) => CgroupVersion::V2,
            Layout::Legacy { .. } => CgroupVersion::V1,
        }
    }

    /// Every folder of a cgroup, those in a hybrid system's second hierarchy too.
    pub(crate) fn cgroup_folders(&self, path: &Path) -> Vec<PathBuf> {
        let mut folders = self.cgroups.folders(path);
        if let Layout::Legacy { unified: Some(unified), .. } = &self.cgroups {
            folders.push(unified.join(path.strip_prefix("/").unwrap_or(path)));
        }
        folders
    }
}

fn read(path: &str) -> Result<String, Error> {
    fs::read_to_string(path).map_err(failed("read", path))
}

/// A container can be given what is both in the bounding set and permitted.
fn held_capabilities() -> Result<Capabilities, Error> {
    const PATH: &str = "/proc/self/status";
    let status = read(PATH)?;
    let mask = |name: &str| {
        let found = status.lines().find_map(|line| line.strip_prefix(name)).and_then(parse_capability_mask);
        found.ok_or_else(|| Error::Record { path: PATH.into(), problem: format!("no line {name}") })
    };
    let permitted = mask("CapPrm:")?;
    Ok(mask("CapBnd:")?.into_iter().filter(|capability| permitted.contains(capability)).collect())
}

fn has_controller(cgroups: &Layout, name: &str) -> bool {
    match cgroups {
        Layout::Unified(mount) => fs::read_to_string(mount.join("cgroup.controllers"))
            .is_ok_and(|text| text.split_whitespace().any(|controller| controller == name)),
        Layout::Legacy { hierarchies, .. } => {
            hierarchies.iter().any(|hierarchy| hierarchy.controllers.iter().any(|controller| controller == name))
        }
    }
}

fn swap_controller(cgroups: &Layout) -> bool {
    match cgroups {
        // The root of the hierarchy never has the file. Its children do, whatever they are; so has what a cgroup namespace shows as the root.
        Layout::Unified(mount) => {
            let children = fs::read_dir(mount).into_iter().flatten().flatten().map(|entry| entry.path());
            children.chain([mount.clone()]).any(|folder| folder.join("memory.swap.max").exists())
        }
        Layout::Legacy { hierarchies, .. } => {
            hierarchies.iter().any(|hierarchy| hierarchy.mount.join("memory.memsw.limit_in_bytes").exists())
        }
    }
}
