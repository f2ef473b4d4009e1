//! How the node is, for `remora status`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use remora_cli::control::NodeStatus;
use remora_cri::{
    ContainerFilter, ContainerState, ContainerStateValue, ListContainersRequest, ListPodSandboxRequest,
    PodSandboxFilter, PodSandboxState, PodSandboxStateValue, RuntimeService,
};

/// Everything that a status is made of.
#[derive(Clone)]
pub(crate) struct Vitals {
    pub(crate) node: String,
    pub(crate) server: String,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) runtime: Arc<dyn RuntimeService>,
}

impl Vitals {
    /// Asks the runtime and the kernel.
    pub(crate) async fn now(&self) -> Result<NodeStatus> {
        Ok(NodeStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.node.clone(),
            pid: std::process::id(),
            server: self.server.clone(),
            kubeconfig: self.kubeconfig.display().to_string(),
            pods: self.pods().await?,
            containers: self.containers().await?,
            resident_bytes: resident_bytes()?,
        })
    }

    async fn pods(&self) -> Result<usize> {
        let ready = PodSandboxStateValue { state: PodSandboxState::Ready as i32 };
        let filter = Some(PodSandboxFilter { state: Some(ready), ..PodSandboxFilter::default() });
        Ok(self.runtime.list_pod_sandbox(ListPodSandboxRequest { filter }).await?.items.len())
    }

    async fn containers(&self) -> Result<usize> {
        let running = ContainerStateValue { state: ContainerState::Running as i32 };
        let filter = Some(ContainerFilter { state: Some(running), ..ContainerFilter::default() });
        Ok(self.runtime.list_containers(ListContainersRequest { filter }).await?.containers.len())
    }
}

/// `VmRSS` of proc(5), which is given in KiB.
fn resident_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("/proc/self/status has no VmRSS")?;
    let kibibytes = line.trim().trim_end_matches(" kB").parse::<u64>().context("VmRSS is no number")?;
    Ok(kibibytes * 1024)
}
