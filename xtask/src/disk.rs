//! A small disk for a node's data, so that it can be filled without harm to anybody else: ext4 in a file.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::host;

/// Enough for the demo's images and the writable layers of some dozens of pods.
const BYTES: u64 = 512 << 20;

/// Makes and mounts it on `folder`; its file is beside it.
pub(crate) fn mount(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let image = folder.with_extension("ext4");
    std::fs::File::create(&image)?.set_len(BYTES)?;
    // No blocks in reserve: root would have room where others have none.
    host::read(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image))?;
    host::run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(folder))
}

/// Unmounts what [`mount`] has mounted; nothing there is no error.
pub(crate) fn unmount(folder: &Path) -> Result<()> {
    if is_mount_point(folder)? {
        host::run(Command::new("umount").arg(folder))?;
    }
    let image = folder.with_extension("ext4");
    match std::fs::remove_file(&image) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", image.display()))
        }
        _ => Ok(()),
    }
}

fn is_mount_point(folder: &Path) -> Result<bool> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").context("reading mounts")?;
    let folder = folder.display().to_string();
    Ok(mounts.lines().any(|line| line.split(' ').nth(4) == Some(&folder)))
}
