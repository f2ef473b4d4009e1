//! Roles and bindings: defaults and validation (upstream: `pkg/apis/rbac/v1/defaults.go`, `pkg/apis/rbac/validation`). What they
//! mean is [`crate::rbac`]'s business.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use remora_model::field::FieldErrors;
use remora_model::kinds::RBAC_GROUP;
use remora_model::{FieldError, Path};
use serde_json::{Value, json};

use crate::metadata::names;
use crate::metadata::validation::invalid;
use crate::object::{at, field_mut, items_mut, list, set, text, typed};
use crate::selector::labels;

const ROLE_REF: Path<'static> = Path::new("roleRef");

/// Users, groups and the role are of our group where none is given.
pub fn default_binding(binding: &mut Value) {
    for subject in items_mut(binding, "subjects") {
        if matches!(text(subject, &["kind"]), "User" | "Group") {
            default_group(subject);
        }
    }
    default_group(field_mut(binding, "roleRef"));
}

fn default_group(reference: &mut Value) {
    if text(reference, &["apiGroup"]).is_empty() {
        set(reference, "apiGroup", RBAC_GROUP.into());
    }
}

/// No rules are null, not an empty list: upstream keeps roles in a form that does not tell them apart.
pub fn prepare_role(role: &mut Value) {
    if list(role, &["rules"]).is_empty() {
        role["rules"] = Value::Null;
    }
}

/// Each rule is about resources.
pub fn validate_role(role: &Value) -> FieldErrors {
    validate_rules(role, true)
}

/// Each rule is about resources or about paths; what is aggregated is selected by something.
pub fn validate_cluster_role(role: &Value) -> FieldErrors {
    let mut errors = validate_rules(role, false);
    if !at(role, &["aggregationRule"]).is_object() {
        return errors;
    }
    let rule = Path::new("aggregationRule");
    let path = rule.child("clusterRoleSelectors");
    let selectors = list(role, &["aggregationRule", "clusterRoleSelectors"]);
    if selectors.is_empty() {
        let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(FieldError::required(&path, detail));
    }
    for (i, selector) in selectors.iter().enumerate() {
        let selector: LabelSelector = typed(selector);
        let wrong = labels::validate(&selector, &path.index(i));
        let is_wrong = !wrong.is_empty();
        errors.extend(wrong);
        if is_wrong {
            errors.push(FieldError::invalid(&path.index(i), Value::Null, "invalid label selector."));
        }
    }
    errors
}

fn validate_rules(role: &Value, is_namespaced: bool) -> FieldErrors {
    let path = Path::new("rules");
    let rules = list(role, &["rules"]).iter().enumerate();
    rules.flat_map(|(i, rule)| validate_rule(rule, is_namespaced, &path.index(i))).collect()
}

fn validate_rule(rule: &Value, is_namespaced: bool, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let lacks = |field: &str| list(rule, &[field]).is_empty();
    if lacks("verbs") {
        errors.push(FieldError::required(&path.child("verbs"), "verbs must contain at least one value"));
    }
    if lacks("nonResourceURLs") {
        if lacks("apiGroups") {
            let detail = "resource rules must supply at least one api group";
            errors.push(FieldError::required(&path.child("apiGroups"), detail));
        }
        if lacks("resources") {
            let detail = "resource rules must supply at least one resource";
            errors.push(FieldError::required(&path.child("resources"), detail));
        }
        return errors;
    }
    let mut refuse = |detail: &str| {
        let urls = at(rule, &["nonResourceURLs"]).clone();
        errors.push(FieldError::invalid(&path.child("nonResourceURLs"), urls, detail));
    };
    if is_namespaced {
        refuse("namespaced rules cannot apply to non-resource URLs");
    }
    if !(lacks("apiGroups") && lacks("resources") && lacks("resourceNames")) {
        refuse("rules cannot apply to both regular resources and non-resource URLs");
    }
    errors
}

/// Of a namespace: its role is there or of the cluster.
pub fn validate_role_binding(binding: &Value) -> FieldErrors {
    validate_binding(binding, &["Role", "ClusterRole"], true)
}

/// Its role is of the cluster; service accounts say where they are.
pub fn validate_cluster_role_binding(binding: &Value) -> FieldErrors {
    validate_binding(binding, &["ClusterRole"], false)
}

/// The same, and the role stays.
pub fn validate_role_binding_update(new: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate_role_binding(new);
    errors.extend(validate_same_role(new, old));
    errors
}

/// The same, and the role stays.
pub fn validate_cluster_role_binding_update(new: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate_cluster_role_binding(new);
    errors.extend(validate_same_role(new, old));
    errors
}

fn validate_same_role(new: &Value, old: &Value) -> Option<FieldError> {
    let role = |binding: &Value| {
        let word = |field: &str| text(binding, &["roleRef", field]).to_owned();
        // As upstream shows its internal type, which has no JSON names.
        json!({"APIGroup": word("apiGroup"), "Kind": word("kind"), "Name": word("name")})
    };
    (role(new) != role(old)).then(|| FieldError::invalid(&ROLE_REF, role(new), "cannot change roleRef"))
}

fn validate_binding(binding: &Value, kinds: &[&str], is_namespaced: bool) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let word = |field: &str| text(binding, &["roleRef", field]);
    if word("apiGroup") != RBAC_GROUP {
        errors.push(FieldError::not_supported(&ROLE_REF.child("apiGroup"), word("apiGroup"), &[RBAC_GROUP]));
    }
    if !kinds.contains(&word("kind")) {
        errors.push(FieldError::not_supported(&ROLE_REF.child("kind"), word("kind"), kinds));
    }
    match word("name") {
        "" => errors.push(FieldError::required(&ROLE_REF.child("name"), "")),
        name => errors.extend(invalid(&ROLE_REF.child("name"), name, names::path_segment)),
    }
    let path = Path::new("subjects");
    for (i, subject) in list(binding, &["subjects"]).iter().enumerate() {
        errors.extend(validate_subject(subject, is_namespaced, &path.index(i)));
    }
    errors
}

