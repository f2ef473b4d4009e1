//! Who makes a pod's and a container's cgroup: we, as folders, or systemd, as units. Which of them it is, a cgroup's path says.
//!
//! | | cgroupfs | systemd |
//! |---|---|---|
//! | pod | a folder; its files are written | a slice; its files are systemd's, which has the limits as the unit's properties |
//! | container | made by the low-level runtime | the same, inside of a scope that systemd has delegated to us, and a holder keeps alive |
//! | gone with | `rmdir` | the unit's end |
//!
//! A low-level runtime need not know of systemd: see `docs/decisions/0016-systemd-cgroup-driver.md`.

mod class;
mod holder;
mod manager;
mod names;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use remora_cri::{CgroupDriver, LinuxContainerResources};
use remora_oci_config::{CgroupFile, pod_cgroup_files, unit_properties};
use remora_sys::cgroup::{Layout, has_processes, memory_usage};

use self::holder::Holder;
use self::manager::{Wish, ask};
use crate::error::{chain, failed};
use crate::task::blocking;
use crate::{Error, Inner};

pub(crate) use names::{container, pod, root};

/// The driver that fits this machine: systemd's where that runs and all controllers are in one hierarchy, as Kubernetes advises. A systemd that does
/// not answer is left alone, aloud.
pub async fn detect_cgroup_driver() -> CgroupDriver {
    if obstacle().is_some() {
        return CgroupDriver::Cgroupfs;
    }
    match require_systemd().await {
        Ok(()) => CgroupDriver::Systemd,
        Err(error) => {
            tracing::warn!(error = chain(&error), "cgroups are made beside systemd, not by it");
            CgroupDriver::Cgroupfs
        }
    }
}

/// Whether the driver `systemd` can work here.
///
/// # Errors
/// [`Error::CgroupDriver`]: what is missing.
pub async fn require_systemd() -> Result<(), Error> {
    if let Some(missing) = obstacle() {
        return Err(Error::CgroupDriver { missing, source: None });
    }
    ask(&Wish::Answer).await.map_err(|error| match error {
        Error::Systemd { source, .. } => {
            Error::CgroupDriver { missing: "systemd does not answer", source: Some(source) }
        }
        other => other,
    })
}

fn obstacle() -> Option<&'static str> {
    judge(runs_systemd(), matches!(Layout::detect(), Ok(Layout::Unified(_))))
}

fn judge(runs_systemd: bool, unified: bool) -> Option<&'static str> {
    match (runs_systemd, unified) {
        (false, _) => Some("systemd does not run here"),
        (true, false) => Some("this machine's controllers are not all in one hierarchy (cgroup v2)"),
        (true, true) => None,
    }
}

/// As sd_booted(3) has it.
fn runs_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

impl Inner {
    /// A pod's cgroup with what it may use.
    pub(crate) async fn make_pod_cgroup(
        self: &Arc<Self>,
        cgroup: &Path,
        about: &str,
        limits: Option<&LinuxContainerResources>,
    ) -> Result<(), Error> {
        let files = limits.map(|limits| pod_cgroup_files(limits, self.host.cgroup_version())).unwrap_or_default();
        self.limit(cgroup, about, files).await
    }

    /// Makes a cgroup that others lie in, unless it is there, and writes its files.
    async fn limit(self: &Arc<Self>, cgroup: &Path, about: &str, mut files: Vec<CgroupFile>) -> Result<(), Error> {
        let unit = names::unit(cgroup);
        if let Some(unit) = unit {
            let (properties, rest) = unit_properties(files);
            ask(&Wish::Slice { unit: unit.name, about, limits: &properties }).await?;
            files = rest;
        }
        let (runtime, cgroup, ours) = (self.clone(), cgroup.to_owned(), unit.is_none());
        blocking(move || {
            if ours {
                runtime.host.cgroups.create(&cgroup)?;
            }
            runtime.write_files(&cgroup, &files)
        })
        .await
    }

