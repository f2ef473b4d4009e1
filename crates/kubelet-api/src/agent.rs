//! What a node agent tells of itself and of its pods. The agent is one implementation, a fake in tests another; the binary joins them.

use async_trait::async_trait;
use remora_model::usage::NodeUsage;
use serde_json::Value;

/// Why an agent cannot tell.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AgentError(pub String);

/// How much of what is used is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// A few small files for each container.
    CpuAndMemory,
    /// Also file systems, which have to be walked through, and networks.
    All,
}

/// What came of a kind of probe of one container, in all the time that the pod has been here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeCount {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID.
    pub uid: String,
    /// The container's name.
    pub container: String,
    /// `Liveness`, `Readiness`, `Startup`.
    pub kind: &'static str,
    /// How often it went well.
    pub successful: u64,
    /// How often not.
    pub failed: u64,
}

/// A node agent.
#[async_trait]
pub trait Agent: Send + Sync + 'static {
    /// The pods that are bound to this node, each with the status that the agent last gave it: core/v1 Pods.
    fn pods(&self) -> Vec<Value>;
    /// One of them.
    fn pod(&self, namespace: &str, name: &str) -> Option<Value>;
    /// The pods that the runtime has running, whether they are still wanted or not.
    async fn running_pods(&self) -> Result<Vec<Value>, AgentError>;
    /// What the node and its pods use now.
    async fn usage(&self, parts: Parts) -> Result<NodeUsage, AgentError>;
    /// How probes went.
    fn probes(&self) -> Vec<ProbeCount>;
    /// Its settings, as a KubeletConfiguration (kubelet.config.k8s.io/v1beta1).
    fn configuration(&self) -> Value;
    /// Whether the runtime answers.
    ///
    /// # Errors
    /// What is wrong.
    async fn is_well(&self) -> Result<(), AgentError>;
}
