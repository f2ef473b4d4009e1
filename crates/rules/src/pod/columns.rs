//! What `kubectl get pods` shows: readiness, the one word for what the containers do, restarts (upstream: `printPod`).

use jiff::Timestamp;
use serde_json::Value;

use crate::object::{at, flag, integer, list, text};
use crate::table::duration::since;

/// The cells of a pod, one per column.
pub fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = summary(pod);
    let or_none = |path: &[&str]| match text(pod, path) {
        "" => "<none>".into(),
        word => Value::from(word),
    };
    vec![
        text(pod, &["metadata", "name"]).into(),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.clone().into(),
        summary.restarts(now).into(),
        since(at(pod, &["metadata", "creationTimestamp"]), now).into(),
        pod_ip(pod),
        or_none(&["spec", "nodeName"]),
        or_none(&["status", "nominatedNodeName"]),
        readiness_gates(pod).into(),
    ]
}

fn pod_ip(pod: &Value) -> Value {
    let first = list(pod, &["status", "podIPs"]).first().map_or("", |ip| text(ip, &["ip"]));
    match (first, text(pod, &["status", "podIP"])) {
        ("", "") => "<none>".into(),
        ("", ip) => ip.into(),
        (ip, _) => ip.into(),
    }
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list(pod, &["spec", "readinessGates"]);
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = gates.iter().filter(|gate| has_condition(pod, text(gate, &["conditionType"]))).count();
    format!("{open}/{}", gates.len())
}

fn has_condition(pod: &Value, name: &str) -> bool {
    let conditions = list(pod, &["status", "conditions"]);
    conditions.iter().any(|c| text(c, &["type"]) == name && text(c, &["status"]) == "True")
}

/// What the containers amount to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    /// When a container ended that was restarted since; RFC 3339 times sort as text.
    last_restart: String,
}

impl Summary {
    fn restarts(&self, now: Timestamp) -> String {
        match (self.restarts, self.last_restart.as_str()) {
            (0, _) | (_, "") => self.restarts.to_string(),
            (count, last) => format!("{count} ({} ago)", since(&last.into(), now)),
        }
    }

    fn count_restarts(&mut self, status: &Value) {
        self.restarts += integer(status, &["restartCount"]).unwrap_or_default();
        let ended = text(status, &["lastState", "terminated", "finishedAt"]);
        if ended > self.last_restart.as_str() {
            self.last_restart = ended.to_owned();
        }
    }
}

fn summary(pod: &Value) -> Summary {
    let sidecars: Vec<&str> = list(pod, &["spec", "initContainers"])
        .iter()
        .filter(|c| text(c, &["restartPolicy"]) == "Always")
        .map(|c| text(c, &["name"]))
        .collect();
    let mut summary = Summary {
        reason: first_reason(pod),
        total: list(pod, &["spec", "containers"]).len() + sidecars.len(),
        ..Summary::default()
    };
    let initializing = add_init(pod, &sidecars, &mut summary);
    if !initializing || has_condition(pod, "Initialized") {
        add_ordinary(pod, &sidecars, &mut summary);
    }
    if !at(pod, &["metadata", "deletionTimestamp"]).is_null() {
        let ended = matches!(text(pod, &["status", "phase"]), "Succeeded" | "Failed");
        if text(pod, &["status", "reason"]) == "NodeLost" {
            summary.reason = "Unknown".to_owned();
        } else if !ended {
            summary.reason = "Terminating".to_owned();
        }
    }
    summary
}

fn first_reason(pod: &Value) -> String {
    let gated = |c: &Value| text(c, &["type"]) == "PodScheduled" && text(c, &["reason"]) == "SchedulingGated";
    if list(pod, &["status", "conditions"]).iter().any(gated) {
        return "SchedulingGated".to_owned();
    }
    match text(pod, &["status", "reason"]) {
        "" => text(pod, &["status", "phase"]).to_owned(),
        reason => reason.to_owned(),
    }
}

/// Goes through the init containers up to the first that is not done; says whether there is one.
fn add_init(pod: &Value, sidecars: &[&str], summary: &mut Summary) -> bool {
    let total = list(pod, &["spec", "initContainers"]).len();
    for (i, status) in list(pod, &["status", "initContainerStatuses"]).iter().enumerate() {
        summary.count_restarts(status);
        let state = at(status, &["state"]);
        let ended = at(state, &["terminated"]);
        if integer(ended, &["exitCode"]) == Some(0) {
            continue;
        }
        if sidecars.contains(&text(status, &["name"])) && flag(status, &["started"]) {
            summary.ready += usize::from(flag(status, &["ready"]));
            continue;
        }
        let waiting = text(state, &["waiting", "reason"]);
        summary.reason = if !ended.is_null() {
            format!("Init:{}", why_ended(ended))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{i}/{total}")
        };
        return true;
    }
    false
}

