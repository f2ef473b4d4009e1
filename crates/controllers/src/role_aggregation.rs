//! A cluster role that is made of others has their rules. Started by [`run`](crate::run). Source of the rules: upstream's
//! `clusterroleaggregation`.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{Selector, SelectorExt};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::Account;
use crate::per_object::{self, CallError};

/// As whom.
pub const ACCOUNT: Account =
    Account::service_account("system:serviceaccount:kube-system:clusterrole-aggregation-controller");

/// The manager of the rules, which it takes from whoever else has written them.
const MANAGER: &str = "clusterrole-aggregation-controller";

/// Runs until dropped.
pub async fn run(client: Client) {
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let controller = Controller::new(roles.clone(), watcher::Config::default());
    let known = controller.store();
    // Any role may be a part of any: each change is a reason to look at all that are made of others.
    let controller = controller.watches(roles, watcher::Config::default(), move |_| {
        let aggregated = known.state().into_iter().filter(|role| role.aggregation_rule.is_some());
        aggregated.map(|role| ObjectRef::from_obj(role.as_ref())).collect::<Vec<_>>()
    });
    per_object::run("role-aggregation", controller, move |role| reconcile(client.clone(), role)).await;
}

async fn reconcile(client: Client, role: Arc<ClusterRole>) -> Result<(), CallError> {
    if role.aggregation_rule.is_none() {
        return Ok(());
    }
    let name = role.name_any();
    let api: Api<ClusterRole> = Api::all(client);
    // Read now: what has woken us may not have come to the controller's own copy yet.
    let all = api.list(&ListParams::default()).await.map_err(CallError::new("list the cluster roles"))?;
    let Some(rules) = correction(&name, &all.items) else { return Ok(()) };
    let kind = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
    let applied = api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(kind)).await;
    applied.map(drop).map_err(CallError::new(format!("write the rules of the cluster role {name}")))
}

/// The rules that the role of this name must get; none if it has them, or is made of no others.
fn correction(name: &str, all: &[ClusterRole]) -> Option<Vec<PolicyRule>> {
    let role = all.iter().find(|role| role.name_any() == name)?;
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_deref().unwrap_or_default();
    let mut parts: Vec<&ClusterRole> = all.iter().filter(|part| part.name_any() != name).collect();
    parts.sort_by_key(|part| part.name_any());
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors {
        // Validation lets none pass that cannot be read.
        let Ok(selector) = Selector::try_from(selector.clone()) else { continue };
        for rule in
            parts.iter().filter(|part| selector.matches(part.labels())).flat_map(|part| part.rules.iter().flatten())
        {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    (rules != role.rules.as_deref().unwrap_or_default()).then_some(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(resource: &str) -> PolicyRule {
        PolicyRule { verbs: vec!["get".into()], resources: Some(vec![resource.into()]), ..PolicyRule::default() }
    }

    fn role(name: &str, labels: &[&str], selects: &[&str], resources: &[&str]) -> ClusterRole {
        let labels: serde_json::Map<_, _> = labels.iter().map(|l| ((*l).to_owned(), "true".into())).collect();
        let selectors: Vec<_> = selects.iter().map(|label| json!({"matchLabels": {*label: "true"}})).collect();
        let rules: Vec<_> = resources.iter().map(|resource| rule(resource)).collect();
        let mut role = json!({"metadata": {"name": name, "labels": labels}, "rules": rules});
        if !selectors.is_empty() {
            role["aggregationRule"] = json!({ "clusterRoleSelectors": selectors });
        }
        serde_json::from_value(role).unwrap()
    }

    #[test]
    fn a_role_has_the_rules_of_its_parts_once_and_in_the_order_of_their_names() {
        let check = |whole: ClusterRole, expected: Option<&[&str]>| {
            let others = [
                role("z", &["to-view"], &[], &["pods", "nodes"]),
                role("a", &["to-view"], &[], &["nodes"]),
                role("b", &["to-edit"], &[], &["secrets"]),
            ];
            let all: Vec<_> = others.into_iter().chain([whole]).collect();
            let expected = expected.map(|resources| resources.iter().map(|resource| rule(resource)).collect());
            assert_eq!(correction("view", &all), expected);
        };
        check(role("view", &[], &["to-view"], &[]), Some(&["nodes", "pods"]));
        check(role("view", &[], &["to-view"], &["nodes", "pods"]), None);
        check(role("view", &[], &["to-edit", "to-view"], &["old"]), Some(&["secrets", "nodes", "pods"]));
        check(role("view", &["to-view"], &["to-view"], &["mine"]), Some(&["nodes", "pods"]));
        check(role("view", &[], &["none"], &["nodes"]), Some(&[]));
        check(role("view", &[], &["none"], &[]), None);
        check(role("view", &[], &[], &["mine"]), None);
        assert_eq!(correction("gone", &[]), None);
    }
}
