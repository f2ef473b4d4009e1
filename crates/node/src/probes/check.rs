//! One look into a container or at its ports: exec, HTTP, TCP connect, gRPC health.
//!
//! Source: kubernetes `pkg/probe/{exec,http,tcp,grpc}`, `pkg/kubelet/prober/prober.go`.

mod grpc;
mod http_get;

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ContainerPort, LifecycleHandler, Pod, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use remora_cri::{Code, ExecSyncRequest};
use remora_http::client::{ClientError, authority, connect};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::context::Context;
use http_get::HttpGet;

/// How much of an answer is read.
const MOST_BYTES: usize = 10 * 1024;

/// What to look at.
#[derive(Clone, Debug)]
pub(super) enum Check {
    Exec(Vec<String>),
    Http(HttpGet),
    Tcp { host: String, port: u16 },
    Grpc { host: String, port: u16, service: String },
}

/// What a look at a pod sees that has no address.
const NO_ADDRESS: &str = "the pod has no address: its sandbox is not ready";

/// The pod's address: its sandbox's, or the node's where it has the node's network. Empty if it has none.
pub(super) fn pod_ip(pod: &Pod, sandbox_ips: &[String], context: &Context) -> String {
    own_ip(pod, sandbox_ips, &context.config.node_ips)
}

fn own_ip(pod: &Pod, sandbox_ips: &[String], node_ips: &[IpAddr]) -> String {
    let has_nodes = pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false);
    let node = || node_ips.first().filter(|_| has_nodes).map(ToString::to_string);
    sandbox_ips.first().cloned().or_else(node).unwrap_or_default()
}

impl Check {
    /// Of a probe. None if it names nothing to look at.
    pub(super) fn of_probe(probe: &Probe, container: &Container, ip: &str) -> Option<Self> {
        if let Some(exec) = &probe.exec {
            return Some(Self::Exec(exec.command.clone().unwrap_or_default()));
        }
        if let Some(grpc) = &probe.grpc {
            let (port, service) = (u16::try_from(grpc.port).unwrap_or(0), grpc.service.clone().unwrap_or_default());
            return Some(Self::Grpc { host: ip.to_owned(), port, service });
        }
        if let Some(get) = &probe.http_get {
            return Some(Self::Http(HttpGet::new(get, container, ip)));
        }
        let tcp = probe.tcp_socket.as_ref()?;
        let host = tcp.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| ip.to_owned());
        Some(Self::Tcp { host, port: port(&tcp.port, container) })
    }

    /// Of a hook. None if it is of a kind that cannot be run: upstream takes `tcpSocket` there, and fails it.
    pub(super) fn of_handler(handler: &LifecycleHandler, container: &Container, ip: &str) -> Option<Self> {
        if let Some(exec) = &handler.exec {
            return Some(Self::Exec(exec.command.clone().unwrap_or_default()));
        }
        handler.http_get.as_ref().map(|get| Self::Http(HttpGet::new(get, container, ip).of_hook()))
    }

    /// Looks once. An error is what it saw.
    pub(super) async fn run(&self, context: &Context, id: &str, limit: Duration) -> Result<(), String> {
        if self.host() == Some("") {
            return Err(NO_ADDRESS.to_owned());
        }
        match self {
            Self::Exec(command) => exec(context, id, command, limit).await,
            Self::Tcp { host, port } => dial(host, *port, limit).await.map(drop),
            Self::Http(get) => timeout(limit, get.run()).await.unwrap_or_else(|_| Err(get.timed_out())),
            Self::Grpc { host, port, service } => grpc::check(host, *port, service, limit).await,
        }
    }

    /// Whom it asks over the network.
    fn host(&self) -> Option<&str> {
        match self {
            Self::Exec(_) => None,
            Self::Http(get) => Some(get.host()),
            Self::Tcp { host, .. } | Self::Grpc { host, .. } => Some(host),
        }
    }
}

async fn exec(context: &Context, id: &str, command: &[String], limit: Duration) -> Result<(), String> {
    let seconds = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX).max(1);
    let request = ExecSyncRequest { container_id: id.to_owned(), cmd: command.to_vec(), timeout: seconds };
    match context.config.runtime.exec_sync(request).await {
        Ok(answer) if answer.exit_code == 0 => Ok(()),
        Ok(answer) => {
            let mut output = String::from_utf8_lossy(&answer.stdout).into_owned();
            output.push_str(&String::from_utf8_lossy(&answer.stderr));
            Err(output.chars().take(MOST_BYTES).collect())
        }
        Err(error) if error.code == Code::DeadlineExceeded => {
            Err(format!("command timed out: {command:?} timed out after {seconds}s"))
        }
        Err(error) => Err(error.message),
    }
}

async fn dial(host: &str, port: u16, limit: Duration) -> Result<TcpStream, String> {
    match timeout(limit, connect(host, port)).await {
        Ok(result) => result.map_err(|error| not_connected(&authority(host, port), &error)),
        Err(_) => Err(format!("dial tcp {}: i/o timeout", authority(host, port))),
    }
}

fn not_connected(at: &str, error: &ClientError) -> String {
    match error {
        ClientError::Connect(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            format!("dial tcp {at}: connect: connection refused")
        }
        other => format!("dial tcp {at}: {other}"),
    }
}

/// A number, or the name of a port of the container.
fn port(port: &IntOrString, container: &Container) -> u16 {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => named_port(container, name).or_else(|| name.parse().ok()).unwrap_or(0),
    };
    u16::try_from(number).unwrap_or(0)
}

fn named_port(container: &Container, name: &str) -> Option<i32> {
    let is_named = |port: &&ContainerPort| port.name.as_deref() == Some(name);
    container.ports.iter().flatten().find(is_named).map(|port| port.container_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pod_on_the_nodes_network_has_the_nodes_address() {
        let node = ["192.0.2.1".parse().unwrap()];
        for (host_network, sandbox, expected) in [
            (false, Some("10.0.0.7"), "10.0.0.7"),
            (false, None, ""),
            (true, None, "192.0.2.1"),
            (true, Some("192.0.2.9"), "192.0.2.9"),
        ] {
            let pod = serde_json::json!({"spec": {"hostNetwork": host_network, "containers": []}});
            let sandbox: Vec<_> = sandbox.map(ToOwned::to_owned).into_iter().collect();
            assert_eq!(own_ip(&serde_json::from_value(pod).unwrap(), &sandbox, &node), expected);
        }
    }

    #[test]
    fn only_what_asks_over_the_network_needs_an_address() {
        let host = |probe: serde_json::Value, ip: &str| {
            let check = Check::of_probe(&serde_json::from_value(probe).unwrap(), &Container::default(), ip).unwrap();
            check.host().map(ToOwned::to_owned)
        };
        for (probe, expected) in [
            (serde_json::json!({"exec": {"command": ["true"]}}), None),
            (serde_json::json!({"tcpSocket": {"port": 80}}), Some("")),
            (serde_json::json!({"tcpSocket": {"port": 80, "host": "10.0.0.7"}}), Some("10.0.0.7")),
            (serde_json::json!({"httpGet": {"port": 80}}), Some("")),
            (serde_json::json!({"grpc": {"port": 80}}), Some("")),
        ] {
            assert_eq!(host(probe.clone(), "").as_deref(), expected, "{probe}");
        }
    }
}
