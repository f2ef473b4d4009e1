//! Resource quotas: how much an object uses, which quotas it counts for, and what a quota holds afterwards. Pure; the API server writes what
//! [`charge`] gives together with the object, in one transaction, so that a quota is always exact; the controller asks [`recount`] when a quota
//! is new or has changed. Sources: upstream's `pkg/quota/v1/evaluator/core`, `k8s.io/apiserver` `pkg/admission/plugin/resourcequota`.

use std::collections::{BTreeMap, BTreeSet};

use remora_model::Kind;
use remora_model::kinds::{KINDS, Storage};
use remora_model::quantity::Quantity;
use serde_json::{Map, Value};

use crate::object::{at, field_mut, integer, list, set, text};
use crate::pod::amounts::{self, Amounts};
use crate::pod::status::qos_class;
use crate::pod::validation::resources::is_standard;

/// Quotas that limit these make every container say how much it needs.
const DEMANDED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
/// Kinds that are also counted under their own name.
const COUNTED: [&str; 6] =
    ["configmaps", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas", "secrets", "services"];

/// What happens to an object: one that has no `old` is new, one that has no `new` goes.
#[derive(Clone, Copy, Debug)]
pub struct Change<'v> {
    /// Its kind.
    pub kind: &'v Kind,
    /// As it is stored.
    pub old: Option<&'v Value>,
    /// As it will be.
    pub new: Option<&'v Value>,
}

impl Change<'_> {
    /// Whether it can concern a quota at all; most updates cannot.
    pub fn counts(&self) -> bool {
        let facts = |of: &Value| (is_over(of), integer(of, &["spec", "activeDeadlineSeconds"]).is_some());
        match (self.old, self.new) {
            (Some(old), Some(new)) => {
                is_pods(self.kind) && (facts(old) != facts(new) || self.is_resized() || holds_otherwise(new, old))
            }
            _ => self.kind.namespaced,
        }
    }

    /// Whether a pod is to have other resources than before.
    fn is_resized(&self) -> bool {
        let (Some(old), Some(new)) = (self.old, self.new) else { return false };
        let asked = |pod| resources_in(pod, &["spec"], ["containers", "initContainers"]);
        !asked(old).eq(asked(new))
    }

    /// Whether every container must say what it needs: in a new pod, and in one of other resources.
    fn is_new_or_resized(&self) -> bool {
        self.old.is_none() || self.is_resized()
    }

    /// A node reports what is: that is counted, and never refused.
    fn may_be_refused(&self) -> bool {
        match (self.old, self.new) {
            (Some(old), Some(new)) => at(old, &["spec"]) != at(new, &["spec"]),
            _ => true,
        }
    }
}

/// What `quota` is to be written as with the change; `None` if it need not be.
///
/// # Errors
/// Why the change may not be, in upstream's words: a quota would be exceeded, a container does not say what it needs, or the quota has not been
/// counted yet.
pub fn charge(quota: &Value, change: &Change<'_>) -> Result<Option<Value>, String> {
    let hard = amounts::read(at(quota, &["status", "hard"]));
    let share = |object: Option<&Value>| match object.filter(|object| matches(quota, change.kind, object)) {
        Some(object) => masked(usage(change.kind, object), &hard),
        None => Amounts::new(),
    };
    let (before, after) = (share(change.old), share(change.new));
    let used = amounts::read(at(quota, &["status", "used"]));
    if let Some(new) = change.new.filter(|_| change.is_new_or_resized())
        && matches(quota, change.kind, new)
    {
        judge_new(quota, change.kind, new, &hard, &used)?;
    }
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let of = |amounts: &Amounts, name: &str| amounts.get(name).copied().unwrap_or(Quantity::ZERO);
    let changed: Vec<_> = names.into_iter().filter(|name| of(&before, name) != of(&after, name)).collect();
    if changed.is_empty() {
        // One that is just being counted is written all the same, so that the count knows that it has missed something.
        return Ok((needs_count(quota) && counts(quota, change.kind)).then(|| quota.clone()));
    }
    let mut later = used.clone();
    for name in &changed {
        later.insert((*name).clone(), (of(&used, name) + of(&after, name) - of(&before, name)).max(Quantity::ZERO));
    }
    let exceeded: BTreeSet<&str> = changed
        .iter()
        .map(|name| name.as_str())
        .filter(|name| of(&after, name) > of(&before, name) && of(&later, name) > of(&hard, name))
        .collect();
    if !exceeded.is_empty() && change.may_be_refused() {
        let shown = |of: &Amounts| shown(of, &exceeded);
        let name = text(quota, &["metadata", "name"]);
        let more = |name: &&str| ((*name).to_owned(), of(&after, name) - of(&before, name));
        let asked: Amounts = exceeded.iter().map(more).collect();
        let (asked, used, hard) = (shown(&asked), shown(&used), shown(&hard));
        return Err(format!("exceeded quota: {name}, requested: {asked}, used: {used}, limited: {hard}"));
    }
    let mut charged = quota.clone();
    set(field_mut(&mut charged, "status"), "used", written(&later));
    Ok(Some(charged))
}

