//! Device nodes of a container, and the device cgroup's rules that go with them.
//!
//! The nodes that every container has (`null`, `zero`, `full`, `random`, `urandom`, `tty`, the terminals) are made and allowed by
//! the low-level runtime itself, as the OCI runtime spec asks.
//!
//! In a user namespace of its own nobody can make nodes: there the host's are bound, with the host's owners.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, Mount};
use remora_cri::Device;

use crate::{Facts, HostDevice, HostDeviceKind, SpecError, mounts};

/// Nodes to make, and rules in order (later ones win).
pub(crate) struct Devices {
    pub(crate) nodes: Vec<LinuxDevice>,
    /// In place of nodes, in a user namespace.
    pub(crate) binds: Vec<Mount>,
    pub(crate) rules: Vec<LinuxDeviceCgroup>,
}

impl Devices {
    fn with_rule(rule: LinuxDeviceCgroup) -> Self {
        Devices { nodes: Vec::new(), binds: Vec::new(), rules: vec![rule] }
    }

    fn place(&mut self, place: PathBuf, device: &HostDevice, facts: &Facts) {
        match facts.user_namespace {
            None => self.nodes.push(node(place, device)),
            Some(_) if OWN.iter().any(|own| place == Path::new(own)) => {}
            Some(_) => {
                self.binds.push(mounts::mount(&place.to_string_lossy(), "bind", &device.path, &["bind", "rprivate"]))
            }
        }
    }
}

/// What the low-level runtime itself puts into every container (OCI runtime spec, "Default Devices").
const OWN: [&str; 8] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/console"];

/// All devices for a privileged container; otherwise none but those asked for.
pub(crate) fn devices(asked: &[Device], privileged: bool, facts: &Facts) -> Result<Devices, SpecError> {
    if privileged {
        let mut devices = Devices::with_rule(rule(true, None, "rwm"));
        for device in facts.devices.get(Facts::ALL_DEVICES).into_iter().flatten() {
            devices.place(device.path.clone(), device, facts);
        }
        return Ok(devices);
    }
    let mut devices = Devices::with_rule(rule(false, None, "rwm"));
    for wanted in asked {
        add(wanted, facts, &mut devices)?;
    }
    Ok(devices)
}

fn add(wanted: &Device, facts: &Facts, devices: &mut Devices) -> Result<(), SpecError> {
    let found = facts.devices.get(&wanted.host_path).filter(|found| !found.is_empty());
    let found = found.ok_or_else(|| SpecError::DeviceNotFound(wanted.host_path.clone()))?;
    let access = if wanted.permissions.is_empty() { "rwm" } else { &wanted.permissions };
    for device in found {
        devices.place(place(wanted, &device.path), device, facts);
        devices.rules.push(rule(true, Some(device), access));
    }
    Ok(())
}

/// A device below a folder keeps its place below it.
fn place(wanted: &Device, found: &Path) -> PathBuf {
    let container_path = if wanted.container_path.is_empty() { &wanted.host_path } else { &wanted.container_path };
    match found.strip_prefix(&wanted.host_path) {
        Ok(below) if below != Path::new("") => Path::new(container_path).join(below),
        _ => PathBuf::from(container_path),
    }
}

fn kind(device: &HostDevice) -> LinuxDeviceType {
    match device.kind {
        HostDeviceKind::Char => LinuxDeviceType::C,
        HostDeviceKind::Block => LinuxDeviceType::B,
    }
}

fn node(path: PathBuf, device: &HostDevice) -> LinuxDevice {
    let mut node = LinuxDevice::default();
    node.set_path(path);
    node.set_typ(kind(device));
    node.set_major(device.major.into());
    node.set_minor(device.minor.into());
    node.set_file_mode(Some(device.mode));
    node.set_uid(Some(device.uid));
    node.set_gid(Some(device.gid));
    node
}

fn rule(allow: bool, device: Option<&HostDevice>, access: &str) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow);
    rule.set_access(Some(access.to_owned()));
    match device {
        Some(device) => {
            rule.set_typ(Some(kind(device)));
            rule.set_major(Some(device.major.into()));
            rule.set_minor(Some(device.minor.into()));
        }
        None => _ = rule.set_typ(Some(LinuxDeviceType::A)),
    }
    rule
}
