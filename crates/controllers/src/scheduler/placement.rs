//! Which node a pod goes to, or why it goes to none. Pure. Source of the rules and words: upstream's plugins
//! NodeUnschedulable, TaintToleration and NodeAffinity, and its `FitError`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration};
use remora_model::node_selector;

use super::NAME;

/// What of a node counts for placement: a heartbeat changes nothing of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeView {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What keeps pods away that do not tolerate it.
    pub taints: Vec<Taint>,
    /// `kubectl cordon`.
    pub unschedulable: bool,
}

impl From<Node> for NodeView {
    fn from(node: Node) -> Self {
        let spec = node.spec.unwrap_or_default();
        Self {
            labels: node.metadata.labels.unwrap_or_default(),
            taints: spec.taints.unwrap_or_default(),
            unschedulable: spec.unschedulable.unwrap_or_default(),
        }
    }
}

/// What is to be done with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: it is another scheduler's, has a node, is gated, or ends.
    Nothing,
    /// It goes to this node.
    Bind(String),
    /// It goes nowhere as things are; the words are for its user.
    Refuse(String),
}

/// Decides. Of several nodes that fit, a pod's uid picks one, so that pods spread and a second look gives the same.
pub fn decide(pod: &Pod, nodes: &BTreeMap<String, NodeView>) -> Decision {
    let Some(spec) = pod.spec.as_ref().filter(|spec| is_ours(pod, spec)) else { return Decision::Nothing };
    if nodes.is_empty() {
        return Decision::Refuse("no nodes available to schedule pods".to_owned());
    }
    let mut fitting = Vec::new();
    let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
    for (name, node) in nodes {
        match refusal(spec, name, node) {
            None => fitting.push(name),
            Some(why) => *refusals.entry(why).or_default() += 1,
        }
    }
    let picked = pod
        .metadata
        .uid
        .iter()
        .flat_map(|uid| uid.bytes())
        .fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    match fitting.len() {
        0 => Decision::Refuse(fit_error(nodes.len(), &refusals)),
        count => Decision::Bind(fitting[picked % count].clone()),
    }
}

fn is_ours(pod: &Pod, spec: &PodSpec) -> bool {
    let scheduler = spec.scheduler_name.as_deref().unwrap_or(NAME);
    let has_node = spec.node_name.as_deref().is_some_and(|node| !node.is_empty());
    let is_gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    scheduler == NAME && !has_node && !is_gated && pod.metadata.deletion_timestamp.is_none()
}

fn refusal(spec: &PodSpec, name: &str, node: &NodeView) -> Option<String> {
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let cordon = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    if node.unschedulable && !is_tolerated(&cordon, tolerations) {
        return Some("node(s) were unschedulable".to_owned());
    }
    let keeps_away = |taint: &&Taint| taint.effect == "NoSchedule" || taint.effect == "NoExecute";
    let taint = node.taints.iter().filter(keeps_away).find(|taint| !is_tolerated(taint, tolerations));
    if let Some(Taint { key, value, .. }) = taint {
        return Some(format!("node(s) had untolerated taint {{{key}: {}}}", value.as_deref().unwrap_or_default()));
    }
    (!is_wanted(spec, name, node)).then(|| "node(s) didn't match Pod's node affinity/selector".to_owned())
}

/// core/v1 `Toleration.ToleratesTaint`.
fn is_tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    let meant =
        |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted.is_empty() || wanted == is);
    let value = taint.value.as_deref().unwrap_or_default();
    tolerations.iter().any(|toleration| {
        let matches = match toleration.operator.as_deref() {
            Some("Exists") => true,
            Some("Equal" | "") | None => toleration.value.as_deref().unwrap_or_default() == value,
            Some(_) => false,
        };
        matches && meant(&toleration.effect, &taint.effect) && meant(&toleration.key, &taint.key)
    })
}

