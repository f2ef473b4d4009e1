//! The sessions that a pod has had: its ephemeral containers, and its own if it was made for one. Pure.

use k8s_openapi::api::core::v1::{EnvVar, EphemeralContainer, Pod};
use k8s_openapi::jiff::Timestamp;

use crate::{Progress, choose, progress};

/// The variable that says whose session it is: as the API server knew the maker, but not vouched for by it.
pub const MAKER: &str = "DEBUG_BY";

/// The label by which pods are known that were made for a session.
pub const MADE_FOR_A_SESSION: &str = "app.kubernetes.io/managed-by";

/// One session.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionRow {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// Its image.
    pub image: String,
    /// Whom it looks at.
    pub target: String,
    /// `running`, `ended (3)`, or why it waits.
    pub state: String,
    /// Whether it runs.
    pub is_running: bool,
    /// Who made it, if that is known.
    pub by: String,
    /// When it started, if it has.
    pub started: Option<Timestamp>,
    /// It has a terminal.
    pub tty: bool,
    /// It reads.
    pub stdin: bool,
}

/// All sessions of a pod, in the order in which they were asked for.
pub fn sessions(pod: &Pod) -> Vec<SessionRow> {
    let ephemeral = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
    let target = |c: &EphemeralContainer| c.target_container_name.clone().unwrap_or_default();
    let ephemeral = ephemeral.map(|c| row(pod, &as_ephemeral(c), target(c)));
    ephemeral.chain(of_a_node(pod)).collect()
}

/// What both kinds have in common.
struct Entry<'c> {
    name: &'c str,
    image: Option<&'c str>,
    by: Option<&'c str>,
    tty: bool,
    stdin: bool,
}

fn as_ephemeral(c: &EphemeralContainer) -> Entry<'_> {
    let by = maker(c.env.as_deref());
    Entry { name: &c.name, image: c.image.as_deref(), by, tty: c.tty == Some(true), stdin: c.stdin == Some(true) }
}

fn of_a_node(pod: &Pod) -> Option<SessionRow> {
    let labels = pod.metadata.labels.as_ref()?;
    labels.get(MADE_FOR_A_SESSION).filter(|manager| ["remora-debug", "kubectl-debug"].contains(&manager.as_str()))?;
    let spec = pod.spec.as_ref()?;
    let c = spec.containers.first()?;
    let by = maker(c.env.as_deref());
    let entry =
        Entry { name: &c.name, image: c.image.as_deref(), by, tty: c.tty == Some(true), stdin: c.stdin == Some(true) };
    Some(row(pod, &entry, format!("node/{}", spec.node_name.as_deref().unwrap_or_default())))
}

fn maker(env: Option<&[EnvVar]>) -> Option<&str> {
    env?.iter().find(|variable| variable.name == MAKER)?.value.as_deref()
}

fn row(pod: &Pod, entry: &Entry<'_>, target: String) -> SessionRow {
    let now = progress(pod, entry.name);
    let state = choose::status(pod, entry.name).and_then(|status| status.state.as_ref());
    let running = state.and_then(|state| state.running.as_ref()?.started_at.as_ref());
    let ended = state.and_then(|state| state.terminated.as_ref()?.started_at.as_ref());
    SessionRow {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        pod: pod.metadata.name.clone().unwrap_or_default(),
        container: entry.name.to_owned(),
        image: entry.image.unwrap_or_default().to_owned(),
        target,
        is_running: now == Progress::Running,
        state: state_words(&now),
        by: entry.by.unwrap_or_default().to_owned(),
        started: running.or(ended).map(|time| time.0),
        tty: entry.tty,
        stdin: entry.stdin,
    }
}

fn state_words(progress: &Progress) -> String {
    match progress {
        Progress::Running => "running".to_owned(),
        Progress::Waiting(waiting) if waiting.reason.is_empty() => "waiting".to_owned(),
        Progress::Waiting(waiting) => waiting.reason.clone(),
        Progress::Terminated(state) => match state.reason.as_deref() {
            Some("DeadlineExceeded") => "ended (time was up)".to_owned(),
            _ => format!("ended ({})", state.exit_code),
        },
        Progress::Never(_) => "never started".to_owned(),
    }
}

