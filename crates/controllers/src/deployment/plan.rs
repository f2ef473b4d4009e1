//! What is to be done about a deployment: which replica sets become its own, which are made, sized, forgotten, and what its status is then. Pure.
//! Source of the rules: upstream's `deployment_controller.go`, `sync.go`.

use jiff::Timestamp;
use remora_model::kinds;
use remora_rules::object::{at, flag, text};
use serde_json::{Value, json};

use super::rollout::{self, Size};
use super::sets::{self, is_rolling, made, max_revision, renewed, replicas, sized};
use super::status::{self, Facts};
use crate::objects::{controller_of, controller_reference, selector_of};
use crate::pods::has_ended;

/// Which replica sets become its own, which are let go, and which are its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Claim {
    pub(super) adopt: Vec<Value>,
    pub(super) release: Vec<Value>,
    pub(super) own: Vec<Value>,
}

/// By all replica sets of its namespace.
pub(super) fn claim(deployment: &Value, all: Vec<Value>) -> Claim {
    let mut claim = Claim::default();
    let Some(selector) = selector_of(deployment) else { return claim };
    let is_going = |object: &Value| !at(object, &["metadata", "deletionTimestamp"]).is_null();
    let uid = text(deployment, &["metadata", "uid"]);
    for set in all {
        let selects = selector.matches(at(&set, &["metadata", "labels"]));
        match controller_of(&set) {
            Some(owner) if text(owner, &["uid"]) != uid => {}
            Some(_) if selects => claim.own.push(set),
            Some(_) if is_going(deployment) => {}
            Some(_) => claim.release.push(set),
            None if selects && !is_going(deployment) && !is_going(&set) => {
                claim.adopt.push(set.clone());
                claim.own.push(set);
            }
            None => {}
        }
    }
    claim
}

/// A patch that makes a replica set the deployment's own.
pub(super) fn adoption(deployment: &Value, set: &Value) -> Value {
    let owner = controller_reference(kinds::v1("apps", "deployments"), deployment);
    json!({"metadata": {"ownerReferences": [owner], "uid": set["metadata"]["uid"]}})
}

/// A patch that lets a replica set go.
pub(super) fn release(deployment: &Value, set: &Value) -> Value {
    let uid = &deployment["metadata"]["uid"];
    json!({"metadata": {"ownerReferences": [{"$patch": "delete", "uid": uid}], "uid": set["metadata"]["uid"]}})
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// A new replica set.
    pub(super) create: Option<Value>,
    /// Replica sets as they were and as they are to be.
    pub(super) update: Vec<(Value, Value)>,
    /// Replica sets that are not kept any longer.
    pub(super) delete: Vec<Value>,
    /// The deployment with its new status; none if that stays.
    pub(super) status: Option<Value>,
    /// When to look again though nothing happens.
    pub(super) again: Option<Timestamp>,
}

/// What is to be done, by its own replica sets and all pods of its namespace.
pub(super) fn plan(deployment: &Value, own: Vec<Value>, pods: &[Value], now: Timestamp) -> Plan {
    let (new, old) = sets::split(deployment, own);
    let newest = max_revision(&old) + 1;
    let renew = |set: &Value| renewed(deployment, set, newest);
    let (step, is_rollout) = step(deployment, new.as_ref().map(renew).as_ref(), &old, pods, newest);
    let mut plan = Plan { create: step.create, ..Plan::default() };
    let mut all = Vec::new();
    let resize = |set: &Value, base: &Value| match step.sizes.iter().find(|(of, _)| is_same(of, set)) {
        Some((_, size)) => sized(deployment, base, *size),
        None => base.clone(),
    };
    for set in old.iter().chain(&new) {
        let base = if new.as_ref().is_some_and(|new| is_same(new, set)) { renew(set) } else { set.clone() };
        let next = resize(set, &base);
        if next != *set && !is_ending(deployment) {
            plan.update.push((set.clone(), next.clone()));
        }
        all.push(next);
    }
    all.extend(plan.create.clone());
    let new = if plan.create.is_some() || new.is_some() { all.last().cloned() } else { None };
    let facts = Facts { deployment, all: &all, new: new.as_ref(), is_made: plan.create.is_some(), is_rollout, now };
    let next = status::next(&facts);
    let is_done = is_rollout && status::is_complete(deployment, at(deployment, &["status"]));
    if (is_done || flag(deployment, &["spec", "paused"])) && !is_ending(deployment) {
        plan.delete = rollout::forgotten(deployment, &old);
    }
    // Only a rollout is ever said to be late: of all else the moment would come again and again.
    plan.again = status::deadline(&next).filter(|_| is_rollout);
    plan.status = Some(next).filter(|next| next != deployment);
    plan
}

fn is_same(a: &Value, b: &Value) -> bool {
    text(a, &["metadata", "uid"]) == text(b, &["metadata", "uid"])
}

fn is_ending(deployment: &Value) -> bool {
    !at(deployment, &["metadata", "deletionTimestamp"]).is_null()
}

#[derive(Default)]
struct Step {
    create: Option<Value>,
    sizes: Vec<Size>,
}

/// The next step, and whether it is one of a rollout.
fn step(deployment: &Value, new: Option<&Value>, old: &[Value], pods: &[Value], newest: i64) -> (Step, bool) {
    if is_ending(deployment) {
        return (Step::default(), false);
    }
    if flag(deployment, &["spec", "paused"]) || rollout::is_scaled(deployment, new, old) {
        return (Step { sizes: rollout::scale(deployment, new, old), ..Step::default() }, false);
    }
    let step = match (is_rolling(deployment), new) {
        (true, Some(new)) => Step { sizes: rollout::roll(deployment, new, old), ..Step::default() },
        (true, None) => {
            let size = rollout::room(deployment, old, 0);
            Step { create: Some(made(deployment, newest, size)), ..Step::default() }
        }
        (false, new) => recreate(deployment, new, old, pods, newest),
    };
    (step, true)
}

fn recreate(deployment: &Value, new: Option<&Value>, old: &[Value], pods: &[Value], newest: i64) -> Step {
    let sizes = rollout::recreate(old);
    if !sizes.is_empty() || old_pods_run(old, pods) {
        return Step { sizes, ..Step::default() };
    }
    let size = replicas(deployment);
    match new {
        None => Step { create: Some(made(deployment, newest, size)), ..Step::default() },
        Some(new) if replicas(new) != size => Step { sizes: vec![(new.clone(), size)], ..Step::default() },
        Some(_) => Step::default(),
    }
}

/// Whether pods of old replica sets are still there, be it on their way out.
fn old_pods_run(old: &[Value], pods: &[Value]) -> bool {
    let is_old = |pod: &Value| {
        let owner = controller_of(pod).map(|owner| text(owner, &["uid"])).unwrap_or_default();
        old.iter().any(|set| text(set, &["metadata", "uid"]) == owner)
    };
    sets::total(old, "replicas") > 0 || pods.iter().any(|pod| !has_ended(pod) && is_old(pod))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