/// Whether the pod's node selector and its required node affinity allow the node.
fn is_wanted(spec: &PodSpec, name: &str, node: &NodeView) -> bool {
    let selector = spec.node_selector.iter().flatten();
    let is_selected = selector.into_iter().all(|(key, value)| node.labels.get(key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    is_selected
        && required.is_none_or(|required| required.node_selector_terms.iter().any(|term| allows(term, name, node)))
}

/// All of a term's requirements; a term of nothing allows nothing.
fn allows(term: &NodeSelectorTerm, name: &str, node: &NodeView) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let field = |key: &str| (key == "metadata.name").then_some(name);
    let holds = |requirement: &&NodeSelectorRequirement| {
        holds(requirement, node.labels.get(&requirement.key).map(String::as_str))
    };
    let is_empty = labels.is_empty() && fields.is_empty();
    !is_empty && labels.iter().all(|one| holds(&one)) && fields.iter().all(|one| self::holds(one, field(&one.key)))
}

fn holds(requirement: &NodeSelectorRequirement, is: Option<&str>) -> bool {
    node_selector::holds(&requirement.operator, requirement.values.as_deref().unwrap_or_default(), is)
}

/// As upstream words it, with what preemption would have said.
fn fit_error(nodes: usize, refusals: &BTreeMap<String, usize>) -> String {
    let mut reasons: Vec<String> = refusals.iter().map(|(why, count)| format!("{count} {why}")).collect();
    reasons.sort();
    format!(
        "0/{nodes} nodes are available: {}. no new claims to deallocate, preemption: 0/{nodes} nodes are available: \
         {nodes} Preemption is not helpful for scheduling.",
        reasons.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(spec: Value, nodes: Value, expected: &Decision) {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": spec})).unwrap();
        let nodes: BTreeMap<String, Value> = serde_json::from_value(nodes).unwrap();
        let view = |(name, node): (String, Value)| (name, serde_json::from_value::<Node>(node).unwrap().into());
        let nodes = nodes.into_iter().map(view).collect();
        assert_eq!(decide(&pod, &nodes), *expected, "{spec}");
    }

    fn refused(nodes: usize, reasons: &str) -> Decision {
        Decision::Refuse(format!(
            "0/{nodes} nodes are available: {reasons}. no new claims to deallocate, preemption: 0/{nodes} nodes are \
             available: {nodes} Preemption is not helpful for scheduling."
        ))
    }

    #[test]
    fn a_pod_goes_to_the_node_that_it_fits() {
        let one = || json!({"one": {"metadata": {"labels": {"disk": "ssd", "cores": "8"}}}});
        let bound = Decision::Bind("one".into());
        let no = refused(1, "1 node(s) didn't match Pod's node affinity/selector");
        check(json!({}), one(), &bound);
        check(json!({"nodeSelector": {"disk": "ssd"}}), one(), &bound);
        check(json!({"nodeSelector": {"no": "such"}}), one(), &no);
        let affinity = |term: Value| {
            let terms = json!({"nodeSelectorTerms": [{"matchExpressions": []}, term]});
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
        };
        let label = |key: &str, operator: &str, values: &[&str]| {
            affinity(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}))
        };
        check(label("disk", "In", &["hdd", "ssd"]), one(), &bound);
        check(label("disk", "In", &["hdd"]), one(), &no);
        check(label("disk", "NotIn", &["ssd"]), one(), &no);
        check(label("none", "NotIn", &["ssd"]), one(), &bound);
        check(label("disk", "Exists", &[]), one(), &bound);
        check(label("disk", "DoesNotExist", &[]), one(), &no);
        check(label("cores", "Gt", &["7"]), one(), &bound);
        check(label("cores", "Gt", &["8"]), one(), &no);
        check(label("cores", "Lt", &["9"]), one(), &bound);
        check(label("disk", "Lt", &["9"]), one(), &no);
        let name = |name: &str| {
            affinity(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}))
        };
        check(name("one"), one(), &bound);
        check(name("two"), one(), &no);
    }

    #[test]
    fn taints_and_cordons_keep_pods_away_that_do_not_tolerate_them() {
        let tainted = || {
            json!({"one": {"spec": {"taints": [
                {"key": "soft", "effect": "PreferNoSchedule"}, {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
            ]}}})
        };
        let tolerates = |toleration: Value| json!({"tolerations": [toleration]});
        let bound = Decision::Bind("one".into());
        let no = refused(1, "1 node(s) had untolerated taint {gpu: yes}");
        check(json!({}), tainted(), &no);
        check(tolerates(json!({"operator": "Exists"})), tainted(), &bound);
        check(tolerates(json!({"key": "gpu", "operator": "Exists"})), tainted(), &bound);
        check(tolerates(json!({"key": "gpu", "value": "yes"})), tainted(), &bound);
        check(tolerates(json!({"key": "gpu", "value": "no"})), tainted(), &no);
        check(tolerates(json!({"key": "gpu", "operator": "Exists", "effect": "NoExecute"})), tainted(), &no);
        let cordoned = || json!({"one": {"spec": {"unschedulable": true}}});
        check(json!({}), cordoned(), &refused(1, "1 node(s) were unschedulable"));
        let key = "node.kubernetes.io/unschedulable";
        check(tolerates(json!({"key": key, "operator": "Exists", "effect": "NoSchedule"})), cordoned(), &bound);
    }

    #[test]
    fn reasons_are_counted_and_sorted() {
        let nodes = json!({
            "one": {"spec": {"unschedulable": true}}, "two": {"spec": {"unschedulable": true}}, "three": {},
        });
        let reasons = "1 node(s) didn't match Pod's node affinity/selector, 2 node(s) were unschedulable";
        check(json!({"nodeSelector": {"no": "such"}}), nodes, &refused(3, reasons));
        check(json!({}), json!({}), &Decision::Refuse("no nodes available to schedule pods".into()));
    }

    #[test]
    fn pods_that_are_not_ours_are_left_alone() {
        for spec in [
            json!({"schedulerName": "nobody"}),
            json!({"nodeName": "one"}),
            json!({"schedulingGates": [{"name": "wait"}]}),
        ] {
            check(spec, json!({"one": {}}), &Decision::Nothing);
        }
        let ending = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}});
        let nodes = BTreeMap::from([("one".to_owned(), NodeView::default())]);
        assert_eq!(decide(&serde_json::from_value(ending).unwrap(), &nodes), Decision::Nothing);
    }

    #[test]
    fn pods_spread_over_the_nodes_that_fit() {
        let nodes: BTreeMap<_, _> = ["a", "b", "c"].map(|name| (name.to_owned(), NodeView::default())).into();
        let mut used: Vec<Decision> = Vec::new();
        for uid in 0..30 {
            let pod = serde_json::from_value(json!({"metadata": {"uid": uid.to_string()}, "spec": {}})).unwrap();
            let decision = decide(&pod, &nodes);
            if !used.contains(&decision) {
                used.push(decision);
            }
        }
        assert_eq!(used.len(), 3);
    }
}