/// The status of a quota in whose namespace there are these objects.
pub fn recount<'v>(quota: &Value, objects: impl Iterator<Item = (&'static Kind, &'v Value)>) -> Value {
    let hard = amounts::read(at(quota, &["spec", "hard"]));
    let mut used: Amounts =
        hard.keys().filter(|name| is_counted(name)).map(|name| (name.clone(), Quantity::ZERO)).collect();
    for (kind, object) in objects.filter(|(kind, object)| matches(quota, kind, object)) {
        amounts::add(&mut used, &masked(usage(kind, object), &hard));
    }
    serde_json::json!({"hard": written(&hard), "used": written(&used)})
}

/// Whether a quota counts objects of a kind, or will once it has been counted.
pub fn counts(quota: &Value, kind: &Kind) -> bool {
    let hard = at(quota, &["spec", "hard"]).as_object().into_iter().flatten();
    hard.map(|(name, _)| name).any(|name| concerns(name, kind))
}

/// Whether a quota's status is not about what it asks for, or lacks a count.
pub fn needs_count(quota: &Value) -> bool {
    let hard = at(quota, &["spec", "hard"]).as_object().into_iter().flatten();
    amounts::read(at(quota, &["spec", "hard"])) != amounts::read(at(quota, &["status", "hard"]))
        || hard.map(|(name, _)| name).any(|name| is_counted(name) && at(quota, &["status", "used", name]).is_null())
}

/// The kinds that must be listed to recount a quota.
pub fn counted_kinds(quota: &Value) -> impl Iterator<Item = &'static Kind> + '_ {
    let mut seen = BTreeSet::new();
    let stored = KINDS.iter().filter(move |kind| match kind.storage {
        // Of two views of the same objects the first is enough.
        Storage::Stored(place) => kind.namespaced && seen.insert(place),
        Storage::Virtual => false,
    });
    stored.filter(move |kind| counts(quota, kind))
}

/// Whether a pod's node says that it has, or has been allotted, something else.
fn holds_otherwise(new: &Value, old: &Value) -> bool {
    let held = |pod| resources_in(pod, &["status"], ["containerStatuses", "initContainerStatuses"]);
    let pending = |pod| {
        let mut conditions = list(pod, &["status", "conditions"]).iter();
        conditions.find(|c| text(c, &["type"]) == "PodResizePending").map(|c| text(c, &["reason"]))
    };
    !held(old).eq(held(new)) || pending(old) != pending(new)
}

fn resources_in<'v>(
    pod: &'v Value,
    part: &'static [&'static str],
    lists: [&'static str; 2],
) -> impl Iterator<Item = (&'v Value, &'v Value)> {
    let entries = lists.into_iter().flat_map(move |field| list(at(pod, part), &[field]));
    entries.map(|entry| (at(entry, &["resources"]), at(entry, &["allocatedResources"])))
}

fn is_pods(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "pods"
}

/// What has ended uses nothing but its place.
fn is_over(pod: &Value) -> bool {
    matches!(text(pod, &["status", "phase"]), "Succeeded" | "Failed")
}

fn is_counted(name: &str) -> bool {
    KINDS.iter().any(|kind| concerns(name, kind))
}

/// Whether objects of a kind use this resource.
fn concerns(name: &str, kind: &Kind) -> bool {
    name == count_of(kind) || is_counted_by_name(kind) && name == kind.plural || is_pods(kind) && is_of_pods(name)
}

fn count_of(kind: &Kind) -> String {
    match kind.group {
        "" => format!("count/{}", kind.plural),
        group => format!("count/{}.{group}", kind.plural),
    }
}

fn is_counted_by_name(kind: &Kind) -> bool {
    kind.group.is_empty() && COUNTED.contains(&kind.plural)
}

