//! Which sysctls a sandbox's namespaces get.

use std::collections::BTreeMap;

use remora_cri::PodSandboxConfig;

use crate::{IdRange, SpecError};

/// Dotted names and values, in order: the pod's own, and as in containerd 2 that low ports and `ping` need no capability in a
/// network namespace of one's own. `gids` are those of a user namespace: group ids in values are the pod's, and the host's are what is written.
///
/// # Errors
/// [`SpecError::Sysctl`] for a name that is not of a namespace that the sandbox has for itself, [`SpecError::SysctlValue`] for groups that the
/// pod does not have.
pub fn sandbox_sysctls(
    sandbox: &PodSandboxConfig,
    own_network: bool,
    own_ipc: bool,
    gids: Option<&IdRange>,
) -> Result<Vec<(String, String)>, SpecError> {
    let mut sysctls = BTreeMap::new();
    if own_network {
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        let all = gids.map_or(2_147_483_647, |gids| gids.length - 1);
        sysctls.insert(PING.to_owned(), format!("0 {all}"));
    }
    for (name, value) in sandbox.linux.iter().flat_map(|linux| &linux.sysctls) {
        if !namespaced(&dotted(name), own_network, own_ipc) {
            return Err(SpecError::Sysctl(name.clone()));
        }
        sysctls.insert(dotted(name), value.clone());
    }
    if let (Some(gids), Some(range)) = (gids, sysctls.get_mut(PING)) {
        *range = groups_of_host(range, gids).ok_or_else(|| SpecError::SysctlValue {
            name: PING,
            value: range.clone(),
            last: gids.length - 1,
        })?;
    }
    Ok(sysctls.into_iter().collect())
}

/// The groups that may `ping`.
const PING: &str = "net.ipv4.ping_group_range";

fn groups_of_host(range: &str, gids: &IdRange) -> Option<String> {
    let numbers: Option<Vec<u32>> = range.split_whitespace().map(|number| number.parse().ok()).collect();
    let [first, last] = numbers?[..] else { return None };
    // The kernel's way to say "nobody".
    if first > last {
        return Some(format!("{first} {last}"));
    }
    Some(format!("{} {}", gids.to_host(first)?, gids.to_host(last)?))
}

/// As sysctl(8): a name that is written with slashes has them for dots, and dots for slashes.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']).is_some_and(|at| name[at..].starts_with('/')) {
        true => name
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
        false => name.to_owned(),
    }
}

/// Kubernetes' list (`pkg/kubelet/sysctl/namespace.go`).
fn namespaced(name: &str, own_network: bool, own_ipc: bool) -> bool {
    let whole = name.split(['.', '/']).all(|piece| !piece.is_empty());
    let network = name.starts_with("net.");
    let ipc = name == "kernel.sem" || ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| name.starts_with(p));
    whole && (network && own_network || ipc && own_ipc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_cri::LinuxPodSandboxConfig;

    #[test]
    fn only_sysctls_of_the_pods_own_namespaces_can_be_set() {
        let check = |name: &str, own_network, own_ipc, expected: bool| {
            let sysctls = [(name.to_owned(), "1".to_owned())].into();
            let linux = LinuxPodSandboxConfig { sysctls, ..Default::default() };
            let sandbox = PodSandboxConfig { linux: Some(linux), ..Default::default() };
            assert_eq!(sandbox_sysctls(&sandbox, own_network, own_ipc, None).is_ok(), expected, "{name}");
        };
        check("net.core.somaxconn", true, true, true);
        check("net/core/somaxconn", true, true, true);
        check("net.core.somaxconn", false, true, false);
        check("kernel.shm_rmid_forced", true, true, true);
        check("kernel.sem", true, false, false);
        check("fs.mqueue.msg_max", true, true, true);
        check("kernel.panic", true, true, false);
        check("vm.swappiness", true, true, false);
        check("net...kernel.panic", true, true, false);
        check("net/../kernel/panic", true, true, false);
        check("net.ipv4/../../kernel/panic", true, true, false);
    }

    #[test]
    fn the_pod_has_the_last_word_over_the_defaults() {
        let sysctls = [("net.ipv4.ip_unprivileged_port_start".to_owned(), "1024".to_owned())].into();
        let linux = LinuxPodSandboxConfig { sysctls, ..Default::default() };
        let sandbox = PodSandboxConfig { linux: Some(linux), ..Default::default() };
        let found = sandbox_sysctls(&sandbox, true, true, None).unwrap();
        assert_eq!(found[0], ("net.ipv4.ip_unprivileged_port_start".to_owned(), "1024".to_owned()));
    }

    #[test]
    fn the_groups_that_may_ping_are_the_pods() {
        let gids = IdRange { inside: 0, outside: 65536, length: 65536 };
        let check = |value: Option<&str>, expected: Option<&str>| {
            let sysctls = value.map(|value| ("net.ipv4.ping_group_range".to_owned(), value.to_owned())).into_iter();
            let linux = LinuxPodSandboxConfig { sysctls: sysctls.collect(), ..Default::default() };
            let sandbox = PodSandboxConfig { linux: Some(linux), ..Default::default() };
            let found = sandbox_sysctls(&sandbox, true, true, Some(&gids)).ok();
            let found = found.and_then(|all| all.into_iter().find(|(name, _)| name == PING)).map(|(_, value)| value);
            assert_eq!(found.as_deref(), expected, "{value:?}");
        };
        check(None, Some("65536 131071"));
        check(Some("0\t100"), Some("65536 65636"));
        check(Some("1 0"), Some("1 0"));
        check(Some("0 2147483647"), None);
        check(Some("all"), None);
    }
}
