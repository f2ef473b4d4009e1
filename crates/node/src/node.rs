//! The whole agent: joined here, started, and ended.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use remora_cri::{CgroupDriver, Code, Error as CriError, RuntimeService};
use remora_streaming::PodStreams;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::claims::Claims;
use crate::config::Config;
use crate::container::services::KeptServices;
use crate::context::{Context, Shared};
use crate::events::Recorder;
use crate::machine::{self, Machine};
use crate::mounts::{Mounts, SystemMounts};
use crate::pods::{self, Pods};
use crate::probes::ProbeCounts;
use crate::statics::Statics;
use crate::stats::Inspector;
use crate::streams::Streams;
use crate::volumes::{self, sources::Sources};

/// How long a shutdown waits for what is being done.
const PATIENCE: Duration = Duration::from_secs(5);

/// News of mirrors that wait for the keeper of static pods; the watch of pods waits when it is full.
const MIRRORS: usize = 64;

/// Why a node agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A folder of the agent cannot be made, or removed.
    #[error("cannot make or remove the folder {path}")]
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
    /// The folder of static pods cannot be followed.
    #[error("cannot follow the folder of static pods {path}: {why}")]
    StaticPods {
        /// The folder.
        path: String,
        /// Why.
        why: String,
    },
}

/// A running node agent.
pub struct Node {
    context: Context,
    streams: Arc<Streams>,
    inspector: Inspector,
}

impl Node {
    /// Starts the agent: registers the node, adopts what runs, cleans up what nobody wants, and follows the API. Returns
    /// when the node is registered and the first list of pods is in the hands of their actors.
    ///
    /// # Errors
    /// The folder, the runtime or the API is not to be had; nothing runs then.
    pub async fn start(config: Config) -> Result<Self, NodeError> {
        Self::start_with(config, Arc::new(SystemMounts)).await
    }

    /// As [`Node::start`], with another way to mount: [`crate::PlainFolders`] needs no root.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub async fn start_with(config: Config, mounts: Arc<dyn Mounts>) -> Result<Self, NodeError> {
        let folder = |source| NodeError::Folder { path: config.root.display().to_string(), source };
        std::fs::create_dir_all(config.root.join("pods")).map_err(folder)?;
        let version = config.runtime.version().await.map_err(NodeError::Runtime)?;
        let cgroup_driver = cgroup_driver(&*config.runtime).await.map_err(NodeError::Runtime)?;
        let (recorder, writer) =
            Recorder::new(config.client.clone(), config.node_name.clone(), Arc::clone(&config.clock));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let machine = Machine::read(&config.root);
        let context = Context::new(Shared {
            claims: Claims::new(machine.room()),
            machine,
            recorder,
            mounts,
            ranges: Mutex::new(()),
            runtime_version: format!("{}://{}", version.runtime_name, version.runtime_version),
            runtime_name: version.runtime_name,
            cgroup_driver,
            sources: Sources::default(),
            services: KeptServices::default(),
            probe_counts: ProbeCounts::default(),
            tasks: tasks.clone(),
            stop: stop.clone(),
            config,
        });
        tasks.spawn(writer.run(stop));
        let started = begin(&context).await;
        if started.is_err() {
            context.stop.cancel();
        }
        let pods = started?;
        let inspector = Inspector::new(context.clone(), pods.clone());
        let streams = Arc::new(Streams::new(context.clone(), pods));
        Ok(Self { context, streams, inspector })
    }

    /// Exec, attach and logs, for the API server.
    pub fn streams(&self) -> Arc<dyn PodStreams> {
        Arc::clone(&self.streams) as Arc<dyn PodStreams>
    }

    /// What the node tells of itself and its pods.
    pub fn inspector(&self) -> Inspector {
        self.inspector.clone()
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

/// The runtime says whose cgroups are. One that is too old to be asked has folders, which is containerd's default.
async fn cgroup_driver(runtime: &dyn RuntimeService) -> Result<CgroupDriver, CriError> {
    match runtime.runtime_config().await {
        // CRI's first value is systemd, and an answer without one says so too.
        Ok(config) => Ok(config.linux.map_or(CgroupDriver::Cgroupfs, |linux| linux.cgroup_driver())),
        Err(error) if error.code == Code::Unimplemented => Ok(CgroupDriver::Cgroupfs),
        Err(error) => Err(error),
    }
}

async fn begin(context: &Context) -> Result<Pods, NodeError> {
    let pods = Pods::default();
    // Subscribe first, then list: nothing is missed.
    let events = context.config.runtime.get_container_events().await.map_err(NodeError::Runtime)?;
    let mut adopted = pods::adopt(context).await.map_err(NodeError::Runtime)?;
    // Static pods need no API: they are begun before it is asked for anything.
    let mut statics = Statics::open(context.clone(), pods.clone())?;
    statics.begin(&mut adopted).await;
    let name = context.config.node_name.clone();
    let registered = machine::register(context, true).await;
    registered.map_err(|source| NodeError::Register { name, source: Box::new(source) })?;
    context.tasks.spawn(machine::renew(context.clone()));
    let (ready, listed) = oneshot::channel();
    let (mirrors, news) = mpsc::channel(MIRRORS);
    context.tasks.spawn(statics.run(news));
    context.tasks.spawn(pods::watch(context.clone(), pods.clone(), adopted, mirrors, ready));
    listed.await.map_err(|_| NodeError::Stopped)?;
    // Only now: an event for a pod without an actor is for nobody, and what was adopted may be out of date already.
    context.tasks.spawn(pods::listen(context.clone(), pods.clone(), events));
    Ok(pods)
}

/// Takes down all volumes and removes the agent's pod folders, for `remora down`. No agent and no container may run any
/// more. The objects in the API stay, so that the next `up` runs the pods again.
///
/// # Errors
/// The first failure; what could be removed has been.
pub fn tear_down(root: &Path) -> Result<(), NodeError> {
    let mut first = None;
    for entry in std::fs::read_dir(root.join("pods")).into_iter().flatten().flatten() {
        let path = entry.path();
        let unmounted = volumes::remove(&SystemMounts, &path).map_err(std::io::Error::other);
        if let Err(source) = unmounted.and_then(|()| std::fs::remove_dir_all(&path)) {
            first.get_or_insert(NodeError::Folder { path: path.display().to_string(), source });
        }
    }
    first.map_or(Ok(()), Err)
}
