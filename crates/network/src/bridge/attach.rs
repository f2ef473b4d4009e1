//! Connecting one sandbox: an address, a veth pair, and what is set inside the sandbox's namespace.

use std::os::fd::AsFd;

use remora_sys::namespace::{self, Kind};
use tokio::runtime::Handle;

use super::Bridge;
use super::links::{Links, VethPair};
use super::names::{display_hardware_address, hardware_address};
use super::prepare::Prepared;
use super::records::{NetworkRecord, SandboxRecord};
use crate::allocation::Allocations;
use crate::{AttachRequest, Attachment, Dns, Error, Interface, IpConfig, Route, Subnet};

/// The interface that every pod expects.
const PEER: &str = "eth0";
const LOOPBACK: &str = "lo";

impl Bridge {
    /// The sandbox's record: the one that it has, or a new one with a new address, on disk. Says whether it is new.
    pub(super) fn allocate(&self, request: &AttachRequest) -> Result<(SandboxRecord, bool), Error> {
        let known = self.records.sandbox(&request.sandbox)?;
        if let Some(record) = known {
            let moved = SandboxRecord { netns: request.netns.clone(), ..record.clone() };
            if moved != record {
                self.records.set_sandbox(&moved)?;
            }
            return Ok((moved, false));
        }
        let mut guard = self.allocations();
        let Some(allocations) = guard.as_mut() else {
            return Err(Error::NotAttached { sandbox: request.sandbox.clone() });
        };
        let address = allocations.allocate(&request.sandbox)?;
        let serial = allocations.serial();
        drop(guard);
        let record = SandboxRecord { sandbox: request.sandbox.clone(), netns: request.netns.clone(), address, serial };
        let written = self.records.set_sandbox(&record);
        if let (Err(_), Some(allocations)) = (&written, self.allocations().as_mut()) {
            allocations.release(&request.sandbox);
        }
        written.map(|()| (record, true))
    }

    /// Writes down again what the records should say of a sandbox and do not.
    pub(super) fn take_up(&self, sandbox: &str, attachment: &Attachment) -> Result<(), Error> {
        let (Some(ip), Some(netns)) = (attachment.ips.first(), attachment.netns()) else { return Ok(()) };
        let has = |allocations: &Option<Allocations>| allocations.as_ref().and_then(|all| all.address(sandbox));
        if has(&self.allocations()) == Some(ip.address) {
            return Ok(());
        }
        tracing::warn!(sandbox, address = %ip.address, "the network had lost the record of a sandbox");
        let subnet = Subnet::around(ip.address, ip.prefix)?;
        if self.records.network()?.is_none() {
            // Whether the machine forwarded before us is lost: it goes on to. A table that is not there is no error when it is removed.
            self.records.set_network(&NetworkRecord { subnet, forwarded_before: true, nat: true })?;
        }
        let serial = self.allocations().get_or_insert_with(|| Allocations::new(subnet)).claim(sandbox, ip.address);
        let (sandbox, netns) = (sandbox.to_owned(), netns.to_owned());
        self.records.set_sandbox(&SandboxRecord { sandbox, netns, address: ip.address, serial })
    }

    /// Makes what the record says, as far as it is not there.
    pub(super) async fn connect(&self, prepared: &Prepared, record: &SandboxRecord) -> Result<Attachment, Error> {
        let host = self.names.host_interface(&record.sandbox);
        let hardware = hardware_address(record.address);
        let inside = self.enter(record).await?;
        self.join(prepared, record, &host, &inside).await?;
        let gone = || Error::Missing { sandbox: record.sandbox.clone(), what: PEER.into() };
        let peer = inside.index(PEER).await?.ok_or_else(gone)?;
        if let Some(loopback) = inside.index(LOOPBACK).await? {
            inside.set_up(loopback).await?;
        }
        inside.set_up(peer).await?;
        inside.add_address(peer, record.address, prepared.subnet.prefix()).await?;
        inside.add_default_route(prepared.subnet.gateway()).await?;
        Ok(attachment(prepared, record, host, self.names.bridge(), hardware))
    }

    /// Makes the veth pair, unless it is there, whole. Half of one, such as a host end whose sandbox was made anew, goes.
    async fn join(&self, prepared: &Prepared, record: &SandboxRecord, host: &str, inside: &Links) -> Result<(), Error> {
        if let Some(index) = self.links.index(host).await? {
            if inside.index(PEER).await?.is_some() {
                return Ok(());
            }
            self.links.delete(host, index).await?;
        }
        let namespace = namespace::open(&record.netns).map_err(not_a_namespace(record))?;
        let pair = VethPair {
            host,
            bridge: self.bridge(prepared.subnet).await?,
            peer: PEER,
            peer_hardware: hardware_address(record.address),
            namespace: namespace.as_fd(),
        };
        self.links.create_veth(&pair).await
    }

    /// Whether all that the record says is there.
    pub(super) async fn verify(&self, record: &SandboxRecord) -> Result<(), Error> {
        let missing = |what: String| Error::Missing { sandbox: record.sandbox.clone(), what };
        let host = self.names.host_interface(&record.sandbox);
        let bridge = self.links.index(self.names.bridge()).await?;
        let bridge = bridge.ok_or_else(|| missing(format!("bridge {}", self.names.bridge())))?;
        if self.links.bridge_of(&host).await? != Some(bridge) {
            return Err(missing(format!("interface {host}")));
        }
        let inside = self.enter(record).await?;
        let peer = inside.index(PEER).await?.ok_or_else(|| missing(PEER.into()))?;
        match inside.addresses(peer).await?.contains(&record.address) {
            true => Ok(()),
            false => Err(missing(format!("address {}", record.address))),
        }
    }

    /// A netlink connection inside the sandbox. Its socket is opened by a thread that joins the namespace and ends.
    async fn enter(&self, record: &SandboxRecord) -> Result<Links, Error> {
        let runtime = Handle::current();
        let netns = record.netns.clone();
        let opened = tokio::task::spawn_blocking(move || {
            namespace::run_in(Kind::Net, &netns, || {
                let _runtime = runtime.enter();
                Links::open()
            })
        });
        match opened.await {
            Ok(opened) => opened.map_err(not_a_namespace(record))?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

fn not_a_namespace(record: &SandboxRecord) -> impl FnOnce(remora_sys::Error) -> Error {
    let path = record.netns.clone();
    move |source| Error::Namespace { path, source }
}

fn attachment(
    prepared: &Prepared,
    record: &SandboxRecord,
    host: String,
    bridge: &str,
    hardware: [u8; 6],
) -> Attachment {
    let on_node = |name: String| Interface { name, mac: None, sandbox: None };
    let peer = Interface {
        name: PEER.into(),
        mac: Some(display_hardware_address(hardware)),
        sandbox: Some(record.netns.clone()),
    };
    let subnet = prepared.subnet;
    Attachment {
        interfaces: vec![on_node(bridge.to_owned()), on_node(host), peer],
        ips: vec![IpConfig {
            address: record.address,
            prefix: subnet.prefix(),
            gateway: subnet.gateway(),
            interface: 2,
        }],
        routes: vec![Route::default_by(subnet.gateway())],
        dns: Dns::default(),
    }
}
