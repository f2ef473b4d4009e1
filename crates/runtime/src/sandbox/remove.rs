//! RemovePodSandbox: the sandbox and every container in it.

use std::path::Path;
use std::sync::Arc;

use futures::future::try_join_all;

use super::{Sandbox, SandboxState};
use crate::cgroup;
use crate::config::SandboxPaths;
use crate::task::blocking;
use crate::{Error, Inner};

impl Inner {
    /// By force: containers that still run are killed.
    pub(crate) async fn remove_sandbox(self: Arc<Self>, sandbox: Arc<Sandbox>) -> Result<(), Error> {
        let owned = sandbox.own().await;
        if sandbox.state() == SandboxState::Removed {
            return Ok(());
        }
        self.stop_owned(&sandbox).await?;
        let containers = self.table.containers_of(sandbox.id());
        try_join_all(containers.into_iter().map(|container| self.clone().remove_container(container))).await?;
        self.clear_sandbox(&sandbox.paths, sandbox.record().cgroup_parent.as_ref(), sandbox.id()).await?;
        self.table.remove_sandbox(sandbox.id());
        sandbox.set_state(SandboxState::Removed);
        drop(owned);
        Ok(())
    }

    /// Folders, mounts and the pod's cgroup.
    pub(super) async fn clear_sandbox(
        self: &Arc<Self>,
        paths: &SandboxPaths,
        cgroup_parent: &Path,
        id: &str,
    ) -> Result<(), Error> {
        // The next attempt at the same pod shares its cgroup.
        let shared = self
            .table
            .sandboxes()
            .iter()
            .any(|other| other.id() != id && Path::new(&other.record().cgroup_parent).starts_with(cgroup_parent));
        let pause_cgroup = cgroup::container(cgroup_parent, id);
        self.remove_cgroup(if shared { &pause_cgroup } else { cgroup_parent }).await?;
        let paths = paths.clone();
        blocking(move || {
            remora_sys::mount::unmount_below(&paths.volatile)?;
            for folder in [&paths.volatile, &paths.durable] {
                crate::container::remove_folder(folder)?;
            }
            Ok(())
        })
        .await
    }
}
