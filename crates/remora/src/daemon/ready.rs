//! Waits for the node to be Ready, by a watch.

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, WatchEvent, WatchParams};

/// Returns once the Node object's condition `Ready` is true.
pub(crate) async fn wait(client: kube::Client, name: &str) -> Result<()> {
    let nodes = Api::<Node>::all(client);
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    // From "0": what is there already comes first.
    let mut events = Box::pin(nodes.watch(&params, "0").await.context("watching the node")?);
    while let Some(event) = events.try_next().await.context("watching the node")? {
        if let WatchEvent::Added(node) | WatchEvent::Modified(node) = event
            && is_ready(&node)
        {
            return Ok(());
        }
    }
    bail!("the watch of node {name} ended before it was ready")
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
