//! The built-in network: one bridge, a veth pair per sandbox, addresses of one subnet, NAT for what leaves it.
//!
//! ```text
//!   sandbox eth0 ── veth… ┐
//!   sandbox eth0 ── veth… ┴ rmr… (bridge, gateway address) ── routing ── masquerade ── the node's own interfaces
//!                              └── the API service's address ── the API server, if it listens for more than this machine
//! ```
//!
//! What exists is written in the state folder before the kernel is asked for it, and forgotten after the kernel has
//! forgotten: after a crash everything is still known, and [`Network::gc`] or the next attach puts it right. The bridge and
//! the rules are made when first needed.

mod attach;
mod links;
mod names;
mod nat;
mod prepare;
mod records;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::OnceCell;

use self::links::Links;
use self::names::Names;
use self::prepare::Prepared;
use self::records::{Records, SandboxRecord};
use crate::allocation::{Allocations, sandbox_id};
use crate::{ApiRoute, AttachRequest, Attachment, Error, Network, NetworkStatus, Subnet};

/// How the built-in network is set up.
#[derive(Clone, Debug)]
pub struct BridgeConfig {
    /// The node's name: bridge, interfaces and rules are named after it, so that several nodes can share a namespace.
    pub node: String,
    /// Folder for allocations; made with mode 0700. A tmpfs is best: nothing in it outlives a boot of the machine, and each
    /// attach writes to it durably.
    pub state: PathBuf,
    /// Where pods' addresses come from. None: the first of a few private ones that overlaps no route of this machine. Once
    /// chosen it is kept until [`Network::teardown`].
    pub subnet: Option<Subnet>,
    /// How pods reach the API server; none: by its own address only, if at all.
    pub api: Option<ApiRoute>,
    /// The `nft` program: a name to look up in `PATH`, or a path.
    pub nft: PathBuf,
}

/// The built-in network. It works in the network namespace of the thread that opened it.
pub struct Bridge {
    config: BridgeConfig,
    names: Names,
    links: Links,
    records: Records,
    /// What the records say, in memory. None until a subnet is chosen. Held for moments only, never across an await.
    allocations: Mutex<Option<Allocations>>,
    prepared: OnceCell<Prepared>,
}

impl Bridge {
    /// Reads what an earlier run left in the state folder. Nothing is made in the kernel yet. Must be called on a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`Error::File`], or no netlink socket.
    pub async fn open(config: BridgeConfig) -> Result<Self, Error> {
        let links = Links::open()?;
        let records = Records::open(&config.state)?;
        let allocations = records.allocations()?;
        let names = Names::new(&config.node);
        Ok(Bridge { config, names, links, records, allocations: Mutex::new(allocations), prepared: OnceCell::new() })
    }

    fn allocations(&self) -> MutexGuard<'_, Option<Allocations>> {
        self.allocations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bridge, made or found once. A failure is not remembered: the next caller tries again.
    async fn prepared(&self) -> Result<&Prepared, Error> {
        self.prepared.get_or_try_init(|| self.prepare()).await
    }

    fn record(&self, sandbox: &str) -> Result<SandboxRecord, Error> {
        self.records.sandbox(sandbox)?.ok_or_else(|| Error::NotAttached { sandbox: sandbox.to_owned() })
    }

    async fn detach_all(&self, is_doomed: impl Fn(&str) -> bool) -> Result<(), Error> {
        // By the records: what stands there without the network's own is in no allocation.
        for record in self.records.sandboxes()?.iter().filter(|record| is_doomed(&record.sandbox)) {
            self.detach(&record.sandbox).await?;
        }
        Ok(())
    }

    /// Removes host ends on our bridge that no record knows: their attach was interrupted between kernel and record.
    async fn remove_strays(&self) -> Result<(), Error> {
        let Some(bridge) = self.links.index(self.names.bridge()).await? else { return Ok(()) };
        let known: Vec<String> = match self.allocations().as_ref() {
            Some(allocations) => allocations.sandboxes().map(|id| self.names.host_interface(id)).collect(),
            None => Vec::new(),
        };
        for (name, index) in self.links.ports(bridge).await? {
            if !known.contains(&name) {
                self.links.delete(&name, index).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Network for Bridge {
    async fn attach(&self, request: AttachRequest) -> Result<Attachment, Error> {
        sandbox_id(&request.sandbox)?;
        let prepared = self.prepared().await?;
        let (record, is_new) = self.allocate(&request)?;
        let attached = self.connect(prepared, &record).await;
        if attached.is_err() && is_new {
            // The attach's own failure is the one to report; what cannot be undone now is left to gc by its record.
            let _ = self.detach(&request.sandbox).await;
        }
        attached
    }

    async fn detach(&self, sandbox: &str) -> Result<(), Error> {
        sandbox_id(sandbox)?;
        let name = self.names.host_interface(sandbox);
        if let Some(index) = self.links.index(&name).await? {
            self.links.delete(&name, index).await?;
        }
        self.records.remove(sandbox)?;
        if let Some(allocations) = self.allocations().as_mut() {
            allocations.release(sandbox);
        }
        Ok(())
    }

    async fn check(&self, sandbox: &str) -> Result<(), Error> {
        sandbox_id(sandbox)?;
        let record = self.record(sandbox)?;
        self.verify(&record).await
    }

    async fn status(&self) -> NetworkStatus {
        match self.prepared().await {
            Ok(prepared) => prepared.status(),
            Err(error) => NetworkStatus {
                ready: false,
                reason: "NetworkPluginNotReady".into(),
                message: crate::error::chain(&error),
            },
        }
    }

    async fn gc(&self, known: &BTreeMap<String, Attachment>) -> Result<(), Error> {
        for (sandbox, attachment) in known {
            self.take_up(sandbox, attachment)?;
        }
        self.detach_all(|id| !known.contains_key(id)).await?;
        self.remove_strays().await
    }

    async fn teardown(&self) -> Result<(), Error> {
        self.detach_all(|_| true).await?;
        self.remove_strays().await?;
        let had_bridge = self.delete_bridge().await?;
        self.undo_nat(had_bridge).await?;
        self.records.remove_network()?;
        *self.allocations() = None;
        Ok(())
    }
}
