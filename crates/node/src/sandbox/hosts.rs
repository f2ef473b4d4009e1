//! A pod's `/etc/hosts`, one file for all its containers.
//!
//! Source: kubernetes `pkg/kubelet/kubelet_pods.go`, `managedHostsFileContent`.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;

use super::hostname;
use crate::context::Context;

const OWN: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\n\
                   fe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n";

/// Writes the file; its path.
pub(crate) fn write(context: &Context, pod: &Pod, ips: &[String]) -> std::io::Result<PathBuf> {
    let file = context.pod_folder(pod).join("etc-hosts");
    let host_network = pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false);
    let machine = if host_network { Some(std::fs::read_to_string("/etc/hosts").unwrap_or_default()) } else { None };
    let text = content(pod, ips, machine.as_deref());
    // Containers hold this very file: its content is replaced, not the file.
    if std::fs::read_to_string(&file).ok().as_deref() != Some(&text) {
        std::fs::create_dir_all(context.pod_folder(pod))?;
        std::fs::write(&file, text)?;
    }
    Ok(file)
}

fn content(pod: &Pod, ips: &[String], machine: Option<&str>) -> String {
    let mut text = match machine {
        Some(machine) => format!("# Kubernetes-managed hosts file (host network).\n{machine}"),
        None => format!("# Kubernetes-managed hosts file.\n{OWN}"),
    };
    if machine.is_none() {
        ips.iter().for_each(|ip| text.push_str(&format!("{ip}\t{}\n", names(pod))));
    }
    let aliases = pod.spec.iter().flat_map(|s| s.host_aliases.iter().flatten());
    let lines: Vec<String> = aliases
        .map(|a| format!("{}\t{}\n", a.ip, a.hostnames.iter().flatten().cloned().collect::<Vec<_>>().join("\t")))
        .collect();
    if !lines.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        text.extend(lines);
    }
    text
}

/// With a subdomain, the full name comes first.
fn names(pod: &Pod) -> String {
    let short = hostname(pod);
    let subdomain = pod.spec.as_ref().and_then(|s| s.subdomain.as_deref()).filter(|s| !s.is_empty());
    match subdomain {
        Some(subdomain) => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            format!("{short}.{subdomain}.{namespace}.svc.cluster.local\t{short}")
        }
        None => short,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_finds_itself_and_its_aliases() {
        let pod = serde_json::json!({"metadata": {"name": "web", "namespace": "shop"},
            "spec": {"containers": [], "hostAliases": [{"ip": "10.0.0.9", "hostnames": ["db", "db.shop"]}]}});
        let pod = serde_json::from_value(pod).unwrap();
        let expected = format!(
            "# Kubernetes-managed hosts file.\n{OWN}10.1.0.2\tweb\n\n# Entries added by HostAliases.\n10.0.0.9\tdb\tdb.shop\n"
        );
        assert_eq!(content(&pod, &["10.1.0.2".to_owned()], None), expected);
    }
}
