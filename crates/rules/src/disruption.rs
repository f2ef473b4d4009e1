//! What disruption budgets allow: how many of their pods are healthy and how many must be, and whether one more may be evicted (upstream:
//! `pkg/controller/disruption`, `pkg/registry/core/pod/storage/eviction.go`). Pure: called by the controller, which counts, and by evictions.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use remora_model::Status;
use remora_model::status::{Cause, Qualified};
use serde_json::{Value, json};

use crate::int_or_percent::{self, Round};
use crate::object::{at, field_mut, integer, list, object_mut, set, text, typed};
use crate::selector::labels::Selector;
use crate::time;

/// How long a pod that may be evicted has to go; then it counts again.
const TIME_TO_GO: SignedDuration = SignedDuration::from_mins(2);
/// Pods that may be evicted and are still there.
const MOST_GOING: usize = 2000;
const CONDITION: &str = "DisruptionAllowed";

/// Whether a budget is for this pod. One without a selector is for none, one with an empty selector for all.
pub fn covers(budget: &Value, pod: &Value) -> bool {
    let selector = at(budget, &["spec", "selector"]);
    let labels = at(pod, &["metadata", "labels"]);
    !selector.is_null() && Selector::of(&typed::<LabelSelector>(selector)).is_some_and(|found| found.matches(labels))
}

/// Whether it must be known how many pods the owners of a budget's pods want.
pub fn needs_scale(budget: &Value) -> bool {
    !at(budget, &["spec", "maxUnavailable"]).is_null() || at(budget, &["spec", "minAvailable"]).is_string()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = list(pod, &["status", "conditions"]).iter();
    conditions.filter(|one| text(one, &["type"]) == "Ready").any(|one| text(one, &["status"]) == "True")
}

fn is_ending(pod: &Value) -> bool {
    !at(pod, &["metadata", "deletionTimestamp"]).is_null()
}

/// A budget that was counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// With its new status; none if that is as it was.
    pub changed: Option<Value>,
    /// When a pod that should have gone counts again.
    pub again: Option<Timestamp>,
}

/// Counts a budget by the pods that it covers and, where that matters, by how many pods their owners want.
pub fn count(budget: &Value, pods: &[&Value], scale: i64, now: Timestamp) -> Counted {
    let spec = at(budget, &["spec"]);
    let (most, least) = (at(spec, &["maxUnavailable"]), at(spec, &["minAvailable"]));
    let total = i64::try_from(pods.len()).unwrap_or(i64::MAX);
    let of = |amount: &Value| int_or_percent::of(amount, scale, Round::Up).unwrap_or_default();
    let (expected, desired) = match (most.is_null(), least) {
        (false, _) => (scale, (scale - of(most)).max(0)),
        (true, Value::String(_)) => (scale, of(least)),
        (true, Value::Null) => (0, 0),
        (true, number) => (total, number.as_i64().unwrap_or_default()),
    };
    let going = going(budget, pods, now);
    let is_going = |pod: &Value| going.iter().any(|(name, _)| name == text(pod, &["metadata", "name"]));
    let healthy = pods.iter().filter(|pod| is_ready(pod) && !is_ending(pod) && !is_going(pod)).count();
    let healthy = i64::try_from(healthy).unwrap_or(i64::MAX);
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let again = going.iter().filter_map(|(_, since)| time::parse(since)?.checked_add(TIME_TO_GO).ok()).min();
    let mut changed = budget.clone();
    let status = field_mut(&mut changed, "status");
    for (field, count) in [
        ("currentHealthy", healthy),
        ("desiredHealthy", desired),
        ("expectedPods", expected),
        ("disruptionsAllowed", allowed),
    ] {
        set(status, field, count.into());
    }
    let names: serde_json::Map<String, Value> = going.into_iter().map(|(name, since)| (name, since.into())).collect();
    set(status, "disruptedPods", if names.is_empty() { Value::Null } else { names.into() });
    set(status, "observedGeneration", at(budget, &["metadata", "generation"]).clone());
    say_what_is_allowed(status, now);
    Counted { changed: Some(changed).filter(|changed| changed != budget), again }
}

