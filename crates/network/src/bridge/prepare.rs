//! Making or finding what all sandboxes share: subnet, bridge, NAT.

use super::links::KernelRoute;
use super::names::hardware_address;
use super::records::NetworkRecord;
use super::{Bridge, nat};
use crate::allocation::Allocations;
use crate::{Error, NetworkStatus, Subnet};

/// Tried in this order when none is configured: the range that kubeadm's guides use, then neighbours, then ranges far away.
const CANDIDATES: [&str; 7] = [
    "10.244.0.0/24",
    "10.245.0.0/24",
    "10.246.0.0/24",
    "10.88.240.0/24",
    "172.29.240.0/24",
    "172.30.240.0/24",
    "192.168.244.0/24",
];

/// What all sandboxes share.
pub(crate) struct Prepared {
    pub(crate) subnet: Subnet,
    /// Why there is no outbound NAT, if there is none.
    nat_problem: Option<String>,
}

impl Prepared {
    pub(crate) fn status(&self) -> NetworkStatus {
        match &self.nat_problem {
            None => NetworkStatus { ready: true, reason: String::new(), message: String::new() },
            Some(problem) => NetworkStatus {
                ready: true,
                reason: "NoOutboundNat".into(),
                message: format!("pods reach each other and this machine, but nothing beyond: {problem}"),
            },
        }
    }
}

impl Bridge {
    pub(super) async fn prepare(&self) -> Result<Prepared, Error> {
        let record = self.network_record().await?;
        let subnet = record.subnet;
        self.make_bridge(subnet).await?;
        let nat = self.make_nat(subnet).await;
        if let Err(error) = &nat {
            tracing::warn!(error = %crate::error::chain(error), "no outbound NAT");
        }
        self.records.set_network(&NetworkRecord { nat: nat.is_ok(), ..record })?;
        self.allocations().get_or_insert_with(|| Allocations::new(subnet));
        Ok(Prepared { subnet, nat_problem: nat.err().map(|error| crate::error::chain(&error)) })
    }

    /// The bridge's index. Made again if somebody removed it meanwhile.
    pub(super) async fn bridge(&self, subnet: Subnet) -> Result<u32, Error> {
        match self.links.index(self.names.bridge()).await? {
            Some(index) => Ok(index),
            None => self.make_bridge(subnet).await,
        }
    }

    /// Makes the bridge, or completes one that an interrupted run has begun.
    async fn make_bridge(&self, subnet: Subnet) -> Result<u32, Error> {
        let name = self.names.bridge();
        let bridge = match self.links.index(name).await? {
            Some(index) => index,
            None => self.links.create_bridge(name, hardware_address(subnet.gateway())).await?,
        };
        self.links.add_address(bridge, subnet.gateway(), subnet.prefix()).await?;
        self.links.set_up(bridge).await?;
        Ok(bridge)
    }

    /// The record of an earlier run, if it is still wanted, or a new one.
    async fn network_record(&self) -> Result<NetworkRecord, Error> {
        match (self.records.network()?, self.config.subnet) {
            (Some(record), Some(wanted)) if wanted != record.subnet => self.give_up(&record, wanted).await?,
            (Some(record), _) => return Ok(record),
            // A bridge of ours without a record: the state folder was lost, and with it who has which address.
            (None, _) => drop(self.delete_bridge().await?),
        }
        let subnet = self.choose_subnet().await?;
        let record = NetworkRecord { subnet, forwarded_before: nat::forwards()?, nat: true };
        self.records.set_network(&record)?;
        Ok(record)
    }

    /// Another subnet is configured now: what was made for the old one goes, unless sandboxes still use it.
    async fn give_up(&self, record: &NetworkRecord, wanted: Subnet) -> Result<(), Error> {
        let in_use = self.allocations().as_ref().map_or(0, |allocations| allocations.sandboxes().count());
        if in_use > 0 {
            let problem = format!("{in_use} sandboxes still have addresses of {}; remove them first", record.subnet);
            return Err(Error::Subnet { text: wanted.to_string(), problem });
        }
        self.delete_bridge().await?;
        self.undo_nat(true).await?;
        *self.allocations() = None;
        Ok(())
    }

    /// Says whether there was one.
    pub(super) async fn delete_bridge(&self) -> Result<bool, Error> {
        let index = self.links.index(self.names.bridge()).await?;
        if let Some(index) = index {
            self.links.delete(self.names.bridge(), index).await?;
        }
        Ok(index.is_some())
    }

    async fn choose_subnet(&self) -> Result<Subnet, Error> {
        let others = self.links.routes().await?;
        match (self.config.subnet, self.config.subnet.and_then(|wanted| overlap(wanted, &others))) {
            (Some(wanted), None) => Ok(wanted),
            (Some(wanted), Some(route)) => Err(Error::Overlap {
                subnet: wanted,
                destination: route.destination,
                prefix: route.prefix,
                interface: self.links.name(route.interface).await?.unwrap_or_else(|| "none".into()),
            }),
            (None, _) => first_free(&others),
        }
    }
}

fn overlap(subnet: Subnet, routes: &[KernelRoute]) -> Option<&KernelRoute> {
    routes.iter().find(|route| subnet.overlaps(route.destination, route.prefix))
}

fn first_free(routes: &[KernelRoute]) -> Result<Subnet, Error> {
    let mut last = None;
    for candidate in CANDIDATES {
        let subnet: Subnet = candidate.parse()?;
        if overlap(subnet, routes).is_none() {
            return Ok(subnet);
        }
        last = Some(subnet);
    }
    Err(Error::NoSubnet { last: last.map(|subnet| subnet.to_string()).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(address: [u8; 4], prefix: u8) -> KernelRoute {
        KernelRoute { destination: address.into(), prefix, interface: 1 }
    }

    #[test]
    fn the_first_subnet_without_an_overlap_is_taken() {
        let chosen = |routes: &[KernelRoute]| first_free(routes).map(|subnet| subnet.to_string());
        assert_eq!(chosen(&[]).unwrap(), "10.244.0.0/24");
        assert_eq!(chosen(&[route([192, 168, 0, 0], 16)]).unwrap(), "10.244.0.0/24");
        assert_eq!(chosen(&[route([10, 244, 0, 0], 16)]).unwrap(), "10.245.0.0/24");
        assert_eq!(chosen(&[route([10, 0, 0, 0], 8)]).unwrap(), "172.29.240.0/24");
        let everything = [route([10, 0, 0, 0], 8), route([172, 16, 0, 0], 12), route([192, 168, 0, 0], 16)];
        assert!(matches!(first_free(&everything), Err(Error::NoSubnet { .. })));
    }
}
