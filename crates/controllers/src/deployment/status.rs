//! What a deployment's status says: how many pods of which sort, whether enough are available, whether the rollout comes forward. Pure. Source of
//! the rules: upstream's `progress.go`, `calculateStatus`.

use jiff::{SignedDuration, Timestamp};
use remora_rules::object::{at, field_mut, flag, integer, list, object_mut, set, text};
use remora_rules::time;
use serde_json::{Value, json};

use super::sets::{REVISION, counted, max_unavailable, replicas, total, wanted};

const PROGRESSING: &str = "Progressing";
const FAILURE: &str = "ReplicaFailure";
const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// What the status is made of.
pub(super) struct Facts<'f> {
    pub(super) deployment: &'f Value,
    /// All replica sets, with the sizes that they get.
    pub(super) all: &'f [Value],
    /// The one of the present template.
    pub(super) new: Option<&'f Value>,
    /// It is yet to be made.
    pub(super) is_made: bool,
    /// A rollout is judged by whether it comes forward; a change of size is not.
    pub(super) is_rollout: bool,
    pub(super) now: Timestamp,
}

/// The deployment with its new status and revision.
pub(super) fn next(facts: &Facts<'_>) -> Value {
    let mut deployment = facts.deployment.clone();
    if let Some(revision) =
        facts.new.map(|new| text(new, &["metadata", "annotations", REVISION])).filter(|r| !r.is_empty())
    {
        object_mut(field_mut(&mut deployment, "metadata"), "annotations").insert(REVISION.to_owned(), revision.into());
    }
    let mut status = Status(at(facts.deployment, &["status"]).clone());
    pause(facts, &mut status);
    announce(facts, &mut status);
    let before = status.clone();
    count(facts, &mut status);
    judge_availability(facts, &mut status);
    if facts.is_rollout {
        judge_progress(facts, &before, &mut status);
        pass_on_failure(facts, &mut status);
    }
    *field_mut(&mut deployment, "status") = status.0;
    deployment
}

/// When to look whether it has come forward, though nothing happens.
pub(super) fn deadline(deployment: &Value) -> Option<Timestamp> {
    let seconds = deadline_seconds(deployment)?;
    let status = Status(at(deployment, &["status"]).clone());
    let condition = status.condition(PROGRESSING)?;
    let reason = text(condition, &["reason"]);
    if is_complete(deployment, &status.0)
        || flag(deployment, &["spec", "paused"])
        || [TIMED_OUT, COMPLETE].contains(&reason)
    {
        return None;
    }
    let since = time::parse(text(condition, &["lastUpdateTime"]))?;
    // The time has whole seconds only, and must have passed.
    since.checked_add(SignedDuration::from_secs(seconds + 1)).ok()
}

/// Whether all pods are of the present template, and available.
pub(super) fn is_complete(deployment: &Value, status: &Value) -> bool {
    let size = replicas(deployment);
    let is_all = |field: &str| integer(status, &[field]).unwrap_or_default() == size;
    let observed = integer(status, &["observedGeneration"]).unwrap_or_default();
    let is_seen = observed >= integer(deployment, &["metadata", "generation"]).unwrap_or_default();
    is_seen && ["updatedReplicas", "replicas", "availableReplicas"].into_iter().all(is_all)
}

/// The deployment whose new replica set could not be made.
pub(super) fn failed(deployment: &Value, name: &str, why: &str, now: Timestamp) -> Option<Value> {
    deadline_seconds(deployment)?;
    let mut status = Status(at(deployment, &["status"]).clone());
    let message = format!("Failed to create new replica set \"{name}\": {why}");
    status.put(PROGRESSING, "False", "ReplicaSetCreateError", message, now);
    let mut failed = deployment.clone();
    *field_mut(&mut failed, "status") = status.0;
    Some(failed)
}

/// The deployment whose new replica set has the name of another one.
pub(super) fn collided(deployment: &Value) -> Value {
    let mut next = deployment.clone();
    let collisions = counted(deployment, "collisionCount") + 1;
    set(field_mut(&mut next, "status"), "collisionCount", collisions.into());
    next
}

