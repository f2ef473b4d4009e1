//! From CRI's answers to what decisions are made of.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use remora_cri::{Container, ContainerState, ContainerStatus, PodSandboxState, PodSandboxStatus, annotations, labels};
use remora_decide::{Attempt, AttemptState, BackOff, Exit, Observed, Sandbox, Volumes, containers, full_name};

use crate::container::termination_message;
use crate::context::Context;

/// What the runtime already has of a pod, when its actor starts or after a gap in the runtime's events.
#[derive(Debug, Default)]
pub(crate) struct Adopted {
    pub(crate) sandboxes: Vec<PodSandboxStatus>,
    /// With the sandbox that each stands in.
    pub(crate) containers: Vec<(Container, ContainerStatus)>,
}

impl Adopted {
    /// The names of the pod that all this belongs to and the grace that it was made with, as an object: for a pod that nobody has any more.
    pub(crate) fn pod(&self) -> Option<Pod> {
        let labels = self.sandboxes.first().map(|s| &s.labels).or(self.containers.first().map(|(c, _)| &c.labels))?;
        let label = |key: &str| labels.get(key).cloned();
        let metadata = ObjectMeta {
            name: label(labels::POD_NAME),
            namespace: label(labels::POD_NAMESPACE),
            uid: label(labels::POD_UID),
            ..ObjectMeta::default()
        };
        let annotation =
            |status: &ContainerStatus| status.annotations.get(labels::POD_TERMINATION_GRACE_PERIOD)?.parse().ok();
        let grace = self.containers.iter().filter_map(|(_, status)| annotation(status)).max();
        let spec = PodSpec { termination_grace_period_seconds: grace, ..PodSpec::default() };
        Some(Pod { metadata, spec: Some(spec), ..Pod::default() })
    }

    /// The world of a pod that is met for the first time by this process.
    pub(crate) fn into_observed(self, context: &Context, pod: &Pod) -> Observed {
        let mut observed = Observed {
            host_ips: context.config.node_ips.iter().map(ToString::to_string).collect(),
            runtime: context.runtime_name.clone(),
            reported: pod.status.clone().unwrap_or_default(),
            ..Observed::default()
        };
        self.fill(context, pod, &mut observed);
        add_forgotten(context, pod, &mut observed);
        observed.volumes = volumes(&observed, context.pod_folder(pod).exists());
        for track in observed.tracks.values_mut() {
            track.back_off = track.last().and_then(|last| BackOff::of_restart_count(last.restart_count, started(last)));
        }
        observed
    }

    /// Sandboxes and containers as the runtime lists them.
    pub(crate) fn fill(self, context: &Context, pod: &Pod, observed: &mut Observed) {
        observed.sandboxes = self.sandboxes.iter().map(sandbox_of).collect();
        observed.sandboxes.sort_by_key(|s| std::cmp::Reverse(s.attempt));
        let mut attempts: BTreeMap<String, Vec<Attempt>> = BTreeMap::new();
        for (container, status) in self.containers {
            let name = container_name(&status.labels).to_owned();
            let attempt = attempt_of(context, pod, &status, &container.pod_sandbox_id);
            attempts.entry(name).or_default().push(attempt);
        }
        for track in observed.tracks.values_mut() {
            track.attempts.clear();
        }
        for (name, mut list) in attempts {
            list.sort_by_key(|a| a.restart_count);
            observed.tracks.entry(name).or_default().attempts = list;
        }
    }
}

/// Runs of which neither the runtime nor the API knows any more: a crash came before the API had heard of them, and their records are lost. Their
/// logs tell that they have begun, so that none is begun again under the same number, and an ephemeral one never.
fn add_forgotten(context: &Context, pod: &Pod, observed: &mut Observed) {
    let folder = context.log_folder(pod);
    for spec in containers(pod) {
        let known = observed.last_attempt(spec.name).map(|attempt| attempt.restart_count);
        let Some(logged) = newest_log(&folder.join(spec.name)).filter(|logged| Some(*logged) > known) else { continue };
        let exit = Exit {
            code: 137,
            reason: "ContainerStatusUnknown".to_owned(),
            message: "What the node knew of this container was damaged; its log is all that is left".to_owned(),
            started: None,
            finished: context.now(),
        };
        observed.tracks.entry(spec.name.to_owned()).or_default().attempts.push(Attempt {
            restart_count: logged,
            image: full_name(spec.image),
            ..Attempt::new("", AttemptState::Exited(exit))
        });
    }
}