    fn write_files(&self, cgroup: &Path, files: &[(&str, String)]) -> Result<(), Error> {
        let folders = self.host.cgroups.folders(cgroup);
        for (name, value) in files {
            // Each file is in the folder of its controller only.
            for file in folders.iter().map(|folder| folder.join(name)).filter(|file| file.exists()) {
                fs::write(&file, value).map_err(failed("write", &file))?;
            }
        }
        Ok(())
    }

    /// As for a pod, where each of the files must be in some folder.
    pub(crate) fn write_each(&self, cgroup: &Path, files: &[CgroupFile]) -> Result<(), Error> {
        let folders = self.host.cgroups.folders(cgroup);
        for (name, _) in files {
            if !folders.iter().any(|folder| folder.join(name).exists()) {
                let missing = cgroup.join(name);
                return Err(failed("write", missing)(std::io::ErrorKind::NotFound.into()));
            }
        }
        self.write_files(cgroup, files)
    }

    /// Whether what runs in a cgroup can have less memory. A best effort: it may grow while this is looked at.
    pub(crate) fn require_memory(
        &self,
        cgroup: &Path,
        what: &str,
        before: &LinuxContainerResources,
        after: &LinuxContainerResources,
    ) -> Result<(), Error> {
        let (had, limit) = (before.memory_limit_in_bytes, after.memory_limit_in_bytes);
        let shrinks = limit > 0 && (had <= 0 || limit < had);
        let usage = memory_usage(&self.host.cgroups.folders(cgroup)).filter(|_| shrinks);
        match usage {
            Some(usage) if i64::try_from(usage).is_ok_and(|usage| usage >= limit) => {
                Err(Error::BelowUsage { what: what.to_owned(), limit, usage })
            }
            _ => Ok(()),
        }
    }

    /// What must be there before the low-level runtime makes a container's cgroup. If it is, nothing is done.
    pub(crate) async fn make_room_for(&self, cgroup: &Path, about: &str) -> Result<(), Error> {
        let (Some(unit), Layout::Unified(mount)) = (names::unit(cgroup), &self.host.cgroups) else { return Ok(()) };
        let scope = in_mount(mount, unit.cgroup);
        let holder = names::holder(&scope);
        if blocking(move || Ok(has_processes(&[holder])?)).await? {
            return Ok(());
        }
        let program = self.shim.clone();
        let holder = blocking(move || Holder::start(&program)).await?;
        ask(&Wish::Scope { unit: unit.name, slice: unit.slice, about, pid: holder.pid() }).await?;
        blocking(move || holder.stay(&scope)).await
    }

    /// A cgroup in every hierarchy, those of a hybrid system's second one too, with the unit that it is or lies in. Nothing may run in it any more.
    pub(crate) async fn remove_cgroup(self: &Arc<Self>, cgroup: &Path) -> Result<(), Error> {
        let unit = names::unit(cgroup);
        // A unit's own cgroup is systemd's to remove.
        if unit.is_none_or(|unit| unit.cgroup != cgroup) {
            self.remove_cgroup_folders(cgroup).await?;
        }
        match unit {
            Some(unit) if self.has_folder(unit.cgroup) => {
                ask(&Wish::Gone { unit: unit.name }).await?;
                // It leaves what it could not remove at once.
                self.remove_cgroup_folders(unit.cgroup).await
            }
            _ => Ok(()),
        }
    }

    async fn remove_cgroup_folders(self: &Arc<Self>, cgroup: &Path) -> Result<(), Error> {
        let (runtime, cgroup) = (self.clone(), cgroup.to_owned());
        blocking(move || {
            runtime.host.cgroups.remove(&cgroup)?;
            // What low-level runtimes make beside the controllers' hierarchies.
            let folders = runtime.host.cgroup_folders(&cgroup);
            folders.iter().try_for_each(|folder| crate::recovery::remove_empty_tree(folder))
        })
        .await
    }

    fn has_folder(&self, cgroup: &Path) -> bool {
        self.host.cgroup_folders(cgroup).iter().any(|folder| folder.exists())
    }

