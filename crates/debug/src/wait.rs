//! Waits for a container, listening to all that can tell of it: the pod, its events, and, after a silence, its node.
//!
//! A loop over a closed `enum Signal`. Streams that the user may not read are silent; lost connections are made again by kube's watcher.

use std::pin::Pin;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::time::Instant;

use crate::failure::{Cause, Failure, never_began, stuck, timed_out};
use crate::{Progress, SessionError, Waiting, progress};

/// After so long without a word of the container, its node is looked at.
const SILENCE: Duration = Duration::from_secs(5);
/// A connection that cannot be made again for so long is lost.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// What is awaited, and how long.
pub(crate) struct Awaited<'a> {
    pub(crate) pods: &'a Api<Pod>,
    pub(crate) pod: &'a str,
    pub(crate) container: &'a str,
    pub(crate) image: &'a str,
    pub(crate) timeout: Option<Duration>,
}

/// What can happen meanwhile.
enum Signal {
    Pod(Box<Pod>),
    Gone,
    Event(Box<Event>),
    Node(Box<Node>),
    Broken(watcher::Error),
    TimeIsUp,
}

type Signals<'a> = Pin<Box<dyn Stream<Item = Signal> + Send + 'a>>;

impl Awaited<'_> {
    /// Until it runs or has ended. `seen` is called with each new line about its way.
    pub(crate) async fn started(&self, from: &Pod, mut seen: impl FnMut(&str)) -> Result<Progress, SessionError> {
        let mut heard = Heard::default();
        if let Some(done) = self.judge(from, &mut heard, &mut seen)? {
            return Ok(done);
        }
        let node = from.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let mut signals =
            stream::select_all([self.pod_signals(), self.event_signals(), self.node_signals(node), self.alarm()]);
        let mut broken_since = None;
        while let Some(signal) = signals.next().await {
            match signal {
                Signal::Pod(pod) => {
                    broken_since = None;
                    if let Some(done) = self.judge(&pod, &mut heard, &mut seen)? {
                        return Ok(done);
                    }
                }
                Signal::Gone => return Err(self.gone().into()),
                Signal::Event(event) => heard.say(event_line(&event, self.container), &mut seen),
                Signal::Node(node) if heard.container_is_silent => {
                    if let Some(why) = not_ready(&node) {
                        return Err(Failure::new(Cause::NodeNotReady, why).into());
                    }
                }
                Signal::Node(_) => {}
                Signal::Broken(error) => {
                    heard.say(Some("the connection is lost; trying again …".to_owned()), &mut seen);
                    give_up(error, *broken_since.get_or_insert_with(Instant::now))?;
                }
                Signal::TimeIsUp => {
                    return Err(timed_out(self.container, self.timeout.unwrap_or_default(), &heard.last).into());
                }
            }
        }
        Err(Failure::new(Cause::Lost, format!("nothing more is heard of pod {}", self.pod)).into())
    }

    /// Until it has ended; its exit status.
    pub(crate) async fn ended(&self) -> Result<i32, SessionError> {
        let mut signals = self.pod_signals();
        let mut broken_since = None;
        while let Some(signal) = signals.next().await {
            match signal {
                Signal::Pod(pod) => {
                    broken_since = None;
                    match progress(&pod, self.container) {
                        Progress::Terminated(state) => return Ok(state.exit_code),
                        Progress::Never(why) => return Err(Failure::new(Cause::PodEnded, why).into()),
                        _ => {}
                    }
                }
                Signal::Gone => return Err(self.gone().into()),
                Signal::Broken(error) => give_up(error, *broken_since.get_or_insert_with(Instant::now))?,
                Signal::Event(_) | Signal::Node(_) | Signal::TimeIsUp => {}
            }
        }
        Err(Failure::new(Cause::Lost, format!("nothing more is heard of pod {}", self.pod)).into())
    }

    fn judge(
        &self,
        pod: &Pod,
        heard: &mut Heard,
        seen: &mut impl FnMut(&str),
    ) -> Result<Option<Progress>, SessionError> {
        match progress(pod, self.container) {
            Progress::Waiting(waiting) => {
                heard.container_is_silent = waiting == Waiting::default();
                if let Some(failure) = stuck(self.container, self.image, &waiting).or_else(|| unscheduled(pod)) {
                    return Err(failure.into());
                }
                heard.say(waiting_line(&waiting), seen);
                Ok(None)
            }
            Progress::Never(why) => Err(Failure::new(Cause::PodEnded, why).into()),
            Progress::Terminated(state) => match never_began(self.container, &state) {
                Some(failure) => Err(failure.into()),
                None => Ok(Some(Progress::Terminated(state))),
            },
            Progress::Running => Ok(Some(Progress::Running)),
        }
    }

    fn gone(&self) -> Failure {
        Failure::new(Cause::PodEnded, format!("pod {} was deleted", self.pod))
    }

    fn pod_signals(&self) -> Signals<'static> {
        let pods = watcher::watch_object(self.pods.clone(), self.pod).default_backoff();
        Box::pin(pods.map(|pod| match pod {
            Ok(Some(pod)) => Signal::Pod(Box::new(pod)),
            Ok(None) => Signal::Gone,
            Err(error) => Signal::Broken(error),
        }))
    }

    /// They make a wait less boring, no more: without the right to read them it is as good.
    fn event_signals(&self) -> Signals<'static> {
        let namespace = self.pods.namespace().unwrap_or("default");
        let events = Api::<Event>::namespaced(self.pods.clone().into_client(), namespace);
        let of_pod =
            watcher::Config::default().fields(&format!("involvedObject.kind=Pod,involvedObject.name={}", self.pod));
        let events = watcher(events, of_pod).default_backoff().applied_objects();
        Box::pin(events.filter_map(async |event| Some(Signal::Event(Box::new(event.ok()?)))))
    }

    fn node_signals(&self, node: Option<String>) -> Signals<'static> {
        let Some(node) = node else { return Box::pin(stream::pending()) };
        let nodes = Api::<Node>::all(self.pods.clone().into_client());
        let later = stream::once(tokio::time::sleep(SILENCE));
        let nodes = later.flat_map(move |()| watcher::watch_object(nodes.clone(), &node).default_backoff());
        Box::pin(nodes.filter_map(async |node| Some(Signal::Node(Box::new(node.ok()??)))))
    }

    fn alarm(&self) -> Signals<'static> {
        match self.timeout {
            Some(limit) => Box::pin(stream::once(tokio::time::sleep(limit)).map(|()| Signal::TimeIsUp)),
            None => Box::pin(stream::pending()),
        }
    }
}

