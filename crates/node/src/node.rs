//! The whole agent: joined here, started, and ended.

use std::sync::Arc;
use std::time::Duration;

use remora_cri::{Error as CriError, ListPodSandboxRequest, RemovePodSandboxRequest, StopPodSandboxRequest};
use remora_streaming::PodStreams;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::context::{Context, Shared};
use crate::events::Recorder;
use crate::machine::{self, Machine};
use crate::mounts::Mounts;
use crate::pods::{self, Pods};
use crate::streams::Streams;
use crate::volumes;

/// How long a shutdown waits for what is being done.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a node agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The agent's folder cannot be made.
    #[error("cannot make the folder {path}")]
    Folder {
        /// The folder.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The runtime does not answer.
    #[error("cannot reach the container runtime")]
    Runtime(#[source] CriError),
    /// The API refuses the Node object.
    #[error("cannot register node {name:?}")]
    Register {
        /// The node's name.
        name: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The agent was stopped before it was ready.
    #[error("the node agent was stopped while it started")]
    Stopped,
}

/// A running node agent.
pub struct Node {
    context: Context,
    streams: Arc<Streams>,
}

impl Node {
    /// Starts the agent: registers the node, adopts what runs, cleans up what nobody wants, and follows the API. Returns
    /// when the node is registered and the first list of pods is in the hands of their actors.
    ///
    /// # Errors
    /// The folder, the runtime or the API is not to be had; nothing runs then.
    pub async fn start(config: Config) -> Result<Self, NodeError> {
        let folder = |source| NodeError::Folder { path: config.root.display().to_string(), source };
        std::fs::create_dir_all(config.root.join("pods")).map_err(folder)?;
        let version = config.runtime.version().await.map_err(NodeError::Runtime)?;
        let (recorder, writer) =
            Recorder::new(config.client.clone(), config.node_name.clone(), Arc::clone(&config.clock));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let context = Context::new(Shared {
            machine: Machine::read(&config.root),
            recorder,
            runtime_version: format!("{}://{}", version.runtime_name, version.runtime_version),
            runtime_name: version.runtime_name,
            tasks: tasks.clone(),
            stop: stop.clone(),
            config,
        });
        tasks.spawn(writer.run(stop));
        let started = begin(&context).await;
        if started.is_err() {
            context.stop.cancel();
        }
        let streams = Arc::new(Streams::new(context.clone(), started?));
        Ok(Self { context, streams })
    }

    /// Exec, attach and logs, for the API server.
    pub fn streams(&self) -> Arc<dyn PodStreams> {
        Arc::clone(&self.streams) as Arc<dyn PodStreams>
    }

    /// Ends the agent. Containers go on; the next agent adopts them. What is being done gets some seconds to finish.
    pub async fn shutdown(self) {
        self.context.stop.cancel();
        self.context.tasks.close();
        if tokio::time::timeout(PATIENCE, self.context.tasks.wait()).await.is_err() {
            tracing::warn!("some work was not finished at the end of the node agent");
        }
    }
}

async fn begin(context: &Context) -> Result<Pods, NodeError> {
    let pods = Pods::default();
    // Subscribe first, then list: nothing is missed.
    let events = context.config.runtime.get_container_events().await.map_err(NodeError::Runtime)?;
    let adopted = pods::adopt(context).await.map_err(NodeError::Runtime)?;
    let name = context.config.node_name.clone();
    let registered = machine::register(context, true).await;
    let registration = registered.map_err(|source| NodeError::Register { name, source: Box::new(source) })?;
    context.tasks.spawn(machine::renew(context.clone(), registration));
    context.tasks.spawn(pods::listen(context.clone(), pods.clone(), events));
    let (ready, listed) = oneshot::channel();
    context.tasks.spawn(pods::watch(context.clone(), pods.clone(), adopted, ready));
    listed.await.map_err(|_| NodeError::Stopped)?;
    Ok(pods)
}

/// Ends every pod on this machine without asking the API, for `remora down`: containers, sandboxes, mounts and folders.
/// The objects in the API stay, so that the next `up` runs them again.
///
/// # Errors
/// The first failure; what could be ended has been.
pub async fn tear_down(
    runtime: &dyn remora_cri::RuntimeService,
    mounts: &dyn Mounts,
    root: &std::path::Path,
) -> Result<(), String> {
    let mut first = None;
    let mut note = |result: Result<(), String>| {
        if let Err(error) = result {
            first.get_or_insert(error);
        }
    };
    let sandboxes = runtime.list_pod_sandbox(ListPodSandboxRequest { filter: None }).await.map_err(|e| e.message)?;
    for sandbox in sandboxes.items {
        let id = sandbox.id;
        let stop = runtime.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.clone() }).await;
        note(stop.map_err(|e| e.message));
        let remove = runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: id }).await;
        note(remove.map_err(|e| e.message));
    }
    for entry in std::fs::read_dir(root.join("pods")).into_iter().flatten().flatten() {
        note(volumes::remove(mounts, &entry.path()).map_err(|e| e.to_string()));
        note(std::fs::remove_dir_all(entry.path()).map_err(|e| e.to_string()));
    }
    first.map_or(Ok(()), Err)
}