/// Whether a running entry is what would be asked for, but for its name and what the server fills in.
pub fn is_same_shape(wanted: &EphemeralContainer, present: &EphemeralContainer) -> bool {
    let shape = |c: &EphemeralContainer| EphemeralContainer {
        name: String::new(),
        image_pull_policy: None,
        termination_message_path: None,
        termination_message_policy: None,
        resources: None,
        ..c.clone()
    };
    shape(wanted) == shape(present)
}

/// How long ago, in one unit.
pub fn age(started: Timestamp, now: Timestamp) -> String {
    let seconds = (now.as_second() - started.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_session_of_a_pod_is_told() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"containers": [{"name": "app"}], "ephemeralContainers": [
                {"name": "a", "image": "busybox", "targetContainerName": "app", "tty": true, "stdin": true,
                 "env": [{"name": "DEBUG_BY", "value": "alice"}]},
                {"name": "b", "image": "x"}, {"name": "c", "image": "x"}, {"name": "d", "image": "x"},
            ]},
            "status": {"ephemeralContainerStatuses": [
                status("a", &json!({"running": {"startedAt": "2026-01-01T10:00:00Z"}})),
                status("b", &json!({"terminated": {"exitCode": 3, "startedAt": "2026-01-01T09:00:00Z"}})),
                status("c", &json!({"terminated": {"exitCode": 143, "reason": "DeadlineExceeded"}})),
            ]},
        }))
        .unwrap();
        let shown: Vec<String> = sessions(&pod)
            .iter()
            .map(|s| format!("{} {} {:?} {:?} {} {:?}", s.container, s.image, s.target, s.by, s.state, s.started))
            .collect();
        let expected = [
            "a busybox \"app\" \"alice\" running Some(2026-01-01T10:00:00Z)",
            "b x \"\" \"\" ended (3) Some(2026-01-01T09:00:00Z)",
            "c x \"\" \"\" ended (time was up) None",
            "d x \"\" \"\" waiting None",
        ];
        assert_eq!(shown, expected);
    }

    fn status(name: &str, state: &serde_json::Value) -> serde_json::Value {
        json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state})
    }

    #[test]
    fn a_nodes_session_is_one_and_other_pods_are_none() {
        let check = |labels: serde_json::Value, expected: &[&str]| {
            let pod = json!({"metadata": {"name": "p", "labels": labels}, "spec": {"nodeName": "n", "containers": [{"name": "debugger"}]}});
            let rows = sessions(&serde_json::from_value(pod).unwrap());
            assert_eq!(rows.iter().map(|row| row.target.as_str()).collect::<Vec<_>>(), expected);
        };
        check(json!({"app.kubernetes.io/managed-by": "remora-debug"}), &["node/n"]);
        check(json!({"app.kubernetes.io/managed-by": "kubectl-debug"}), &["node/n"]);
        check(json!({"app.kubernetes.io/managed-by": "Helm"}), &[]);
        check(json!({}), &[]);
    }

    #[test]
    fn what_the_server_fills_in_changes_no_shape() {
        let entry = |more: serde_json::Value| -> EphemeralContainer {
            let mut entry = json!({"name": "a", "image": "busybox", "stdin": true});
            entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(entry).unwrap()
        };
        let wanted = entry(json!({}));
        let filled = json!({"name": "b", "resources": {}, "imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log"});
        assert!(is_same_shape(&wanted, &entry(filled)));
        assert!(!is_same_shape(&wanted, &entry(json!({"tty": true}))));
        assert!(!is_same_shape(&wanted, &entry(json!({"env": [{"name": "DEBUG_BY", "value": "bob"}]}))));
    }

    #[test]
    fn ages_are_short() {
        let check = |seconds: i64, expected: &str| {
            let now = Timestamp::from_second(1_000_000).unwrap();
            assert_eq!(age(Timestamp::from_second(1_000_000 - seconds).unwrap(), now), expected);
        };
        check(-5, "0s");
        check(119, "119s");
        check(120, "2m");
        check(7200, "2h");
        check(172_800, "2d");
    }
}
