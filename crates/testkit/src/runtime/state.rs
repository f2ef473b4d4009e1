//! What the fake runtime remembers.

use std::collections::BTreeMap;
use std::time::Duration;

use remora_cri::{
    ContainerConfig, ContainerEventResponse, ContainerEventType, ContainerState, ContainerStatus, Image, Int64Value,
    PodSandboxConfig, PodSandboxNetworkStatus, PodSandboxState, PodSandboxStatus,
};
use tokio::sync::broadcast;

use crate::program::Program;

const EVENTS: usize = 1024;

pub(super) struct State {
    pub(super) programs: BTreeMap<String, Program>,
    /// Name → user.
    pub(super) registry: BTreeMap<String, Option<i64>>,
    /// By id.
    pub(super) images: BTreeMap<String, Image>,
    pub(super) pull_takes: Duration,
    pub(super) sandbox_error: Option<String>,
    pub(super) user_namespaces: bool,
    pub(super) sandboxes: BTreeMap<String, Sandbox>,
    pub(super) containers: BTreeMap<String, Container>,
    /// A container, and the code with which it exits once its state has been asked for.
    pub(super) exits_once_seen: Option<(String, i32)>,
    pub(super) calls: Vec<String>,
    pub(super) events: broadcast::Sender<ContainerEventResponse>,
    ids: u32,
}

pub(super) struct Sandbox {
    pub(super) config: PodSandboxConfig,
    pub(super) ready: bool,
    pub(super) ip: String,
    pub(super) created: i64,
}

pub(super) struct Container {
    pub(super) sandbox: String,
    pub(super) config: ContainerConfig,
    pub(super) image: String,
    pub(super) state: ContainerState,
    pub(super) created: i64,
    pub(super) started: i64,
    pub(super) finished: i64,
    pub(super) exit_code: i32,
    pub(super) reason: String,
    pub(super) message: String,
    /// Why it cannot be given other limits.
    pub(super) refuses_resize: Option<String>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            programs: BTreeMap::new(),
            registry: BTreeMap::new(),
            images: BTreeMap::new(),
            pull_takes: Duration::ZERO,
            sandbox_error: None,
            user_namespaces: true,
            sandboxes: BTreeMap::new(),
            containers: BTreeMap::new(),
            exits_once_seen: None,
            calls: Vec::new(),
            events: broadcast::Sender::new(EVENTS),
            ids: 0,
        }
    }

    /// Ids sort by age and are 64 hex digits, as real ones.
    pub(super) fn id(&mut self) -> String {
        self.ids += 1;
        format!("{:064x}", self.ids)
    }

    /// An image of the registry, onto the disk; its id.
    pub(super) fn pull(&mut self, name: &str) -> Option<String> {
        let uid = *self.registry.get(name)?;
        let sum = name.bytes().fold(7_u64, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(b)));
        let id = format!("sha256:{sum:064x}");
        let image = Image {
            id: id.clone(),
            repo_tags: vec![name.to_owned()],
            size: 2_000_000,
            uid: uid.map(|value| Int64Value { value }),
            ..Image::default()
        };
        self.images.insert(id.clone(), image);
        Some(id)
    }

    pub(super) fn find_image(&self, name: &str) -> Option<&Image> {
        self.images.values().find(|i| i.id == name || i.repo_tags.iter().any(|t| *t == super::images::full_name(name)))
    }

    /// What a container does: as its name says, else as its command says.
    pub(super) fn program_of(&self, id: &str) -> Program {
        let Some(container) = self.containers.get(id) else { return Program::runs() };
        let named = self.programs.get(container.name()).cloned();
        named.unwrap_or_else(|| Program::of_command(&container.config.command))
    }

    /// The id of the newest container of this name.
    pub(super) fn newest(&self, name: &str) -> Option<String> {
        let mut of_name = self.containers.iter().filter(|(_, c)| c.name() == name);
        of_name.next_back().map(|(id, _)| id.clone())
    }

    pub(super) fn tell(&self, id: &str, kind: ContainerEventType, at: i64) {
        let Some(container) = self.containers.get(id) else { return };
        let event = ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: kind as i32,
            created_at: at,
            pod_sandbox_status: self.sandboxes.get(&container.sandbox).map(|s| s.status(&container.sandbox)),
            containers_statuses: vec![container.status(id)],
        };
        // Without a subscriber nobody wants to know.
        let _ = self.events.send(event);
    }
}

impl Sandbox {
    pub(super) fn status(&self, id: &str) -> PodSandboxStatus {
        PodSandboxStatus {
            id: id.to_owned(),
            metadata: self.config.metadata.clone(),
            state: (if self.ready { PodSandboxState::Ready } else { PodSandboxState::Notready }) as i32,
            created_at: self.created,
            network: Some(PodSandboxNetworkStatus { ip: self.ip.clone(), additional_ips: Vec::new() }),
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            ..PodSandboxStatus::default()
        }
    }
}

impl Container {
    pub(super) fn name(&self) -> &str {
        self.config.metadata.as_ref().map(|m| m.name.as_str()).unwrap_or_default()
    }

    pub(super) fn end(&mut self, code: i32, reason: &str, now: i64) {
        let usual = if code == 0 { "Completed" } else { "Error" };
        self.state = ContainerState::Exited;
        self.exit_code = code;
        self.reason = if reason.is_empty() { usual.to_owned() } else { reason.to_owned() };
        self.finished = now;
    }

    pub(super) fn status(&self, id: &str) -> ContainerStatus {
        ContainerStatus {
            id: id.to_owned(),
            metadata: self.config.metadata.clone(),
            state: self.state as i32,
            created_at: self.created,
            started_at: self.started,
            finished_at: self.finished,
            exit_code: self.exit_code,
            image: self.config.image.clone(),
            image_ref: self.image.clone(),
            image_id: self.image.clone(),
            reason: self.reason.clone(),
            message: self.message.clone(),
            labels: self.config.labels.clone(),
            annotations: self.config.annotations.clone(),
            mounts: self.config.mounts.clone(),
            log_path: self.config.log_path.clone(),
            ..ContainerStatus::default()
        }
    }
}