/// The number of the newest log in a container's folder.
fn newest_log(folder: &Path) -> Option<u32> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log")?.parse().ok()).max()
}

/// What the agent before has left of a pod's volumes. All of them are there if a container was made in the sandbox that stands: none is, before
/// that. Else the agent may have ended halfway, or the machine was started anew, which takes those in memory away: what a pod that goes on needs
/// is made again, which changes nothing of what is whole; what one that has ended has left is taken down.
fn volumes(observed: &Observed, has_folder: bool) -> Volumes {
    let sandbox = observed.ready_sandbox();
    let in_use = sandbox.is_some_and(|sandbox| observed.attempts().any(|(_, a)| a.sandbox == sandbox.id));
    match (has_folder, in_use) {
        (true, true) => Volumes::Ready,
        (true, false) if sandbox.is_some() || !observed.tracks.is_empty() => {
            Volumes::Failed { retry: Timestamp::UNIX_EPOCH }
        }
        _ => Volumes::Absent,
    }
}

/// The container's name in the pod, by its label.
pub(crate) fn container_name(labels: &BTreeMap<String, String>) -> &str {
    labels.get(labels::CONTAINER_NAME).map(String::as_str).unwrap_or_default()
}

/// A sandbox as decisions see it.
pub(crate) fn sandbox_of(status: &PodSandboxStatus) -> Sandbox {
    let network = status.network.clone().unwrap_or_default();
    let first = Some(network.ip).filter(|ip| !ip.is_empty());
    Sandbox {
        id: status.id.clone(),
        attempt: status.metadata.as_ref().map_or(0, |m| m.attempt),
        ready: status.state == PodSandboxState::Ready as i32,
        ips: first.into_iter().chain(network.additional_ips.into_iter().map(|i| i.ip)).collect(),
    }
}

/// A container as decisions see it. Reads the termination message if it has ended.
pub(crate) fn attempt_of(context: &Context, pod: &Pod, status: &ContainerStatus, sandbox: &str) -> Attempt {
    let annotation = |key: &str| status.annotations.get(key).map(String::as_str);
    let restart_count = annotation(labels::CONTAINER_RESTART_COUNT)
        .and_then(|count| count.parse().ok())
        .or(status.metadata.as_ref().map(|m| m.attempt))
        .unwrap_or(0);
    Attempt {
        id: status.id.clone(),
        sandbox: sandbox.to_owned(),
        restart_count,
        state: state_of(context, pod, status, restart_count),
        image: image_name(status),
        image_ref: status.image_ref.clone(),
        spec_hash: annotation(labels::CONTAINER_HASH).unwrap_or_default().to_owned(),
        root_of: annotation(annotations::ROOT_OF).or_else(|| annotation(annotations::IMAGE_OF)).map(str::to_owned),
        stopping: None,
        stop_reason: None,
    }
}

fn state_of(context: &Context, pod: &Pod, status: &ContainerStatus, restart_count: u32) -> AttemptState {
    match status.state() {
        ContainerState::Created => AttemptState::Created,
        ContainerState::Running => AttemptState::Running { since: timestamp(status.started_at) },
        ContainerState::Exited | ContainerState::Unknown => {
            let mut exit = exit_of(status);
            if let Some(message) = termination_message::read(context, pod, status, restart_count, exit.code) {
                // As upstream: the runtime's words first.
                let joint = if exit.message.is_empty() { "" } else { ": " };
                exit.message = format!("{}{joint}{message}", exit.message);
            }
            AttemptState::Exited(exit)
        }
    }
}