    /// Ends the units of sandboxes and containers that nobody knows. Those with processes stay: they are somebody's.
    pub(crate) async fn prune_units(&self) {
        let root = root(CgroupDriver::Systemd, &self.cgroup_root);
        let Layout::Unified(mount) = &self.host.cgroups else { return };
        let known = self.known_units().iter().map(|cgroup| in_mount(mount, cgroup)).collect();
        let top = in_mount(mount, &root);
        let unknown = match blocking(move || Ok(unknown_units(&top, &known))).await {
            Ok(unknown) => unknown,
            Err(error) => return tracing::warn!(error = chain(&error), "units that nobody knows may be left"),
        };
        for folder in unknown {
            let unit = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Err(error) = ask(&Wish::Gone { unit }).await {
                tracing::warn!(unit, error = chain(&error), "a unit that nobody knows stays");
            }
        }
    }

    /// The cgroups of units that are needed, and of those that they lie in.
    fn known_units(&self) -> BTreeSet<PathBuf> {
        let sandboxes = self.table.sandboxes();
        let pods = sandboxes.iter().map(|sandbox| PathBuf::from(&sandbox.record().cgroup_parent));
        let pauses = sandboxes.iter().map(|sandbox| container(sandbox.record().cgroup_parent.as_ref(), sandbox.id()));
        let containers = self.table.containers().into_iter().map(|container| container.record().cgroup.clone().into());
        let all: Vec<PathBuf> = pods.chain(pauses).chain(containers).collect();
        all.iter().flat_map(|cgroup| cgroup.ancestors()).map(Path::to_owned).collect()
    }
}

fn in_mount(mount: &Path, cgroup: &Path) -> PathBuf {
    mount.join(cgroup.strip_prefix("/").unwrap_or(cgroup))
}

/// The topmost folders below one that are units, unknown, and without processes but holders.
fn unknown_units(folder: &Path, known: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let mut unknown = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if known.contains(&path) {
            unknown.extend(unknown_units(&path, known));
        } else if names::is_unit(&path) && !is_used(&path) {
            unknown.push(path);
        }
    }
    unknown
}

/// Whether any process but a scope's holder is in it. What cannot be told counts as yes.
fn is_used(unit: &Path) -> bool {
    let holds = |folder: &Path| match fs::read_to_string(folder.join("cgroup.procs")) {
        Ok(text) => !text.is_empty(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    };
    let below = fs::read_dir(unit).into_iter().flatten().flatten();
    let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path());
    holds(unit) || below.filter(|folder| *folder != names::holder(unit)).any(|folder| is_used(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_makes_cgroups_only_where_it_is_the_only_one() {
        assert_eq!(judge(true, true), None);
        assert_eq!(judge(false, true), Some("systemd does not run here"));
        assert_eq!(judge(false, false), Some("systemd does not run here"));
        assert_eq!(judge(true, false), Some("this machine's controllers are not all in one hierarchy (cgroup v2)"));
    }

    #[test]
    fn units_are_unknown_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("n.slice");
        let pod = top.join("n-kubepods.slice/n-kubepods-poda.slice");
        let wanted = ["n-c1.scope/container", "n-c2.scope/container"].map(|path| pod.join(path));
        let alone = top.join("n-kubepods.slice/n-kubepods-podb.slice");
        for path in wanted.iter().chain([&alone.join("n-c3.scope/container"), &pod.join("no unit")]) {
            fs::create_dir_all(path).unwrap();
        }
        // A holder is nobody; whatever else runs is somebody.
        let used = top.join("n-kubepods.slice/n-kubepods-podc.slice");
        for (path, procs) in [(alone.join("n-c3.scope/holder"), "7\n"), (used.join("n-c4.scope/container"), "8\n")] {
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("cgroup.procs"), procs).unwrap();
        }
        let known = wanted[0].ancestors().map(Path::to_owned).collect();
        let mut unknown = unknown_units(&top, &known);
        unknown.sort();
        assert_eq!(unknown, [pod.join("n-c2.scope"), alone]);
    }
}
