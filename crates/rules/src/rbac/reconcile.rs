//! A default role or binding beside what is stored under its name: what is missing is added, what somebody has added stays (upstream:
//! k8s.io/component-helpers `auth/rbac/reconciliation`). An object whose annotation says so is left alone.

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::Value;

use super::rule;
use crate::object::{as_object_mut, at, field_mut, list, object_mut, remove, set, text, typed};

/// `"false"` keeps an object as it is.
pub const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// What to do so that what is expected holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Correction {
    /// Nothing.
    None,
    /// Write this in its place.
    Replace(Value),
    /// A binding of another role: its role cannot change, so that it goes and the expected one comes.
    Recreate,
}

/// What to do about a role or binding that is there already.
pub fn correction(existing: &Value, expected: &Value) -> Correction {
    if text(existing, &["metadata", "annotations", AUTO_UPDATE]) == "false" {
        return Correction::None;
    }
    if expected.get("roleRef") != existing.get("roleRef") {
        return Correction::Recreate;
    }
    let mut new = existing.clone();
    for field in ["annotations", "labels"] {
        add_missing_words(&mut new, expected, field);
    }
    if expected.get("roleRef").is_some() {
        add_missing_items(&mut new, at(expected, &["subjects"]), "subjects");
    } else {
        add_missing_rules(&mut new, expected);
        reconcile_aggregation(&mut new, expected);
    }
    if new == *existing { Correction::None } else { Correction::Replace(new) }
}

/// Words that are there stay as they are.
fn add_missing_words(new: &mut Value, expected: &Value, field: &str) {
    let Some(wanted) = at(expected, &["metadata", field]).as_object() else { return };
    let there = object_mut(field_mut(new, "metadata"), field);
    for (key, value) in wanted {
        there.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

fn add_missing_rules(new: &mut Value, expected: &Value) {
    let rules = |role: &Value| -> Vec<PolicyRule> { typed(at(role, &["rules"])) };
    let missing = rule::uncovered(&rules(new), &rules(expected));
    if missing.is_empty() {
        return;
    }
    // Rules are made of lists of words: they serialize.
    let missing = missing.into_iter().map(|rule| serde_json::to_value(rule).unwrap_or_default());
    let all: Vec<Value> = list(new, &["rules"]).iter().cloned().chain(missing).collect();
    set(new, "rules", all.into());
}

fn reconcile_aggregation(new: &mut Value, expected: &Value) {
    match expected.get("aggregationRule") {
        None => remove(new, "aggregationRule"),
        Some(rule) => {
            let selectors = at(rule, &["clusterRoleSelectors"]);
            add_missing_items(field_mut(new, "aggregationRule"), selectors, "clusterRoleSelectors");
        }
    }
}

/// Adds the items of a list that are not there.
fn add_missing_items(new: &mut Value, wanted: &Value, field: &str) {
    let there = list(new, &[field]);
    let missing: Vec<Value> =
        wanted.as_array().into_iter().flatten().filter(|item| !there.contains(item)).cloned().collect();
    if missing.is_empty() {
        return;
    }
    let all: Vec<Value> = there.iter().cloned().chain(missing).collect();
    as_object_mut(new).insert(field.to_owned(), all.into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(verbs: &[&str]) -> Value {
        json!({"verbs": verbs, "apiGroups": [""], "resources": ["pods"]})
    }

    fn role(rules: &[Value], annotation: &str) -> Value {
        json!({
            "metadata": {"name": "r", "annotations": {AUTO_UPDATE: annotation}, "labels": {"a": "b"}}, "rules": rules,
        })
    }

    #[test]
    fn a_role_gets_what_it_lacks_and_keeps_what_it_has() {
        let expected = role(&[rule(&["get", "list"])], "true");
        assert_eq!(correction(&expected, &expected), Correction::None);
        let more = role(&[rule(&["*"])], "true");
        assert_eq!(correction(&more, &expected), Correction::None);
        let less = role(&[rule(&["get", "patch"])], "true");
        let mended = role(&[rule(&["get", "patch"]), rule(&["list"])], "true");
        assert_eq!(correction(&less, &expected), Correction::Replace(mended));
        assert_eq!(correction(&role(&[], "false"), &expected), Correction::None);
        let bare = json!({"metadata": {"name": "r", "labels": {"a": "mine", "c": "d"}}, "rules": null});
        let mut mended = expected.clone();
        mended["metadata"]["labels"] = json!({"a": "mine", "c": "d"});
        mended["rules"] = json!([rule(&["get"]), rule(&["list"])]);
        assert_eq!(correction(&bare, &expected), Correction::Replace(mended));
    }

    #[test]
    fn aggregation_is_as_expected() {
        let selector = |label: &str| json!({"matchLabels": {label: "true"}});
        let aggregated = |selectors: &[Value]| {
            let mut role = role(&[], "true");
            role["aggregationRule"] = json!({ "clusterRoleSelectors": selectors });
            role
        };
        let expected = aggregated(&[selector("a")]);
        let mut collected = expected.clone();
        collected["rules"] = json!([rule(&["get"])]);
        assert_eq!(correction(&collected, &expected), Correction::None);
        let both = aggregated(&[selector("b"), selector("a")]);
        assert_eq!(correction(&aggregated(&[selector("b")]), &expected), Correction::Replace(both));
        assert_eq!(correction(&role(&[], "true"), &expected), Correction::Replace(expected.clone()));
        assert_eq!(correction(&expected, &role(&[], "true")), Correction::Replace(role(&[], "true")));
    }

    #[test]
    fn a_binding_gets_the_subjects_that_it_lacks_and_never_another_role() {
        let binding = |role: &str, subjects: &[&str]| {
            let subjects: Vec<Value> = subjects.iter().map(|name| json!({"kind": "User", "name": name})).collect();
            json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": role}, "subjects": subjects})
        };
        let expected = binding("r", &["jane"]);
        assert_eq!(correction(&binding("r", &["jane", "joe"]), &expected), Correction::None);
        let both = binding("r", &["joe", "jane"]);
        assert_eq!(correction(&binding("r", &["joe"]), &expected), Correction::Replace(both));
        assert_eq!(correction(&binding("other", &["jane"]), &expected), Correction::Recreate);
    }
}
