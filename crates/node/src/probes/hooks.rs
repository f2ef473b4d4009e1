//! postStart and preStop.

use std::time::Duration;

use k8s_openapi::api::core::v1::{LifecycleHandler, Pod};

use super::check::{self, Check};
use crate::container;
use crate::context::Context;

/// A postStart hook may take as long as it likes; this is only so that a dead one is noticed.
const LONGEST_HOOK: Duration = Duration::from_secs(3600);

/// Runs the postStart hook, if there is one. The output of one that failed.
pub(crate) async fn post_start(context: &Context, pod: &Pod, name: &str, id: &str) -> Result<(), String> {
    let handler = container::find(pod, name).and_then(|(_, c)| c.lifecycle).and_then(|l| l.post_start);
    run(context, pod, handler, id, LONGEST_HOOK).await
}

/// Runs the preStop hook, if there is one, for at most so long.
pub(crate) async fn pre_stop(context: &Context, pod: &Pod, name: &str, id: &str, left: Duration) -> Result<(), String> {
    let handler = container::find(pod, name).and_then(|(_, c)| c.lifecycle).and_then(|l| l.pre_stop);
    run(context, pod, handler, id, left).await
}

async fn run(
    context: &Context,
    pod: &Pod,
    handler: Option<LifecycleHandler>,
    id: &str,
    limit: Duration,
) -> Result<(), String> {
    let Some(handler) = handler else { return Ok(()) };
    if let Some(sleep) = &handler.sleep {
        let wanted = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0));
        tokio::time::sleep(wanted.min(limit)).await;
        return Ok(());
    }
    let ip = check::pod_ip(pod, context);
    let Some(check) = Check::of_handler(&handler, pod, ip) else { return Ok(()) };
    check.run(context, id, limit).await
}
