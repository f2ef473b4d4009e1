//! An IPv4 subnet and what is in it. Pure.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::attachment::parse_cidr;

/// An IPv4 subnet with room for pods: prefix 8 to 29, host bits zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    base: u32,
    prefix: u8,
}

impl Subnet {
    /// The subnet of this size that an address lies in.
    ///
    /// # Errors
    /// [`Error::Subnet`]: there are none of this size.
    pub(crate) fn around(address: Ipv4Addr, prefix: u8) -> Result<Self, Error> {
        format!("{}/{prefix}", Ipv4Addr::from(mask(address.into(), prefix.min(32)))).parse()
    }

    /// The first address of the subnet: its name.
    pub fn network(self) -> Ipv4Addr {
        self.base.into()
    }

    /// Bits of the prefix.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The first host address: the node's own.
    pub fn gateway(self) -> Ipv4Addr {
        (self.base + 1).into()
    }

    /// The last address.
    pub fn broadcast(self) -> Ipv4Addr {
        (self.base + self.size() - 1).into()
    }

    /// How many addresses pods can have: all but network, gateway and broadcast.
    pub fn pods(self) -> u32 {
        self.size() - 3
    }

    /// The pod address with this index, counted from zero.
    ///
    /// The index wraps, so that a caller can count on without looking.
    pub fn pod(self, index: u32) -> Ipv4Addr {
        (self.base + 2 + index % self.pods()).into()
    }

    /// The index of a pod address; none for addresses that no pod can have.
    pub fn index_of(self, address: Ipv4Addr) -> Option<u32> {
        let offset = u32::from(address).checked_sub(self.base + 2)?;
        (offset < self.pods()).then_some(offset)
    }

    /// Whether an address lies in the subnet.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        mask(u32::from(address), self.prefix) == self.base
    }

    /// Whether two ranges share an address.
    pub fn overlaps(self, address: Ipv4Addr, prefix: u8) -> bool {
        let shorter = self.prefix.min(prefix);
        mask(self.base, shorter) == mask(address.into(), shorter)
    }

    fn size(self) -> u32 {
        1 << (32 - self.prefix)
    }
}

fn mask(address: u32, prefix: u8) -> u32 {
    if prefix == 0 { 0 } else { address & (u32::MAX << (32 - prefix)) }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |problem: String| Error::Subnet { text: text.to_owned(), problem };
        let (address, prefix) = parse_cidr(text).map_err(wrong)?;
        if !(8..=29).contains(&prefix) {
            return Err(wrong("the prefix must be from /8 to /29".into()));
        }
        let base = mask(address.into(), prefix);
        if base != u32::from(address) {
            return Err(wrong(format!("has host bits set; did you mean {}/{prefix}?", Ipv4Addr::from(base))));
        }
        Ok(Subnet { base, prefix })
    }
}

impl TryFrom<String> for Subnet {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> String {
        subnet.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn texts_that_are_no_pod_subnet_are_refused_with_the_reason() {
        for (text, problem) in [
            ("10.88.0.0/30", "from /8 to /29"),
            ("10.88.0.0/7", "from /8 to /29"),
            ("10.88.0.1/16", "did you mean 10.88.0.0/16?"),
            ("fd00::/64", "not an IPv4 address"),
            ("10.88.0.0", "not an IPv4 address"),
        ] {
            let error = text.parse::<Subnet>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn network_gateway_and_broadcast_are_no_pod_addresses() {
        let small = subnet("10.9.8.0/29");
        let pods: Vec<String> = (0..small.pods()).map(|index| small.pod(index).to_string()).collect();
        assert_eq!(pods, ["10.9.8.2", "10.9.8.3", "10.9.8.4", "10.9.8.5", "10.9.8.6"]);
        assert_eq!(small.pod(5), small.pod(0));
        for address in [small.network(), small.gateway(), small.broadcast(), Ipv4Addr::new(10, 9, 8, 9)] {
            assert_eq!(small.index_of(address), None, "{address}");
        }
        assert_eq!(small.index_of(Ipv4Addr::new(10, 9, 8, 6)), Some(4));
    }

    #[test]
    fn overlap_is_seen_from_both_sides() {
        for (address, prefix, expected) in [
            ([10, 88, 0, 0], 16, true),
            ([10, 0, 0, 0], 8, true),
            ([10, 88, 7, 0], 24, true),
            ([10, 89, 0, 0], 16, false),
            ([172, 17, 0, 0], 16, false),
            ([0, 0, 0, 0], 0, true),
        ] {
            assert_eq!(subnet("10.88.0.0/16").overlaps(address.into(), prefix), expected, "{address:?}/{prefix}");
        }
    }
}
