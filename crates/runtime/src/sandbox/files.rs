//! The sandbox's `hosts`, `hostname` and `resolv.conf`: their content, and writing them.

use std::fs;
use std::net::Ipv4Addr;

use remora_cri::{DNSConfig, NamespaceMode, PodSandboxConfig};
use remora_network::Dns;

use super::options;
use crate::Error;
use crate::config::SandboxPaths;
use crate::error::failed;

pub(super) const HOSTS: &str = "hosts";
pub(super) const HOSTNAME: &str = "hostname";
pub(super) const RESOLV_CONF: &str = "resolv.conf";
pub(super) const ALL: [&str; 3] = [HOSTS, HOSTNAME, RESOLV_CONF];

/// The pod's own name, or the host's in its network.
pub(super) fn hostname(config: &PodSandboxConfig) -> Result<String, Error> {
    const PATH: &str = "/proc/sys/kernel/hostname";
    if !config.hostname.is_empty() {
        return Ok(config.hostname.clone());
    }
    match options(config).network() {
        NamespaceMode::Node => Ok(fs::read_to_string(PATH).map_err(failed("read", PATH))?.trim().to_owned()),
        _ => Ok(config.metadata.clone().unwrap_or_default().name),
    }
}

/// Writes all three.
pub(super) fn write(
    config: &PodSandboxConfig,
    name: &str,
    paths: &SandboxPaths,
    address: Option<Ipv4Addr>,
    dns: &Dns,
) -> Result<(), Error> {
    let hosts = match options(config).network() {
        NamespaceMode::Node => of_host("/etc/hosts")?,
        _ => hosts(address, name),
    };
    put(paths, HOSTS, &hosts)?;
    put(paths, HOSTNAME, &format!("{name}\n"))?;
    let resolv_conf = match resolv_conf(config.dns_config.as_ref(), dns) {
        Some(content) => content,
        None => of_host("/etc/resolv.conf")?,
    };
    put(paths, RESOLV_CONF, &resolv_conf)
}

fn put(paths: &SandboxPaths, name: &str, content: &str) -> Result<(), Error> {
    let path = paths.file(name);
    fs::write(&path, content).map_err(failed("write", &path))
}

/// A host without the file has nothing to say.
fn of_host(path: &str) -> Result<String, Error> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(failed("read", path)),
    }
}

fn hosts(address: Option<Ipv4Addr>, name: &str) -> String {
    let own = address.map(|address| format!("{address}\t{name}\n")).unwrap_or_default();
    format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{own}")
}

/// What the pod asks for, else what the network brings along, else none: the host's.
fn resolv_conf(asked: Option<&DNSConfig>, network: &Dns) -> Option<String> {
    let asked = asked.cloned().unwrap_or_default();
    let (servers, searches) = match asked == DNSConfig::default() {
        false => (&asked.servers, &asked.searches),
        true if !network.nameservers.is_empty() => (&network.nameservers, &network.search),
        true => return None,
    };
    let mut text = String::new();
    if !searches.is_empty() {
        text += &format!("search {}\n", searches.join(" "));
    }
    servers.iter().for_each(|server| text += &format!("nameserver {server}\n"));
    if !asked.options.is_empty() {
        text += &format!("options {}\n", asked.options.join(" "));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pods_dns_comes_before_the_networks_and_the_networks_before_the_hosts() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let network = Dns { nameservers: words("10.0.0.1"), search: words("net") };
        let pod = DNSConfig { servers: words("10.96.0.10"), searches: words("a b"), options: words("ndots:5") };
        let check = |asked: Option<&DNSConfig>, network: &Dns, expected: Option<&str>| {
            assert_eq!(resolv_conf(asked, network).as_deref(), expected);
        };
        check(Some(&pod), &network, Some("search a b\nnameserver 10.96.0.10\noptions ndots:5\n"));
        check(None, &network, Some("search net\nnameserver 10.0.0.1\n"));
        check(Some(&DNSConfig::default()), &network, Some("search net\nnameserver 10.0.0.1\n"));
        check(None, &Dns::default(), None);
    }

    #[test]
    fn hosts_names_the_pod_by_its_address() {
        assert!(hosts(Some(Ipv4Addr::new(10, 0, 0, 2)), "web").ends_with("10.0.0.2\tweb\n"));
        assert!(!hosts(None, "web").contains("web"));
    }
}
