//! A pod's network: a sandbox's namespace goes in, interfaces, addresses, routes and DNS come out.
//!
//! [`Network`] is the seam. [`Bridge`] is the built-in one: a bridge, veth pairs, addresses of one IPv4 subnet and outbound
//! NAT. [`FakeNetwork`] keeps the same promises in memory. Both pass `tests/contract`. The runtime calls this crate; this
//! crate calls the kernel through netlink and `nft`, and only in the network namespace that the daemon runs in and in those
//! that it is handed.
//!
//! **Invariant:** nothing here knows pods' specs, containers or images, nor how a namespace is made.

#![forbid(unsafe_code)]

mod allocation;
mod api_route;
mod attachment;
mod bridge;
mod error;
mod fake;
mod subnet;

pub use api_route::{ApiRoute, Listens};
pub use attachment::{AttachRequest, Attachment, Dns, Interface, IpConfig, Route};
pub use bridge::{Bridge, BridgeConfig};
pub use error::Error;
pub use fake::FakeNetwork;
pub use subnet::Subnet;

use std::collections::BTreeMap;

use async_trait::async_trait;

/// Whether sandboxes can be attached now, as CRI's `NetworkReady` condition wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkStatus {
    /// Sandboxes can be attached.
    pub ready: bool,
    /// One word in CamelCase, empty when all is well: `NetworkPluginNotReady`, `NoOutboundNat`.
    pub reason: String,
    /// A sentence for people, empty when all is well. A network may be ready and still have something to say: without
    /// `nft`, pods reach each other and the node but nothing beyond.
    pub message: String,
}

/// A pod network.
///
/// Calls may come at once for different sandboxes. For one sandbox the runtime makes them one after the other.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// Connects a sandbox's network namespace; returns what it got. CNI's `ADD`.
    ///
    /// Attaching a sandbox that is attached already, to the same namespace, answers with what it has and repairs what is
    /// missing. On an error nothing is left behind.
    ///
    /// # Errors
    /// [`Error::Exhausted`] when no address is free, [`Error::Namespace`] when the path is no network namespace, and what
    /// the kernel refuses.
    async fn attach(&self, request: AttachRequest) -> Result<Attachment, Error>;

    /// Disconnects a sandbox and gives its address back. CNI's `DEL`: one that is not attached, or whose namespace is
    /// gone, is no error.
    async fn detach(&self, sandbox: &str) -> Result<(), Error>;

    /// Whether a sandbox still has what [`attach`](Network::attach) gave it. CNI's `CHECK`.
    ///
    /// # Errors
    /// [`Error::NotAttached`], [`Error::Missing`] naming the part that is gone.
    async fn check(&self, sandbox: &str) -> Result<(), Error>;

    /// Whether sandboxes can be attached.
    async fn status(&self) -> NetworkStatus;

    /// Detaches every sandbox that is not among `known`, by id: what an earlier run left behind. CNI's `GC`. Those that are known come with
    /// what [`attach`](Network::attach) gave them: a network that has lost or spoiled its own notes of one takes them up from here, so
    /// that nobody else is given its address.
    async fn gc(&self, known: &BTreeMap<String, Attachment>) -> Result<(), Error>;

    /// Removes everything that this network ever made: interfaces, addresses, rules, files.
    async fn teardown(&self) -> Result<(), Error>;
}
