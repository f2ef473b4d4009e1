//! A pod's `resolv.conf`: by `dnsPolicy` and `dnsConfig`.
//!
//! Source: kubernetes `pkg/kubelet/network/dns/dns.go`.

use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use remora_cri::DNSConfig;

use crate::config::Dns;
use crate::context::id_of;

/// The machine's file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}: {source}")]
pub(crate) struct DnsError {
    path: String,
    #[source]
    source: std::io::Error,
}

/// Limits of the resolver (resolv.conf(5)); upstream cuts at the same.
const MOST_SERVERS: usize = 3;
const MOST_SEARCHES: usize = 32;

/// How a pod resolves names.
pub(crate) fn config(dns: &Dns, pod: &Pod) -> Result<DNSConfig, DnsError> {
    let spec = pod.spec.as_ref();
    let policy = spec.and_then(|s| s.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let host_network = spec.and_then(|s| s.host_network).unwrap_or(false);
    let cluster = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !host_network,
        _ => false,
    };
    let mut config = match policy {
        "None" => DNSConfig::default(),
        _ if cluster && !dns.servers.is_empty() => of_cluster(dns, id_of(pod).namespace, &of_machine(dns)?),
        _ => of_machine(dns)?,
    };
    if let Some(own) = spec.and_then(|s| s.dns_config.as_ref()) {
        extend(&mut config.servers, own.nameservers.iter().flatten());
        extend(&mut config.searches, own.searches.iter().flatten());
        let options = own.options.iter().flatten().map(|o| option(o.name.as_deref(), o.value.as_deref()));
        options.for_each(|o| put_option(&mut config.options, o));
    }
    config.servers.truncate(MOST_SERVERS);
    config.searches.truncate(MOST_SEARCHES);
    Ok(config)
}

fn of_cluster(dns: &Dns, namespace: &str, machine: &DNSConfig) -> DNSConfig {
    let domain = &dns.domain;
    let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    extend(&mut searches, machine.searches.iter());
    DNSConfig {
        servers: dns.servers.iter().map(ToString::to_string).collect(),
        searches,
        options: vec!["ndots:5".to_owned()],
    }
}

fn of_machine(dns: &Dns) -> Result<DNSConfig, DnsError> {
    match &dns.resolv_conf {
        Some(path) => Ok(parse(&read(path)?)),
        None => Ok(DNSConfig::default()),
    }
}

fn read(path: &Path) -> Result<String, DnsError> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        result => result.map_err(|source| DnsError { path: path.display().to_string(), source }),
    }
}

fn parse(text: &str) -> DNSConfig {
    let mut config = DNSConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            Some("search") => config.searches = words.map(str::to_owned).collect(),
            Some("options") => config.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    config
}

fn extend<'a>(list: &mut Vec<String>, more: impl Iterator<Item = &'a String>) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

fn option(name: Option<&str>, value: Option<&str>) -> String {
    let name = name.unwrap_or_default();
    value.filter(|v| !v.is_empty()).map_or(name.to_owned(), |value| format!("{name}:{value}"))
}

/// An option of the pod's goes before one of the same name.
fn put_option(options: &mut Vec<String>, new: String) {
    let name = |o: &str| o.split(':').next().unwrap_or_default().to_owned();
    options.retain(|old| name(old) != name(&new));
    options.push(new);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(spec: Value, servers: &[&str], searches: &[&str], options: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resolv.conf");
        std::fs::write(&file, "# x\nnameserver 9.9.9.9\nsearch corp.example\noptions edns0\n").unwrap();
        let dns = Dns {
            servers: vec!["10.96.0.10".parse().unwrap()],
            domain: "cluster.local".into(),
            resolv_conf: Some(file),
        };
        let pod = json!({"metadata": {"namespace": "shop"}, "spec": spec});
        let config = config(&dns, &serde_json::from_value(pod).unwrap()).unwrap();
        assert_eq!(config.servers, servers);
        assert_eq!(config.searches, searches);
        assert_eq!(config.options, options);
    }

    #[test]
    fn names_are_resolved_as_the_policy_says() {
        let cluster = ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"];
        check(json!({"containers": []}), &["10.96.0.10"], &cluster, &["ndots:5"]);
        check(json!({"containers": [], "dnsPolicy": "Default"}), &["9.9.9.9"], &["corp.example"], &["edns0"]);
        check(json!({"containers": [], "hostNetwork": true}), &["9.9.9.9"], &["corp.example"], &["edns0"]);
        check(
            json!({"containers": [], "dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "options": [{"name": "ndots", "value": "2"}]}}),
            &["1.1.1.1"],
            &[],
            &["ndots:2"],
        );
    }
}
