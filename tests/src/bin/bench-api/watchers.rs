//! From a PATCH to the moment at which the last of many watchers has seen it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use kube::client::Body;
use serde_json::json;
use tokio::sync::mpsc;

/// How long a watcher may take before the run has failed.
const LOST: Duration = Duration::from_secs(60);

/// The times of so many rounds. Each watcher has a connection of its own, as separate programs would.
pub(crate) async fn until_the_last(clients: &[kube::Client], watchers: usize, rounds: usize) -> Result<Vec<Duration>> {
    let client = clients.first().context("no client")?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), "bench");
    let pod = pods.get("p-0").await?;
    let from = pod.metadata.resource_version.unwrap_or_default();
    let (seen, mut sightings) = mpsc::unbounded_channel();
    let watches = clients.iter().cycle().take(watchers).map(|client| watch(client.clone(), from.clone()));
    let watches: Vec<_> = futures::stream::iter(watches).buffer_unordered(16).try_collect().await?;
    let tasks: Vec<_> = watches.into_iter().map(|lines| tokio::spawn(tell(lines, seen.clone()))).collect();
    let mut times = Vec::new();
    for round in 0..rounds {
        let mark = format!("{from}-{watchers}-{round}");
        let patch = json!({"metadata": {"annotations": {"bench/mark": mark}}});
        let begun = Instant::now();
        pods.patch("p-0", &PatchParams::default(), &Patch::Merge(patch)).await?;
        for _ in 0..watchers {
            let sighting = tokio::time::timeout(LOST, sightings.recv()).await;
            sighting.context("a watcher has missed an event")?.context("all watches have ended")?;
        }
        times.push(begun.elapsed());
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(times)
}

type Pieces = std::pin::Pin<Box<dyn futures::Stream<Item = Result<Arc<[u8]>>> + Send>>;

async fn watch(client: kube::Client, from: String) -> Result<Pieces> {
    let path = format!("/api/v1/namespaces/bench/pods?watch=true&resourceVersion={from}");
    let response = client.send(http::Request::get(path).body(Body::empty())?).await?;
    ensure!(response.status().is_success(), "a watch is refused: {}", response.status());
    let pieces = response.into_body().into_data_stream();
    Ok(pieces.map_err(anyhow::Error::from).map_ok(|piece| Arc::from(&piece[..])).boxed())
}

/// Tells of each line. Nothing else changes the namespace, so a line is a PATCH of ours.
async fn tell(mut pieces: Pieces, seen: mpsc::UnboundedSender<()>) {
    while let Some(Ok(piece)) = pieces.next().await {
        for _ in piece.iter().filter(|byte| **byte == b'\n') {
            if seen.send(()).is_err() {
                return;
            }
        }
    }
}