fn why_ended(ended: &Value) -> String {
    match (text(ended, &["reason"]), integer(ended, &["signal"]).unwrap_or_default()) {
        ("", 0) => format!("ExitCode:{}", integer(ended, &["exitCode"]).unwrap_or_default()),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn add_ordinary(pod: &Value, sidecars: &[&str], summary: &mut Summary) {
    // From here only the restarts of what lives as long as the pod count.
    (summary.restarts, summary.last_restart) = (0, String::new());
    let lasting = list(pod, &["status", "initContainerStatuses"]).iter();
    lasting.filter(|s| sidecars.contains(&text(s, &["name"]))).for_each(|s| summary.count_restarts(s));
    let mut running = false;
    for status in list(pod, &["status", "containerStatuses"]).iter().rev() {
        summary.count_restarts(status);
        let state = at(status, &["state"]);
        let (waiting, ended) = (text(state, &["waiting", "reason"]), at(state, &["terminated"]));
        if !waiting.is_empty() {
            summary.reason = waiting.to_owned();
        } else if !ended.is_null() {
            summary.reason = why_ended(ended);
        } else if flag(status, &["ready"]) && !at(state, &["running"]).is_null() {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" && running {
        summary.reason = if has_condition(pod, "Ready") { "Running" } else { "NotReady" }.to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Ready, status and restarts, as kubectl shows them.
    fn check(pod: Value, expected: [&str; 3]) {
        let cells = cells(&pod, "2026-01-02T03:04:05Z".parse().unwrap());
        let shown = [&cells[1], &cells[2], &cells[3]].map(|c| c.as_str().unwrap());
        assert_eq!(shown, expected, "{pod}");
    }

    fn one(phase: &str, status: Value) -> Value {
        json!({"spec": {"containers": [{"name": "c"}]}, "status": {"phase": phase, "containerStatuses": [status]}})
    }

    #[test]
    fn one_word_says_what_the_containers_do() {
        check(one("Running", json!({"ready": true, "state": {"running": {}}})), ["1/1", "Running", "0"]);
        check(
            one(
                "Running",
                json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 3, "lastState": {"terminated": {"finishedAt": "2026-01-02T03:04:00Z"}}}),
            ),
            ["0/1", "CrashLoopBackOff", "3 (5s ago)"],
        );
        check(
            one("Succeeded", json!({"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}})),
            ["0/1", "Completed", "0"],
        );
        check(one("Failed", json!({"state": {"terminated": {"exitCode": 3}}})), ["0/1", "ExitCode:3", "0"]);
        check(
            one("Failed", json!({"state": {"terminated": {"exitCode": 137, "signal": 9}}})),
            ["0/1", "Signal:9", "0"],
        );
    }

    #[test]
    fn init_containers_come_first() {
        let pod = |state: Value| {
            json!({"spec": {"containers": [{"name": "c"}], "initContainers": [{"name": "a"}, {"name": "b"}]},
                   "status": {"phase": "Pending", "initContainerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 0}}}, {"name": "b", "state": state}],
                   "containerStatuses": [{"state": {"waiting": {"reason": "PodInitializing"}}}]}})
        };
        check(pod(json!({"running": {}})), ["0/1", "Init:1/2", "0"]);
        check(pod(json!({"waiting": {"reason": "ErrImagePull"}})), ["0/1", "Init:ErrImagePull", "0"]);
        check(pod(json!({"terminated": {"exitCode": 1, "reason": "Error"}})), ["0/1", "Init:Error", "0"]);
    }

    #[test]
    fn sidecars_count_as_containers() {
        let pod = json!({"spec": {"containers": [{"name": "c"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]},
            "status": {"phase": "Running", "initContainerStatuses": [{"name": "s", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}}],
            "containerStatuses": [{"ready": true, "state": {"running": {}}}]}});
        check(pod, ["2/2", "Running", "1"]);
    }

    #[test]
    fn a_deleted_pod_is_terminating_until_it_has_ended() {
        let mut pod = one("Running", json!({"ready": true, "state": {"running": {}}}));
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:35Z");
        check(pod.clone(), ["1/1", "Terminating", "0"]);
        pod["status"]["phase"] = json!("Succeeded");
        pod["status"]["containerStatuses"][0]["state"] = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
        check(pod, ["0/1", "Completed", "0"]);
    }

    #[test]
    fn a_finished_container_beside_a_running_one() {
        let pod = json!({"spec": {"containers": [{}, {}]}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}],
            "containerStatuses": [{"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}, {"ready": true, "state": {"running": {}}}]}});
        check(pod, ["1/2", "NotReady", "0"]);
    }
}
