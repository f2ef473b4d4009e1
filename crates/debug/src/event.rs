//! Sessions as events of their pod: who, with what, beside what, for how long, and how it ended. Pure.
//!
//! What is told can be read by everybody who may read events: no commands, no variables.

use k8s_openapi::api::core::v1::{ContainerStatus, Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;

use crate::{DebugPlan, DebugRequest, Facts, Limits, Profile, Rung, choose};

/// Who reports.
const REPORTER: &str = "remora-debug";
/// The server refuses longer messages.
const MAX_MESSAGE: usize = 1024;
/// Likewise, of names.
const MAX_NAME: usize = 253;

/// What is known of a session when it is begun.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The debug container.
    pub container: String,
    /// As it was asked for.
    pub image: String,
    /// What it may do.
    pub profile: Profile,
    /// Beside which container.
    pub target: Option<String>,
    /// How long it may live.
    pub limits: Limits,
    /// As the API server knows the user.
    pub by: Option<String>,
}

/// How it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It runs.
    Started,
    /// It has ended, so; none if it is not known how.
    Ended(Option<i32>),
}

impl Told {
    /// Of the rung of a plan that was admitted.
    pub fn of(plan: &DebugPlan, rung: &Rung, request: &DebugRequest, facts: &Facts) -> Told {
        Told {
            container: plan.container.clone(),
            image: plan.image.name.clone(),
            profile: rung.profile,
            target: plan.target.clone(),
            limits: request.limits,
            by: facts.user.clone(),
        }
    }

    /// The event. The pod is the one in whose status the container has come to run: there the node tells the image's digest.
    pub fn event(&self, pod: &Pod, moment: Moment, now: Timestamp) -> Event {
        let (reason, happened) = match moment {
            Moment::Started => ("DebugSessionStarted", "started".to_owned()),
            Moment::Ended(Some(code)) => ("DebugSessionEnded", format!("ended with exit code {code}")),
            Moment::Ended(None) => ("DebugSessionEnded", "ended".to_owned()),
        };
        let name = pod.metadata.name.clone().unwrap_or_default();
        let message = format!("Debug session {} {happened}: {}", self.container, self.details(pod));
        Event {
            metadata: ObjectMeta {
                name: Some(event_name(&name, now)),
                namespace: pod.metadata.namespace.clone(),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                field_path: Some(format!("spec.ephemeralContainers{{{}}}", self.container)),
                name: Some(name),
                namespace: pod.metadata.namespace.clone(),
                resource_version: None,
                uid: pod.metadata.uid.clone(),
            },
            reason: Some(reason.to_owned()),
            message: Some(cut(&message, MAX_MESSAGE).to_owned()),
            type_: Some("Normal".to_owned()),
            action: Some(reason.trim_start_matches("DebugSession").to_owned()),
            event_time: Some(MicroTime(now)),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(1),
            reporting_component: Some(REPORTER.to_owned()),
            reporting_instance: Some(self.container.clone()),
            source: Some(EventSource { component: Some(REPORTER.to_owned()), host: None }),
            ..Event::default()
        }
    }

    fn details(&self, pod: &Pod) -> String {
        let status = choose::status(pod, &self.container);
        let limit = |name: &str, limit: Option<std::time::Duration>| limit.map(|limit| format!("{name} {limit:?}"));
        let parts = [
            self.by.as_ref().map(|by| format!("by {by}")),
            Some(format!("image {}", digest(&self.image, status))),
            Some(format!("profile {}", self.profile.name())),
            self.target.as_ref().map(|target| format!("target {target}")),
            limit("ttl", self.limits.ttl),
            limit("idle timeout", self.limits.idle),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// With what the node says it is; a runtime names it by a digest of the manifest, or of the configuration.
fn digest(image: &str, status: Option<&ContainerStatus>) -> String {
    let known = status.map(|status| status.image_id.as_str()).unwrap_or_default();
    match known.find("sha256:").map(|at| &known[at..]) {
        Some(digest) if !image.contains(digest) => format!("{image} ({digest})"),
        _ => image.to_owned(),
    }
}

/// As every reporter names them: after the moment.
fn event_name(pod: &str, now: Timestamp) -> String {
    let moment = format!(".{:x}", now.as_nanosecond());
    format!("{}{moment}", cut(pod, MAX_NAME - moment.len()).trim_end_matches(['-', '.']))
}

/// At most so many bytes of it.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn told() -> Told {
        Told {
            container: "debugger-x".to_owned(),
            image: "busybox".to_owned(),
            profile: Profile::General,
            target: Some("app".to_owned()),
            limits: Limits { ttl: Some(Duration::from_secs(5400)), idle: None },
            by: Some("alice".to_owned()),
        }
    }

    fn pod(image_id: &str) -> Pod {
        let status =
            json!({"name": "debugger-x", "image": "busybox", "imageID": image_id, "ready": false, "restartCount": 0});
        let pod = json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u"}, "status": {"ephemeralContainerStatuses": [status]}});
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn who_with_what_beside_what_and_how_it_ended() {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        let event = told().event(&pod("docker.io/library/busybox@sha256:ab"), Moment::Started, now);
        let shown = serde_json::to_value(&event).unwrap();
        let object: Value = json!({"apiVersion": "v1", "kind": "Pod", "name": "web", "namespace": "shop", "uid": "u",
            "fieldPath": "spec.ephemeralContainers{debugger-x}"});
        assert_eq!((&shown["involvedObject"], &shown["reason"]), (&object, &json!("DebugSessionStarted")));
        let said = "Debug session debugger-x started: by alice, image busybox (sha256:ab), profile general, target app, ttl 5400s";
        assert_eq!(event.message.as_deref(), Some(said));
        assert_eq!(event.metadata.name.as_deref(), Some("web.de0b6b3a7640000"));
        let check = |moment: Moment, expected: &str| {
            let message = told().event(&pod(""), moment, now).message.unwrap();
            assert!(message.starts_with(expected) && message.contains("image busybox, profile"), "{message}");
        };
        check(Moment::Ended(Some(3)), "Debug session debugger-x ended with exit code 3: by alice");
        check(Moment::Ended(None), "Debug session debugger-x ended: by alice");
    }

    #[test]
    fn a_message_is_no_longer_than_the_server_takes() {
        let long = Told { by: Some("ä".repeat(1000)), ..told() };
        let now = Timestamp::from_second(0).unwrap();
        let message = long.event(&pod(""), Moment::Started, now).message.unwrap();
        assert!(message.len() <= MAX_MESSAGE && message.len() > MAX_MESSAGE - 4, "{}", message.len());
        assert_eq!(event_name(&"p".repeat(253), now).len(), 253);
    }
}
