//! What the runtime has, and what it says: adoption at the start, events from then on.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use remora_cri::{
    Code, ContainerEventResponse, ContainerEventType, ContainerStatusRequest, Error, ListContainersRequest,
    ListPodSandboxRequest, PodSandboxStatusRequest,
};

use super::{Pods, uid_of};
use crate::actor::{Adopted, Wake, sandbox_of};
use crate::context::Context;
use crate::volumes;

const WAIT_AFTER_ERROR: Duration = Duration::from_secs(1);

/// Everything that the runtime has, by pod UID.
pub(crate) async fn adopt(context: &Context) -> Result<HashMap<String, Adopted>, Error> {
    let runtime = &context.config.runtime;
    let mut all: HashMap<String, Adopted> = HashMap::new();
    for sandbox in runtime.list_pod_sandbox(ListPodSandboxRequest { filter: None }).await?.items {
        let Some(uid) = uid_of(&sandbox.labels).map(str::to_owned) else { continue };
        let request = PodSandboxStatusRequest { pod_sandbox_id: sandbox.id, verbose: false };
        match runtime.pod_sandbox_status(request).await {
            Ok(answer) => all.entry(uid).or_default().sandboxes.extend(answer.status),
            Err(error) if error.code == Code::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    for container in runtime.list_containers(ListContainersRequest { filter: None }).await?.containers {
        let Some(uid) = uid_of(&container.labels).map(str::to_owned) else { continue };
        let request = ContainerStatusRequest { container_id: container.id.clone(), verbose: false };
        match runtime.container_status(request).await {
            Ok(answer) => all.entry(uid).or_default().containers.extend(answer.status.map(|s| (container, s))),
            Err(error) if error.code == Code::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Hands the runtime's events to the actors until the agent stops. After a gap in the events, all that there is.
pub(crate) async fn listen(context: Context, pods: Pods, mut events: remora_cri::ContainerEvents) {
    loop {
        // Cancel-safe: the stream keeps its place.
        let event = tokio::select! {
            () = context.stop.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            Some(Ok(event)) => {
                route(&context, &pods, event).await;
                continue;
            }
            Some(Err(error)) => tracing::warn!(%error, "the runtime's events have a gap"),
            None => tracing::warn!("the runtime's events have ended, they are asked for again"),
        }
        match again(&context, &pods).await {
            Ok(stream) => events = stream,
            Err(error) => {
                tracing::warn!(%error, "the runtime cannot be reached");
                tokio::time::sleep(WAIT_AFTER_ERROR).await;
            }
        }
    }
}

/// Subscribes first, then lists: nothing is missed.
async fn again(context: &Context, pods: &Pods) -> Result<remora_cri::ContainerEvents, Error> {
    let events = context.config.runtime.get_container_events().await?;
    let mut all = adopt(context).await?;
    for (uid, handle) in pods.all() {
        let adopted = all.remove(&uid).unwrap_or_default();
        handle.wake(Wake::Everything(Box::new(adopted))).await;
    }
    Ok(events)
}

/// An event only says where to look: the state is asked for.
async fn route(context: &Context, pods: &Pods, event: ContainerEventResponse) {
    let runtime = &context.config.runtime;
    let sandbox = event.pod_sandbox_status.clone();
    let uid = sandbox.as_ref().and_then(|s| s.metadata.as_ref()).map(|m| m.uid.clone());
    let id = event.container_id.clone();
    let of_sandbox = sandbox.as_ref().is_some_and(|s| s.id == id);
    if let (Some(sandbox), Some(handle)) = (&sandbox, uid.as_deref().and_then(|uid| pods.get(uid)))
        && (of_sandbox || event.container_event_type() == ContainerEventType::Stopped)
    {
        handle.wake(Wake::Sandbox(sandbox_of(sandbox))).await;
    }
    if of_sandbox || id.is_empty() {
        return;
    }
    let status =
        match runtime.container_status(ContainerStatusRequest { container_id: id.clone(), verbose: false }).await {
            Ok(answer) => answer.status,
            Err(error) if error.code == Code::NotFound => None,
            Err(error) => {
                tracing::warn!(%error, id, "a container's state cannot be asked for");
                return;
            }
        };
    let labelled = status.as_ref().and_then(|s| uid_of(&s.labels)).map(str::to_owned);
    match (labelled.or(uid).and_then(|uid| pods.get(&uid)), status) {
        (Some(handle), Some(status)) => handle.wake(Wake::Container(Box::new(status))).await,
        (Some(handle), None) => handle.wake(Wake::ContainerGone(id)).await,
        // Gone, and nobody says whose it was: each actor knows its own.
        (None, None) => {
            for (_, handle) in pods.all() {
                handle.wake(Wake::ContainerGone(id.clone())).await;
            }
        }
        (None, Some(_)) => {}
    }
}

/// Removes the folders, of volumes and of logs, of pods that neither the API nor the runtime knows.
pub(crate) fn clear_folders(context: &Context, pods: &Pods) {
    // Both names end with the pod's UID: `UID`, and `NAMESPACE_NAME_UID`.
    for folder in [context.config.root.join("pods"), context.config.logs.clone()] {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if pods.get(name.rsplit('_').next().unwrap_or_default()).is_some() {
                continue;
            }
            let removed = volumes::remove(&*context.mounts, &entry.path()).map_err(|e| e.to_string());
            if let Err(error) = removed.and_then(|()| std::fs::remove_dir_all(entry.path()).map_err(|e| e.to_string()))
            {
                tracing::warn!(folder = %entry.path().display(), error, "an old pod's folder stays behind");
            }
        }
    }
}
