//! Where a pod may run: node selector, tolerations, affinity, spread, gates.

use k8s_openapi::api::core::v1::{
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, PodSpec, Toleration,
    TopologySpreadConstraint, WeightedPodAffinityTerm,
};
use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};

use super::one_of;
use crate::metadata::names;
use crate::metadata::validation::{invalid, validate_labels};
use crate::selector::labels;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) fn validate_node_selector(spec: &PodSpec, path: &Path<'_>) -> FieldErrors {
    let Some(selector) = &spec.node_selector else { return FieldErrors::new() };
    validate_labels(&serde_json::to_value(selector).unwrap_or_default(), path)
}

pub(super) fn validate_tolerations(spec: &PodSpec, path: &Path<'_>) -> FieldErrors {
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    tolerations.iter().enumerate().flat_map(|(i, t)| validate_toleration(t, &path.index(i))).collect()
}

pub(crate) fn validate_toleration(toleration: &Toleration, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let word = |of: &Option<String>| of.clone().unwrap_or_default();
    let (key, operator, value) = (word(&toleration.key), word(&toleration.operator), word(&toleration.value));
    let effect = word(&toleration.effect);
    if !key.is_empty() {
        errors.extend(invalid(&path.child("key"), &key, names::qualified_name));
    }
    if key.is_empty() && operator != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(FieldError::invalid(&path.child("operator"), operator.as_str(), detail));
    }
    if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(FieldError::invalid(&path.child("effect"), effect.as_str(), detail));
    }
    let place = path.child("operator");
    match operator.as_str() {
        "" | "Equal" => errors.extend(invalid(&place, &value, names::label_value)),
        "Exists" if !value.is_empty() => {
            let detail = "value must be empty when `operator` is 'Exists'";
            errors.push(FieldError::invalid(&place, value.as_str(), detail));
        }
        "Exists" => {}
        word => errors.push(FieldError::not_supported(&place, word, &["Equal", "Exists"])),
    }
    if !effect.is_empty() {
        errors.extend(one_of(&path.child("effect"), Some(&effect), &EFFECTS));
    }
    errors
}

pub(super) fn validate_affinity(spec: &PodSpec, path: &Path<'_>) -> FieldErrors {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let Some(affinity) = &spec.affinity else { return FieldErrors::new() };
    let mut errors = FieldErrors::new();
    if let Some(node) = &affinity.node_affinity {
        let path = path.child("nodeAffinity");
        if let Some(required) = &node.required_during_scheduling_ignored_during_execution {
            let path = path.child(REQUIRED);
            errors.extend(validate_terms(&required.node_selector_terms, &path.child("nodeSelectorTerms")));
        }
        let preferred = node.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        for (i, term) in preferred.enumerate() {
            let place = path.child(PREFERRED);
            let place = place.index(i);
            errors.extend(validate_weight(term.weight, &place));
            errors.extend(validate_term(&term.preference, &place.child("preference")));
        }
    }
    type Terms<'t> = (&'t Option<Vec<PodAffinityTerm>>, &'t Option<Vec<WeightedPodAffinityTerm>>);
    let mut pods = |field: &str, (required, preferred): Terms<'_>| {
        let path = path.child(field);
        for (i, term) in required.iter().flatten().enumerate() {
            errors.extend(validate_pod_term(term, &path.child(REQUIRED).index(i)));
        }
        for (i, term) in preferred.iter().flatten().enumerate() {
            let place = path.child(PREFERRED);
            let place = place.index(i);
            errors.extend(validate_weight(term.weight, &place));
            errors.extend(validate_pod_term(&term.pod_affinity_term, &place.child("podAffinityTerm")));
        }
    };
    if let Some(near) = &affinity.pod_affinity {
        let required = &near.required_during_scheduling_ignored_during_execution;
        pods("podAffinity", (required, &near.preferred_during_scheduling_ignored_during_execution));
    }
    if let Some(far) = &affinity.pod_anti_affinity {
        let required = &far.required_during_scheduling_ignored_during_execution;
        pods("podAntiAffinity", (required, &far.preferred_during_scheduling_ignored_during_execution));
    }
    errors
}

fn validate_weight(weight: i32, path: &Path<'_>) -> Option<FieldError> {
    let wrong = !(1..=100).contains(&weight);
    wrong.then(|| FieldError::invalid(&path.child("weight"), weight, "must be in the range 1-100"))
}

/// Which nodes something is for.
pub(crate) fn validate_selector(selector: &NodeSelector, path: &Path<'_>) -> FieldErrors {
    validate_terms(&selector.node_selector_terms, &path.child("nodeSelectorTerms"))
}

fn validate_terms(terms: &[NodeSelectorTerm], path: &Path<'_>) -> FieldErrors {
    if terms.is_empty() {
        return vec![FieldError::required(path, "must have at least one node selector term")];
    }
    terms.iter().enumerate().flat_map(|(i, term)| validate_term(term, &path.index(i))).collect()
}