/// What was said last, so that nothing is said twice.
#[derive(Default)]
struct Heard {
    last: String,
    container_is_silent: bool,
}

impl Heard {
    fn say(&mut self, line: Option<String>, seen: &mut impl FnMut(&str)) {
        if let Some(line) = line.filter(|line| *line != self.last) {
            seen(&line);
            self.last = line;
        }
    }
}

/// `ContainerCreating` says nothing that people want to know: most containers are past it before one has read it.
fn waiting_line(waiting: &Waiting) -> Option<String> {
    match (waiting.reason.as_str(), waiting.message.as_str()) {
        ("" | "ContainerCreating", "") => None,
        (reason, "") => Some(format!("waiting: {reason} …")),
        (reason, message) => Some(format!("waiting: {reason}: {message}")),
    }
}

/// Of this container only; a pull that takes no time is not worth a line.
fn event_line(event: &Event, container: &str) -> Option<String> {
    let path = event.involved_object.field_path.as_deref().unwrap_or_default();
    let is_ours = path.ends_with(&format!("{{{container}}}")) || path.is_empty();
    let message = event.message.as_deref().unwrap_or_default();
    match event.reason.as_deref()? {
        "Pulling" if is_ours => Some(format!("{message} …")),
        "Pulled" if is_ours && message.starts_with("Successfully") => Some(message.to_owned()),
        "FailedScheduling" | "FailedMount" | "FailedCreatePodSandBox" | "NodeNotReady" => Some(message.to_owned()),
        _ => None,
    }
}

fn unscheduled(pod: &Pod) -> Option<Failure> {
    let status = pod.status.as_ref()?;
    let scheduled = status.conditions.iter().flatten().find(|condition| condition.type_ == "PodScheduled")?;
    let why = scheduled.message.as_ref().filter(|_| scheduled.status == "False")?;
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    Some(Failure::new(Cause::NodeNotReady, format!("pod {name} is not scheduled: {why}")))
}

/// Why a node starts nothing, in its own words.
pub fn not_ready(node: &Node) -> Option<String> {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.find(|condition| condition.type_ == "Ready")?;
    if ready.status == "True" {
        return None;
    }
    let why = ready.message.as_deref().or(ready.reason.as_deref()).unwrap_or("no reason given");
    Some(format!("node {} is not ready: {why}", node.metadata.name.as_deref().unwrap_or_default()))
}

/// What another try would not change, or what was tried for long enough.
fn give_up(error: watcher::Error, since: Instant) -> Result<(), SessionError> {
    match error {
        watcher::Error::InitialListFailed(error @ kube::Error::Api(_))
        | watcher::Error::WatchStartFailed(error @ kube::Error::Api(_)) => Err(error.into()),
        error if since.elapsed() > LOST_AFTER => {
            Err(Failure::new(Cause::Lost, format!("the connection to the API server is lost: {error}")).into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_people_want_to_know_is_said() {
        let check = |reason: &str, path: &str, message: &str, expected: Option<&str>| {
            let event =
                json!({"metadata": {}, "involvedObject": {"fieldPath": path}, "reason": reason, "message": message});
            let event: Event = serde_json::from_value(event).unwrap();
            assert_eq!(event_line(&event, "d").as_deref(), expected, "{reason} {path}");
        };
        let ours = "spec.ephemeralContainers{d}";
        check("Pulling", ours, "Pulling image \"x\"", Some("Pulling image \"x\" …"));
        check("Pulling", "spec.containers{app}", "Pulling image \"x\"", None);
        let pulled = "Successfully pulled image \"x\" in 1s. Image size: 5 bytes.";
        check("Pulled", ours, pulled, Some(pulled));
        check("Pulled", ours, "Container image \"x\" already present on machine", None);
        check("FailedScheduling", "", "0/1 nodes are available", Some("0/1 nodes are available"));
        check("Created", ours, "Created container: d", None);
    }

    #[test]
    fn a_node_that_is_not_ready_and_a_pod_without_one_say_why() {
        let check = |status: &str, expected: Option<&str>| {
            let condition =
                json!({"type": "Ready", "status": status, "message": "Kubelet stopped posting node status."});
            let node = json!({"metadata": {"name": "n"}, "status": {"conditions": [condition]}});
            assert_eq!(not_ready(&serde_json::from_value(node).unwrap()).as_deref(), expected);
        };
        check("True", None);
        check("Unknown", Some("node n is not ready: Kubelet stopped posting node status."));
        let condition = json!({"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"});
        let pod = json!({"metadata": {"name": "p"}, "status": {"conditions": [condition]}});
        let failure = unscheduled(&serde_json::from_value(pod).unwrap()).unwrap();
        assert_eq!(
            (failure.cause, failure.message.as_str()),
            (Cause::NodeNotReady, "pod p is not scheduled: 0/1 nodes are available")
        );
    }
}
