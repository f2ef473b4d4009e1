//! The kernel's interfaces, addresses and routes, by netlink: thin calls that name what they do in their errors.
//!
//! A `Links` belongs to the network namespace in which its socket was opened.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use futures::TryStreamExt;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteType};
use rtnetlink::packet_route::{AddressFamily, address::AddressAttribute};
use rtnetlink::{Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::task::JoinHandle;

use crate::Error;

/// A netlink connection. It ends, and lets its namespace go, when this is dropped.
pub(crate) struct Links {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Drop for Links {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// One route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KernelRoute {
    pub(crate) destination: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) interface: u32,
}

/// A veth pair to be made.
pub(crate) struct VethPair<'a> {
    pub(crate) host: &'a str,
    pub(crate) bridge: u32,
    pub(crate) peer: &'a str,
    pub(crate) peer_hardware: [u8; 6],
    pub(crate) namespace: BorrowedFd<'a>,
}

impl Links {
    /// Connects in the calling thread's network namespace. Must be called on a tokio runtime.
    pub(crate) fn open() -> Result<Self, Error> {
        let opened = rtnetlink::new_connection();
        let (connection, handle, _) =
            opened.map_err(|source| Error::Socket { what: "open a netlink socket".into(), source })?;
        Ok(Links { handle, connection: tokio::spawn(connection) })
    }

    /// An interface's index, or none.
    pub(crate) async fn index(&self, name: &str) -> Result<Option<u32>, Error> {
        Ok(self.link(name).await?.map(|link| link.header.index))
    }

    async fn link(&self, name: &str) -> Result<Option<LinkMessage>, Error> {
        let mut links = self.handle.link().get().match_name(name.to_owned()).execute();
        match links.try_next().await {
            Ok(link) => Ok(link),
            Err(error) if errno(&error) == Some(ENODEV) => Ok(None),
            Err(error) => Err(refused(format!("look up interface {name}"))(error)),
        }
    }

    /// An interface's name, or none.
    pub(crate) async fn name(&self, index: u32) -> Result<Option<String>, Error> {
        let mut links = self.handle.link().get().match_index(index).execute();
        match links.try_next().await {
            Ok(link) => Ok(link.and_then(|link| name_of(&link))),
            Err(error) if errno(&error) == Some(ENODEV) => Ok(None),
            Err(error) => Err(refused(format!("look up interface {index}"))(error)),
        }
    }

    /// The index of the bridge that an interface is a port of.
    pub(crate) async fn bridge_of(&self, name: &str) -> Result<Option<u32>, Error> {
        Ok(self.link(name).await?.and_then(|link| controller_of(&link)))
    }

    /// Names and indexes of a bridge's ports.
    pub(crate) async fn ports(&self, bridge: u32) -> Result<Vec<(String, u32)>, Error> {
        let links = self.handle.link().get().execute();
        let links: Vec<LinkMessage> = links.try_collect().await.map_err(refused("list interfaces".into()))?;
        let ports = links.iter().filter(|link| controller_of(link) == Some(bridge));
        Ok(ports.filter_map(|link| Some((name_of(link)?, link.header.index))).collect())
    }

    /// Makes a bridge with this hardware address, unless somebody else was faster, and sets it up. An own address keeps it
    /// from changing with its ports.
    pub(crate) async fn create_bridge(&self, name: &str, hardware: [u8; 6]) -> Result<u32, Error> {
        let message = LinkBridge::new(name).address(hardware.to_vec()).up().build();
        match self.handle.link().add(message).execute().await {
            Err(error) if errno(&error) == Some(EEXIST) => {}
            created => created.map_err(unsupported(format!("create bridge {name}"), "bridge"))?,
        }
        let gone = || Error::Missing { sandbox: String::new(), what: format!("bridge {name}") };
        self.index(name).await?.ok_or_else(gone)
    }

    /// Makes a veth pair: one end a port of the bridge that may send back where a packet came from, up; the other in a
    /// namespace, down: the kernel cannot open it before the pair is whole.
    pub(crate) async fn create_veth(&self, pair: &VethPair<'_>) -> Result<(), Error> {
        let peer = LinkUnspec::new_with_name(pair.peer)
            .address(pair.peer_hardware.to_vec())
            .setns_by_fd(pair.namespace.as_raw_fd())
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(pair.host)
            .controller(pair.bridge)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .up()
            .build();
        let created = self.handle.link().add(message).execute().await;
        created.map_err(unsupported(format!("create veth pair {}", pair.host), "veth"))?;
        let hairpin = LinkBridgePort::new(0).name(pair.host).hairpin(true).build();
        let set = self.handle.link().set_port(hairpin).execute().await;
        set.map_err(refused(format!("set hairpin mode of {}", pair.host)))
    }

