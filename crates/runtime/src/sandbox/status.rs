//! What CRI is told about sandboxes.

use remora_cri::{
    ContainerEventResponse, ContainerEventType, LinuxPodSandboxStatus, Namespace, PodSandbox, PodSandboxFilter,
    PodSandboxNetworkStatus, PodSandboxState, PodSandboxStatus,
};

use super::{Sandbox, SandboxState, options};
use crate::container::selected;
use crate::identity;

impl Sandbox {
    /// CRI's full status. A stopped sandbox has no address any more.
    pub(crate) fn status(&self) -> PodSandboxStatus {
        let record = self.record();
        let config = &record.config;
        let address = match self.state() {
            SandboxState::Ready | SandboxState::Broken => record.network.as_ref().and_then(|network| network.ip()),
            SandboxState::Stopped | SandboxState::Removed => None,
        };
        let ip = address.map(|address| address.to_string()).unwrap_or_default();
        PodSandboxStatus {
            id: record.id.clone(),
            metadata: config.metadata.clone(),
            state: cri_state(self.state()).into(),
            created_at: record.created_at,
            network: Some(PodSandboxNetworkStatus { ip, additional_ips: Vec::new() }),
            linux: Some(LinuxPodSandboxStatus { namespaces: Some(Namespace { options: Some(options(config)) }) }),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            runtime_handler: record.handler.clone(),
        }
    }

    /// CRI's list entry.
    pub(crate) fn summary(&self) -> PodSandbox {
        let record = self.record();
        PodSandbox {
            id: record.id.clone(),
            metadata: record.config.metadata.clone(),
            state: cri_state(self.state()).into(),
            created_at: record.created_at,
            labels: record.config.labels.clone(),
            annotations: record.config.annotations.clone(),
            runtime_handler: record.handler.clone(),
        }
    }
}

/// What has happened to a sandbox as a whole: as an event, it bears the id of the sandbox.
pub(super) fn sandbox_event(sandbox: &Sandbox, kind: ContainerEventType) -> ContainerEventResponse {
    ContainerEventResponse {
        container_id: sandbox.id().to_owned(),
        container_event_type: kind.into(),
        created_at: identity::now(),
        pod_sandbox_status: Some(sandbox.status()),
        containers_statuses: Vec::new(),
    }
}

fn cri_state(state: SandboxState) -> PodSandboxState {
    match state {
        SandboxState::Ready => PodSandboxState::Ready,
        SandboxState::Broken | SandboxState::Stopped | SandboxState::Removed => PodSandboxState::Notready,
    }
}

/// Whether a list entry passes a filter. All that is given must match.
pub(crate) fn sandbox_matches(filter: &PodSandboxFilter, entry: &PodSandbox) -> bool {
    (filter.id.is_empty() || entry.id.starts_with(&filter.id))
        && filter.state.as_ref().is_none_or(|state| state.state == entry.state)
        && selected(&filter.label_selector, &entry.labels)
}
