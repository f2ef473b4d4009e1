//! What CRI is told about containers: statuses, list entries, events.

use std::collections::BTreeMap;

use remora_cri::{
    ContainerEventResponse, ContainerEventType, ContainerFilter, ContainerResources, ContainerState, ContainerStatus,
    ContainerUser, ImageSpec, LinuxContainerUser, PodSandboxStatus,
};

use super::{Container, Exit, State};
use crate::identity;

impl Container {
    /// CRI's full status.
    pub(crate) fn status(&self) -> ContainerStatus {
        let record = self.record();
        let config = &record.config;
        let state = self.state();
        let (started_at, exit) = times(&state);
        let exit = exit.unwrap_or_else(Exit::none);
        ContainerStatus {
            id: record.id.clone(),
            metadata: config.metadata.clone(),
            state: cri_state(&state).into(),
            created_at: record.created_at,
            started_at,
            finished_at: exit.finished_at,
            exit_code: exit.exit_code,
            image: Some(self.image()),
            image_ref: record.image_ref.clone(),
            image_id: record.image_id.clone(),
            reason: exit.reason,
            message: exit.message,
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            mounts: config.mounts.clone(),
            log_path: record.log_path.clone().unwrap_or_default(),
            resources: self.resources().map(|linux| ContainerResources { linux: Some(linux) }),
            user: Some(self.user()),
            stop_signal: config.stop_signal,
        }
    }

    /// CRI's list entry.
    pub(crate) fn summary(&self) -> remora_cri::Container {
        let record = self.record();
        let config = &record.config;
        remora_cri::Container {
            id: record.id.clone(),
            pod_sandbox_id: record.sandbox_id.clone(),
            metadata: config.metadata.clone(),
            image: config.image.clone(),
            image_ref: record.image_ref.clone(),
            state: cri_state(&self.state()).into(),
            created_at: record.created_at,
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            image_id: record.image_id.clone(),
        }
    }

    /// The image under the name that the user gave, where the request tells it.
    fn image(&self) -> ImageSpec {
        let mut spec = self.record().config.image.clone().unwrap_or_default();
        if !spec.user_specified_image.is_empty() {
            spec.image = spec.user_specified_image.clone();
        }
        spec
    }

    fn user(&self) -> ContainerUser {
        let user = &self.record().user;
        let supplemental_groups = user.groups.iter().map(|&gid| gid.into()).collect();
        let linux = LinuxContainerUser { uid: user.uid.into(), gid: user.gid.into(), supplemental_groups };
        ContainerUser { linux: Some(linux) }
    }
}

impl Exit {
    fn none() -> Self {
        Exit { exit_code: 0, reason: String::new(), message: String::new(), started_at: None, finished_at: 0 }
    }
}

fn cri_state(state: &State) -> ContainerState {
    match state {
        // A start that has not been answered yet may still fail.
        State::Created | State::Starting => ContainerState::Created,
        State::Running(_) => ContainerState::Running,
        State::Exited(_) | State::Removed => ContainerState::Exited,
    }
}

fn times(state: &State) -> (i64, Option<Exit>) {
    match state {
        State::Running(start) => (start.started_at, None),
        State::Exited(exit) => (exit.started_at.unwrap_or(0), Some(exit.clone())),
        State::Created | State::Starting | State::Removed => (0, None),
    }
}

/// Whether a list entry passes a filter. All that is given must match.
pub(crate) fn matches(filter: &ContainerFilter, entry: &remora_cri::Container) -> bool {
    (filter.id.is_empty() || entry.id.starts_with(&filter.id))
        && (filter.pod_sandbox_id.is_empty() || entry.pod_sandbox_id.starts_with(&filter.pod_sandbox_id))
        && filter.state.as_ref().is_none_or(|state| state.state == entry.state)
        && selected(&filter.label_selector, &entry.labels)
}

/// Whether labels have every value that a selector asks for.
pub(crate) fn selected(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// An event, with the whole pod's state so that the listener need not ask.
pub(crate) fn event(
    container: &Container,
    kind: ContainerEventType,
    sandbox: Option<PodSandboxStatus>,
    siblings: Vec<ContainerStatus>,
) -> ContainerEventResponse {
    ContainerEventResponse {
        container_id: container.id().to_owned(),
        container_event_type: kind.into(),
        created_at: identity::now(),
        pod_sandbox_status: sandbox,
        containers_statuses: siblings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_cri::ContainerStateValue;

    #[test]
    fn a_filter_lets_through_what_matches_all_of_it() {
        let labels: BTreeMap<String, String> = [("app".to_owned(), "web".to_owned())].into();
        let entry = remora_cri::Container {
            id: "abc".into(),
            pod_sandbox_id: "sandbox".into(),
            state: ContainerState::Running.into(),
            labels: labels.clone(),
            ..Default::default()
        };
        let check = |filter: ContainerFilter, expected| assert_eq!(matches(&filter, &entry), expected, "{filter:?}");
        let state = |state: ContainerState| Some(ContainerStateValue { state: state.into() });
        check(ContainerFilter::default(), true);
        check(ContainerFilter { id: "ab".into(), ..Default::default() }, true);
        check(ContainerFilter { id: "b".into(), ..Default::default() }, false);
        check(ContainerFilter { pod_sandbox_id: "other".into(), ..Default::default() }, false);
        check(ContainerFilter { state: state(ContainerState::Running), ..Default::default() }, true);
        check(ContainerFilter { state: state(ContainerState::Exited), ..Default::default() }, false);
        check(ContainerFilter { label_selector: labels, ..Default::default() }, true);
        let other = [("app".to_owned(), "db".to_owned())].into();
        check(ContainerFilter { label_selector: other, ..Default::default() }, false);
    }
}