    /// Deletes an interface; a veth takes its peer along. One that is gone is no error.
    pub(crate) async fn delete(&self, name: &str, index: u32) -> Result<(), Error> {
        match self.handle.link().del(index).execute().await {
            Err(error) if errno(&error) != Some(ENODEV) => Err(refused(format!("delete interface {name}"))(error)),
            _ => Ok(()),
        }
    }

    pub(crate) async fn set_up(&self, index: u32) -> Result<(), Error> {
        let message = LinkUnspec::new_with_index(index).up().build();
        let set = self.handle.link().set(message).execute().await;
        set.map_err(refused(format!("set interface {index} up")))
    }

    /// Gives an interface an address; one that it has already is no error.
    pub(crate) async fn add_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> Result<(), Error> {
        let added = self.handle.address().add(index, IpAddr::V4(address), prefix).replace().execute().await;
        added.map_err(refused(format!("add address {address}/{prefix}")))
    }

    /// The IPv4 addresses of an interface.
    pub(crate) async fn addresses(&self, index: u32) -> Result<Vec<Ipv4Addr>, Error> {
        let request = self.handle.address().get().set_link_index_filter(index).execute();
        let all: Vec<_> = request.try_collect().await.map_err(refused("list addresses".into()))?;
        let of_interface = all.into_iter().filter(|message| message.header.index == index);
        let local = |attribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => Some(address),
            _ => None,
        };
        Ok(of_interface.flat_map(|message| message.attributes.into_iter().filter_map(local)).collect())
    }

    /// Adds the default route; one that is there already is no error.
    pub(crate) async fn add_default_route(&self, gateway: Ipv4Addr) -> Result<(), Error> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
        let added = self.handle.route().add(route).replace().execute().await;
        added.map_err(refused(format!("add the default route by {gateway}")))
    }

    /// All unicast IPv4 routes but default routes.
    pub(crate) async fn routes(&self) -> Result<Vec<KernelRoute>, Error> {
        let all = self.handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
        let all: Vec<_> = all.try_collect().await.map_err(refused("list routes".into()))?;
        let unicast = all.into_iter().filter(|route| {
            route.header.kind == RouteType::Unicast && route.header.address_family == AddressFamily::Inet
        });
        Ok(unicast.filter_map(|route| to_route(&route.attributes, route.header.destination_prefix_length)).collect())
    }
}

fn to_route(attributes: &[RouteAttribute], prefix: u8) -> Option<KernelRoute> {
    let destination = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(*address),
        _ => None,
    })?;
    let interface = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    Some(KernelRoute { destination, prefix, interface: interface.unwrap_or(0) })
}

fn name_of(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

fn controller_of(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) => Some(*index),
        _ => None,
    })
}

// Linux' numbers, the same on all architectures (include/uapi/asm-generic/errno-base.h, errno.h).
const EPERM: i32 = 1;
const EEXIST: i32 = 17;
const ENODEV: i32 = 19;
const EOPNOTSUPP: i32 = 95;

/// The kernel's answer as a positive number.
fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(message.raw_code().abs()),
        _ => None,
    }
}

fn refused(what: String) -> impl FnOnce(rtnetlink::Error) -> Error {
    move |error| match (errno(&error), &error) {
        (Some(EPERM), _) => Error::NotPermitted { what },
        (_, rtnetlink::Error::NetlinkError(message)) => Error::Kernel { what, source: message.to_io() },
        _ => Error::Netlink { what, source: error },
    }
}

/// As [`refused`], and knows that a device type which the kernel has not got is answered with EOPNOTSUPP.
fn unsupported(what: String, module: &'static str) -> impl FnOnce(rtnetlink::Error) -> Error {
    move |error| match errno(&error) {
        Some(EOPNOTSUPP) => Error::NotSupported { what, module },
        _ => refused(what)(error),
    }
}
