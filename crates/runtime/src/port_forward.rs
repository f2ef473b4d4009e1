//! A connection to a port of a sandbox's loopback: CRI's PortForward. Source of the order and of the words: containerd's
//! `sandbox_portforward_linux.go`.
//!
//! The socket is made by a thread that joins the sandbox's network namespace and ends; it stays inside for good. Nothing runs in the pod.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use remora_oci_config::Join;
use remora_streaming::{Duplex, StreamError};
use remora_sys::namespace::{self, Kind};
use tokio::net::{TcpSocket, TcpStream};

use crate::sandbox::Sandbox;

/// Bytes of each direction on their way.
const BUFFER: usize = 32 << 10;

/// Carries a connection until both directions have ended. One that breaks once it stands is no failure: the client sees it break.
pub(crate) async fn forward(sandbox: &Sandbox, port: u16, duplex: Duplex) -> Result<(), StreamError> {
    let netns = match sandbox.namespaces().network {
        Join::Path(path) => Some(path),
        Join::Host | Join::New => None,
    };
    let mut pod = connect(sandbox.id(), netns, port).await.map_err(StreamError::Internal)?;
    if let Err(error) = pod.set_nodelay(true) {
        tracing::debug!(%error, sandbox = sandbox.id(), port, "a forwarded connection may wait for acknowledgements");
    }
    let mut client = tokio::io::join(duplex.reader, duplex.writer);
    if let Err(error) = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut pod, BUFFER, BUFFER).await {
        tracing::debug!(%error, sandbox = sandbox.id(), port, "a forwarded connection broke");
    }
    Ok(())
}

/// By IPv4, else by IPv6: a program may listen on either.
async fn connect(id: &str, netns: Option<PathBuf>, port: u16) -> Result<TcpStream, String> {
    let by_ipv4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let by_ipv6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let first = match connect_to(netns.as_deref(), by_ipv4).await {
        Ok(connected) => return Ok(connected),
        Err(error) => error,
    };
    let second = match connect_to(netns.as_deref(), by_ipv6).await {
        Ok(connected) => return Ok(connected),
        Err(error) => error,
    };
    let place = netns.as_deref().unwrap_or(Path::new("host"));
    Err(format!(
        "failed to execute portforward in network namespace \"{}\": failed to connect to localhost:{port} inside namespace \
         \"{id}\", IPv4: dial tcp4 {by_ipv4}: connect: {} IPv6 dial tcp6 {by_ipv6}: connect: {}",
        place.display(),
        words(&first),
        words(&second),
    ))
}

async fn connect_to(netns: Option<&Path>, address: SocketAddr) -> io::Result<TcpStream> {
    let open = move || if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = match netns.map(Path::to_owned) {
        None => open()?,
        Some(netns) => {
            let opened = tokio::task::spawn_blocking(move || namespace::run_in(Kind::Net, &netns, open));
            match opened.await {
                Ok(opened) => opened.map_err(io::Error::other)??,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
    };
    socket.connect(address).await
}

/// An error of the kernel's without its number: `connection refused`, as Go says it.
fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => error.kind().to_string(),
        None => error.to_string(),
    }
}
