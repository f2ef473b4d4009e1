//! Which capabilities a container has: the default set, what is added and dropped, and `ALL`.

use std::str::FromStr;

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};
use remora_cri::LinuxContainerSecurityContext;

use crate::SpecError;

/// What containers have unless they ask for more or less: the fourteen that Docker and containerd chose.
const DEFAULT: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// Capabilities by number, as `include/uapi/linux/capability.h` counts them.
const BY_NUMBER: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// A bit mask as `/proc/PID/status` prints it (`CapBnd: 000001ffffffffff`), as a set. None if it is not hexadecimal.
pub fn parse_capability_mask(hexadecimal: &str) -> Option<Vec<Capability>> {
    let mask = u64::from_str_radix(hexadecimal.trim(), 16).ok()?;
    Some(BY_NUMBER.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, &cap)| cap).collect())
}

/// `CAP_…` names of a set, sorted.
pub fn capability_names<'a>(set: impl IntoIterator<Item = &'a Capability>) -> Vec<String> {
    let mut names: Vec<String> = set.into_iter().map(|cap| format!("CAP_{cap}")).collect();
    names.sort();
    names
}

/// The sets that a container's first process starts with.
pub(crate) struct Granted {
    /// Bounding, effective and permitted.
    pub(crate) all: Capabilities,
    /// Ambient and inheritable.
    pub(crate) ambient: Capabilities,
}

impl Granted {
    pub(crate) fn has(&self, capability: Capability) -> bool {
        self.all.contains(&capability)
    }

    pub(crate) fn to_oci(&self) -> LinuxCapabilities {
        let mut oci = LinuxCapabilities::default();
        oci.set_bounding(Some(self.all.iter().copied().collect()));
        oci.set_effective(Some(self.all.iter().copied().collect()));
        oci.set_permitted(Some(self.all.iter().copied().collect()));
        // Inheritable stays empty but for ambient ones: else a file with inheritable bits would give them back to a non-root
        // user (CVE-2022-24769).
        oci.set_inheritable(Some(self.ambient.iter().copied().collect()));
        oci.set_ambient(Some(self.ambient.iter().copied().collect()));
        oci
    }
}

/// Default, then `ALL`, then added, then dropped; a privileged container gets everything that the host holds.
pub(crate) fn granted(security: &LinuxContainerSecurityContext, held: &Capabilities) -> Result<Granted, SpecError> {
    if security.privileged {
        return Ok(Granted { all: held.clone(), ambient: Capabilities::new() });
    }
    let asked = security.capabilities.clone().unwrap_or_default();
    let has_all = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case("ALL"));
    let mut all: Capabilities = DEFAULT.iter().copied().filter(|cap| held.contains(cap)).collect();
    if has_all(&asked.add_capabilities) {
        all = held.clone();
    }
    if has_all(&asked.drop_capabilities) {
        all.clear();
    }
    let ambient = added(&asked.add_ambient_capabilities, held)?;
    all.extend(added(&asked.add_capabilities, held)?);
    all.extend(&ambient);
    for name in asked.drop_capabilities.iter().filter(|name| !name.eq_ignore_ascii_case("ALL")) {
        all.remove(&parse(name)?);
    }
    let ambient = ambient.intersection(&all).copied().collect();
    Ok(Granted { all, ambient })
}

fn added(names: &[String], held: &Capabilities) -> Result<Capabilities, SpecError> {
    let mut set = Capabilities::new();
    for name in names.iter().filter(|name| !name.eq_ignore_ascii_case("ALL")) {
        let capability = parse(name)?;
        if !held.contains(&capability) {
            return Err(SpecError::CapabilityNotHeld(format!("CAP_{capability}")));
        }
        set.insert(capability);
    }
    Ok(set)
}

fn parse(name: &str) -> Result<Capability, SpecError> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    Capability::from_str(bare).map_err(|_| SpecError::UnknownCapability(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> Capabilities {
        parse_capability_mask("000001fffeffffff").unwrap().into_iter().collect()
    }

    #[test]
    fn a_mask_is_read_by_bit_number() {
        assert_eq!(capability_names(&parse_capability_mask("0000000000000021").unwrap()), ["CAP_CHOWN", "CAP_KILL"]);
        assert!(!held().contains(&Capability::SysResource));
        assert_eq!(held().len(), 40);
        assert!(parse_capability_mask("zz").is_none());
    }

    #[test]
    fn capabilities_are_added_to_and_dropped_from_the_default() {
        let check = |add: &[&str], drop: &[&str], expected: Result<usize, &str>| {
            let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
            let capabilities = remora_cri::Capability {
                add_capabilities: names(add),
                drop_capabilities: names(drop),
                add_ambient_capabilities: Vec::new(),
            };
            let security = LinuxContainerSecurityContext { capabilities: Some(capabilities), ..Default::default() };
            let found = granted(&security, &held()).map(|granted| granted.all.len()).map_err(|e| e.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "+{add:?} -{drop:?}");
        };
        check(&[], &[], Ok(14));
        check(&["NET_ADMIN", "cap_sys_ptrace"], &[], Ok(16));
        check(&[], &["ALL"], Ok(0));
        check(&["CHOWN"], &["all"], Ok(1));
        check(&["ALL"], &[], Ok(40));
        check(&["ALL"], &["MKNOD"], Ok(39));
        check(&["FLY"], &[], Err("unknown capability \"FLY\""));
        check(
            &["SYS_RESOURCE"],
            &[],
            Err("capability CAP_SYS_RESOURCE cannot be added: this host does not hold it itself"),
        );
    }
}
