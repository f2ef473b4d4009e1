//! Why a session cannot be had, from what status and events say: a cause, a sentence, a remedy. Pure.

use std::time::Duration;

use k8s_openapi::api::core::v1::ContainerStateTerminated;
use k8s_openapi::jiff::SignedDuration;

use crate::Waiting;

/// What kind of cause; each has an exit status of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The image cannot be pulled.
    Image,
    /// The container cannot be created or started.
    CannotStart,
    /// The node is not ready, or the pod has none.
    NodeNotReady,
    /// The pod has ended or is gone.
    PodEnded,
    /// It took longer than allowed.
    TimedOut,
    /// The connection was lost and could not be made again.
    Lost,
}

/// A session that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind.
    pub cause: Cause,
    /// The place and what is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<&'static str>,
}

impl Failure {
    /// Without a remedy.
    pub fn new(cause: Cause, message: impl Into<String>) -> Failure {
        Failure { cause, message: message.into(), remedy: None }
    }
}

/// Words of a node's message, and what helps; the first that is found holds.
const REMEDIES: [(&str, &str); 16] = [
    ("toomanyrequests", "the registry limits pulls: wait, or choose an image that the node has already (--image)"),
    (
        "unauthorized",
        "the pod's own pull secrets are used: choose a public image (--image), or add a secret to the pod's service account",
    ),
    (
        "authorization failed",
        "the pod's own pull secrets are used: choose a public image (--image), or add a secret to the pod's service account",
    ),
    ("pull access denied", "check the name; for a private image the pod's own pull secrets are used"),
    ("forbidden", "the registry refuses the node: choose another image (--image)"),
    (
        "no such host",
        "the node cannot reach the registry: choose an image that it has already; `remora debug --plan` shows one",
    ),
    (
        "connection refused",
        "the node cannot reach the registry: choose an image that it has already; `remora debug --plan` shows one",
    ),
    (
        "i/o timeout",
        "the node cannot reach the registry: choose an image that it has already; `remora debug --plan` shows one",
    ),
    ("not found in $PATH", "the image has no such program: name another after --, or another image"),
    ("no such file or directory", "the image has no such program: name another after --, or another image"),
    ("not found", "check the name and the tag of the image"),
    ("manifest unknown", "check the name and the tag of the image"),
    ("runAsNonRoot", "choose a user with --user=UID"),
    ("breaks non-root policy", "the pod refuses root: choose another user with --user=UID"),
    (
        "unable to find target",
        "the pod has no running container of that name: choose one with --target, or --no-target",
    ),
    ("REMORA_", "see docs/debug-on-remora.md"),
];

/// A node's reason to wait, if waiting longer is of no use.
pub fn stuck(container: &str, image: &str, waiting: &Waiting) -> Option<Failure> {
    let Waiting { reason, message } = waiting;
    let told = if message.is_empty() { reason.clone() } else { format!("{reason}: {message}") };
    let (cause, sentence) = match reason.as_str() {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => (Cause::Image, format!("image {image} cannot be pulled: {told}")),
        "ErrImageNeverPull" => {
            (Cause::Image, format!("image {image} is not on the node, and it may not be pulled: {told}"))
        }
        "InvalidImageName" => (Cause::Image, format!("{image} is no image name: {told}")),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" | "PreCreateHookError" => {
            (Cause::CannotStart, format!("container {container} cannot be started: {told}"))
        }
        _ => return None,
    };
    let remedy = match reason.as_str() {
        "ErrImageNeverPull" => {
            Some("leave --image-pull-policy=Never away, or choose an image that the node has (--image)")
        }
        "InvalidImageName" => Some("check the name of the image"),
        _ => remedy(message),
    };
    Some(Failure { cause, message: sentence, remedy })
}

