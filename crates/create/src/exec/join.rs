//! Which namespaces and cgroups a container's process is in, and joining them.

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;

use remora_sys::cgroup::Layout;
use remora_sys::process::PidFd;
use rustix::fs::{Gid, Uid};
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
        let cgroups = Layout::detect()?.members(&text).into_iter().map(|folder| folder.join("cgroup.procs")).collect();
        // All was read by pid: if the process still runs, it was this one.
        if handle.has_ended() { Err(gone()) } else { Ok(Self { handle, namespaces, cgroups }) }
    }

    /// From now on, children of ours are born in the container's PID namespace; we stay in our own.
    pub(super) fn enter_pid_namespace(&self) -> Result<(), Error> {
        self.join(self.namespaces & ThreadNameSpaceType::PROCESS_ID)
    }

    /// Joins all but the PID namespace, at once: the kernel knows the right order. In a user namespace this makes us its root: as whom we were
    /// outside, we would be nobody.
    pub(super) fn enter_other_namespaces(&self) -> Result<(), Error> {
        self.join(self.namespaces - ThreadNameSpaceType::PROCESS_ID)?;
        if !self.has_own_users() {
            return Ok(());
        }
        let became = rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)
            .and_then(|()| rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT));
        became.map_err(|errno| Error::new(format!("cannot become root in the container's user namespace: {errno}")))
    }

    /// Whether the container has a user namespace of its own.
    pub(super) fn has_own_users(&self) -> bool {
        self.namespaces.contains(ThreadNameSpaceType::USER)
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
