//! StopPodSandbox: its containers end, its network is given back, its namespaces are let go.

use std::path::Path;
use std::sync::Arc;

use futures::future::try_join_all;
use remora_cri::ContainerEventType;

use super::status::sandbox_event;
use super::{Sandbox, SandboxState};
use crate::cgroup;
use crate::config::SandboxPaths;
use crate::container::exit_of;
use crate::task::blocking;
use crate::users::USER;
use crate::{Error, Inner};

/// Names of the files on which namespaces are pinned.
const PINS: [&str; 5] = ["pid", "net", "uts", "ipc", USER];

impl Inner {
    /// Repeating it does no harm: what is stopped already stays so.
    pub(crate) async fn stop_sandbox(self: Arc<Self>, sandbox: Arc<Sandbox>) -> Result<(), Error> {
        let owned = sandbox.own().await;
        self.stop_owned(&sandbox).await?;
        drop(owned);
        Ok(())
    }

    /// For whoever holds the right to it.
    pub(super) async fn stop_owned(self: &Arc<Self>, sandbox: &Sandbox) -> Result<(), Error> {
        if matches!(sandbox.state(), SandboxState::Stopped | SandboxState::Removed) {
            return Ok(());
        }
        // From here on nothing new is started in it.
        sandbox.set_state(SandboxState::Broken);
        let containers = self.table.containers_of(sandbox.id());
        try_join_all(containers.into_iter().map(|container| self.clone().stop_container(container, 0))).await?;
        let record = sandbox.record();
        self.take_down(sandbox.id(), &record.handler, &sandbox.paths, record.cgroup_parent.as_ref()).await?;
        let (places, mut record) = (sandbox.paths.record(), sandbox.present_record());
        record.stopped = true;
        if let Err(error) = blocking(move || places.write(&record)).await {
            // It is stopped all the same; the next daemon sees that its namespaces are gone.
            let error = crate::error::chain(&error);
            tracing::error!(sandbox = sandbox.id(), error, "the end of a sandbox could not be written down");
        }
        sandbox.set_state(SandboxState::Stopped);
        self.weigh_class_of(sandbox.record().cgroup_parent.as_ref()).await;
        Ok(())
    }

    /// Pause process, network, namespaces: what a stopped sandbox does not have any more.
    pub(super) async fn take_down(
        &self,
        id: &str,
        handler: &str,
        paths: &SandboxPaths,
        cgroup_parent: &Path,
    ) -> Result<(), Error> {
        self.end_pause(id, handler, paths, cgroup_parent).await?;
        let detached = self.network.detach(id).await;
        detached.map_err(|source| Error::Network { id: id.to_owned(), source })?;
        let pins = PINS.map(|name| paths.pin(name));
        blocking(move || pins.iter().try_for_each(|pin| Ok(remora_sys::namespace::unpin(pin)?))).await
    }

    async fn end_pause(
        &self,
        id: &str,
        handler: &str,
        paths: &SandboxPaths,
        cgroup_parent: &Path,
    ) -> Result<(), Error> {
        let pause = paths.pause();
        if !pause.shim_config().exists() {
            return Ok(());
        }
        let folders = self.host.cgroup_folders(&cgroup::container(cgroup_parent, id));
        blocking(move || Ok(remora_sys::cgroup::kill_all(&folders)?)).await?;
        // Its shim cleans up when it sees the end. One that is gone leaves that to us.
        if exit_of(&pause.socket(), id).await.is_err() {
            self.delete_low_level(handler, id).await?;
        }
        blocking(move || {
            remora_sys::mount::unmount_below(&pause.volatile)?;
            std::fs::remove_dir_all(&pause.volatile).map_err(crate::error::failed("remove", &pause.volatile))
        })
        .await
    }

    /// A pod that shares its processes does not outlive its process 1.
    pub(crate) fn watch_pause(self: &Arc<Self>, sandbox: &Arc<Sandbox>) {
        let pause = sandbox.paths.pause();
        if !pause.shim_config().exists() {
            return;
        }
        let (runtime, weak) = (Arc::downgrade(self), Arc::downgrade(sandbox));
        let mut closing = self.closing.subscribe();
        let id = sandbox.id().to_owned();
        tokio::spawn(async move {
            let socket = pause.socket();
            tokio::select! {
                // Cancel-safe: the next daemon asks again. However the wait ends, nobody looks after the pause process any more.
                _ = exit_of(&socket, &id) => {}
                _ = closing.changed() => return,
            }
            let sandbox = weak.upgrade().filter(|sandbox| sandbox.state() == SandboxState::Ready);
            if let (Some(runtime), Some(sandbox)) = (runtime.upgrade(), sandbox) {
                runtime.pause_ended(&sandbox).await;
            }
        });
    }

    /// Its shim may have been all that ended. With the process goes all that runs in its PID namespace: half a sandbox is none.
    async fn pause_ended(&self, sandbox: &Sandbox) {
        let id = sandbox.id();
        tracing::warn!(sandbox = id, "the pause process of the sandbox has ended");
        sandbox.set_state(SandboxState::Broken);
        let folders = self.host.cgroup_folders(&cgroup::container(sandbox.record().cgroup_parent.as_ref(), id));
        if let Err(error) = blocking(move || Ok(remora_sys::cgroup::kill_all(&folders)?)).await {
            tracing::error!(sandbox = id, error = crate::error::chain(&error), "a lost pause process may be left");
        }
        self.events.send(sandbox_event(sandbox, ContainerEventType::Stopped));
    }
}