/// Seconds; none if nobody waits for it.
fn deadline_seconds(deployment: &Value) -> Option<i64> {
    integer(deployment, &["spec", "progressDeadlineSeconds"]).filter(|seconds| *seconds != i64::from(i32::MAX))
}

/// Time that it was paused does not count.
fn pause(facts: &Facts<'_>, status: &mut Status) {
    let reason = status.reason(PROGRESSING).to_owned();
    if deadline_seconds(facts.deployment).is_none() || reason == TIMED_OUT {
        return;
    }
    match (flag(facts.deployment, &["spec", "paused"]), reason == PAUSED) {
        (true, false) => status.put(PROGRESSING, "Unknown", PAUSED, "Deployment is paused".to_owned(), facts.now),
        (false, true) => {
            let message = "Deployment is resumed".to_owned();
            status.put(PROGRESSING, "Unknown", "DeploymentResumed", message, facts.now);
        }
        _ => {}
    }
}

/// A replica set that is new to it.
fn announce(facts: &Facts<'_>, status: &mut Status) {
    let Some(new) = facts.new.filter(|_| deadline_seconds(facts.deployment).is_some()) else { return };
    let name = text(new, &["metadata", "name"]);
    if facts.is_made {
        let message = format!("Created new replica set \"{name}\"");
        status.put(PROGRESSING, "True", "NewReplicaSetCreated", message, facts.now);
    } else if status.condition(PROGRESSING).is_none() {
        status.put(PROGRESSING, "True", "FoundNewReplicaSet", format!("Found new replica set \"{name}\""), facts.now);
    }
}

