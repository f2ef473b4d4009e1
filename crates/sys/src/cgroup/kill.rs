//! Killing all that is in a cgroup, and knowing when it is over: by the kernel's events, never by waiting for time.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::Result;
use crate::error::failed;
use crate::process::PidFd;

/// The processes in a cgroup folder and in those below it. A folder that is gone has none.
///
/// # Errors
/// The list cannot be read.
pub fn processes(folder: &Path) -> Result<Vec<i32>> {
    let mut all = match fs::read_to_string(folder.join("cgroup.procs")) {
        Ok(text) => text.lines().filter_map(|line| line.parse().ok()).collect(),
        // A threaded v2 cgroup: its processes are listed above it.
        Err(error) if is_gone(&error) || error.raw_os_error() == Some(libc::EOPNOTSUPP) => Vec::new(),
        Err(error) => return Err(failed("list the processes of cgroup", folder.display())(error)),
    };
    for below in folders_below(folder) {
        all.extend(processes(&below)?);
    }
    Ok(all)
}

/// Whether any of the folders holds a process.
///
/// # Errors
/// As [`processes`].
pub fn has_processes(folders: &[PathBuf]) -> Result<bool> {
    for folder in folders {
        if !processes(folder)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn folders_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(io::Result::ok);
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Kills every process in the folders and waits until none is left. The folders are those of one cgroup: one on v2, one per hierarchy on
/// v1. Returns how many processes were seen and killed.
///
/// Blocks for as long as the kernel takes to end them: a process in uninterruptible sleep ends when it wakes.
///
/// # Errors
/// A list cannot be read or a signal not sent.
pub fn kill_all(folders: &[PathBuf]) -> Result<usize> {
    let mut killed = 0;
    loop {
        let handles = kill_round(folders)?;
        if handles.is_empty() {
            return Ok(killed);
        }
        killed += handles.len();
        handles.iter().try_for_each(PidFd::wait_ended)?;
    }
}

/// One round of [`kill_all`], for those who wait by themselves: kills what is there now and returns a handle of each. When all of them have
/// ended, call again; none returned means that the cgroup is empty.
///
/// Nothing that is killed can leave others behind: v2 kills in one step those that fork meanwhile too; on v1 the freezer, where there is one,
/// holds the processes still.
///
/// # Errors
/// A list cannot be read or a signal not sent.
pub fn kill_round(folders: &[PathBuf]) -> Result<Vec<PidFd>> {
    let freezer = Freezer::freeze(folders);
    let mut handles = Vec::new();
    for pid in listed(folders)? {
        let Some(handle) = PidFd::open(pid)? else { continue };
        // The pid may have been given to another process between list and open: ask the list again, with the handle in hand.
        if listed(folders)?.contains(&pid) && handle.send_signal(libc::SIGKILL)? {
            handles.push(handle);
        }
    }
    folders.iter().try_for_each(|folder| kill_in_one_step(&folder.join("cgroup.kill")))?;
    drop(freezer);
    Ok(handles)
}

/// A folder without that file is of v1, or of a kernel before 5.14; one that is gone holds nobody.
fn kill_in_one_step(file: &Path) -> Result<()> {
    match fs::OpenOptions::new().write(true).open(file).and_then(|mut file| file.write_all(b"1")) {
        Err(error) if !is_gone(&error) => Err(failed("write", file.display())(error)),
        _ => Ok(()),
    }
}

/// The cgroup was removed before (ENOENT) or while (ENODEV) its file was open.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

fn listed(folders: &[PathBuf]) -> Result<BTreeSet<i32>> {
    let mut pids = BTreeSet::new();
    for folder in folders {
        pids.extend(processes(folder)?);
    }
    // Zero stands for processes outside of the reader's PID namespace: they are not ours to kill.
    pids.remove(&0);
    Ok(pids)
}

/// Thaws when dropped: a frozen process does not die of a signal.
struct Freezer(Vec<PathBuf>);

impl Freezer {
    fn freeze(folders: &[PathBuf]) -> Self {
        let states: Vec<PathBuf> =
            folders.iter().map(|folder| folder.join("freezer.state")).filter(|state| state.exists()).collect();
        for state in &states {
            // Best effort: without the freezer, the loop still ends once nothing forks faster than it kills.
            let _ = fs::write(state, "FROZEN");
        }
        Self(states)
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        for state in &self.0 {
            // Gone with its last process, or never frozen.
            let _ = fs::write(state, "THAWED");
        }
    }
}
