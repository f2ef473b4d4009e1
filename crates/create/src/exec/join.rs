//! Which namespaces and cgroups a container's process is in, and joining them.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use remora_sys::cgroup::Layout;
use remora_sys::process::PidFd;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::error::Error;

/// The kinds of namespaces, as `/proc/PID/ns/` and setns(2) name them.
const KINDS: [(&str, ThreadNameSpaceType); 7] = [
    ("user", ThreadNameSpaceType::USER),
    ("mnt", ThreadNameSpaceType::MOUNT),
    ("pid", ThreadNameSpaceType::PROCESS_ID),
    ("net", ThreadNameSpaceType::NETWORK),
    ("ipc", ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
    ("uts", ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
    ("cgroup", ThreadNameSpaceType::CONTROL_GROUP),
];

/// A container's first process, by a handle that cannot come to mean another.
pub(super) struct Target {
    handle: PidFd,
    /// Those that differ from ours.
    namespaces: ThreadNameSpaceType,
    /// `cgroup.procs` of its cgroup in every hierarchy.
    cgroups: Vec<PathBuf>,
}

impl Target {
    /// # Errors
    /// The process has ended.
    pub(super) fn open(pid: i32) -> Result<Self, Error> {
        let gone = || Error::new("cannot exec in a container that is not running");
        let handle = PidFd::open(pid)?.ok_or_else(gone)?;
        let namespaces = foreign_namespaces(pid)?;
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(|_| gone())?;
        let cgroups = members(&Layout::detect()?, &text).into_iter().map(|folder| folder.join("cgroup.procs")).collect();
        // All was read by pid: if the process still runs, it was this one.
        if handle.has_ended() { Err(gone()) } else { Ok(Self { handle, namespaces, cgroups }) }
    }

    /// From now on, children of ours are born in the container's PID namespace; we stay in our own.
    pub(super) fn enter_pid_namespace(&self) -> Result<(), Error> {
        self.join(self.namespaces & ThreadNameSpaceType::PROCESS_ID)
    }

    /// Joins all but the PID namespace, at once: the kernel knows the right order.
    pub(super) fn enter_other_namespaces(&self) -> Result<(), Error> {
        self.join(self.namespaces - ThreadNameSpaceType::PROCESS_ID)
    }

    fn join(&self, kinds: ThreadNameSpaceType) -> Result<(), Error> {
        if kinds.is_empty() {
            return Ok(());
        }
        move_into_thread_name_spaces(self.handle.as_fd(), kinds)
            .map_err(|errno| Error::new(format!("cannot join the container's namespaces: {errno}")))
    }

    pub(super) fn move_into_cgroups(&self, pid: i32) -> Result<(), Error> {
        for procs in &self.cgroups {
            fs::write(procs, pid.to_string())
                .map_err(|error| Error::new(format!("cannot join cgroup {}: {error}", procs.display())))?;
        }
        Ok(())
    }
}

fn foreign_namespaces(pid: i32) -> Result<ThreadNameSpaceType, Error> {
    let mut foreign = ThreadNameSpaceType::empty();
    for (name, kind) in KINDS {
        let read = |path: String| fs::read_link(path);
        // A kernel without this kind has no such link for either.
        let Ok(own) = read(format!("/proc/self/ns/{name}")) else { continue };
        let theirs = read(format!("/proc/{pid}/ns/{name}"))
            .map_err(|error| Error::new(format!("cannot look at the container's {name} namespace: {error}")))?;
        foreign.set(kind, own != theirs);
    }
    Ok(foreign)
}

/// The folders of a process's cgroups, from `/proc/PID/cgroup`: on v2 one; on v1 one per mounted hierarchy.
fn members(layout: &Layout, text: &str) -> Vec<PathBuf> {
    let lines = text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?, Path::new(fields.next()?)))
    });
    let below = |mount: &Path, path: &Path| mount.join(path.strip_prefix("/").unwrap_or(path));
    lines
        .filter_map(|(controllers, path)| match layout {
            Layout::Unified(mount) => controllers.is_empty().then(|| below(mount, path)),
            Layout::Legacy { hierarchies, .. } => {
                let known = hierarchies.iter().find(|hierarchy| hierarchy.controllers.join(",") == controllers)?;
                Some(below(&known.mount, path))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use remora_sys::cgroup::Hierarchy;

    use super::*;

    #[test]
    fn a_process_is_in_one_cgroup_of_every_hierarchy() {
        let check = |layout: &Layout, text: &str, expected: &[&str]| {
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(members(layout, text), expected, "{text}");
        };
        let hierarchy = |controllers: &[&str], mount: &str| Hierarchy {
            controllers: controllers.iter().map(ToString::to_string).collect(),
            mount: mount.into(),
        };
        let legacy = Layout::Legacy {
            hierarchies: vec![hierarchy(&["cpu", "cpuacct"], "/c/cpu"), hierarchy(&["name=systemd"], "/c/systemd")],
            unified: Some("/c/unified".into()),
        };
        let text = "3:cpu,cpuacct:/pod/a:b\n2:pids:/elsewhere\n1:name=systemd:/\n0::/x\n";
        check(&legacy, text, &["/c/cpu/pod/a:b", "/c/systemd/"]);
        check(&Layout::Unified("/c".into()), "0::/pod/a\n", &["/c/pod/a"]);
        check(&Layout::Unified("/c".into()), "", &[]);
    }
}
