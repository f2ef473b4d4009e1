//! What one server lets its clients cost. Data only; `server`, `tls` and `memory` apply it.

use std::time::Duration;

/// Limits of a server. The defaults are kube-apiserver's where it has such a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections over TLS at one time, with those that were upgraded and still live. More wait in the kernel's backlog.
    pub connections: usize,
    /// From the accept to the end of the TLS handshake.
    pub tls_handshake: Duration,
    /// HTTP/1.1 over TLS: from the moment at which a request is awaited until its head is complete. It ends both slow
    /// senders and idle kept-alive connections.
    pub request_head: Duration,
    /// All headers of one request together, in bytes. More is a 431.
    pub head_bytes: u32,
    /// Headers of one HTTP/1.1 request. More is a 431.
    pub headers: usize,
    /// HTTP/2: requests at one time in one connection.
    pub streams: u32,
    /// HTTP/2 over TLS: how often a peer is asked whether it is still there.
    pub ping_every: Duration,
    /// HTTP/2 over TLS: a peer that has not answered within this time is gone.
    pub ping_answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            tls_handshake: Duration::from_secs(10),
            request_head: Duration::from_secs(32),
            head_bytes: 64 * 1024,
            headers: 100,
            streams: 250,
            ping_every: Duration::from_secs(30),
            ping_answer: Duration::from_secs(15),
        }
    }
}