fn is_of_pods(name: &str) -> bool {
    let is_extended = || name.strip_prefix("requests.").is_some_and(|extended| extended.contains('/'));
    name == "pods" || is_compute(name) || is_extended()
}

/// Whether a quota's resource is a standard one of containers: hugepages have no limits of their own.
pub(crate) fn is_compute(name: &str) -> bool {
    let plain = plain(name);
    is_standard(plain) && !(plain.starts_with("hugepages-") && name.starts_with("limits."))
}

/// A quota's resource without `requests.` or `limits.`.
pub(crate) fn plain(name: &str) -> &str {
    name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name)
}

/// How much one object uses.
fn usage(kind: &Kind, object: &Value) -> Amounts {
    let one = Quantity::of_count(1);
    let mut used = Amounts::from([(count_of(kind), one)]);
    if is_counted_by_name(kind) {
        used.insert(kind.plural.to_owned(), one);
    }
    if is_pods(kind) && !is_over(object) {
        used.insert("pods".to_owned(), one);
        let overhead = amounts::read(at(object, &["spec", "overhead"]));
        let [mut requests, mut limits] = ["requests", "limits"].map(|which| amounts::held_by_pod(object, which));
        amounts::add(&mut requests, &overhead);
        let limited = masked(overhead, &limits);
        amounts::add(&mut limits, &limited);
        used.extend(named(&requests, &limits));
    }
    used
}

/// Requests and limits under the names that quotas have for them.
fn named(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut all = Amounts::new();
    for (name, amount) in requests {
        all.insert(format!("requests.{name}"), *amount);
        if !name.contains('/') {
            all.insert(name.clone(), *amount);
        }
    }
    let standard = limits.iter().filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage"));
    all.extend(standard.map(|(name, amount)| (format!("limits.{name}"), *amount)));
    all
}

fn masked(amounts: Amounts, by: &Amounts) -> Amounts {
    amounts.into_iter().filter(|(name, _)| by.contains_key(name)).collect()
}

/// Whether a quota is for an object, by its scopes. Only pods have any.
fn matches(quota: &Value, kind: &Kind, object: &Value) -> bool {
    let spec = at(quota, &["spec"]);
    let scopes = list(spec, &["scopes"]).iter().filter_map(Value::as_str);
    let scoped = |scope: &str| is_pods(kind) && in_scope(object, scope, "Exists", &[]);
    let selected = |term: &Value| {
        let values = list(term, &["values"]);
        is_pods(kind) && in_scope(object, text(term, &["scopeName"]), text(term, &["operator"]), values)
    };
    scopes.into_iter().all(scoped) && list(spec, &["scopeSelector", "matchExpressions"]).iter().all(selected)
}

fn in_scope(pod: &Value, scope: &str, operator: &str, values: &[Value]) -> bool {
    let has_deadline = integer(pod, &["spec", "activeDeadlineSeconds"]).is_some_and(|seconds| seconds >= 0);
    let is_best_effort = || qos_class(pod) == "BestEffort";
    match scope {
        "Terminating" => has_deadline,
        "NotTerminating" => !has_deadline,
        "BestEffort" => is_best_effort(),
        "NotBestEffort" => !is_best_effort(),
        "CrossNamespacePodAffinity" => reaches_other_namespaces(pod),
        "PriorityClass" => {
            let class = text(pod, &["spec", "priorityClassName"]);
            match operator {
                "Exists" => !class.is_empty(),
                "DoesNotExist" => class.is_empty(),
                "In" => values.iter().any(|value| value == class),
                "NotIn" => !values.iter().any(|value| value == class),
                _ => false,
            }
        }
        _ => false,
    }
}

fn reaches_other_namespaces(pod: &Value) -> bool {
    let reaches = |term: &Value| !list(term, &["namespaces"]).is_empty() || !at(term, &["namespaceSelector"]).is_null();
    ["podAffinity", "podAntiAffinity"].into_iter().any(|which| {
        let of = at(pod, &["spec", "affinity", which]);
        let required = list(of, &["requiredDuringSchedulingIgnoredDuringExecution"]).iter();
        let preferred = list(of, &["preferredDuringSchedulingIgnoredDuringExecution"]).iter();
        required.chain(preferred.map(|term| at(term, &["podAffinityTerm"]))).any(reaches)
    })
}