fn validate_term(term: &NodeSelectorTerm, path: &Path<'_>) -> FieldErrors {
    let expressions = term.match_expressions.iter().flatten().enumerate();
    expressions.flat_map(|(i, one)| validate_requirement(one, &path.child("matchExpressions").index(i))).collect()
}

fn validate_requirement(one: &NodeSelectorRequirement, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let values = one.values.as_deref().unwrap_or_default();
    let place = path.child("values");
    match one.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(&place, detail));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(&place, detail));
        }
        "Gt" | "Lt" if values.len() != 1 => {
            errors.push(FieldError::required(&place, "must be specified single value when `operator` is 'Lt' or 'Gt'"));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        word => errors.push(FieldError::invalid(&path.child("operator"), word, "not a valid selector operator")),
    }
    errors.extend(invalid(&path.child("key"), &one.key, names::qualified_name));
    errors
}

fn validate_pod_term(term: &PodAffinityTerm, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (field, selector) in [("labelSelector", &term.label_selector), ("namespaceSelector", &term.namespace_selector)]
    {
        if let Some(selector) = selector {
            errors.extend(labels::validate(selector, &path.child(field)));
        }
    }
    for namespace in term.namespaces.iter().flatten() {
        errors.extend(invalid(&path.child("namespaces"), namespace, names::dns_label));
    }
    errors.extend(validate_topology(&term.topology_key, &path.child("topologyKey"), "can not be empty"));
    errors
}

fn validate_topology(key: &str, path: &Path<'_>, empty: &str) -> FieldErrors {
    match key {
        "" => vec![FieldError::required(path, empty)],
        key => invalid(path, key, names::qualified_name),
    }
}

pub(super) fn validate_spread(spec: &PodSpec, path: &Path<'_>) -> FieldErrors {
    let constraints = spec.topology_spread_constraints.as_deref().unwrap_or_default();
    let mut errors = FieldErrors::new();
    let mut seen = Vec::new();
    for (i, one) in constraints.iter().enumerate() {
        let path = path.index(i);
        errors.extend(validate_constraint(one, &path));
        let pair = (one.topology_key.as_str(), one.when_unsatisfiable.as_str());
        if seen.contains(&pair) {
            let shown = format!("{{{}, {}}}", pair.0, pair.1);
            errors.push(FieldError::duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), shown));
        }
        seen.push(pair);
    }
    errors
}

fn validate_constraint(one: &TopologySpreadConstraint, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if one.max_skew <= 0 {
        errors.push(FieldError::invalid(&path.child("maxSkew"), one.max_skew, "must be greater than zero"));
    }
    errors.extend(validate_topology(&one.topology_key, &path.child("topologyKey"), "can not be empty"));
    let known = ["DoNotSchedule", "ScheduleAnyway"];
    let place = path.child("whenUnsatisfiable");
    if !known.contains(&one.when_unsatisfiable.as_str()) {
        errors.push(FieldError::not_supported(&place, one.when_unsatisfiable.as_str(), &known));
    }
    if let Some(domains) = one.min_domains {
        let place = path.child("minDomains");
        if domains <= 0 {
            errors.push(FieldError::invalid(&place, domains, "must be greater than zero"));
        }
        if one.when_unsatisfiable != "DoNotSchedule" {
            let detail =
                format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}", one.when_unsatisfiable);
            errors.push(FieldError::invalid(&place, domains, detail));
        }
    }
    for (field, word) in
        [("nodeAffinityPolicy", &one.node_affinity_policy), ("nodeTaintsPolicy", &one.node_taints_policy)]
    {
        if word.is_some() {
            errors.extend(one_of(&path.child(field), word.as_deref(), &["Honor", "Ignore"]));
        }
    }
    if let Some(selector) = &one.label_selector {
        errors.extend(labels::validate(selector, &path.child("labelSelector")));
    }
    errors
}

pub(super) fn validate_readiness_gates(spec: &PodSpec, path: &Path<'_>) -> FieldErrors {
    let gates = spec.readiness_gates.iter().flatten().enumerate();
    gates
        .flat_map(|(i, gate)| {
            invalid(&path.index(i).child("conditionType"), &gate.condition_type, names::qualified_name)
        })
        .collect()
}

pub(super) fn validate_scheduling_gates(spec: &PodSpec, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut seen = Vec::new();
    for (i, gate) in spec.scheduling_gates.iter().flatten().enumerate() {
        errors.extend(invalid(&path.index(i), &gate.name, names::qualified_name));
        if seen.contains(&&gate.name) {
            errors.push(FieldError::duplicate(&path.index(i), gate.name.as_str()));
        }
        seen.push(&gate.name);
    }
    errors
}

/// A taint of a node: the other side of a toleration.
pub(crate) fn validate_taint(key: &str, value: &str, effect: &str, path: &Path<'_>) -> FieldErrors {
    let mut errors = invalid(&path.child("key"), key, names::qualified_name);
    errors.extend(invalid(&path.child("value"), value, names::label_value));
    errors.extend(one_of(&path.child("effect"), Some(effect), &EFFECTS));
    errors
}
