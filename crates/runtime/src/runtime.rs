//! The runtime itself: what it holds, and how it is opened and closed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use remora_cri::{CgroupDriver, ContainerEventType};
use remora_network::Network;
use remora_sys::file::FolderLock;
use tokio::sync::watch;

use crate::config::{Handler, Paths};
use crate::container::{Container, event};
use crate::events::Events;
use crate::host::Host;
use crate::stats::LayerGauge;
use crate::table::Table;
use crate::{Error, Images, RuntimeConfig, recovery};

/// A container runtime. Clones are handles to the same one. Dropping the last leaves every container running.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) inner: Arc<Inner>,
}

/// What all handles share.
pub(crate) struct Inner {
    pub(crate) paths: Paths,
    pub(crate) shim: PathBuf,
    pub(crate) handlers: BTreeMap<String, Handler>,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) images: Arc<dyn Images>,
    pub(crate) cgroup_root: String,
    pub(crate) cgroup_driver: CgroupDriver,
    pub(crate) replay_bytes: usize,
    pub(crate) host: Host,
    pub(crate) table: Table,
    pub(crate) layers: LayerGauge,
    pub(crate) events: Events,
    /// Used once, or dropped with the runtime: tasks that wait for shims end then.
    pub(crate) closing: watch::Sender<()>,
    lock: Mutex<Option<FolderLock>>,
}

impl Runtime {
    /// Opens the runtime: adopts containers that run, learns how others ended, and removes what crashed calls have left behind.
    ///
    /// The image store must have been opened with [`leases`](crate::leases) of the same root.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has the folder, [`Error::File`] for a record that cannot be read, [`Error::Handler`] when there is no default handler.
    pub async fn open(config: RuntimeConfig) -> Result<Self, Error> {
        let opened = crate::task::blocking(move || Inner::open(config)).await?;
        let inner = Arc::new(opened);
        recovery::recover(&inner).await?;
        Ok(Runtime { inner })
    }

    /// Lets go of everything and leaves it running. Calls that are under way end as they would have; from here on another daemon may
    /// open the folder, and other handles to this runtime learn of no more exits.
    pub async fn close(self) {
        // An error means that nothing waits for a shim.
        let _ = self.inner.closing.send(());
        drop(self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Stops and removes every sandbox, and takes away all that this runtime has ever made on the machine but images: mounts,
    /// namespaces, cgroups, interfaces, records. Logs stay.
    ///
    /// # Errors
    /// What could not be removed. It may be called again.
    pub async fn teardown(self) -> Result<(), Error> {
        self.inner.teardown().await
    }
}

impl Inner {
    fn open(config: RuntimeConfig) -> Result<Self, Error> {
        if !config.handlers.contains_key("") {
            return Err(Error::Handler(String::new()));
        }
        let paths = Paths::new(&config.root, &config.run);
        for folder in [paths.sandboxes(), paths.containers(), paths.running_sandboxes(), paths.running_containers()] {
            recovery::make_private_folder(&folder)?;
        }
        let lock = remora_sys::file::lock_folder(paths.root())?;
        let lock = lock.ok_or_else(|| Error::Locked(paths.root().to_owned()))?;
        Ok(Inner {
            paths,
            shim: config.shim,
            handlers: config.handlers,
            network: config.network,
            images: config.images,
            cgroup_root: config.cgroup_root,
            cgroup_driver: config.cgroup_driver,
            replay_bytes: config.replay_bytes,
            host: Host::detect()?,
            table: Table::default(),
            layers: LayerGauge::default(),
            events: Events::new(),
            closing: watch::Sender::new(()),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Tells every listener, with the whole pod's state.
    pub(crate) fn announce(&self, container: &Container, kind: ContainerEventType) {
        let sandbox = &container.record().sandbox_id;
        let status = self.table.sandbox(sandbox).ok().map(|sandbox| sandbox.status());
        let siblings = self.table.containers_of(sandbox).iter().map(|sibling| sibling.status()).collect();
        self.events.send(event(container, kind, status, siblings));
    }
}