/// Before amounts are compared: what is limited must be said, and what is used must be known.
fn judge_new(quota: &Value, kind: &Kind, object: &Value, hard: &Amounts, used: &Amounts) -> Result<(), String> {
    let name = text(quota, &["metadata", "name"]);
    let limited: Vec<&String> = hard.keys().filter(|name| concerns(name, kind)).collect();
    if is_pods(kind) {
        let unsaid = unsaid(object, &limited);
        if !unsaid.is_empty() {
            return Err(format!("failed quota: {name}: must specify {}", unsaid.join("; ")));
        }
    }
    let unknown = limited.iter().any(|resource| !used.contains_key(*resource));
    if unknown {
        let limited: Vec<&str> = limited.iter().map(|resource| resource.as_str()).collect();
        return Err(format!("status unknown for quota: {name}, resources: {}", limited.join(",")));
    }
    Ok(())
}

fn unsaid(pod: &Value, limited: &[&String]) -> Vec<String> {
    let mut containers_by_resource: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for field in ["containers", "initContainers"] {
        for container in list(pod, &["spec", field]) {
            let of = |which| amounts::of_container(container, which);
            let said = named(&of("requests"), &of("limits"));
            let demanded = limited.iter().filter(|name| DEMANDED.contains(&name.as_str()));
            for resource in demanded.filter(|name| !said.contains_key(**name)) {
                containers_by_resource.entry(resource).or_default().insert(text(container, &["name"]));
            }
        }
    }
    let told = containers_by_resource.into_iter().map(|(resource, containers)| {
        let containers: Vec<&str> = containers.into_iter().collect();
        format!("{resource} for: {}", containers.join(","))
    });
    told.collect()
}

fn shown(amounts: &Amounts, of: &BTreeSet<&str>) -> String {
    let amount = |name: &str| amounts.get(name).copied().unwrap_or(Quantity::ZERO).canonical();
    let told: Vec<String> = of.iter().map(|name| format!("{name}={}", amount(name))).collect();
    told.join(",")
}

