//! Another process's mount tree, copied: all that it sees below `/`, to be mounted in a second place.
//!
//! The copy shows the same file systems (what is written in one is seen in the other), but its mounts are its own: unmounting them, or
//! mounting over them, is nothing to the process that they are copied from.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};

use crate::Result;
use crate::error::failed;
use crate::mount::{Propagation, set_propagation, unmount};
use crate::namespace::on_own_thread;
use crate::process::PidFd;

/// A copied tree that is mounted nowhere yet. Dropped, it is gone.
#[derive(Debug)]
pub struct Tree {
    tree: OwnedFd,
    /// Paths of what must be taken off once it is mounted.
    without: Vec<PathBuf>,
}

impl Tree {
    /// Copies the root of the mount namespace that a process is in and all that is mounted below it, but for what is mounted on (and
    /// below) the places `without`: paths of one name, such as `/proc`. The process's own mounts stay as they are.
    ///
    /// `own_users`: the process has a user namespace of its own. A copy of its mount namespace would be ours, not that one's, and the kernel locks
    /// all mounts of such a copy together: there the places are taken off only after [`Tree::attach`].
    ///
    /// # Errors
    /// The process has ended, or the caller may not enter its mount namespace.
    pub fn of_process(process: &PidFd, without: &[&str], own_users: bool) -> Result<Self> {
        on_own_thread(|| {
            // Threads share root and working directory, and the kernel lets none of them join a mount namespace while they do.
            unshare(UnshareFlags::FS)?;
            move_into_thread_name_spaces(process.as_fd(), ThreadNameSpaceType::MOUNT)
                .map_err(failed("join the mount namespace of", "a process"))?;
            if !own_users {
                // A copy of the namespace, which ends with this thread; private, so that nothing that is done in it reaches the process.
                unshare(UnshareFlags::NEWNS)?;
                set_propagation(Path::new("/"), Propagation::Private)?;
                take_off(Path::new("/"), without.iter().map(Path::new))?;
            }
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            // Joining has moved this thread to the namespace's root.
            let tree =
                rustix::mount::open_tree(CWD, "/", flags).map_err(failed("copy the mount tree of", "a process"))?;
            let without = if own_users { without.iter().map(PathBuf::from).collect() } else { Vec::new() };
            Ok(Tree { tree, without })
        })
    }

    /// Mounts the tree on a folder.
    ///
    /// # Errors
    /// The kernel refuses; then nothing is mounted.
    pub fn attach(self, target: &Path) -> Result<()> {
        rustix::mount::move_mount(self.tree.as_fd(), "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(failed("mount a copied tree on", target.display()))?;
        // Below a shared mount it has become shared, with the peers of that.
        let finished = set_propagation(target, Propagation::Private)
            .and_then(|()| take_off(target, self.without.iter().map(PathBuf::as_path)));
        finished.inspect_err(|_| {
            // The first failure is the one to report.
            let _ = unmount(target);
        })
    }
}

/// Everything that is mounted on places of one name below a root: no link of the root's can lead elsewhere.
fn take_off<'a>(root: &Path, mut places: impl Iterator<Item = &'a Path>) -> Result<()> {
    places.try_for_each(|place| {
        let place = root.join(place.strip_prefix("/").unwrap_or(place));
        while unmount(&place)? {}
        Ok(())
    })
}

#[expect(unsafe_code, reason = "unshare: one call, argued at its place")]
fn unshare(flags: UnshareFlags) -> Result<()> {
    // SAFETY: the flags hold no CLONE_FILES: this thread's descriptors stay shared with all others.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(failed("leave", "what threads share"))
}
