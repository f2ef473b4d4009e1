//! A network in memory, for tests of those who use one. It keeps every promise of [`Network`] but connects nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::allocation::{Allocations, sandbox_id};
use crate::{AttachRequest, Attachment, Dns, Error, Interface, IpConfig, Network, NetworkStatus, Route, Subnet};

/// Hands out addresses of a subnet and remembers who has them.
#[derive(Debug)]
pub struct FakeNetwork {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    allocations: Allocations,
    attached: BTreeMap<String, Attachment>,
}

impl FakeNetwork {
    /// A network with the addresses of this subnet.
    pub fn new(subnet: Subnet) -> Self {
        let allocations = Allocations::new(subnet);
        FakeNetwork { state: Mutex::new(State { allocations, attached: BTreeMap::new() }) }
    }

    /// The ids of all attached sandboxes, for assertions.
    pub fn attached(&self) -> Vec<String> {
        self.state().attached.keys().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Network for FakeNetwork {
    async fn attach(&self, request: AttachRequest) -> Result<Attachment, Error> {
        sandbox_id(&request.sandbox)?;
        let mut state = self.state();
        if let Some(attachment) = state.attached.get(&request.sandbox) {
            return Ok(attachment.clone());
        }
        let subnet = state.allocations.subnet();
        let address = state.allocations.allocate(&request.sandbox)?;
        let attachment = Attachment {
            interfaces: vec![Interface { name: "eth0".into(), mac: None, sandbox: Some(request.netns) }],
            ips: vec![IpConfig { address, prefix: subnet.prefix(), gateway: subnet.gateway(), interface: 0 }],
            routes: vec![Route::default_by(subnet.gateway())],
            dns: Dns::default(),
        };
        state.attached.insert(request.sandbox, attachment.clone());
        Ok(attachment)
    }

    async fn detach(&self, sandbox: &str) -> Result<(), Error> {
        let mut state = self.state();
        state.allocations.release(sandbox);
        state.attached.remove(sandbox);
        Ok(())
    }

    async fn check(&self, sandbox: &str) -> Result<(), Error> {
        match self.state().attached.contains_key(sandbox) {
            true => Ok(()),
            false => Err(Error::NotAttached { sandbox: sandbox.to_owned() }),
        }
    }

    async fn status(&self) -> NetworkStatus {
        NetworkStatus { ready: true, reason: String::new(), message: String::new() }
    }

    async fn gc(&self, known: &BTreeMap<String, Attachment>) -> Result<(), Error> {
        let mut state = self.state();
        for (sandbox, attachment) in known {
            let Some(address) = attachment.ip() else { continue };
            state.allocations.claim(sandbox, address);
            state.attached.insert(sandbox.clone(), attachment.clone());
        }
        let gone: Vec<String> = state.attached.keys().filter(|id| !known.contains_key(*id)).cloned().collect();
        for sandbox in gone {
            state.allocations.release(&sandbox);
            state.attached.remove(&sandbox);
        }
        Ok(())
    }

    async fn teardown(&self) -> Result<(), Error> {
        self.gc(&BTreeMap::new()).await
    }
}
