//! Nobody gives what they do not have: checks of roles and bindings before they are written (upstream:
//! `pkg/registry/rbac/{role,clusterrole,rolebinding,clusterrolebinding}/policybased`, `pkg/registry/rbac/validation/rule.go`). Whoever may
//! `escalate` a role may put anything into it; whoever may `bind` a role may give it to anybody.

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef};
use remora_model::kinds::RBAC_GROUP;
use remora_model::text::{aggregate, quoted};
use remora_model::{Kind, Status};
use serde_json::Value;

use super::{Access, Attributes, MASTERS, Who, authorize, rule};
use crate::object::{at, copy_field, list, object_mut, text, typed};

/// A role or binding that is to be written.
#[derive(Clone, Copy)]
pub struct Write<'a> {
    /// Who has which rights now.
    pub access: &'a Access,
    /// Who writes.
    pub who: Who<'a>,
    /// What it is; kinds of other groups always pass.
    pub kind: &'a Kind,
    /// Where; empty for the cluster.
    pub namespace: &'a str,
    /// The name in the request's path; empty if it is created by POST.
    pub name: &'a str,
    /// What it shall be: decoded and defaulted.
    pub new: &'a Value,
    /// What it is now; none if it is created.
    pub old: Option<&'a Value>,
}

/// Lets a write pass that gives nobody more than the writer has.
///
/// # Errors
/// 403 that names the rules which the writer lacks, 404 if a binding names a role that is not there.
pub fn judge(write: &Write<'_>) -> Result<(), Status> {
    if write.kind.group != RBAC_GROUP || write.who.is_in(MASTERS) {
        return Ok(());
    }
    match write.kind.kind {
        "Role" | "ClusterRole" => write.judge_role(),
        _ => write.judge_binding(),
    }
}

impl Write<'_> {
    fn judge_role(&self) -> Result<(), Status> {
        if self.may("escalate", self.kind.plural, self.name) || self.is_for_the_collector() {
            return Ok(());
        }
        let rules: Vec<PolicyRule> = typed(at(self.new, &["rules"]));
        self.has_all(&rules)?;
        let aggregates = |role: &Value| !list(role, &["aggregationRule", "clusterRoleSelectors"]).is_empty();
        if (aggregates(self.new) || self.old.is_some_and(aggregates)) && self.has_all(&everything()).is_err() {
            return Err(self.refused("must have cluster-admin privileges to use the aggregationRule"));
        }
        Ok(())
    }

    fn judge_binding(&self) -> Result<(), Status> {
        if self.is_for_the_collector() {
            return Ok(());
        }
        let role: RoleRef = typed(at(self.new, &["roleRef"]));
        let resource = match role.kind.as_str() {
            "ClusterRole" => "clusterroles",
            "Role" => "roles",
            // Validation says what is wrong with it.
            _ => return Ok(()),
        };
        if self.may("bind", resource, &role.name) {
            return Ok(());
        }
        match self.access.rules_of(&role, self.namespace) {
            Some(rules) => self.has_all(rules),
            None => Err(self.not_found(&role)),
        }
    }

    fn may(&self, verb: &str, resource: &str, name: &str) -> bool {
        let (group, namespace) = (RBAC_GROUP, self.namespace);
        let what = Attributes::Resource { verb, group, resource, subresource: "", namespace, name };
        authorize(self.access, self.who, &what).allowed
    }

    /// Whether only such metadata changes as the garbage collector writes, so that what could not be written now can still go.
    fn is_for_the_collector(&self) -> bool {
        let Some(old) = self.old else { return false };
        let mut new = self.new.clone();
        let old_metadata = at(old, &["metadata"]);
        object_mut(&mut new, "metadata");
        for field in ["ownerReferences", "finalizers", "managedFields"] {
            copy_field(old_metadata, &mut new["metadata"], field);
        }
        new == *old
    }

    fn has_all(&self, wanted: &[PolicyRule]) -> Result<(), Status> {
        let owned = self.access.rules_for(self.who, self.namespace);
        let missing = rule::uncovered(&owned.rules, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let who = quoted(self.who.name);
        let groups = rule::quoted_list(self.who.groups);
        let rules = rule::described(missing);
        let mut why = format!(
            "user {who} (groups={groups}) is attempting to grant RBAC permissions not currently held:\n{rules}"
        );
        if !owned.missing.is_empty() {
            let missing = owned.missing.iter().map(|role| self.not_found(role).message);
            why += &format!("; resolution errors: [{}]", aggregate(missing));
        }
        Err(self.refused(&why))
    }

    /// Upstream looks roles up by way of the request, and so calls them what the request is about.
    fn not_found(&self, role: &RoleRef) -> Status {
        Status::not_found(self.kind.resource(), &role.name)
    }

    fn refused(&self, why: &str) -> Status {
        Status::forbidden(self.kind.resource(), text(self.new, &["metadata", "name"]), why)
    }
}