fn written(amounts: &Amounts) -> Value {
    Value::Object(amounts.iter().map(|(name, amount)| (name.clone(), amount.canonical().into())).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::kinds::core;
    use serde_json::json;

    fn quota(hard: Value, used: Value) -> Value {
        json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
    }

    fn pod(requests: Value) -> Value {
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}})
    }

    fn create(quota: &Value, pod: &Value) -> Result<Option<Value>, String> {
        let charged = charge(quota, &Change { kind: core("pods"), old: None, new: Some(pod) });
        charged.map(|quota| quota.map(|quota| quota["status"]["used"].clone()))
    }

    #[test]
    fn what_a_pod_needs_is_added_until_it_is_too_much() {
        let limited = quota(json!({"pods": "2", "requests.cpu": "1"}), json!({"pods": "1", "requests.cpu": "600m"}));
        let used = create(&limited, &pod(json!({"cpu": "400m"}))).unwrap().unwrap();
        assert_eq!(used, json!({"pods": "2", "requests.cpu": "1"}));
        assert_eq!(
            create(&limited, &pod(json!({"cpu": "500m"}))).unwrap_err(),
            "exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1"
        );
        assert_eq!(create(&limited, &pod(json!({}))).unwrap_err(), "failed quota: q: must specify requests.cpu for: c");
        let uncounted = quota(json!({"pods": "2"}), json!({}));
        assert_eq!(create(&uncounted, &pod(json!({}))).unwrap_err(), "status unknown for quota: q, resources: pods");
        let new = json!({"spec": {"hard": {"pods": "0"}}});
        let change = Change { kind: core("pods"), old: None, new: Some(&pod(json!({}))) };
        assert_eq!(charge(&new, &change), Ok(Some(new)), "before it is counted it is written as it is");
    }

    #[test]
    fn a_resize_is_charged_with_what_it_adds_and_what_a_node_reports_is_never_refused() {
        let limited = quota(json!({"requests.cpu": "1"}), json!({"requests.cpu": "600m"}));
        let change = |old: &Value, new: &Value| {
            let change = Change { kind: core("pods"), old: Some(old), new: Some(new) };
            assert!(change.counts());
            charge(&limited, &change).map(|quota| quota.map(|quota| quota["status"]["used"]["requests.cpu"].clone()))
        };
        let old = pod(json!({"cpu": "400m"}));
        assert_eq!(change(&old, &pod(json!({"cpu": "500m"}))), Ok(Some(json!("700m"))));
        assert_eq!(change(&old, &pod(json!({"cpu": "100m"}))), Ok(Some(json!("300m"))));
        let refused =
            "exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1";
        assert_eq!(change(&old, &pod(json!({"cpu": "900m"}))), Err(refused.to_owned()));
        let mut reported = old.clone();
        reported["status"] = json!({"containerStatuses": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]});
        assert_eq!(change(&old, &reported), Ok(Some(json!("2200m"))));
    }

    #[test]
    fn what_has_ended_or_goes_is_given_back() {
        let full = quota(json!({"pods": "1", "count/pods": "1"}), json!({"pods": "1", "count/pods": "1"}));
        let (running, mut over) = (pod(json!({})), pod(json!({})));
        over["status"] = json!({"phase": "Succeeded"});
        let after = |old: &Value, new: Option<&Value>| {
            let change = Change { kind: core("pods"), old: Some(old), new };
            assert!(change.counts());
            charge(&full, &change).unwrap().map(|quota| quota["status"]["used"].clone())
        };
        assert_eq!(after(&running, Some(&over)), Some(json!({"pods": "0", "count/pods": "1"})));
        assert_eq!(after(&over, None), Some(json!({"pods": "1", "count/pods": "0"})));
        assert_eq!(after(&running, None), Some(json!({"pods": "0", "count/pods": "0"})));
        let same = Change { kind: core("pods"), old: Some(&running), new: Some(&running) };
        assert!(!same.counts());
    }

    #[test]
    fn a_quota_with_scopes_is_for_the_pods_in_them() {
        let check = |spec: Value, pod: Value, expected: bool| {
            let mut quota = quota(json!({"pods": "1"}), json!({"pods": "0"}));
            quota["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
            assert_eq!(create(&quota, &pod).unwrap().is_some(), expected, "{quota}");
        };
        let burstable = || pod(json!({"cpu": "1"}));
        check(json!({"scopes": ["BestEffort"]}), burstable(), false);
        check(json!({"scopes": ["BestEffort"]}), pod(json!({})), true);
        check(json!({"scopes": ["NotBestEffort", "NotTerminating"]}), burstable(), true);
        check(json!({"scopes": ["Terminating"]}), burstable(), false);
        let classes = |operator: &str| {
            let term = json!({"scopeName": "PriorityClass", "operator": operator, "values": ["gold"]});
            json!({"scopeSelector": {"matchExpressions": [term]}})
        };
        let mut gold = burstable();
        gold["spec"]["priorityClassName"] = "gold".into();
        check(classes("In"), gold.clone(), true);
        check(classes("NotIn"), gold, false);
        check(classes("In"), burstable(), false);
    }

    #[test]
    fn a_quota_is_counted_when_its_status_is_about_something_else() {
        let check = |quota: Value, expected: bool| assert_eq!(needs_count(&quota), expected, "{quota}");
        check(json!({"spec": {"hard": {"pods": "1"}}, "status": {}}), true);
        check(json!({"spec": {"hard": {"pods": "1"}}, "status": {"hard": {"pods": "2"}, "used": {"pods": "0"}}}), true);
        check(
            json!({"spec": {"hard": {"pods": "1"}}, "status": {"hard": {"pods": "1"}, "used": {"pods": "0"}}}),
            false,
        );
        // What nothing counts yet may be counted by a later version.
        check(json!({"spec": {"hard": {"gold": "1"}}, "status": {"hard": {"gold": "1"}}}), false);
        check(json!({"spec": {"hard": {"pods": "1"}}, "status": {"hard": {"pods": "1"}}}), true);
    }

    #[test]
    fn a_recount_knows_what_is_there() {
        let limited =
            quota(json!({"pods": "9", "cpu": "9", "configmaps": "9", "count/secrets": "9", "gold": "1"}), json!({}));
        let kinds: Vec<&str> = counted_kinds(&limited).map(|kind| kind.plural).collect();
        assert_eq!(kinds, ["configmaps", "pods", "secrets"]);
        let (a, b, map) = (pod(json!({"cpu": "1"})), pod(json!({"cpu": "500m"})), json!({}));
        let objects = [(core("pods"), &a), (core("pods"), &b), (core("configmaps"), &map)];
        let status = recount(&limited, objects.into_iter());
        assert_eq!(status["used"], json!({"pods": "2", "cpu": "1500m", "configmaps": "1", "count/secrets": "0"}));
        assert_eq!(status["hard"], limited["spec"]["hard"]);
    }
}
