//! What can go wrong with a network, each named by its place.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::Subnet;

/// A failed call of a [`crate::Network`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A sandbox id that cannot name a file or an interface.
    #[error("sandbox id {id:?} is empty, too long or contains '/'")]
    SandboxId {
        /// The id.
        id: String,
    },
    /// All addresses are taken.
    #[error("no free address left in {subnet}: all {size} are in use")]
    Exhausted {
        /// Where they come from.
        subnet: Subnet,
        /// How many there are.
        size: u32,
    },
    /// The text is no usable subnet.
    #[error("subnet {text:?}: {problem}")]
    Subnet {
        /// What was configured.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The configured subnet is in use by something else on this machine.
    #[error(
        "subnet {subnet} overlaps the route to {destination}/{prefix} of interface {interface}; choose another one"
    )]
    Overlap {
        /// What was configured.
        subnet: Subnet,
        /// The route's destination.
        destination: Ipv4Addr,
        /// The route's prefix.
        prefix: u8,
        /// Where the route goes.
        interface: String,
    },
    /// None of the subnets that are tried is free.
    #[error("every subnet that could be used overlaps a route of this machine (last: {last}); configure one")]
    NoSubnet {
        /// The last one that was tried.
        last: String,
    },
    /// Not a network namespace, or it cannot be entered.
    #[error("network namespace {}", path.display())]
    Namespace {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: remora_sys::Error,
    },
    /// A socket to the kernel.
    #[error("{what}")]
    Socket {
        /// What was asked.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a request.
    #[error("{what}")]
    Kernel {
        /// What was asked, e.g. `create bridge rmr1`.
        what: String,
        /// Its answer.
        #[source]
        source: io::Error,
    },
    /// A sysctl of the node's network namespace.
    #[error("switch {name} on or off")]
    Sysctl {
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        source: remora_sys::Error,
    },
    /// The conversation with the kernel went wrong.
    #[error("{what}")]
    Netlink {
        /// What was asked.
        what: String,
        /// Its answer.
        #[source]
        source: rtnetlink::Error,
    },
    /// CAP_NET_ADMIN is missing.
    #[error("{what}: not permitted; networks need CAP_NET_ADMIN (run as root, or in a user namespace of your own)")]
    NotPermitted {
        /// What was asked.
        what: String,
    },
    /// The kernel has no such device type.
    #[error("{what}: this kernel has no support for it (module {module} is missing)")]
    NotSupported {
        /// What was asked.
        what: String,
        /// The module that would bring it.
        module: &'static str,
    },
    /// The state folder.
    #[error("{}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// `nft` refused.
    #[error("nft: {message}")]
    Nft {
        /// What it printed.
        message: String,
    },
    /// [`crate::Network::check`]: never attached, or detached.
    #[error("sandbox {sandbox} is not attached to the network")]
    NotAttached {
        /// The sandbox.
        sandbox: String,
    },
    /// [`crate::Network::check`]: part of it is gone.
    #[error("sandbox {sandbox}: {what} is gone")]
    Missing {
        /// The sandbox.
        sandbox: String,
        /// What is gone.
        what: String,
    },
}

/// An error and its causes in one line, for statuses.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}