/// What only the rights of `cluster-admin` cover.
fn everything() -> Vec<PolicyRule> {
    let all = || Some(vec!["*".to_owned()]);
    let verbs = vec!["*".to_owned()];
    vec![
        PolicyRule { verbs: verbs.clone(), api_groups: all(), resources: all(), ..PolicyRule::default() },
        PolicyRule { verbs, non_resource_urls: all(), ..PolicyRule::default() },
    ]
}

#[cfg(test)]
mod tests {
    use super::super::access::tests::access;
    use super::*;
    use remora_model::kinds;
    use serde_json::json;

    const HELD: &str = " is attempting to grant RBAC permissions not currently held:\n";

    fn check(plural: &str, user: &str, new: &Value, old: Option<&Value>, expected: &str) {
        let access = access(&[
            ("role reader", "get core pods"),
            ("role boss", "get core pods; escalate,bind rbac.authorization.k8s.io roles,clusterroles"),
            ("role root", "* * *; * *"),
            ("role secrets", "get,list core secrets"),
            ("binding a/reader", "ClusterRole/reader User=jane"),
            ("binding a/boss", "ClusterRole/boss User=boss"),
            ("binding root", "ClusterRole/root User=root"),
            ("binding broken", "ClusterRole/gone User=joe"),
        ]);
        let kind = kinds::rbac(plural);
        let namespace = if kind.namespaced { "a" } else { "" };
        let groups = ["dev".to_owned()];
        let who = Who { name: user, groups: &groups };
        let judged = judge(&Write { access: &access, who, kind, namespace, name: "", new, old });
        let said = judged.err().map(|status| status.message).unwrap_or_default();
        assert_eq!(said, expected, "{user} writes {new} over {old:?}");
    }

    #[test]
    fn a_role_has_no_more_than_its_writer() {
        let role = |verbs: &[&str], resource: &str| json!({"metadata": {"name": "r"}, "rules": [{"verbs": verbs, "apiGroups": [""], "resources": [resource]}]});
        let (pods, secrets) = (role(&["get"], "pods"), role(&["get", "list"], "secrets"));
        let refused = "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"jane\" (groups=[\"dev\"])".to_owned()
            + HELD
            + "{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}";
        check("roles", "jane", &pods, None, "");
        check("roles", "jane", &secrets, None, &refused);
        check("roles", "jane", &secrets, Some(&pods), &refused);
        check("roles", "boss", &secrets, None, "");
        check("roles", "root", &secrets, None, "");
        let broken = refused.replace("jane", "joe")
            + "; resolution errors: [roles.rbac.authorization.k8s.io \"gone\" not found]";
        check("roles", "joe", &secrets, None, &broken);
        // What is there already may be taken apart by the garbage collector.
        let mut released = secrets.clone();
        released["metadata"]["finalizers"] = json!(["a"]);
        check("roles", "jane", &secrets, Some(&released), "");
        // The rights that one has in a namespace are none in the cluster.
        let cluster = "clusterroles.rbac.authorization.k8s.io \"r\" is forbidden: user \"jane\" (groups=[\"dev\"])"
            .to_owned()
            + HELD
            + "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\"]}";
        check("clusterroles", "jane", &pods, None, &cluster);
    }

    #[test]
    fn only_who_may_do_everything_aggregates() {
        let plain = json!({"metadata": {"name": "r"}, "rules": null});
        let mut aggregated = plain.clone();
        aggregated["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]});
        let refused = "clusterroles.rbac.authorization.k8s.io \"r\" is forbidden: must have cluster-admin privileges to use the \
                       aggregationRule";
        check("clusterroles", "jane", &plain, None, "");
        check("clusterroles", "jane", &aggregated, None, refused);
        check("clusterroles", "jane", &plain, Some(&aggregated), refused);
        check("clusterroles", "root", &aggregated, None, "");
    }

    #[test]
    fn a_role_is_bound_by_who_has_it_or_may_bind_it() {
        let binding = |role: &str| {
            let role = json!({"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": role});
            json!({"metadata": {"name": "b"}, "roleRef": role, "subjects": []})
        };
        let refused = |resource: &str, rule: &str| {
            format!(
                "{resource}.rbac.authorization.k8s.io \"b\" is forbidden: user \"jane\" (groups=[\"dev\"]){HELD}{rule}"
            )
        };
        check("rolebindings", "jane", &binding("reader"), None, "");
        let secrets = "{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}";
        check("rolebindings", "jane", &binding("secrets"), None, &refused("rolebindings", secrets));
        check("rolebindings", "boss", &binding("secrets"), None, "");
        check("rolebindings", "jane", &binding("no"), None, "rolebindings.rbac.authorization.k8s.io \"no\" not found");
        let pods = "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\"]}";
        check("clusterrolebindings", "jane", &binding("reader"), None, &refused("clusterrolebindings", pods));
        check("clusterrolebindings", "root", &binding("secrets"), None, "");
        check("rolebindings", "jane", &binding("secrets"), Some(&binding("secrets")), "");
    }
}
