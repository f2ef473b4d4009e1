//! The nodes that can be asked for logs and sessions: by name, a [`PodStreams`]. Filled by the binary with the node of
//! this process.

use std::collections::BTreeMap;
use std::sync::Arc;

use remora_streaming::PodStreams;

/// Finds a node's streams.
pub trait Nodes: Send + Sync + 'static {
    /// The streams of the node of this name; none if it cannot be reached from here.
    fn streams_for(&self, node: &str) -> Option<Arc<dyn PodStreams>>;
}

/// A fixed set of nodes.
#[derive(Clone, Default)]
pub struct FixedNodes(BTreeMap<String, Arc<dyn PodStreams>>);

impl FixedNodes {
    /// No nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one more.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, streams: Arc<dyn PodStreams>) -> Self {
        self.0.insert(name.into(), streams);
        self
    }
}

impl Nodes for FixedNodes {
    fn streams_for(&self, node: &str) -> Option<Arc<dyn PodStreams>> {
        self.0.get(node).cloned()
    }
}
