//! One look into a container or at its ports: exec, HTTP GET, TCP connect.
//!
//! Source: kubernetes `pkg/probe/{exec,http,tcp}`.

use std::time::Duration;

use k8s_openapi::api::core::v1::{HTTPGetAction, LifecycleHandler, Pod, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use remora_cri::{Code, ExecSyncRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::context::Context;

/// How much of an answer is read.
const MOST_BYTES: u64 = 10 * 1024;

/// What to look at.
#[derive(Clone, Debug)]
pub(super) enum Check {
    Exec(Vec<String>),
    Http {
        host: String,
        port: u16,
        path: String,
        headers: Vec<(String, String)>,
        tls: bool,
    },
    Tcp {
        host: String,
        port: u16,
    },
    /// Not ours yet.
    Unsupported(&'static str),
}

/// The pod's address as the API has it, else the node's.
pub(super) fn pod_ip(pod: &Pod, context: &Context) -> String {
    let ip = pod.status.as_ref().and_then(|s| s.pod_ip.clone());
    ip.or_else(|| context.config.node_ips.first().map(ToString::to_string)).unwrap_or_default()
}

impl Check {
    /// Of a probe. None if it names nothing to look at.
    pub(super) fn of_probe(probe: &Probe, pod: &Pod, ip: String) -> Option<Self> {
        if let Some(exec) = &probe.exec {
            return Some(Self::Exec(exec.command.clone().unwrap_or_default()));
        }
        if probe.grpc.is_some() {
            return Some(Self::Unsupported("gRPC probes are not supported yet"));
        }
        probe
            .http_get
            .as_ref()
            .map(|h| Self::http(h, pod, &ip))
            .or_else(|| probe.tcp_socket.as_ref().map(|t| Self::tcp(t, pod, &ip)))
    }

    /// Of a hook.
    pub(super) fn of_handler(handler: &LifecycleHandler, pod: &Pod, ip: String) -> Option<Self> {
        if let Some(exec) = &handler.exec {
            return Some(Self::Exec(exec.command.clone().unwrap_or_default()));
        }
        handler.http_get.as_ref().map(|h| Self::http(h, pod, &ip))
    }

    fn http(action: &HTTPGetAction, pod: &Pod, ip: &str) -> Self {
        let headers = action.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone()));
        Self::Http {
            host: action.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| ip.to_owned()),
            port: port(&action.port, pod),
            path: action.path.clone().filter(|p| !p.is_empty()).unwrap_or_else(|| "/".to_owned()),
            headers: headers.collect(),
            tls: action.scheme.as_deref() == Some("HTTPS"),
        }
    }

    fn tcp(action: &TCPSocketAction, pod: &Pod, ip: &str) -> Self {
        let host = action.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| ip.to_owned());
        Self::Tcp { host, port: port(&action.port, pod) }
    }

    /// Looks once. An error is what it saw.
    pub(super) async fn run(&self, context: &Context, id: &str, limit: Duration) -> Result<(), String> {
        match self {
            Self::Exec(command) => exec(context, id, command, limit).await,
            Self::Tcp { host, port } => connect(host, *port, limit).await.map(drop),
            Self::Http { tls: true, .. } => Err("HTTPS probes are not supported yet".to_owned()),
            Self::Http { host, port, path, headers, .. } => {
                let get = http_get(host, *port, path, headers, limit);
                timeout(limit, get).await.unwrap_or_else(|_| Err(timed_out(host, *port, path)))
            }
            Self::Unsupported(why) => Err((*why).to_owned()),
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
            Err(output.chars().take(MOST_BYTES as usize).collect())
        }
        Err(error) if error.code == Code::DeadlineExceeded => {
            Err(format!("command timed out: {command:?} timed out after {seconds}s"))
        }
        Err(error) => Err(error.message),
    }
}

async fn connect(host: &str, port: u16, limit: Duration) -> Result<TcpStream, String> {
    let at = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    match timeout(limit, TcpStream::connect(&at)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Err(format!("dial tcp {at}: connect: connection refused"))
        }
        Ok(Err(error)) => Err(format!("dial tcp {at}: {error}")),
        Err(_) => Err(format!("dial tcp {at}: i/o timeout")),
    }
}

/// HTTP/1.0: one request, one answer, then the end. Only the status line counts.
async fn http_get(
    host: &str,
    port: u16,
    path: &str,
    headers: &[(String, String)],
    limit: Duration,
) -> Result<(), String> {
    let url = format!("http://{host}:{port}{path}");
    let mut stream = connect(host, port, limit).await.map_err(|e| format!("Get {url:?}: {e}"))?;
    let mut request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n");
    let has = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    if !has("host") {
        request.push_str(&format!("Host: {host}:{port}\r\n"));
    }
    if !has("user-agent") {
        request.push_str("User-Agent: kube-probe/1.34\r\n");
    }
    if !has("accept") {
        request.push_str("Accept: */*\r\n");
    }
    headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
    request.push_str("\r\n");
    let failed = |e: std::io::Error| format!("Get {url:?}: {e}");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut answer).await.map_err(failed)?;
    match status_code(&answer) {
        Some(200..=399) => Ok(()),
        Some(code) => Err(format!("HTTP probe failed with statuscode: {code}")),
        None => Err(format!("Get {url:?}: malformed HTTP response")),
    }
}

fn status_code(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|b| *b == b'\r').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    words.next().filter(|v| v.starts_with("HTTP/"))?;
    words.next()?.parse().ok()
}

fn timed_out(host: &str, port: u16, path: &str) -> String {
    format!(
        "Get \"http://{host}:{port}{path}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    )
}

/// A number, or the name of a port of any container of the pod.
fn port(port: &IntOrString, pod: &Pod) -> u16 {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => named_port(pod, name).or_else(|| name.parse().ok()).unwrap_or(0),
    };
    u16::try_from(number).unwrap_or(0)
}

fn named_port(pod: &Pod, name: &str) -> Option<i32> {
    let containers = pod.spec.iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
    let mut ports = containers.flat_map(|c| c.ports.iter().flatten());
    ports.find(|p| p.name.as_deref() == Some(name)).map(|p| p.container_port)
}

#[cfg(test)]
mod tests {
    use super::status_code;

    #[test]
    fn only_the_status_line_counts() {
        for (answer, expected) in [
            (&b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"[..], Some(200)),
            (b"HTTP/1.0 503 Service Unavailable\r\n\r\n", Some(503)),
            (b"SSH-2.0-x\r\n", None),
            (b"", None),
        ] {
            assert_eq!(status_code(answer), expected);
        }
    }
}
