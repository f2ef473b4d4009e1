//! The five capability sets of a process, from the OCI spec's names to the kernel's bits.

use libcontainer::oci_spec::runtime::{Capabilities, LinuxCapabilities};
use rustix::thread::{CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities};

use crate::error::Error;

/// The kernel's capabilities in the order of their numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Removes everything but the wanted set from the bounding set. Without any sets in the spec nothing is removed.
pub(super) fn limit_bounding_set(wanted: Option<&LinuxCapabilities>) -> Result<(), Error> {
    let Some(wanted) = wanted else { return Ok(()) };
    let keep = bits(wanted.bounding().as_ref());
    for number in 0..NAMES.len() {
        let bit = CapabilitySet::from_bits_retain(1 << number);
        // A number that this kernel does not know is in no set of it.
        let held = rustix::thread::capability_is_in_bounding_set(bit).unwrap_or(false);
        if held && !keep.contains(bit) {
            rustix::thread::remove_capability_from_bounding_set(bit).map_err(wrong)?;
        }
    }
    Ok(())
}

/// Sets effective, permitted, inheritable and ambient. What is not in our own permitted set cannot be given and is left out.
pub(super) fn set(wanted: Option<&LinuxCapabilities>) -> Result<(), Error> {
    let Some(wanted) = wanted else { return Ok(()) };
    let own = rustix::thread::capabilities(None).map_err(wrong)?.permitted;
    let permitted = bits(wanted.permitted().as_ref()) & own;
    let effective = bits(wanted.effective().as_ref()) & permitted;
    let inheritable = bits(wanted.inheritable().as_ref()) & own;
    clear_ambient_capability_set().map_err(wrong)?;
    set_capabilities(None, CapabilitySets { effective, permitted, inheritable }).map_err(wrong)?;
    let ambient = bits(wanted.ambient().as_ref()) & permitted & inheritable;
    for bit in ambient.iter() {
        rustix::thread::configure_capability_in_ambient_set(bit, true).map_err(wrong)?;
    }
    Ok(())
}

fn wrong(errno: rustix::io::Errno) -> Error {
    Error::new(format!("cannot set capabilities: {errno}"))
}

fn bits(names: Option<&Capabilities>) -> CapabilitySet {
    let names = names.into_iter().flatten().map(ToString::to_string);
    let numbers = names.filter_map(|name| number(&name));
    numbers.fold(CapabilitySet::empty(), |set, number| set | CapabilitySet::from_bits_retain(1 << number))
}

/// By name, with or without `CAP_`.
fn number(name: &str) -> Option<usize> {
    let name = name.strip_prefix("CAP_").unwrap_or(name);
    NAMES.iter().position(|known| *known == name)
}

#[cfg(test)]
mod tests {
    use libcontainer::oci_spec::runtime::Capability;

    use super::*;

    #[test]
    fn names_have_the_kernels_numbers() {
        let check = |capability: Capability, expected: CapabilitySet| {
            let mut names = Capabilities::new();
            names.insert(capability);
            assert_eq!(bits(Some(&names)), expected, "{capability}");
        };
        check(Capability::Chown, CapabilitySet::CHOWN);
        check(Capability::NetBindService, CapabilitySet::NET_BIND_SERVICE);
        check(Capability::SysAdmin, CapabilitySet::SYS_ADMIN);
        check(Capability::AuditWrite, CapabilitySet::AUDIT_WRITE);
        check(Capability::Setfcap, CapabilitySet::SETFCAP);
        check(Capability::Syslog, CapabilitySet::SYSLOG);
        check(Capability::CheckpointRestore, CapabilitySet::CHECKPOINT_RESTORE);
        assert_eq!(bits(None), CapabilitySet::empty());
    }
}
