//! postStart and preStop.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Lifecycle, LifecycleHandler, Pod};

use super::check::{self, Check};
use crate::container;
use crate::context::Context;

/// A postStart hook may take as long as it likes; this is only so that a dead one is noticed.
const LONGEST_HOOK: Duration = Duration::from_secs(3600);

/// Runs the postStart hook, if there is one. The output of one that failed.
pub(crate) async fn post_start(
    context: &Context,
    pod: &Pod,
    name: &str,
    id: &str,
    sandbox_ips: &[String],
) -> Result<(), String> {
    let hook = |lifecycle: Lifecycle| lifecycle.post_start;
    run(context, pod, hook_of(pod, name, hook), id, sandbox_ips, LONGEST_HOOK).await
}

/// Runs the preStop hook, if there is one, for at most so long.
pub(crate) async fn pre_stop(
    context: &Context,
    pod: &Pod,
    name: &str,
    id: &str,
    sandbox_ips: &[String],
    left: Duration,
) -> Result<(), String> {
    let hook = |lifecycle: Lifecycle| lifecycle.pre_stop;
    run(context, pod, hook_of(pod, name, hook), id, sandbox_ips, left).await
}

/// A hook with its container.
type Hook = Option<(LifecycleHandler, Container)>;

fn hook_of(pod: &Pod, name: &str, hook: impl Fn(Lifecycle) -> Option<LifecycleHandler>) -> Hook {
    let (_, container) = container::find(pod, name)?;
    Some((container.lifecycle.clone().and_then(hook)?, container))
}

async fn run(
    context: &Context,
    pod: &Pod,
    hook: Hook,
    id: &str,
    sandbox_ips: &[String],
    limit: Duration,
) -> Result<(), String> {
    let Some((handler, container)) = hook else { return Ok(()) };
    if let Some(sleep) = &handler.sleep {
        let wanted = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0));
        tokio::time::sleep(wanted.min(limit)).await;
        return Ok(());
    }
    let ip = check::pod_ip(pod, sandbox_ips, context);
    match Check::of_handler(&handler, &container, &ip) {
        Some(check) => check.run(context, id, limit).await,
        None => Err("Cannot run handler: invalid handler".to_owned()),
    }
}
