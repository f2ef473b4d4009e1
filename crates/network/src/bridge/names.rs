//! What things are called: derived from ids, so that they are found again without being remembered. Pure.

use std::net::Ipv4Addr;

use sha2::{Digest, Sha256};

/// The names of one node's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    node: String,
    bridge: String,
    table: String,
}

impl Names {
    pub(crate) fn new(node: &str) -> Self {
        let hash = hex(node, 8);
        Names { node: node.to_owned(), bridge: format!("rmr{hash}"), table: format!("remora-{hash}") }
    }

    pub(crate) fn bridge(&self) -> &str {
        &self.bridge
    }

    /// The nftables table.
    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    /// The node's end of a sandbox's veth pair. An interface's name has at most 15 bytes.
    pub(crate) fn host_interface(&self, sandbox: &str) -> String {
        format!("veth{}", hex(&format!("{}/{sandbox}", self.node), 11))
    }
}

/// The hardware address that goes with an address: local, unicast. The same address always has the same one, so that peers'
/// ARP entries stay right.
pub(crate) fn hardware_address(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x58, a, b, c, d]
}

/// `0a:58:…`
pub(crate) fn display_hardware_address(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

fn hex(text: &str, digits: usize) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let mut hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.truncate(digits);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_differ_by_node_and_sandbox() {
        let (a, b) = (Names::new("node-a"), Names::new("node-b"));
        assert_ne!(a.bridge(), b.bridge());
        assert_ne!(a.table(), b.table());
        assert_ne!(a.host_interface("s"), b.host_interface("s"));
        assert_ne!(a.host_interface("s"), a.host_interface("t"));
        let long = a.host_interface(&"x".repeat(256));
        for name in [a.bridge(), long.as_str()] {
            assert!(name.len() <= 15, "{name}");
        }
    }

    #[test]
    fn a_hardware_address_carries_the_ip() {
        let bytes = hardware_address(Ipv4Addr::new(10, 244, 0, 7));
        assert_eq!(display_hardware_address(bytes), "0a:58:0a:f4:00:07");
    }
}
