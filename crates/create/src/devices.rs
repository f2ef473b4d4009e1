//! Which devices a container may use, where the kernel has no controller for it: on cgroup v2, by a filter on its cgroup. On v1
//! libcontainer writes the controller's files.

use std::path::Path;

use libcontainer::oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, Spec};
use remora_sys::cgroup::{self, DeviceKind, DeviceRule, Layout, MAKE, READ, WRITE};

use crate::error::Error;

/// Restricts a container that has been created and not started: its own nodes are made by then.
///
/// # Errors
/// The kernel refuses the filter. Then the container must not start.
pub(crate) fn restrict(spec: &Spec, cgroup: &Path) -> Result<(), Error> {
    // Before the mounts are looked at: where v1 is, that takes its time.
    if !cgroup::is_unified() && cgroup::is_legacy_controller("devices")? {
        return Ok(());
    }
    let layout = Layout::detect()?;
    let Layout::Unified(_) = layout else { return Ok(()) };
    let rules = rules(spec);
    // All devices: nothing to ask for at every open.
    if rules.iter().all(|rule| rule.allow) && rules.iter().any(DeviceRule::is_about_all) {
        return Ok(());
    }
    let folders = layout.folders(cgroup);
    folders.iter().try_for_each(|folder| cgroup::attach_device_filter(folder, &rules).map_err(Error::from))
}

/// The spec's rules, and after them what every container may use.
fn rules(spec: &Spec) -> Vec<DeviceRule> {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let asked = resources.and_then(|resources| resources.devices().as_ref()).into_iter().flatten();
    asked.map(rule).chain(for_every_container()).collect()
}

/// The devices that a runtime makes by itself (OCI runtime spec, "Default Devices"), and nodes without their use, as runc allows them.
fn for_every_container() -> impl Iterator<Item = DeviceRule> {
    let nodes = [DeviceKind::Char, DeviceKind::Block].map(|kind| (kind, None, None, MAKE));
    // null, zero, full, random, urandom; tty, ptmx, terminals.
    let used = [(1, Some(3)), (1, Some(5)), (1, Some(7)), (1, Some(8)), (1, Some(9))];
    let terminals = [(5, Some(0)), (5, Some(2)), (136, None)];
    let used = used.into_iter().chain(terminals);
    let used = used.map(|(major, minor)| (DeviceKind::Char, Some(major), minor, MAKE | READ | WRITE));
    nodes.into_iter().chain(used).map(|(kind, major, minor, access)| DeviceRule {
        allow: true,
        kind: Some(kind),
        major,
        minor,
        access,
    })
}

fn rule(asked: &LinuxDeviceCgroup) -> DeviceRule {
    let kind = match asked.typ() {
        Some(LinuxDeviceType::B) => Some(DeviceKind::Block),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(DeviceKind::Char),
        Some(LinuxDeviceType::A | LinuxDeviceType::P) | None => None,
    };
    // Negative stands for all, as does nothing.
    let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
    let access = asked.access().as_deref().unwrap_or("rwm");
    let bit = |letter, bit| if access.contains(letter) { bit } else { 0 };
    DeviceRule {
        allow: asked.allow(),
        kind,
        major: number(asked.major()),
        minor: number(asked.minor()),
        access: bit('m', MAKE) | bit('r', READ) | bit('w', WRITE),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_specs_rules_come_before_those_of_every_container() {
        let check = |devices: serde_json::Value, expected: &[DeviceRule]| {
            let spec = json!({ "ociVersion": "1.0.2", "linux": { "resources": { "devices": devices } } });
            let rules = rules(&serde_json::from_value(spec).unwrap());
            assert_eq!(rules[..expected.len()], *expected);
            assert!(rules[expected.len()..].iter().eq(&for_every_container().collect::<Vec<_>>()));
        };
        let all = DeviceRule { allow: false, kind: None, major: None, minor: None, access: MAKE | READ | WRITE };
        let disk = DeviceRule { allow: true, kind: Some(DeviceKind::Block), major: Some(8), minor: None, access: READ };
        check(json!([]), &[]);
        check(json!([{ "allow": false, "access": "rwm" }]), std::slice::from_ref(&all));
        check(
            json!([{ "allow": false, "type": "a" }, { "allow": true, "type": "b", "major": 8, "minor": -1, "access": "r" }]),
            &[all, disk],
        );
    }
}
