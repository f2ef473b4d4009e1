//! UpdatePodSandboxResources: other limits for a pod as a whole, which are those of its cgroup.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use remora_cri::LinuxContainerResources;
use remora_oci_config::updated;

use super::Sandbox;
use crate::task::blocking;
use crate::{Error, Inner};

impl Inner {
    /// What is zero in the request stays as it is.
    pub(crate) async fn update_sandbox(
        self: Arc<Self>,
        sandbox: Arc<Sandbox>,
        asked: LinuxContainerResources,
    ) -> Result<(), Error> {
        let owned = sandbox.own().await;
        sandbox.require_ready()?;
        let before = sandbox.resources().unwrap_or_default();
        let after = updated(&before, &asked);
        let (runtime, of, limits) = (self.clone(), sandbox.clone(), after.clone());
        blocking(move || runtime.require_memory(Path::new(&of.record.cgroup_parent), "pod", &before, &limits)).await?;
        let metadata = sandbox.record.config.metadata.clone().unwrap_or_default();
        let about = format!("Pod {}/{}", metadata.namespace, metadata.name);
        let cgroup = Path::new(&sandbox.record.cgroup_parent);
        self.make_pod_cgroup(cgroup, &about, Some(&after)).await?;
        *sandbox.resources.lock().unwrap_or_else(PoisonError::into_inner) = Some(after);
        let (places, record) = (sandbox.paths.record(), sandbox.present_record());
        blocking(move || places.write(&record)).await?;
        self.weigh_class_of(cgroup).await;
        drop(owned);
        Ok(())
    }
}
