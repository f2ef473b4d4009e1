//! What must be true before a node can start: each thing that is not is one sentence with its remedy.
//!
//! [`judge`] decides on facts; [`facts`] gathers them.

use std::path::Path;

use remora_cli::CommandError;

/// What was found on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) is_root: bool,
    pub(crate) has_overlay: bool,
    pub(crate) cgroups: Cgroups,
    /// `remora-shim` and `remora-create` that are not where they should be.
    pub(crate) missing_programs: Vec<String>,
}

/// What was found of the control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cgroups {
    Ready,
    Missing,
    /// cgroup v2 hands down controllers only from a group without processes; a container's own group has some.
    Occupied,
}

/// Looks at the machine. Nothing is changed.
pub(crate) fn facts(libexec: &Path) -> Facts {
    let file_systems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let programs = ["remora-shim", "remora-create"].map(|name| libexec.join(name));
    let missing = programs.into_iter().filter(|path| !path.is_file());
    Facts {
        is_root: remora_sys::process::is_root(),
        has_overlay: file_systems.lines().any(|line| line.ends_with("\toverlay")),
        cgroups: cgroups(),
        missing_programs: missing.map(|path| path.display().to_string()).collect(),
    }
}

fn cgroups() -> Cgroups {
    match remora_sys::cgroup::Layout::detect() {
        Ok(layout) if layout.is_occupied() => Cgroups::Occupied,
        Ok(_) => Cgroups::Ready,
        Err(_) => Cgroups::Missing,
    }
}

/// The first thing that stands in the way.
pub(crate) fn judge(facts: &Facts) -> Result<(), CommandError> {
    if !facts.is_root {
        let problem = CommandError::failed("a node needs root: it makes namespaces, mounts and cgroups");
        return Err(problem.hint("sudo remora up"));
    }
    if !facts.has_overlay {
        let problem = CommandError::failed("this kernel has no overlay file system, on which containers stand");
        return Err(problem.hint("modprobe overlay"));
    }
    let cgroups_problem = match facts.cgroups {
        Cgroups::Ready => None,
        Cgroups::Missing => Some("no cgroup file system is mounted in /sys/fs/cgroup"),
        Cgroups::Occupied => {
            Some("processes stand in the root of this container's cgroups, so that no pod can be limited")
        }
    };
    if let Some(problem) = cgroups_problem {
        return Err(CommandError::failed(problem)
            .hint("inside a container, start it with its host's cgroups (docker run --privileged --cgroupns=host)"));
    }
    if let Some(missing) = facts.missing_programs.first() {
        let problem = CommandError::failed(format!("{missing} is missing"));
        return Err(problem.hint("install it beside remora, or name its folder with --libexec-dir"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_is_one_sentence_with_a_remedy() {
        let good = Facts { is_root: true, has_overlay: true, cgroups: Cgroups::Ready, missing_programs: vec![] };
        let check = |facts: &Facts, expected: Option<&str>| {
            let got = judge(facts).err();
            assert_eq!(got.as_ref().map(|e| e.message.as_str()), expected);
            assert!(got.is_none_or(|e| e.hint.is_some()));
        };
        check(&good, None);
        let user = Facts { is_root: false, ..good.clone() };
        check(&user, Some("a node needs root: it makes namespaces, mounts and cgroups"));
        let plain = Facts { has_overlay: false, ..good.clone() };
        check(&plain, Some("this kernel has no overlay file system, on which containers stand"));
        let alone = Facts { missing_programs: vec!["/x/remora-shim".into()], ..good.clone() };
        check(&alone, Some("/x/remora-shim is missing"));
        let occupied = Facts { cgroups: Cgroups::Occupied, ..good.clone() };
        check(
            &occupied,
            Some("processes stand in the root of this container's cgroups, so that no pod can be limited"),
        );
        let bare = Facts { cgroups: Cgroups::Missing, ..good };
        check(&bare, Some("no cgroup file system is mounted in /sys/fs/cgroup"));
    }
}
