//! Taking everything away: `remora down`.

use std::sync::Arc;

use futures::future::join_all;
use remora_cri::CgroupDriver;

use crate::cgroup;
use crate::container::remove_folder;
use crate::task::blocking;
use crate::{Error, Inner};

impl Inner {
    /// Everything is tried; the first error is returned.
    pub(crate) async fn teardown(self: &Arc<Self>) -> Result<(), Error> {
        let sandboxes = self.table.sandboxes();
        let removed = join_all(sandboxes.into_iter().map(|sandbox| self.clone().remove_sandbox(sandbox))).await;
        let orphans = self.table.containers();
        let orphaned = join_all(orphans.into_iter().map(|container| self.clone().remove_container(container))).await;
        let network = self.network.teardown().await;
        let network = network.map_err(|source| Error::Network { id: "all".to_owned(), source });
        let folders = self.remove_folders().await;
        removed.into_iter().chain(orphaned).chain([network, folders]).collect()
    }

    async fn remove_folders(self: &Arc<Self>) -> Result<(), Error> {
        // Whoever has made them: the daemons before may have been told otherwise.
        for driver in [CgroupDriver::Cgroupfs, CgroupDriver::Systemd] {
            let cgroup = cgroup::root(driver, &self.cgroup_root);
            let folders = self.host.cgroup_folders(&cgroup);
            blocking(move || Ok(remora_sys::cgroup::kill_all(&folders)?)).await?;
            self.remove_cgroup(&cgroup).await?;
        }
        let runtime = self.clone();
        blocking(move || runtime.remove_own_folders()).await
    }

    fn remove_own_folders(&self) -> Result<(), Error> {
        remora_sys::mount::unmount_below(self.paths.run())?;
        remora_sys::mount::unmount_below(&self.paths.containers())?;
        let low_level = self.paths.run().join("runtimes");
        let folders = [
            self.paths.running_containers(),
            self.paths.running_sandboxes(),
            low_level,
            self.paths.containers(),
            self.paths.sandboxes(),
        ];
        folders.iter().try_for_each(|folder| remove_folder(folder))
    }
}
