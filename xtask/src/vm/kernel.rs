//! Debian's kernel, unpacked below our own folder and kept there: installing it would touch the host's boot files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::home;
use crate::host;

/// The package that depends on the current kernel. (The one for clouds has no 9p.)
const META_PACKAGE: &str = "linux-image-amd64";

/// What the initial RAM disk needs to get at disks and console.
pub(crate) const DRIVERS: [&str; 8] =
    ["virtio_pci", "virtio_console", "virtio_blk", "9pnet_virtio", "9p", "crc32c_generic", "ext4", "overlay"];

/// An unpacked kernel.
pub(crate) struct Kernel {
    folder: PathBuf,
    version: String,
}

impl Kernel {
    /// The one that was unpacked before, else the archive's current one.
    pub(crate) fn find() -> Result<Self> {
        if let Some(kernel) = Self::kept()? {
            return Ok(kernel);
        }
        Self::unpack()?;
        Self::kept()?.context("the kernel's package holds no kernel")
    }

    fn kept() -> Result<Option<Self>> {
        let folder = home().join("kernel");
        let Ok(entries) = std::fs::read_dir(folder.join("lib/modules")) else { return Ok(None) };
        let versions = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let newest = versions.collect::<Result<Vec<_>>>()?.into_iter().max();
        Ok(newest.map(|version| Self { folder, version }))
    }

    /// Into a folder beside its final one, which appears complete or not at all.
    fn unpack() -> Result<()> {
        let folder = home().join("kernel.new");
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        let package = current_package()?;
        host::say(format_args!("fetching {package}"));
        host::read(Command::new("apt-get").args(["download", "-q", &package]).current_dir(&folder))?;
        let archive = only_entry(&folder)?;
        host::read(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&folder))?;
        std::fs::remove_file(&archive)?;
        let version = package.trim_start_matches("linux-image-");
        host::read(Command::new("depmod").arg("-b").arg(&folder).arg(version))?;
        Ok(std::fs::rename(&folder, home().join("kernel"))?)
    }

    /// The image to boot.
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.join(format!("boot/vmlinuz-{}", self.version))
    }

    /// The folder that holds `lib/modules`.
    pub(crate) fn library(&self) -> &Path {
        &self.folder
    }

    /// The files below [`Kernel::library`] that `modprobe` needs to load the drivers.
    pub(crate) fn driver_files(&self) -> Result<BTreeSet<PathBuf>> {
        let modules = Path::new("lib/modules").join(&self.version);
        let list = std::fs::read_to_string(self.folder.join(&modules).join("modules.dep"))?;
        let mut files = BTreeSet::from([modules.join("modules.dep")]);
        for driver in DRIVERS {
            files.extend(needed(&list, driver)?.into_iter().map(|file| modules.join(file)));
        }
        Ok(files)
    }
}

/// The name of the package that the meta package stands for.
fn current_package() -> Result<String> {
    let listed = host::read(Command::new("apt-cache").args(["depends", "--important", META_PACKAGE]))?;
    let package = listed.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    package.map(ToOwned::to_owned).with_context(|| format!("{META_PACKAGE} depends on no kernel: {listed}"))
}

fn only_entry(folder: &Path) -> Result<PathBuf> {
    let entries: Vec<_> = std::fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    match entries.as_slice() {
        [entry] => Ok(entry.path()),
        other => bail!("expected one file in {}, found {}", folder.display(), other.len()),
    }
}

/// A module's own file and those it depends on, from `modules.dep`: `kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko …`.
fn needed<'a>(list: &'a str, driver: &str) -> Result<Vec<&'a str>> {
    let ending = format!("/{driver}.ko");
    let line = list.lines().find(|line| line.split(':').next().is_some_and(|file| file.ends_with(&ending)));
    let line = line.with_context(|| format!("the kernel has no module {driver}"))?;
    Ok(line.split([':', ' ']).filter(|file| !file.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_comes_with_all_that_it_depends_on() {
        let list = "kernel/net/9p/9pnet.ko:\nkernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/fscache.ko\n";
        assert_eq!(needed(list, "9pnet").unwrap(), ["kernel/net/9p/9pnet.ko"]);
        assert_eq!(
            needed(list, "9p").unwrap(),
            ["kernel/fs/9p/9p.ko", "kernel/net/9p/9pnet.ko", "kernel/fs/fscache.ko"]
        );
        assert_eq!(needed(list, "ext4").unwrap_err().to_string(), "the kernel has no module ext4");
    }
}
