//! The nodes that can be asked for logs, sessions and what they use: by name, a [`PodStreams`], a [`Meter`] and a way to the node's own API. Filled by the binary with the node of
//! this process. And what a node may read for its pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use remora_http::{MemoryConnector, User};
use remora_model::usage::NodeUsage;
use remora_model::{Status, kinds};
use remora_rules::rbac::{Attributes, node};
use remora_streaming::PodStreams;

use crate::auth::authz;
use crate::objects::Objects;

/// Whether `user` is a node that wants to read what a pod of its own names: a secret, a config map, a claim. Looks at the pods as they are now, so
/// that a node that has just been given one may start it.
///
/// # Errors
/// If the store fails.
pub async fn has_pod_that_names(objects: &Objects, user: &User, what: &Attributes<'_>) -> Result<bool, Status> {
    let Some(wanted) = node::wants_to_read(authz::who(user), what) else { return Ok(false) };
    if wanted.namespace.is_empty() || wanted.name.is_empty() {
        return Ok(false);
    }
    let pods = objects.all_stored(kinds::core("pods"), Some(wanted.namespace)).await?;
    Ok(pods.iter().any(|pod| node::names(&pod.decoded(), &wanted)))
}

/// Finds a node's streams.
pub trait Nodes: Send + Sync + 'static {
    /// The streams of the node of this name; none if it cannot be reached from here.
    fn streams_for(&self, node: &str) -> Option<Arc<dyn PodStreams>>;
    /// The way to the node's own HTTP API, as one who may have all of it; none if it cannot be reached from here.
    fn agent_of(&self, _node: &str) -> Option<MemoryConnector> {
        None
    }
    /// What the node measures; none if it cannot be reached from here.
    fn meter_of(&self, _node: &str) -> Option<Arc<dyn Meter>> {
        None
    }
}

/// Tells what a node and its pods use.
pub trait Meter: Send + Sync + 'static {
    /// What they use now, with rates.
    ///
    /// # Errors
    /// Why the node cannot tell.
    fn usage(&self) -> BoxFuture<'_, Result<NodeUsage, String>>;
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
