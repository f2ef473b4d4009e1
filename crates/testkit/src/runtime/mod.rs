//! A container runtime in memory: CRI's semantics without containers. Containers do what a [`Program`] says, on tokio's time.

mod images;
mod service;
mod state;
mod stats;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use remora_cri::ContainerState;
use tokio::sync::broadcast;

use crate::program::Program;
use state::State;

/// The fake. Clones share one world, so that a "restarted" node agent finds what the first one left.
#[derive(Clone)]
pub struct FakeRuntime {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl FakeRuntime {
    /// An empty runtime whose registry has `busybox` and `k8s.gcr.io/pause:3.1`, and whose disk has both.
    pub fn new(clock: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        let fake = Self { state: Arc::new(Mutex::new(State::new())), clock };
        for name in ["docker.io/library/busybox:latest", "k8s.gcr.io/pause:3.1"] {
            fake.publish(name, None);
            fake.have(name);
        }
        fake
    }

    /// What containers of this name do from their next start on. Others run until they are stopped.
    pub fn program(&self, container: &str, program: Program) {
        self.lock().programs.insert(container.to_owned(), program);
    }

    /// Puts an image into the registry; `uid` is the user that it runs as.
    pub fn publish(&self, name: &str, uid: Option<i64>) {
        self.lock().registry.insert(name.to_owned(), uid);
    }

    /// Puts an image of the registry onto the disk.
    pub fn have(&self, name: &str) {
        self.lock().pull(name);
    }

    /// How long every pull takes from now on.
    pub fn pulls_take(&self, time: Duration) {
        self.lock().pull_takes = time;
    }

    /// The next sandboxes cannot be made, with these words; none makes them again.
    pub fn sandboxes_fail(&self, why: Option<&str>) {
        self.lock().sandbox_error = why.map(str::to_owned);
    }

    /// From now on it says that pods cannot have users of their own.
    pub fn knows_no_user_namespaces(&self) {
        self.lock().user_namespaces = false;
    }

    /// Ends the newest container of this name, as if its program had ended.
    pub fn exit(&self, container: &str, code: i32) {
        let id = self.lock().newest(container);
        if let Some(id) = id {
            self.end(&id, code, "");
        }
    }

    /// The newest container of this name will exit just after the next answer that says it runs.
    pub fn exit_once_seen(&self, container: &str, code: i32) {
        let mut state = self.lock();
        state.exits_once_seen = state.newest(container).map(|id| (id, code));
    }

    /// The newest container of this name cannot be given other limits, with these words; none and it can again.
    pub fn refuse_resize(&self, container: &str, why: Option<&str>) {
        let mut state = self.lock();
        let id = state.newest(container);
        if let Some(container) = id.and_then(|id| state.containers.get_mut(&id)) {
            container.refuses_resize = why.map(str::to_owned);
        }
    }

    /// Removes the newest container of this name behind everybody's back, without an event.
    pub fn lose(&self, container: &str) {
        let mut state = self.lock();
        if let Some(id) = state.newest(container) {
            state.containers.remove(&id);
        }
    }

    /// Ends every sandbox and container, as a reboot does. What is on the disk stays.
    pub fn reboot(&self) {
        let now = self.nanoseconds();
        let mut state = self.lock();
        state.sandboxes.values_mut().for_each(|s| s.ready = false);
        for container in state.containers.values_mut().filter(|c| c.state != ContainerState::Exited) {
            container.end(255, "Unknown", now);
        }
    }

    /// All calls so far that changed something, in order: `start web`, `stop web 30`, `pull docker.io/…`.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    /// How many times containers of this name were started.
    pub fn starts(&self, container: &str) -> usize {
        let wanted = format!("start {container}");
        self.calls().iter().filter(|c| **c == wanted).count()
    }

    /// The namespace options of the newest container of this name: `(pid mode, target id)`.
    pub fn pid_namespace(&self, container: &str) -> Option<(i32, String)> {
        let state = self.lock();
        let id = state.newest(container)?;
        let linux = state.containers.get(&id)?.config.linux.clone()?;
        let options = linux.security_context?.namespace_options?;
        Some((options.pid, options.target_id))
    }

    /// The first ids on the host that the newest container of this name is given: its own, its sandbox's and each of its mounts'. None is the
    /// host's users.
    pub fn first_ids(&self, container: &str) -> Option<Vec<Option<u32>>> {
        let state = self.lock();
        let container = state.containers.get(&state.newest(container)?)?;
        let first = |ids: &[remora_cri::IDMapping]| ids.first().map(|ids| ids.host_id);
        let of = |options: Option<remora_cri::NamespaceOption>| first(&options?.userns_options?.uids);
        let own = container.config.linux.clone()?.security_context?.namespace_options;
        let sandbox =
            state.sandboxes.get(&container.sandbox)?.config.linux.clone()?.security_context?.namespace_options;
        let mounts = container.config.mounts.iter().map(|mount| first(&mount.uid_mappings));
        Some([of(own), of(sandbox)].into_iter().chain(mounts).collect())
    }

    /// The environment of the newest container of this name.
    pub fn environment(&self, container: &str) -> BTreeMap<String, String> {
        let state = self.lock();
        let newest = state.newest(container).and_then(|id| state.containers.get(&id));
        newest.map(|c| c.config.envs.iter().map(|e| (e.key.clone(), e.value.clone())).collect()).unwrap_or_default()
    }

    /// Where a path of the newest container of this name comes from.
    pub fn mount(&self, container: &str, path: &str) -> Option<String> {
        let state = self.lock();
        let newest = state.newest(container).and_then(|id| state.containers.get(&id))?;
        newest.config.mounts.iter().find(|m| m.container_path == path).map(|m| m.host_path.clone())
    }

    /// Sessions need a running container.
    pub(crate) fn require_running(&self, id: &str) -> Result<(), remora_streaming::StreamError> {
        let found = self.lock().containers.get(id).map(|c| c.state);
        match found {
            Some(ContainerState::Running) => Ok(()),
            Some(_) => Err(remora_streaming::StreamError::NotRunning(format!("container \"{id}\" is not running"))),
            None => Err(remora_streaming::StreamError::NotFound(format!("container \"{id}\" not found"))),
        }
    }

    /// The error for forwarding ports of a sandbox that is not ready.
    pub(crate) fn require_ready(&self, id: &str) -> Result<(), remora_streaming::StreamError> {
        match self.lock().sandboxes.get(id).is_some_and(|sandbox| sandbox.ready) {
            true => Ok(()),
            false => Err(remora_streaming::StreamError::NotRunning(format!("sandbox \"{id}\" is not ready"))),
        }
    }

    fn end(&self, id: &str, code: i32, reason: &str) {
        let now = self.nanoseconds();
        let mut state = self.lock();
        let ended = state.containers.get_mut(id).filter(|c| c.state == ContainerState::Running);
        if let Some(container) = ended {
            container.end(code, reason, now);
            state.tell(id, remora_cri::ContainerEventType::Stopped, now);
        }
    }

    fn nanoseconds(&self) -> i64 {
        i64::try_from((self.clock)().as_nanosecond()).unwrap_or(i64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribe(&self) -> broadcast::Receiver<remora_cri::ContainerEventResponse> {
        self.lock().events.subscribe()
    }

    fn called(&self, what: String) {
        self.lock().calls.push(what);
    }
}
