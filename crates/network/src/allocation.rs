//! Who has which address. Pure: the bridge writes it to disk, the fake does not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::{Error, Subnet};

/// The addresses of a subnet and the sandboxes that have them.
///
/// A new one is the next free address after the last that was given out, so that one that was just released rests as long
/// as possible: peers' ARP entries and connections of the old owner have time to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allocations {
    subnet: Subnet,
    /// Index to try first.
    next: u32,
    /// How many addresses were ever given out.
    serial: u64,
    owners: BTreeMap<String, Ipv4Addr>,
}

impl Allocations {
    pub(crate) fn new(subnet: Subnet) -> Self {
        Allocations { subnet, next: 0, serial: 0, owners: BTreeMap::new() }
    }

    /// The state after a restart; owners in the order in which they came. Addresses go on after the last one.
    pub(crate) fn restore(subnet: Subnet, owners: impl Iterator<Item = (String, Ipv4Addr, u64)>) -> Self {
        let mut restored = Allocations::new(subnet);
        for (sandbox, address, serial) in owners {
            restored.next = subnet.index_of(address).map_or(restored.next, |index| index + 1);
            restored.serial = serial;
            restored.owners.insert(sandbox, address);
        }
        restored
    }

    /// The number of the last address that was given out.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    pub(crate) fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// The sandbox's address: the one that it has, or a new one.
    pub(crate) fn allocate(&mut self, sandbox: &str) -> Result<Ipv4Addr, Error> {
        if let Some(address) = self.owners.get(sandbox) {
            return Ok(*address);
        }
        let size = self.subnet.pods();
        let taken: BTreeSet<Ipv4Addr> = self.owners.values().copied().collect();
        let free = (0..size).map(|step| self.subnet.pod(self.next.wrapping_add(step))).find(|ip| !taken.contains(ip));
        let address = free.ok_or(Error::Exhausted { subnet: self.subnet, size })?;
        self.next = self.subnet.index_of(address).map_or(0, |index| (index + 1) % size);
        self.serial += 1;
        self.owners.insert(sandbox.to_owned(), address);
        Ok(address)
    }

    /// This sandbox has this address, whatever was written down; its number. Where new ones go on stays.
    pub(crate) fn claim(&mut self, sandbox: &str, address: Ipv4Addr) -> u64 {
        self.serial += 1;
        self.owners.insert(sandbox.to_owned(), address);
        self.serial
    }

    pub(crate) fn address(&self, sandbox: &str) -> Option<Ipv4Addr> {
        self.owners.get(sandbox).copied()
    }

    pub(crate) fn release(&mut self, sandbox: &str) -> Option<Ipv4Addr> {
        self.owners.remove(sandbox)
    }

    pub(crate) fn sandboxes(&self) -> impl Iterator<Item = &str> {
        self.owners.keys().map(String::as_str)
    }
}

/// Checks an id that becomes part of names.
pub(crate) fn sandbox_id(id: &str) -> Result<(), Error> {
    match id.is_empty() || id.len() > 256 || id.contains(['/', '\0']) {
        true => Err(Error::SandboxId { id: id.chars().take(256).collect() }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocations() -> Allocations {
        Allocations::new("10.9.8.0/29".parse().unwrap())
    }

    #[test]
    fn a_released_address_rests_until_all_others_were_used() {
        let mut all = allocations();
        let first = all.allocate("a").unwrap();
        all.release("a");
        let others: Vec<Ipv4Addr> = ["b", "c", "d", "e"].map(|id| all.allocate(id).unwrap()).to_vec();
        assert!(!others.contains(&first), "{others:?}");
        assert_eq!(all.allocate("f").unwrap(), first);
    }

    #[test]
    fn after_a_restart_addresses_go_on_where_they_were() {
        let mut before = allocations();
        let owners: Vec<_> = ["a", "b"].map(|id| (id.to_owned(), before.allocate(id).unwrap(), before.serial())).into();
        let mut after = Allocations::restore(before.subnet(), owners.into_iter());
        assert_eq!(after, before);
        assert_eq!(after.allocate("c").unwrap(), before.allocate("c").unwrap());
    }

    #[test]
    fn a_sandbox_keeps_its_address_and_a_full_subnet_says_so() {
        let mut all = allocations();
        let given: Vec<Ipv4Addr> = ["a", "b", "c", "d", "e"].map(|id| all.allocate(id).unwrap()).to_vec();
        assert_eq!(all.allocate("c").unwrap(), given[2]);
        let error = all.allocate("f").unwrap_err().to_string();
        assert_eq!(error, "no free address left in 10.9.8.0/29: all 5 are in use");
        all.release("b");
        assert_eq!(all.allocate("f").unwrap(), given[1]);
    }
}
