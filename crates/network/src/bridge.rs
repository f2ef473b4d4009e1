//! The built-in network.
use std::path::PathBuf;

use async_trait::async_trait;

use crate::{AttachRequest, Attachment, Error, Network, NetworkStatus, Subnet};

/// How the built-in network is set up.
#[derive(Clone, Debug)]
pub struct BridgeConfig {
    /// The node's name: bridge, interfaces and rules are named after it, so that several nodes can share a namespace.
    pub node: String,
    /// Folder for allocations; made with mode 0700.
    pub state: PathBuf,
    /// Where pods' addresses come from. None: the first of a few private ones that overlaps no route of this machine. Once
    /// chosen it is kept.
    pub subnet: Option<Subnet>,
    /// The `nft` program: a name to look up in `PATH`, or a path.
    pub nft: PathBuf,
}

/// A bridge, a veth pair per sandbox, addresses of one subnet, and NAT for what leaves it.
pub struct Bridge {
    config: BridgeConfig,
}

impl Bridge {
    /// Reads what an earlier run left in the state folder. The kernel is touched at the first attach only.
    pub async fn open(config: BridgeConfig) -> Result<Self, Error> {
        Ok(Bridge { config })
    }
}

#[async_trait]
impl Network for Bridge {
    async fn attach(&self, request: AttachRequest) -> Result<Attachment, Error> {
        unimplemented!("{request:?} {:?}", self.config)
    }
    async fn detach(&self, sandbox: &str) -> Result<(), Error> {
        unimplemented!("{sandbox}")
    }
    async fn check(&self, sandbox: &str) -> Result<(), Error> {
        unimplemented!("{sandbox}")
    }
    async fn status(&self) -> NetworkStatus {
        unimplemented!()
    }
    async fn gc(&self, known: &[String]) -> Result<(), Error> {
        unimplemented!("{known:?}")
    }
    async fn teardown(&self) -> Result<(), Error> {
        unimplemented!()
    }
}