/// Pods that may be evicted and have not gone yet, with the time at which that was allowed.
fn going(budget: &Value, pods: &[&Value], now: Timestamp) -> Vec<(String, String)> {
    let noted = at(budget, &["status", "disruptedPods"]).as_object();
    let pods = || pods.iter().filter(|pod| !is_ending(pod)).map(|pod| text(pod, &["metadata", "name"]));
    let is_in_time = |since: &str| {
        let end = time::parse(since).and_then(|since| since.checked_add(TIME_TO_GO).ok());
        end.is_some_and(|end| end > now)
    };
    let noted = noted.into_iter().flatten().filter_map(|(name, since)| Some((name, since.as_str()?)));
    noted
        .filter(|(name, since)| pods().any(|pod| pod == name.as_str()) && is_in_time(since))
        .map(|(name, since)| (name.clone(), since.to_owned()))
        .collect()
}

fn say_what_is_allowed(status: &mut Value, now: Timestamp) {
    let allowed = integer(status, &["disruptionsAllowed"]).unwrap_or_default() > 0;
    let (word, reason) = if allowed { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let before = list(status, &["conditions"]).iter().find(|one| text(one, &["type"]) == CONDITION);
    let same = before.filter(|one| text(one, &["status"]) == word);
    let since = same.map_or_else(|| time::seconds(now), |one| text(one, &["lastTransitionTime"]).to_owned());
    let generation = at(status, &["observedGeneration"]).clone();
    let mut condition =
        json!({"type": CONDITION, "status": word, "lastTransitionTime": since, "reason": reason, "message": ""});
    set(&mut condition, "observedGeneration", generation);
    let others = list(status, &["conditions"]).iter().filter(|one| text(one, &["type"]) != CONDITION).cloned();
    let all: Vec<Value> = others.chain([condition]).collect();
    set(status, "conditions", all.into());
}

/// What a budget says to an eviction.
#[derive(Clone, Debug, PartialEq)]
pub enum Allowed {
    /// It does not mind, as long as the pod is as it was: it does not serve.
    Unserving,
    /// One less from now on: the budget as it is then.
    Spent(Value),
}

/// Whether a pod goes without asking: one that has ended, or not begun, or goes already.
pub fn asks_nobody(pod: &Value) -> bool {
    matches!(text(pod, &["status", "phase"]), "Succeeded" | "Failed" | "Pending") || is_ending(pod)
}

/// Whether this budget, which covers it, lets a pod be evicted.
///
/// # Errors
/// 429 if it does not, or is not counted yet.
pub fn judge(budget: &Value, pod: &Value, now: Timestamp) -> Result<Allowed, Status> {
    let number = |field: &str| integer(budget, &["status", field]).unwrap_or_default();
    let name = text(budget, &["metadata", "name"]);
    if !is_ready(pod) {
        let is_free = text(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
        let is_healthy = number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0;
        if is_free || is_healthy {
            return Ok(Allowed::Unserving);
        }
    }
    if number("observedGeneration") < integer(budget, &["metadata", "generation"]).unwrap_or_default() {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(10, why));
    }
    let going = at(budget, &["status", "disruptedPods"]).as_object().map_or(0, serde_json::Map::len);
    if going > MOST_GOING {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::forbidden(Qualified::new("policy", "poddisruptionbudget"), name, why));
    }
    if number("disruptionsAllowed") <= 0 {
        let (desired, healthy) = (number("desiredHealthy"), number("currentHealthy"));
        let why = format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently");
        return Err(refused(0, why));
    }
    let mut spent = budget.clone();
    let status = field_mut(&mut spent, "status");
    set(status, "disruptionsAllowed", (number("disruptionsAllowed") - 1).into());
    object_mut(status, "disruptedPods").insert(text(pod, &["metadata", "name"]).to_owned(), time::seconds(now).into());
    if integer(status, &["disruptionsAllowed"]) == Some(0) {
        say_what_is_allowed(status, now);
    }
    Ok(Allowed::Spent(spent))
}

