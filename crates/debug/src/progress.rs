//! How far a container of a pod has come, read from the pod's status. Pure.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

/// Where a container is on its way.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// The node has said nothing of it yet, or is at work.
    Waiting(Waiting),
    /// It runs: one can attach.
    Running,
    /// It has ended.
    Terminated(Box<ContainerStateTerminated>),
    /// The pod has ended or is gone: it will never start.
    Never(String),
}

/// Why it waits, in the node's words. Empty strings where the node gives none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// A word such as `ImagePullBackOff`.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// Looks a container up in the pod's status, whatever its kind.
pub fn progress(pod: &Pod, container: &str) -> Progress {
    let Some(status) = &pod.status else { return Progress::Waiting(Waiting::default()) };
    let kinds = [&status.ephemeral_container_statuses, &status.container_statuses, &status.init_container_statuses];
    let found = kinds.into_iter().flatten().flatten().find(|s| s.name == container);
    if let Some(progress) = found.and_then(decided) {
        return progress;
    }
    match status.phase.as_deref() {
        Some(phase @ ("Succeeded" | "Failed")) => {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            Progress::Never(format!("pod {name} has ended ({phase}): nothing starts in it any more"))
        }
        _ => Progress::Waiting(found.map(waiting).unwrap_or_default()),
    }
}

fn decided(status: &ContainerStatus) -> Option<Progress> {
    let state = status.state.as_ref()?;
    if let Some(terminated) = &state.terminated {
        return Some(Progress::Terminated(Box::new(terminated.clone())));
    }
    state.running.as_ref().map(|_| Progress::Running)
}

fn waiting(status: &ContainerStatus) -> Waiting {
    let state = status.state.as_ref().and_then(|state| state.waiting.as_ref());
    state
        .map(|w| Waiting {
            reason: w.reason.clone().unwrap_or_default(),
            message: w.message.clone().unwrap_or_default(),
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(status: Value, expected: Progress) {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap();
        assert_eq!(progress(&pod, "d"), expected);
    }

    fn state(state: Value) -> Value {
        json!({"phase": "Running", "ephemeralContainerStatuses": [
            {"name": "d", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state},
        ]})
    }

    #[test]
    fn progress_follows_the_status() {
        check(json!({}), Progress::Waiting(Waiting::default()));
        check(state(json!({"running": {}})), Progress::Running);
        let pull = Waiting { reason: "ErrImagePull".into(), message: "no".into() };
        check(state(json!({"waiting": {"reason": "ErrImagePull", "message": "no"}})), Progress::Waiting(pull));
        let ended = ContainerStateTerminated { exit_code: 3, ..ContainerStateTerminated::default() };
        check(state(json!({"terminated": {"exitCode": 3}})), Progress::Terminated(Box::new(ended)));
    }

    #[test]
    fn in_a_pod_that_has_ended_nothing_starts() {
        let never = "pod p has ended (Succeeded): nothing starts in it any more";
        check(json!({"phase": "Succeeded"}), Progress::Never(never.into()));
    }
}