/// What the runtime says of an end. An end without a reason gets the usual one.
fn exit_of(status: &ContainerStatus) -> Exit {
    let unknown = status.state() == ContainerState::Unknown;
    let code = if unknown { 255 } else { status.exit_code };
    let usual = match (unknown, code) {
        (true, _) => "ContainerStatusUnknown",
        (false, 0) => "Completed",
        (false, _) => "Error",
    };
    Exit {
        code,
        reason: if status.reason.is_empty() { usual.to_owned() } else { status.reason.clone() },
        message: status.message.clone(),
        started: (status.started_at > 0).then(|| timestamp(status.started_at)),
        finished: timestamp(status.finished_at),
    }
}

/// The image's full name. Some runtimes answer with what the user wrote, some with the id that they were given.
fn image_name(status: &ContainerStatus) -> String {
    let image = status.image.clone().unwrap_or_default();
    match (image.image.starts_with("sha256:"), image.user_specified_image.is_empty()) {
        (true, true) => image.image,
        (true, false) => full_name(&image.user_specified_image),
        (false, _) => full_name(&image.image),
    }
}

fn timestamp(nanoseconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH.saturating_add(SignedDuration::from_nanos(nanoseconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn started(attempt: &Attempt) -> Timestamp {
    match &attempt.state {
        AttemptState::Running { since } => *since,
        AttemptState::Exited(exit) => exit.started.unwrap_or(exit.finished),
        AttemptState::Created => Timestamp::UNIX_EPOCH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_decide::Track;

    fn sandbox(id: &str, ready: bool) -> Sandbox {
        Sandbox { id: id.to_owned(), attempt: 0, ready, ips: Vec::new() }
    }

    fn attempt(sandbox: &str) -> Attempt {
        Attempt { sandbox: sandbox.to_owned(), ..Attempt::new("c", AttemptState::Created) }
    }

    #[test]
    fn a_pod_that_nobody_has_any_more_keeps_its_names_and_its_grace() {
        let named = BTreeMap::from([(labels::POD_NAME.to_owned(), "web".to_owned())]);
        let container = |grace: &str| {
            let annotations = BTreeMap::from([(labels::POD_TERMINATION_GRACE_PERIOD.to_owned(), grace.to_owned())]);
            let status = ContainerStatus { annotations, ..ContainerStatus::default() };
            (Container { labels: named.clone(), ..Container::default() }, status)
        };
        for (containers, grace) in [
            (vec![container("7")], Some(7)),
            (vec![container("x"), container("0")], Some(0)),
            (vec![container("")], None),
        ] {
            let pod = Adopted { containers, ..Adopted::default() }.pod().unwrap();
            assert_eq!(pod.metadata.name.as_deref(), Some("web"));
            assert_eq!(pod.spec.unwrap().termination_grace_period_seconds, grace);
        }
        assert_eq!(Adopted::default().pod(), None);
    }

    #[test]
    fn volumes_are_whole_only_if_a_container_was_made_in_the_sandbox_that_stands() {
        let check = |sandboxes: Vec<Sandbox>, attempts: Vec<Attempt>, has_folder: bool, expected: Volumes| {
            let mut observed = Observed { sandboxes, ..Observed::default() };
            for attempt in attempts {
                observed.tracks.insert("a".to_owned(), Track { attempts: vec![attempt], ..Default::default() });
            }
            assert_eq!(volumes(&observed, has_folder), expected, "{observed:?}");
        };
        let again = || Volumes::Failed { retry: Timestamp::UNIX_EPOCH };
        check(vec![], vec![], false, Volumes::Absent);
        check(vec![], vec![], true, Volumes::Absent);
        // The agent ended between the sandbox and the volumes.
        check(vec![sandbox("s", true)], vec![], true, again());
        check(vec![sandbox("s", true)], vec![attempt("s")], true, Volumes::Ready);
        // The machine was started anew; then once more the agent, between the new sandbox and the volumes.
        check(vec![sandbox("old", false)], vec![attempt("old")], true, again());
        check(vec![sandbox("new", true), sandbox("old", false)], vec![attempt("old")], true, again());
        check(vec![sandbox("s", true)], vec![], false, Volumes::Absent);
    }
}