fn refused(retry_after_seconds: u32, why: String) -> Status {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut status = Status::too_many_requests(message, retry_after_seconds);
    let cause = Cause { reason: "DisruptionBudget".to_owned(), message: why, field: String::new() };
    status.details.get_or_insert_default().causes.push(cause);
    status
}

/// An eviction cannot ask two budgets.
pub fn too_many() -> Status {
    let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    Status { reason: String::new(), ..Status::unknown(message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn budget(spec: Value) -> Value {
        let mut budget = json!({"metadata": {"name": "b", "generation": 1}, "spec": spec});
        budget["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
        budget
    }

    fn pod(name: &str, ready: bool) -> Value {
        let word = if ready { "True" } else { "False" };
        json!({
            "metadata": {"name": name, "labels": {"app": "web"}},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": word}]},
        })
    }

    fn numbers(budget: &Value) -> [i64; 4] {
        ["expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed"]
            .map(|field| budget["status"][field].as_i64().unwrap())
    }

    #[test]
    fn a_budget_is_counted_by_its_pods_and_what_their_owners_want() {
        let pods = [pod("a", true), pod("b", true), pod("c", false)];
        let all: Vec<&Value> = pods.iter().collect();
        let check = |spec: Value, expected: [i64; 4]| {
            let counted = count(&budget(spec.clone()), &all, 4, now()).changed.unwrap();
            assert_eq!(numbers(&counted), expected, "{spec}");
            assert_eq!(count(&counted, &all, 4, now()).changed, None);
        };
        check(json!({"minAvailable": 1}), [3, 1, 2, 1]);
        check(json!({"minAvailable": 3}), [3, 3, 2, 0]);
        check(json!({"minAvailable": "50%"}), [4, 2, 2, 0]);
        check(json!({"maxUnavailable": 3}), [4, 1, 2, 1]);
        check(json!({"maxUnavailable": "30%"}), [4, 2, 2, 0]);
        check(json!({}), [0, 0, 2, 0]);
    }

    #[test]
    fn what_is_spent_comes_back_only_if_the_pod_stays() {
        let pods = [pod("a", true), pod("b", true)];
        let all: Vec<&Value> = pods.iter().collect();
        let counted = count(&budget(json!({"minAvailable": 1})), &all, 0, now()).changed.unwrap();
        let Ok(Allowed::Spent(spent)) = judge(&counted, &pods[0], now()) else { panic!("refused") };
        assert_eq!(spent["status"]["disruptionsAllowed"], 0);
        assert_eq!(judge(&spent, &pods[1], now()).unwrap_err().code, 429);
        let again = count(&spent, &all, 0, now());
        assert_eq!(numbers(&again.changed.unwrap()), [2, 1, 1, 0]);
        assert_eq!(again.again, Some("2026-01-02T03:06:05Z".parse().unwrap()));
        let later = count(&spent, &all, 0, again.again.unwrap());
        assert_eq!((numbers(&later.changed.unwrap()), later.again), ([2, 1, 2, 1], None));
    }

    #[test]
    fn pods_that_do_not_serve_go_if_enough_others_do() {
        let sick = pod("a", false);
        let with = |policy: &str, healthy: i64| {
            let mut budget = budget(json!({"minAvailable": 1, "unhealthyPodEvictionPolicy": policy}));
            budget["status"] = json!({"currentHealthy": healthy, "desiredHealthy": 1, "observedGeneration": 1});
            judge(&budget, &sick, now()).is_ok()
        };
        assert!(with("AlwaysAllow", 0) && with("IfHealthyBudget", 1) && !with("IfHealthyBudget", 0));
        assert!(asks_nobody(&json!({"status": {"phase": "Failed"}})) && !asks_nobody(&sick));
    }

    #[test]
    fn a_budget_that_is_not_counted_yet_lets_none_go() {
        let error = judge(&budget(json!({"minAvailable": 1})), &pod("a", true), now()).unwrap_err();
        assert_eq!(
            error.details.unwrap().causes[0].message,
            "The disruption budget b is still being processed by the server."
        );
        assert!(covers(&budget(json!({})), &pod("a", true)) && !covers(&json!({"spec": {}}), &pod("a", true)));
    }
}
