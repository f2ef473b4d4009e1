//! From what was typed to a pod that runs, asked anew for each connection: pods come and go.

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::ListParams;
use serde_json::Value;

use super::ports::{self, Remote};
use crate::CommandError;
use crate::cluster::Cluster;
use crate::commands::debug::find;

/// What was typed.
#[derive(Debug)]
pub(super) enum Target {
    Pod(String),
    /// Whatever selects pods: kind and name.
    Owner(String, String),
}

/// What it means now.
pub(super) struct Found {
    pod: Pod,
    service: Option<Service>,
}

impl Target {
    pub(super) fn parse(word: &str) -> Result<Target, CommandError> {
        match word.split_once('/') {
            None => Ok(Target::Pod(word.to_owned())),
            Some((_, "")) => Err(CommandError::usage(format_args!("{word} names nothing"))),
            Some(("pod" | "pods" | "po", name)) => Ok(Target::Pod(name.to_owned())),
            Some((kind, name)) => Ok(Target::Owner(kind.to_owned(), name.to_owned())),
        }
    }

    /// The pod, which runs.
    pub(super) async fn find(&self, cluster: &Cluster) -> Result<Found, CommandError> {
        match self {
            Target::Pod(name) => running(cluster.api::<Pod>().get(name).await?).map(|pod| Found { pod, service: None }),
            Target::Owner(kind, name) => {
                let object = find::owner(cluster, kind, name).await?;
                let pod = chosen(cluster, &object, &format!("{kind}/{name}")).await?;
                let is_service = object["kind"] == "Service";
                let service = is_service.then(|| serde_json::from_value(object)).transpose();
                let service =
                    service.map_err(|error| CommandError::caused(format_args!("reading {kind}/{name}"), &error))?;
                Ok(Found { pod, service })
            }
        }
    }
}

impl Found {
    pub(super) fn pod_name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn port(&self, remote: &Remote) -> Result<u16, CommandError> {
        ports::of_pod(remote, self.service.as_ref(), &self.pod).map_err(CommandError::failed)
    }
}

/// The same one each time, as long as it runs: the first by name.
async fn chosen(cluster: &Cluster, object: &Value, place: &str) -> Result<Pod, CommandError> {
    let selector = find::selector(object);
    let selector = selector.ok_or_else(|| CommandError::usage(format_args!("{place} selects no pods")))?;
    let pods = cluster.api::<Pod>().list(&ListParams::default().labels(&selector)).await?.items;
    let fitting = find::fitting(pods).into_iter().min_by_key(|pod| pod.metadata.name.clone());
    running(fitting.ok_or_else(|| CommandError::failed(format_args!("no pod of {place} runs")))?)
}

fn running(pod: Pod) -> Result<Pod, CommandError> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Unknown");
    if phase == "Running" {
        return Ok(pod);
    }
    Err(CommandError::failed(format_args!("unable to forward port because pod is not running. Current status={phase}")))
}
