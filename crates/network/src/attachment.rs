//! What a sandbox asks for and what it got, in CNI's terms (CNI spec 1.1, "Result types").
//!
//! Only words: no IO. The runtime stores an [`Attachment`] in the sandbox's record and reads addresses and DNS from it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A sandbox that wants a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachRequest {
    /// The sandbox's id: CNI's container id. Not empty, no `/`, at most 256 bytes.
    pub sandbox: String,
    /// Its pinned network namespace, e.g. `/run/remora/netns/<id>`.
    pub netns: PathBuf,
    /// Name of the pod, for messages.
    pub pod_name: String,
    /// Namespace of the pod, for messages.
    pub pod_namespace: String,
}

/// What a sandbox got. Its JSON is a CNI result (spec 1.1) plus nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// All interfaces made for it, on the node and in the sandbox.
    pub interfaces: Vec<Interface>,
    /// Addresses; the first is the pod's IP.
    pub ips: Vec<IpConfig>,
    /// Routes in the sandbox.
    pub routes: Vec<Route>,
    /// Name servers that the network brings along; empty means: the node's own.
    pub dns: Dns,
}

impl Attachment {
    /// The pod's IP.
    pub fn ip(&self) -> Option<Ipv4Addr> {
        self.ips.first().map(|ip| ip.address)
    }

    /// The network namespace that has that IP.
    pub(crate) fn netns(&self) -> Option<&Path> {
        self.interfaces.get(self.ips.first()?.interface)?.sandbox.as_deref()
    }
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name in the namespace where it is.
    pub name: String,
    /// `aa:bb:cc:dd:ee:ff`, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// The namespace's path; none for the node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<PathBuf>,
}

/// An address in a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "IpConfigJson", into = "IpConfigJson")]
pub struct IpConfig {
    /// The address.
    pub address: Ipv4Addr,
    /// Bits of the subnet's prefix.
    pub prefix: u8,
    /// The node's address in the same subnet.
    pub gateway: Ipv4Addr,
    /// Index into [`Attachment::interfaces`].
    pub interface: usize,
}

/// A route in a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RouteJson", into = "RouteJson")]
pub struct Route {
    /// Destination address; `0.0.0.0` with prefix 0 is the default route.
    pub destination: Ipv4Addr,
    /// Bits of the destination's prefix.
    pub prefix: u8,
    /// Next hop; none for what is on the link.
    pub gateway: Option<Ipv4Addr>,
}

impl Route {
    /// The default route.
    pub fn default_by(gateway: Ipv4Addr) -> Self {
        Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, gateway: Some(gateway) }
    }
}

/// Name servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Addresses of servers, in the order in which to ask them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// Search domains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
}

/// CNI writes an address and its prefix as one string.
#[derive(Serialize, Deserialize)]
struct IpConfigJson {
    address: String,
    gateway: Ipv4Addr,
    interface: usize,
}

#[derive(Serialize, Deserialize)]
struct RouteJson {
    dst: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gw: Option<Ipv4Addr>,
}

impl From<IpConfig> for IpConfigJson {
    fn from(ip: IpConfig) -> Self {
        IpConfigJson { address: format!("{}/{}", ip.address, ip.prefix), gateway: ip.gateway, interface: ip.interface }
    }
}

impl TryFrom<IpConfigJson> for IpConfig {
    type Error = String;
    fn try_from(json: IpConfigJson) -> Result<Self, String> {
        let (address, prefix) = parse_cidr(&json.address)?;
        Ok(IpConfig { address, prefix, gateway: json.gateway, interface: json.interface })
    }
}

impl From<Route> for RouteJson {
    fn from(route: Route) -> Self {
        RouteJson { dst: format!("{}/{}", route.destination, route.prefix), gw: route.gateway }
    }
}

impl TryFrom<RouteJson> for Route {
    type Error = String;
    fn try_from(json: RouteJson) -> Result<Self, String> {
        let (destination, prefix) = parse_cidr(&json.dst)?;
        Ok(Route { destination, prefix, gateway: json.gw })
    }
}

/// `a.b.c.d/n` as its two parts, host bits allowed.
pub(crate) fn parse_cidr(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let wrong = || format!("{text:?} is not an IPv4 address with a prefix length, such as 10.88.0.1/16");
    let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
    let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
    let address = address.parse().map_err(|_| wrong())?;
    if prefix > 32 {
        return Err(wrong());
    }
    Ok((address, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_reads_and_writes_as_a_cni_result() {
        let json = serde_json::json!({
            "interfaces": [{"name": "remora0"}, {"name": "eth0", "mac": "0a:00:00:00:00:02", "sandbox": "/run/ns/a"}],
            "ips": [{"address": "10.88.0.2/16", "gateway": "10.88.0.1", "interface": 1}],
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.88.0.1"}],
            "dns": {}
        });
        let attachment: Attachment = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(attachment.ip(), Some(Ipv4Addr::new(10, 88, 0, 2)));
        assert_eq!(serde_json::to_value(&attachment).unwrap(), json);
    }

    #[test]
    fn addresses_without_or_with_a_wrong_prefix_are_refused() {
        for text in ["10.0.0.1", "10.0.0.1/33", "10.0.0/8", "/8", "10.0.0.1/-1", "::1/8"] {
            assert!(parse_cidr(text).is_err(), "{text}");
        }
    }
}