/// A container whose program could not be started has ended before it began (containerd and CRI-O: `StartError`, the kubelet's older
/// runtimes: `ContainerCannotRun`).
pub(crate) fn never_began(container: &str, state: &ContainerStateTerminated) -> Option<Failure> {
    let reason = state.reason.as_deref().filter(|reason| ["StartError", "ContainerCannotRun"].contains(reason))?;
    let message = state.message.as_deref().unwrap_or_default();
    let sentence = format!("container {container} cannot be started: {reason}: {message}");
    Some(Failure { cause: Cause::CannotStart, message: sentence, remedy: remedy(message) })
}

/// What helps against a message.
fn remedy(message: &str) -> Option<&'static str> {
    REMEDIES.iter().find(|(words, _)| message.contains(words)).map(|(_, remedy)| *remedy)
}

/// The sentence of a time-out, with the last that was heard.
pub(crate) fn timed_out(container: &str, limit: Duration, last: &str) -> Failure {
    let last = if last.is_empty() { "the node has said nothing of it" } else { last };
    let message = format!("container {container} does not run after {limit:?}; last heard: {last}");
    Failure {
        cause: Cause::TimedOut,
        message,
        remedy: Some("its entry stays in the pod, and it may still start: `remora debug attach` reaches it then"),
    }
}

/// A duration above 0 as Go writes it: `90s`, `30m`, `1h30m`, `500ms`.
pub fn duration(text: &str) -> Option<Duration> {
    let signed = text.parse::<SignedDuration>().ok().filter(SignedDuration::is_positive)?;
    Some(signed.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_node_says_becomes_a_cause_and_a_remedy() {
        let check = |reason: &str, message: &str, cause: Option<Cause>, remedy: Option<&str>| {
            let waiting = Waiting { reason: reason.to_owned(), message: message.to_owned() };
            let failure = stuck("d", "shop/x:1", &waiting);
            assert_eq!(failure.as_ref().map(|failure| failure.cause), cause, "{reason}");
            let found = failure.and_then(|failure| failure.remedy);
            assert!(found.unwrap_or_default().contains(remedy.unwrap_or_default()), "{reason} {message}: {found:?}");
            assert_eq!(found.is_some(), remedy.is_some(), "{reason} {message}: {found:?}");
        };
        let image = Some(Cause::Image);
        let start = Some(Cause::CannotStart);
        check(
            "ErrImagePull",
            "dial tcp: lookup registry-1.docker.io: no such host",
            image,
            Some("cannot reach the registry"),
        );
        check("ErrImagePull", "docker.io/library/nosuch:1: not found", image, Some("check the name"));
        check(
            "ImagePullBackOff",
            "pull access denied, repository does not exist",
            image,
            Some("check the name; for a private"),
        );
        check("ErrImagePull", "unexpected status 401: unauthorized", image, Some("pull secrets"));
        check("ErrImageNeverPull", "", image, Some("--image-pull-policy=Never"));
        check("InvalidImageName", "", image, Some("check the name"));
        check(
            "CreateContainerConfigError",
            "container has runAsNonRoot and image will run as root",
            start,
            Some("--user=UID"),
        );
        check(
            "CreateContainerConfigError",
            "container's runAsUser breaks non-root policy (pod: \"web\")",
            start,
            Some("--user=UID"),
        );
        check("CreateContainerConfigError", "unable to find target container x", start, Some("--target"));
        check("RunContainerError", "exec: \"sh\": executable file not found in $PATH", start, Some("no such program"));
        check("CreateContainerError", "disk full", start, None);
        check("ContainerCreating", "", None, None);
        check("PodInitializing", "", None, None);
    }

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let check = |text: &str, milliseconds: Option<u64>| {
            assert_eq!(duration(text), milliseconds.map(Duration::from_millis), "{text}")
        };
        check("90s", Some(90_000));
        check("1h30m", Some(5_400_000));
        check("500ms", Some(500));
        check("1.5s", Some(1500));
        for wrong in ["", "30", "s", "1x", "-1s", "0s", "1s 2s", "9999999999999999999h"] {
            check(wrong, None);
        }
    }
}
