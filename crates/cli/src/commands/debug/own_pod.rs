//! Sessions in a pod of their own: a copy of another, or one on a node. What shall not stay is removed however the session ends.

use std::process::ExitCode;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use remora_debug::{DebugRequest, PodPlan, Session, SessionError};

use super::args::{Copy, DebugArgs};
use super::talk::Talk;
use super::{exit_code, facts, follow, plan, suffix};
use crate::cluster::Cluster;
use crate::{CommandError, Kind, terminal};

/// In a copy of a pod.
pub(super) async fn copy(
    cluster: &Cluster,
    args: &DebugArgs,
    request: &DebugRequest,
    copy: &Copy,
    original: &Pod,
    talk: Talk,
) -> Result<ExitCode, CommandError> {
    let plan = remora_debug::copy(request, &copy.request, original, &suffix()).map_err(CommandError::usage)?;
    if args.plan {
        return plan::show_pod(cluster, &plan, args.output).await;
    }
    plan.notices.iter().for_each(|line| talk.note(line));
    let pods = cluster.api::<Pod>();
    let created = pods.create(&PostParams::default(), &plan.pod).await.map_err(SessionError::Api)?;
    let session = async {
        if copy.replace {
            let name = original.metadata.name.as_deref().unwrap_or_default();
            pods.delete(name, &DeleteParams::default().grace_period(0)).await?;
        }
        attend(&pods, &plan, &created, args, request, talk).await
    };
    if !copy.remove {
        return session.await;
    }
    removed_after(&pods, &created, session, talk).await
}

/// On a node.
pub(super) async fn on_node(
    cluster: &Cluster,
    args: &DebugArgs,
    request: &DebugRequest,
    node: &str,
    talk: Talk,
) -> Result<ExitCode, CommandError> {
    let found = Api::<Node>::all(cluster.client.clone()).get(node).await?;
    if let Some(obstacle) = remora_debug::not_ready(&found).filter(|_| !args.plan) {
        return Err(CommandError::of(Kind::NodeNotReady, obstacle).hint("kubectl describe node tells more"));
    }
    let facts = facts::of(Some(&found), facts::user(cluster).await, &args.default_image);
    let plan = remora_debug::node_pod(request, node, &facts, &suffix()).map_err(CommandError::usage)?;
    if args.plan {
        return plan::show_pod(cluster, &plan, args.output).await;
    }
    plan.notices.iter().for_each(|line| talk.note(line));
    let pods = cluster.api::<Pod>();
    let created = pods.create(&PostParams::default(), &plan.pod).await.map_err(SessionError::Api)?;
    if !request.attach {
        let name = created.metadata.name.as_deref().unwrap_or_default();
        talk.note(&format!("Nobody waits for its end: remove it with `remora delete pod/{name}`."));
        return Ok(ExitCode::SUCCESS);
    }
    removed_after(&pods, &created, attend(&pods, &plan, &created, args, request, talk), talk).await
}

async fn attend(
    pods: &Api<Pod>,
    plan: &PodPlan,
    created: &Pod,
    args: &DebugArgs,
    request: &DebugRequest,
    talk: Talk,
) -> Result<ExitCode, CommandError> {
    let Some(container) = plan.container.as_deref().filter(|_| request.attach) else { return Ok(ExitCode::SUCCESS) };
    let name = created.metadata.name.as_deref().unwrap_or_default();
    let containers = created.spec.iter().flat_map(|spec| &spec.containers);
    let image = containers.filter(|c| c.name == container).find_map(|c| c.image.as_deref()).unwrap_or_default();
    let session = Session::existing(pods.clone(), name, container, image);
    follow(&session, created, args, request, talk, None).await.map(exit_code)
}

/// The pod is removed when the session ends, fails, or is told to end by a signal.
async fn removed_after(
    pods: &Api<Pod>,
    created: &Pod,
    session: impl Future<Output = Result<ExitCode, CommandError>>,
    talk: Talk,
) -> Result<ExitCode, CommandError> {
    let ended = tokio::select! {
        // Cancel-safe as far as it matters: what the session has made is removed below.
        ended = session => ended,
        () = terminal::told_to_end() => Err(CommandError::failed("told to end by a signal")),
    };
    let name = created.metadata.name.as_deref().unwrap_or_default();
    let now = DeleteParams::default().grace_period(0);
    match pods.delete(name, &now).await {
        Ok(_) => talk.note(&format!("Removed pod {name}.")),
        // Somebody else has removed it.
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => {
            let place = format!("removing pod {name}");
            return ended.and(Err(CommandError::caused(place, &error).hint(format!("remora delete pod/{name} --now"))));
        }
    }
    ended
}
