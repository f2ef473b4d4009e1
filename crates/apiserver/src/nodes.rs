//! The nodes that can be asked for logs, sessions and what they use: by name, a [`PodStreams`], a [`Meter`] and a way to the node's own API. Filled by the binary with the node of
//! this process. And what a node may read for its pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use remora_http::{MemoryConnector, User};
use remora_model::usage::NodeUsage;
use remora_model::{ObjectKey, Status, kinds};
use remora_rules::rbac::Attributes;
use remora_rules::rbac::node::{self, Named};
use remora_streaming::PodStreams;

use crate::auth::authz;
use crate::objects::Objects;

/// Whether `user` is a node that wants to read what a pod of its own names: a secret, a config map, a claim, or the volume of such a claim. Looks at the pods as they are now, so
/// that a node that has just been given one may start it.
///
/// # Errors
/// If the store fails.
pub async fn has_pod_that_names(objects: &Objects, user: &User, what: &Attributes<'_>) -> Result<bool, Status> {
    let Some(wanted) = node::wants_to_read(authz::who(user), what) else { return Ok(false) };
    if wanted.resource == "persistentvolumes" {
        is_volume_of_pod(objects, &wanted).await
    } else {
        is_named(objects, &wanted).await
    }
}

/// Whether the volume is bound to a claim that a pod of the node's names.
async fn is_volume_of_pod(objects: &Objects, wanted: &Named<'_>) -> Result<bool, Status> {
    let key = ObjectKey::new(kinds::core(wanted.resource), None, wanted.name);
    let Some(volume) = objects.get(&key).await?.map(|stored| stored.decoded()) else { return Ok(false) };
    let Some(claim) = node::claim_of(wanted.node, &volume) else { return Ok(false) };
    let key = ObjectKey::new(kinds::core(claim.resource), Some(claim.namespace), claim.name);
    let found = objects.get(&key).await?;
    Ok(found.is_some_and(|found| node::are_bound(&volume, &found.decoded())) && is_named(objects, &claim).await?)
}

async fn is_named(objects: &Objects, wanted: &Named<'_>) -> Result<bool, Status> {
    if wanted.namespace.is_empty() || wanted.name.is_empty() {
        return Ok(false);
    }
    let pods = objects.all_stored(kinds::core("pods"), Some(wanted.namespace)).await?;
    Ok(pods.iter().any(|pod| node::names(&pod.decoded(), wanted)))
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
