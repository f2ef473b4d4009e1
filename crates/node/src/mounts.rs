//! The few mounts that a node agent makes itself: memory volumes and sub-paths. A trait, so that all else can be tried
//! without root: the real one and the fake stand side by side.

use std::path::Path;

/// Mounting, as far as volumes need it.
pub trait Mounts: Send + Sync + 'static {
    /// Makes sure that a tmpfs is mounted on a folder. One that is there stays.
    fn tmpfs(&self, folder: &Path, bytes: Option<u64>, mode: u32) -> Result<(), remora_sys::Error>;
    /// Shows `source` at `target` as well.
    fn bind(&self, source: &Path, target: &Path) -> Result<(), remora_sys::Error>;
    /// Takes down everything on or below a folder.
    fn unmount_below(&self, folder: &Path) -> Result<(), remora_sys::Error>;
}

/// Mounts of the kernel; needs root.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemMounts;

impl Mounts for SystemMounts {
    fn tmpfs(&self, folder: &Path, bytes: Option<u64>, mode: u32) -> Result<(), remora_sys::Error> {
        let mounted = remora_sys::mount::mounts_below(folder)?.iter().any(|m| m.target == folder);
        if mounted { Ok(()) } else { remora_sys::mount::tmpfs(folder, bytes, mode) }
    }

    fn bind(&self, source: &Path, target: &Path) -> Result<(), remora_sys::Error> {
        remora_sys::mount::unmount_below(target)?;
        remora_sys::mount::bind(source, target)
    }

    fn unmount_below(&self, folder: &Path) -> Result<(), remora_sys::Error> {
        remora_sys::mount::unmount_below(folder)
    }
}

/// No mounts: memory volumes are plain folders on the disk. For trying a node agent without root, with a runtime that
/// makes no real containers.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainFolders;

impl Mounts for PlainFolders {
    fn tmpfs(&self, _folder: &Path, _bytes: Option<u64>, _mode: u32) -> Result<(), remora_sys::Error> {
        Ok(())
    }

    fn bind(&self, _source: &Path, _target: &Path) -> Result<(), remora_sys::Error> {
        Ok(())
    }

    fn unmount_below(&self, _folder: &Path) -> Result<(), remora_sys::Error> {
        Ok(())
    }
}
