//! A pod's sandbox: from the pod's spec to CRI's configuration.

pub(crate) mod dns;
pub(crate) mod hosts;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::Api;
use remora_cri::{
    CgroupDriver, LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol, labels,
    slice_path,
};
use remora_decide::{QosClass, qos_class};

use crate::context::{Context, id_of};
use crate::{container, users};

/// Why a sandbox cannot be configured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    #[error("cannot make the log folder {path}: {source}")]
    Logs {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Dns(#[from] dns::DnsError),
    #[error(transparent)]
    Users(#[from] users::UsersError),
    /// As the kubelet words it.
    #[error("runtimeclass.node.k8s.io {0:?} not found")]
    NoRuntimeClass(String),
    #[error("cannot read runtime class {name:?}: {source}")]
    RuntimeClass {
        name: String,
        #[source]
        source: Box<kube::Error>,
    },
}

/// The runtime handler of the pod's class; empty for the default one.
pub(crate) async fn handler(context: &Context, pod: &Pod) -> Result<String, SandboxError> {
    let name = pod.spec.as_ref().and_then(|s| s.runtime_class_name.clone()).filter(|name| !name.is_empty());
    let Some(name) = name else { return Ok(String::new()) };
    let classes: Api<RuntimeClass> = Api::all(context.config.client.clone());
    match classes.get_opt(&name).await {
        Ok(Some(class)) => Ok(class.handler),
        Ok(None) => Err(SandboxError::NoRuntimeClass(name)),
        Err(source) => Err(SandboxError::RuntimeClass { name, source: Box::new(source) }),
    }
}

/// CRI's configuration of a pod's sandbox. Makes the log folder.
pub(crate) fn config(context: &Context, pod: &Pod, attempt: u32) -> Result<PodSandboxConfig, SandboxError> {
    let id = id_of(pod);
    let log_folder = context.log_folder(pod);
    std::fs::create_dir_all(&log_folder)
        .map_err(|source| SandboxError::Logs { path: log_folder.display().to_string(), source })?;
    Ok(PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: id.name.to_owned(),
            uid: id.uid.to_owned(),
            namespace: id.namespace.to_owned(),
            attempt,
        }),
        hostname: hostname(pod),
        log_directory: log_folder.display().to_string(),
        dns_config: Some(dns::config(&context.config.dns, pod)?),
        port_mappings: port_mappings(pod),
        labels: sandbox_labels(pod),
        annotations: pod.metadata.annotations.clone().unwrap_or_default(),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent(context.cgroup_driver, &context.config.cgroup_root, pod),
            security_context: Some(container::sandbox_security(context, pod, users::of_pod(context, pod)?)),
            sysctls: sysctls(pod),
            overhead: None,
            resources: Some(container::pod_resources(pod, context.config.pod_pids_limit)),
        }),
    })
}

/// The pod's cgroup, below the one of its class: `ROOT/kubepods/burstable/podUID`; where cgroups are systemd's, the slice of that.
fn cgroup_parent(driver: CgroupDriver, root: &str, pod: &Pod) -> String {
    let root = root.trim_end_matches('/');
    let uid = id_of(pod).uid;
    let cgroup = match qos_class(pod) {
        QosClass::Guaranteed => format!("{root}/kubepods/pod{uid}"),
        QosClass::Burstable => format!("{root}/kubepods/burstable/pod{uid}"),
        QosClass::BestEffort => format!("{root}/kubepods/besteffort/pod{uid}"),
    };
    match driver {
        CgroupDriver::Cgroupfs => cgroup,
        CgroupDriver::Systemd => slice_path(&cgroup),
    }
}

/// `spec.hostname`, else the pod's name; at most 63 bytes, as the kernel's host names are. A pod in the node's network
/// has the node's name, which the runtime knows: empty.
pub(crate) fn hostname(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    if spec.and_then(|s| s.host_network).unwrap_or(false) {
        return String::new();
    }
    let wanted = spec.and_then(|s| s.hostname.as_deref()).filter(|h| !h.is_empty()).unwrap_or(id_of(pod).name);
    let cut: String = wanted.chars().take(63).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// The pod's own labels and those by which it is known again.
fn sandbox_labels(pod: &Pod) -> BTreeMap<String, String> {
    let id = id_of(pod);
    let mut all = pod.metadata.labels.clone().unwrap_or_default();
    all.insert(labels::POD_NAME.to_owned(), id.name.to_owned());
    all.insert(labels::POD_NAMESPACE.to_owned(), id.namespace.to_owned());
    all.insert(labels::POD_UID.to_owned(), id.uid.to_owned());
    all
}

fn sysctls(pod: &Pod) -> BTreeMap<String, String> {
    let context = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let list = context.and_then(|c| c.sysctls.clone()).unwrap_or_default();
    list.into_iter().map(|s| (s.name.replace('/', "."), s.value)).collect()
}

/// Host ports are handed to the runtime, which decides what it does with them.
fn port_mappings(pod: &Pod) -> Vec<PortMapping> {
    let host_network = pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false);
    let containers = pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten().chain(&s.containers));
    let ports = containers.flat_map(|c| c.ports.iter().flatten()).filter(|p| p.host_port.is_some() && !host_network);
    ports
        .map(|p| PortMapping {
            protocol: match p.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                _ => Protocol::Tcp,
            } as i32,
            container_port: p.container_port,
            host_port: p.host_port.unwrap_or(0),
            host_ip: p.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}
