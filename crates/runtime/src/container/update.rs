//! UpdateContainerResources: other limits for a container that runs. They are files of its cgroup, whichever low-level runtime has made it:
//! what that one has kept of the old ones is not looked at again.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use remora_cri::LinuxContainerResources;
use remora_oci_config::{container_cgroup_files, updated};

use super::Container;
use crate::exec::not_running;
use crate::task::blocking;
use crate::{Error, Inner};

impl Inner {
    /// What is zero in the request stays as it is.
    pub(crate) async fn update_container(
        self: Arc<Self>,
        container: Arc<Container>,
        asked: LinuxContainerResources,
    ) -> Result<(), Error> {
        blocking(move || self.update_running(&container, &asked)).await
    }

    /// All on one thread, so that two who update at once do it one after the other.
    fn update_running(&self, container: &Container, asked: &LinuxContainerResources) -> Result<(), Error> {
        let _turn = container.updating.lock().unwrap_or_else(PoisonError::into_inner);
        if container.running().is_none() {
            return Err(not_running(container));
        }
        let before = container.resources().unwrap_or_default();
        let after = updated(&before, asked);
        let cgroup = Path::new(&container.record().cgroup);
        let name = container.record().config.metadata.as_ref().map(|m| m.name.as_str()).unwrap_or_default();
        self.require_memory(cgroup, &format!("container {name:?}"), &before, &after)?;
        let files = container_cgroup_files(&after, &before, self.host.cgroup_version(), self.host.swap_controller);
        self.write_each(cgroup, &files)?;
        container.set_resources(after);
        // Last: if it cannot be written down, whoever asked hears of it and asks again.
        container.paths.record().write(&container.present_record())
    }
}