fn validate_subject(subject: &Value, is_namespaced: bool, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let [kind, name, group] = ["kind", "name", "apiGroup"].map(|field| text(subject, &[field]));
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    let expected = match kind {
        "ServiceAccount" => {
            if !name.is_empty() {
                errors.extend(invalid(&path.child("name"), name, names::dns_subdomain));
            }
            ""
        }
        "User" | "Group" => RBAC_GROUP,
        _ => {
            let kinds = ["ServiceAccount", "User", "Group"];
            errors.push(FieldError::not_supported(&path.child("kind"), kind, &kinds));
            return errors;
        }
    };
    if group != expected {
        errors.push(FieldError::not_supported(&path.child("apiGroup"), group, &[expected]));
    }
    if kind == "ServiceAccount" && !is_namespaced && text(subject, &["namespace"]).is_empty() {
        errors.push(FieldError::required(&path.child("namespace"), ""));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(errors: &FieldErrors, expected: &[&str]) {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, expected);
    }

    #[test]
    fn rules_are_about_resources_or_about_paths() {
        let role = |rule: Value| json!({"rules": [rule]});
        let good = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"]});
        let paths = json!({"verbs": ["get"], "nonResourceURLs": ["/metrics"]});
        check(&validate_role(&json!({"rules": null})), &[]);
        check(&validate_role(&role(good)), &[]);
        check(&validate_cluster_role(&role(paths.clone())), &[]);
        check(
            &validate_role(&role(json!({}))),
            &[
                "rules[0].verbs: Required value: verbs must contain at least one value",
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ],
        );
        let mixed = json!({"verbs": ["get"], "nonResourceURLs": ["/a"], "resources": ["pods"]});
        let place = "rules[0].nonResourceURLs: Invalid value: ";
        check(
            &validate_role(&role(paths)),
            &[&format!("{place}[\"/metrics\"]: namespaced rules cannot apply to non-resource URLs")],
        );
        check(
            &validate_cluster_role(&role(mixed)),
            &[&format!("{place}[\"/a\"]: rules cannot apply to both regular resources and non-resource URLs")],
        );
    }

    #[test]
    fn aggregation_selects_something() {
        check(
            &validate_cluster_role(&json!({"aggregationRule": {}})),
            &["aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if \
               aggregationRule is non-nil"],
        );
        let selectors = |selector: Value| json!({"aggregationRule": {"clusterRoleSelectors": [selector]}});
        check(&validate_cluster_role(&selectors(json!({"matchLabels": {"a": "b"}}))), &[]);
        let errors = validate_cluster_role(&selectors(json!({"matchLabels": {"a": "b c"}})));
        assert!(
            errors[0].to_string().starts_with(
                "aggregationRule.clusterRoleSelectors[0].matchLabels: Invalid value: \"b c\": a valid label"
            )
        );
    }

    #[test]
    fn bindings_name_a_role_and_subjects_of_their_groups() {
        let mut binding = json!({"roleRef": {"kind": "ClusterRole", "name": "view", "apiGroup": ""}, "subjects": [
            {"kind": "User", "name": "jane"}, {"kind": "ServiceAccount", "name": "default", "namespace": "a"},
        ]});
        default_binding(&mut binding);
        assert_eq!(binding["roleRef"]["apiGroup"], RBAC_GROUP);
        assert_eq!(binding["subjects"][0]["apiGroup"], RBAC_GROUP);
        assert_eq!(binding["subjects"][1].get("apiGroup"), None);
        check(&validate_cluster_role_binding(&binding), &[]);
        let wrong = json!({"roleRef": {"kind": "Role", "apiGroup": "a", "name": ""}, "subjects": [
            {"kind": "User", "name": ""}, {"kind": "Robot", "name": "r"},
            {"kind": "ServiceAccount", "name": "A", "apiGroup": RBAC_GROUP},
        ]});
        let group = "supported values: \"rbac.authorization.k8s.io\"";
        let errors = validate_cluster_role_binding(&wrong);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            errors[..6],
            [
                format!("roleRef.apiGroup: Unsupported value: \"a\": {group}"),
                "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"".to_owned(),
                "roleRef.name: Required value".to_owned(),
                "subjects[0].name: Required value".to_owned(),
                format!("subjects[0].apiGroup: Unsupported value: \"\": {group}"),
                "subjects[1].kind: Unsupported value: \"Robot\": supported values: \"ServiceAccount\", \"User\", \"Group\""
                    .to_owned(),
            ]
        );
        assert!(errors[6].starts_with("subjects[2].name: Invalid value: \"A\""), "{errors:?}");
        assert_eq!(
            errors[7..],
            [
                "subjects[2].apiGroup: Unsupported value: \"rbac.authorization.k8s.io\": supported values: \"\"",
                "subjects[2].namespace: Required value",
            ]
        );
    }

    #[test]
    fn the_role_of_a_binding_does_not_change() {
        let binding = |name: &str| json!({"roleRef": {"kind": "Role", "apiGroup": RBAC_GROUP, "name": name}});
        check(&validate_role_binding_update(&binding("a"), &binding("a")), &[]);
        check(
            &validate_role_binding_update(&binding("b"), &binding("a")),
            &["roleRef: Invalid value: \
               {\"APIGroup\":\"rbac.authorization.k8s.io\",\"Kind\":\"Role\",\"Name\":\"b\"}: cannot change roleRef"],
        );
    }
}
