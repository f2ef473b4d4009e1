//! Which sysctls a sandbox's namespaces get.

use std::collections::BTreeMap;

use remora_cri::PodSandboxConfig;

use crate::SpecError;

/// Dotted names and values, in order: the pod's own, and as in containerd 2 that low ports and `ping` need no capability in a
/// network namespace of one's own.
///
/// # Errors
/// [`SpecError::Sysctl`] for a name that is not of a namespace that the sandbox has for itself.
pub fn sandbox_sysctls(
    sandbox: &PodSandboxConfig,
    own_network: bool,
    own_ipc: bool,
) -> Result<Vec<(String, String)>, SpecError> {
    let mut sysctls = BTreeMap::new();
    if own_network {
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        sysctls.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
    }
    for (name, value) in sandbox.linux.iter().flat_map(|linux| &linux.sysctls) {
        if !namespaced(&dotted(name), own_network, own_ipc) {
            return Err(SpecError::Sysctl(name.clone()));
        }
        sysctls.insert(dotted(name), value.clone());
    }
    Ok(sysctls.into_iter().collect())
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
            assert_eq!(sandbox_sysctls(&sandbox, own_network, own_ipc).is_ok(), expected, "{name}");
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
        let found = sandbox_sysctls(&sandbox, true, true).unwrap();
        assert_eq!(found[0], ("net.ipv4.ip_unprivileged_port_start".to_owned(), "1024".to_owned()));
    }
}