fn count(facts: &Facts<'_>, status: &mut Status) {
    let updated = facts.new.map_or(0, |new| counted(new, "replicas"));
    let available = total(facts.all, "availableReplicas");
    for (field, count) in [
        ("replicas", total(facts.all, "replicas")),
        ("updatedReplicas", updated),
        ("readyReplicas", total(facts.all, "readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", (wanted(facts.all) - available).max(0)),
    ] {
        set(&mut status.0, field, if count == 0 { Value::Null } else { count.into() });
    }
    set(&mut status.0, "observedGeneration", at(facts.deployment, &["metadata", "generation"]).clone());
}

fn judge_availability(facts: &Facts<'_>, status: &mut Status) {
    let least = replicas(facts.deployment) - max_unavailable(facts.deployment);
    let (word, reason, message) = match total(facts.all, "availableReplicas") >= least {
        true => ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        false => ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
    };
    status.put("Available", word, reason, message.to_owned(), facts.now);
}

fn judge_progress(facts: &Facts<'_>, before: &Status, status: &mut Status) {
    let Some(seconds) = deadline_seconds(facts.deployment) else { return status.take(PROGRESSING) };
    let is_done =
        status.number("replicas") == status.number("updatedReplicas") && before.reason(PROGRESSING) == COMPLETE;
    if is_done {
        return;
    }
    let subject = match facts.new {
        Some(new) => format!("ReplicaSet \"{}\"", text(new, &["metadata", "name"])),
        None => format!("Deployment \"{}\"", text(facts.deployment, &["metadata", "name"])),
    };
    let now = facts.now;
    if is_complete(facts.deployment, &status.0) {
        status.put(PROGRESSING, "True", COMPLETE, format!("{subject} has successfully progressed."), now);
    } else if status.is_ahead_of(before) {
        status.renew(PROGRESSING, "ReplicaSetUpdated", format!("{subject} is progressing."), now);
    } else if before.is_late(seconds, now) {
        status.put(PROGRESSING, "False", TIMED_OUT, format!("{subject} has timed out progressing."), now);
    }
}

/// What has failed in a replica set has failed here.
fn pass_on_failure(facts: &Facts<'_>, status: &mut Status) {
    let failure = |set: &Value| Status(at(set, &["status"]).clone()).condition(FAILURE).cloned();
    let found = facts.new.and_then(failure).or_else(|| facts.all.iter().find_map(failure));
    match found {
        Some(condition) => {
            let word = |field: &str| text(&condition, &[field]).to_owned();
            status.put(FAILURE, &word("status"), &word("reason"), word("message"), facts.now);
        }
        None => status.take(FAILURE),
    }
}

#[derive(Clone, Debug)]
struct Status(Value);

impl Status {
    fn condition(&self, name: &str) -> Option<&Value> {
        list(&self.0, &["conditions"]).iter().find(|condition| text(condition, &["type"]) == name)
    }

    fn reason(&self, name: &str) -> &str {
        self.condition(name).map_or("", |condition| text(condition, &["reason"]))
    }

    fn number(&self, field: &str) -> i64 {
        integer(&self.0, &[field]).unwrap_or_default()
    }

    /// Sets a condition, unless it says the same for the same reason.
    fn put(&mut self, name: &str, word: &str, reason: &str, message: String, now: Timestamp) {
        let before = self.condition(name).cloned();
        let is_same = |before: &Value| text(before, &["status"]) == word && text(before, &["reason"]) == reason;
        if before.as_ref().is_some_and(is_same) {
            return;
        }
        let stays = before.filter(|before| text(before, &["status"]) == word);
        let since = stays.map_or_else(|| time::seconds(now).into(), |before| before["lastTransitionTime"].clone());
        self.take(name);
        let condition = json!({
            "type": name, "status": word, "reason": reason, "message": message,
            "lastUpdateTime": time::seconds(now), "lastTransitionTime": since,
        });
        match self.0.get_mut("conditions").and_then(Value::as_array_mut) {
            Some(conditions) => conditions.push(condition),
            None => set(&mut self.0, "conditions", json!([condition])),
        }
    }

    /// Sets a condition that is true, also if it says the same: it was true at this time.
    fn renew(&mut self, name: &str, reason: &str, message: String, now: Timestamp) {
        let was_true = self.condition(name).filter(|before| text(before, &["status"]) == "True").cloned();
        self.take(name);
        self.put(name, "True", reason, message, now);
        let conditions = self.0.get_mut("conditions").and_then(Value::as_array_mut);
        if let (Some(before), Some(last)) = (was_true, conditions.and_then(|all| all.last_mut())) {
            set(last, "lastTransitionTime", before["lastTransitionTime"].clone());
        }
    }

    fn take(&mut self, name: &str) {
        let Some(conditions) = self.0.get_mut("conditions").and_then(Value::as_array_mut) else { return };
        conditions.retain(|condition| text(condition, &["type"]) != name);
        if conditions.is_empty() {
            set(&mut self.0, "conditions", Value::Null);
        }
    }

    /// Whether more pods are new, ready or available, or fewer old.
    fn is_ahead_of(&self, before: &Self) -> bool {
        let old = |status: &Self| status.number("replicas") - status.number("updatedReplicas");
        let grows = |field: &str| self.number(field) > before.number(field);
        old(self) < old(before) || ["updatedReplicas", "readyReplicas", "availableReplicas"].into_iter().any(grows)
    }

    fn is_late(&self, seconds: i64, now: Timestamp) -> bool {
        let Some(condition) = self.condition(PROGRESSING) else { return false };
        match text(condition, &["reason"]) {
            COMPLETE => false,
            TIMED_OUT => true,
            _ => {
                let since = time::parse(text(condition, &["lastUpdateTime"]));
                let end = since.and_then(|since| since.checked_add(SignedDuration::from_secs(seconds)).ok());
                end.is_some_and(|end| end < now)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn deployment(replicas: i64) -> Value {
        json!({
            "metadata": {"name": "web", "generation": 1},
            "spec": {"replicas": replicas, "progressDeadlineSeconds": 10, "strategy": {"type": "Recreate"}}, "status": {},
        })
    }

    fn set_of(wanted: i64, there: i64, available: i64) -> Value {
        json!({
            "metadata": {"name": "web-1", "annotations": {REVISION: "3"}}, "spec": {"replicas": wanted},
            "status": {"replicas": there, "readyReplicas": available, "availableReplicas": available},
        })
    }

    fn step(deployment: &Value, new: &Value, is_made: bool, second: i64) -> Value {
        let all = [new.clone()];
        next(&Facts { deployment, all: &all, new: Some(new), is_made, is_rollout: true, now: at_second(second) })
    }

    fn progressing(deployment: &Value) -> (String, String, String) {
        let status = Status(deployment["status"].clone());
        let condition = status.condition(PROGRESSING).unwrap();
        let word = |field: &str| text(condition, &[field]).to_owned();
        (word("status"), word("reason"), word("message"))
    }

    #[test]
    fn a_rollout_is_told_from_its_beginning_to_its_end() {
        let check = |deployment: &Value, word: &str, reason: &str, message: &str| {
            assert_eq!(progressing(deployment), (word.to_owned(), reason.to_owned(), message.to_owned()));
        };
        let made = step(&deployment(2), &set_of(2, 0, 0), true, 0);
        check(&made, "True", "NewReplicaSetCreated", "Created new replica set \"web-1\"");
        assert_eq!(made["metadata"]["annotations"][REVISION], "3");
        let grown = step(&made, &set_of(2, 2, 0), false, 1);
        check(&grown, "True", "ReplicaSetUpdated", "ReplicaSet \"web-1\" is progressing.");
        let half = step(&grown, &set_of(2, 2, 1), false, 5);
        let status = json!({
            "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 1, "availableReplicas": 1, "unavailableReplicas": 1,
            "conditions": [
                {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable", "message": "Deployment does not have minimum availability.",
                    "lastUpdateTime": "1970-01-01T00:00:00Z", "lastTransitionTime": "1970-01-01T00:00:00Z"},
                {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "message": "ReplicaSet \"web-1\" is progressing.",
                    "lastUpdateTime": "1970-01-01T00:00:05Z", "lastTransitionTime": "1970-01-01T00:00:00Z"},
            ],
        });
        assert_eq!(half["status"], status);
        assert_eq!(deadline(&half), Some(at_second(16)));
        let late = step(&half, &set_of(2, 2, 1), false, 16);
        check(&late, "False", "ProgressDeadlineExceeded", "ReplicaSet \"web-1\" has timed out progressing.");
        assert_eq!(deadline(&late), None);
        let done = step(&late, &set_of(2, 2, 2), false, 20);
        check(&done, "True", "NewReplicaSetAvailable", "ReplicaSet \"web-1\" has successfully progressed.");
        assert_eq!(step(&done, &set_of(2, 2, 2), false, 99), done);
        assert_eq!(deadline(&done), None);
        // A pod that fails later is no failed rollout.
        check(
            &step(&done, &set_of(2, 2, 1), false, 999),
            "True",
            "NewReplicaSetAvailable",
            "ReplicaSet \"web-1\" has successfully progressed.",
        );
    }

    #[test]
    fn a_pause_stops_the_clock() {
        let mut paused = step(&deployment(2), &set_of(2, 2, 1), false, 0);
        paused["spec"]["paused"] = true.into();
        let paused = step(&paused, &set_of(2, 2, 1), false, 5);
        assert_eq!(progressing(&paused).1, "DeploymentPaused");
        assert_eq!(deadline(&paused), None);
        let mut resumed = paused;
        resumed["spec"]["paused"] = false.into();
        let resumed = step(&resumed, &set_of(2, 2, 1), false, 500);
        assert_eq!(progressing(&resumed).1, "DeploymentResumed");
        assert_eq!(deadline(&resumed), Some(at_second(511)));
    }

    #[test]
    fn failures_of_replica_sets_are_passed_on() {
        let mut broken = set_of(2, 0, 0);
        broken["status"]["conditions"] =
            json!([{"type": FAILURE, "status": "True", "reason": "FailedCreate", "message": "no"}]);
        let told = step(&deployment(2), &broken, false, 0);
        assert!(told["status"]["conditions"].to_string().contains("\"FailedCreate\""));
        let healed = step(&told, &set_of(2, 2, 2), false, 1);
        assert!(!healed["status"]["conditions"].to_string().contains(FAILURE));
        let failed = failed(&deployment(2), "web-1", "forbidden", at_second(0)).unwrap();
        assert_eq!(progressing(&failed).2, "Failed to create new replica set \"web-1\": forbidden");
        assert_eq!(collided(&collided(&deployment(1)))["status"]["collisionCount"], 2);
    }
}
