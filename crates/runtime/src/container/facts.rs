//! Facts about one container that need a look at the disk: who its user is, and which devices are meant.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use remora_cri::{ContainerConfig, Device};
use remora_oci_config::{
    AppArmor, AskedAppArmor, DEFAULT_APPARMOR, Facts, HostDevice, HostDeviceKind, ImageConfig, ListedUser,
    ResolvedUser, default_apparmor, resolve_user, user_query,
};
use remora_sys::apparmor;
use remora_sys::users::resolve_in_rootfs;

use super::create::Devices;
use crate::Error;
use crate::error::failed;

/// Folders below `/dev` whose devices are each container's own.
const OWN: [&str; 5] = ["pts", "shm", "fd", "mqueue", "console"];
/// How deep `/dev` is looked into.
const MAX_DEPTH: usize = 4;

/// What AppArmor can do for a container. The profile that Remora brings along is loaded when it is first needed, and again if somebody has taken it away.
pub(super) fn apparmor(asked: &AskedAppArmor) -> Result<AppArmor, Error> {
    if *asked == AskedAppArmor::Unconfined || !apparmor::is_enabled() {
        return Ok(AppArmor::Off);
    }
    let loaded = apparmor::loaded_profiles()?;
    let is_there = loaded.contains(DEFAULT_APPARMOR);
    let parser = if asked.is_runtimes() && !is_there { apparmor::parser() } else { None };
    if let Some(parser) = &parser {
        apparmor::load(parser, &default_apparmor(apparmor::own_profile().as_deref()))?;
    }
    Ok(AppArmor::On { has_default: is_there || parser.is_some(), loaded })
}

/// Who the container's first process runs as.
pub(super) fn user(
    id: &str,
    rootfs: &Path,
    config: &ContainerConfig,
    image: &ImageConfig,
) -> Result<ResolvedUser, Error> {
    let query = user_query(config, image).map_err(|source| Error::Spec { id: id.to_owned(), source })?;
    let resolve =
        |user: &str| resolve_in_rootfs(rootfs, user).map_err(|source| Error::User { id: id.to_owned(), source });
    let alone = resolve(&query.user)?;
    // The groups that list the user count even when the primary group is another one.
    let gid = match &query.group {
        Some(group) => resolve(&format!("{}:{group}", query.user))?.gid,
        None => alone.gid,
    };
    Ok(resolve_user(&query, &ListedUser { uid: alone.uid, gid, member_of: alone.additional_gids }))
}

/// The nodes behind each path that is asked for, and all of them for a privileged container.
pub(super) fn devices(asked: &[Device], privileged: bool) -> Result<Devices, Error> {
    let mut devices = Devices::new();
    for device in asked {
        let mut found = Vec::new();
        walk(Path::new(&device.host_path), &mut found, 0)?;
        devices.insert(device.host_path.clone(), found);
    }
    if privileged {
        let mut found = Vec::new();
        walk(Path::new(Facts::ALL_DEVICES), &mut found, 0)?;
        devices.insert(Facts::ALL_DEVICES.to_owned(), found);
    }
    Ok(devices)
}

fn walk(path: &Path, found: &mut Vec<HostDevice>, depth: usize) -> Result<(), Error> {
    // The path that was asked for may be a link; what lies below a folder is taken only as itself.
    let metadata = if depth == 0 { fs::metadata(path) } else { fs::symlink_metadata(path) };
    let metadata = match metadata {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at device", path)(error)),
    };
    if metadata.is_dir() && depth < MAX_DEPTH {
        for entry in fs::read_dir(path).map_err(failed("list", path))? {
            let entry = entry.map_err(failed("list", path))?;
            if !(depth == 0 && OWN.iter().any(|own| entry.file_name() == *own)) {
                walk(&entry.path(), found, depth + 1)?;
            }
        }
        return Ok(());
    }
    found.extend(device(path, &metadata));
    Ok(())
}

fn device(path: &Path, metadata: &fs::Metadata) -> Option<HostDevice> {
    let kind = match metadata.file_type() {
        kind if kind.is_char_device() => HostDeviceKind::Char,
        kind if kind.is_block_device() => HostDeviceKind::Block,
        _ => return None,
    };
    let (major, minor) = numbers(metadata.rdev());
    let (uid, gid, mode) = (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
    Some(HostDevice { path: path.to_owned(), kind, major, minor, mode, uid, gid })
}

/// Linux's packing of a device number into 64 bits: 12 and 20 bits of major, 8 and 24 bits of minor, interleaved.
fn numbers(device: u64) -> (u32, u32) {
    let low = |bits: u64| u32::try_from(bits & 0xffff_ffff).unwrap_or(u32::MAX);
    (low(device >> 8 & 0xfff | device >> 32 & 0xffff_f000), low(device & 0xff | device >> 12 & 0xffff_ff00))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_unpacked() {
        let check = |device, expected| assert_eq!(numbers(device), expected, "{device:#x}");
        check(0x0103, (1, 3));
        check(0x0000_0000_0010_fd01, (253, 257));
        check(0x0000_1000_0000_0801, (4096 + 8, 1));
    }

    #[test]
    fn a_device_is_found_with_its_numbers_and_what_is_none_is_not() {
        let asked = |path: &str| Device { host_path: path.into(), ..Default::default() };
        let found = devices(&[asked("/dev/null"), asked("/etc/hostname"), asked("/no/such")], false).unwrap();
        assert_eq!((found["/dev/null"][0].major, found["/dev/null"][0].minor), (1, 3));
        assert!(found["/etc/hostname"].is_empty());
        assert!(found["/no/such"].is_empty());
    }
}
