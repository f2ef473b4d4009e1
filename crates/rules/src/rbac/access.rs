//! All roles and bindings, ready to be asked (upstream: `pkg/registry/rbac/validation/rule.go`, `plugin/pkg/auth/authorizer/rbac`).
//! Whoever keeps one puts in what is stored and takes out what is gone.

use std::collections::BTreeMap;

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use remora_model::kinds::RBAC_GROUP;
use remora_model::status::Qualified;
use remora_model::text::{aggregate, quoted};
use remora_model::{ObjectKey, Status};
use serde_json::Value;

use super::{Attributes, Decision, Who, rule, service_account};
use crate::object::{at, typed};

/// By namespace, which is `""` for the cluster, and name; in order, so that the same question has the same reason.
type Placed<T> = BTreeMap<String, BTreeMap<String, T>>;

/// Every role and binding there is.
#[derive(Clone, Debug, Default)]
pub struct Access {
    roles: Placed<Vec<PolicyRule>>,
    bindings: Placed<Binding>,
}

#[derive(Clone, Debug, Default)]
struct Binding {
    role: RoleRef,
    subjects: Vec<Subject>,
}

/// A rule that a user has, and by which binding.
struct Granted<'a> {
    rule: &'a PolicyRule,
    binding: &'a Binding,
    /// Of the binding; its namespace is empty for the cluster.
    place: (&'a str, &'a str),
    subject: &'a Subject,
}

/// The rules of a user.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// All that could be found.
    pub rules: Vec<PolicyRule>,
    /// The roles that are bound and not there.
    pub missing: Vec<RoleRef>,
}

impl Access {
    /// Takes in a role or binding as it is stored now; nothing of other kinds.
    pub fn put(&mut self, key: &ObjectKey, object: &Value) {
        if key.kind.group != RBAC_GROUP {
            return;
        }
        let namespace = key.namespace.clone().unwrap_or_default();
        if is_role(key) {
            let rules = typed(at(object, &["rules"]));
            self.roles.entry(namespace).or_default().insert(key.name.clone(), rules);
        } else {
            let binding = Binding { role: typed(at(object, &["roleRef"])), subjects: typed(at(object, &["subjects"])) };
            self.bindings.entry(namespace).or_default().insert(key.name.clone(), binding);
        }
    }

    /// Forgets a role or binding.
    pub fn remove(&mut self, key: &ObjectKey) {
        if key.kind.group != RBAC_GROUP {
            return;
        }
        if is_role(key) {
            remove(&mut self.roles, key);
        } else {
            remove(&mut self.bindings, key);
        }
    }

    /// Whether a role that `who` has allows `what`, and which.
    pub fn decide(&self, who: Who<'_>, what: &Attributes<'_>) -> Decision {
        let mut missing = Vec::new();
        for granted in self.granted(who, what.namespace()) {
            match granted {
                Ok(granted) if rule::allows(granted.rule, what) => {
                    return Decision::yes(format!("RBAC: allowed by {}", granted.described()));
                }
                Ok(_) => {}
                Err(role) => missing.push(role.clone()),
            }
        }
        let all = resolution_error(&missing);
        Decision::no(if all.is_empty() { all } else { format!("RBAC: {all}") })
    }

    /// All rules that `who` has in a namespace, or in the cluster if that is empty.
    pub fn rules_for(&self, who: Who<'_>, namespace: &str) -> Rules {
        let mut found = Rules::default();
        for granted in self.granted(who, namespace) {
            match granted {
                Ok(granted) => found.rules.push(granted.rule.clone()),
                Err(role) => found.missing.push(role.clone()),
            }
        }
        found
    }

    /// The rules of the role that a binding in this namespace names; none if there is no such role.
    pub fn rules_of(&self, role: &RoleRef, namespace: &str) -> Option<&[PolicyRule]> {
        let namespace = if role.kind == "Role" { namespace } else { "" };
        self.roles.get(namespace)?.get(&role.name).map(Vec::as_slice)
    }

    /// First what is granted in the whole cluster, then what is in the namespace; a role in place of its rules if it is not there.
    fn granted<'a>(
        &'a self,
        who: Who<'a>,
        namespace: &'a str,
    ) -> impl Iterator<Item = Result<Granted<'a>, &'a RoleRef>> {
        let places = std::iter::once("").chain(Some(namespace).filter(|namespace| !namespace.is_empty()));
        let bindings = places.flat_map(|place| {
            let of_place = self.bindings.get(place).into_iter().flatten();
            of_place.map(move |(name, binding)| ((place, name.as_str()), binding))
        });
        bindings.flat_map(move |(place, binding)| {
            let subject = binding.subjects.iter().find(|subject| is_meant(subject, who, place.0));
            let Some(subject) = subject else { return Vec::new() };
            match self.rules_of(&binding.role, place.0) {
                None => vec![Err(&binding.role)],
                Some(rules) => rules.iter().map(|rule| Ok(Granted { rule, binding, place, subject })).collect(),
            }
        })
    }
}

fn is_role(key: &ObjectKey) -> bool {
    matches!(key.kind.kind, "Role" | "ClusterRole")
}

fn remove<T>(placed: &mut Placed<T>, key: &ObjectKey) {
    let namespace = key.namespace.as_deref().unwrap_or_default();
    let Some(of) = placed.get_mut(namespace) else { return };
    of.remove(&key.name);
    if of.is_empty() {
        placed.remove(namespace);
    }
}

/// Whether a binding's subject is this user. A service account without a namespace is of the binding's.
fn is_meant(subject: &Subject, who: Who<'_>, namespace: &str) -> bool {
    match subject.kind.as_str() {
        "User" => subject.name == who.name,
        "Group" => who.is_in(&subject.name),
        "ServiceAccount" => {
            let of = subject.namespace.as_deref().filter(|of| !of.is_empty()).unwrap_or(namespace);
            !of.is_empty() && service_account(who.name) == Some((of, subject.name.as_str()))
        }
        _ => false,
    }
}

impl Granted<'_> {
    /// `ClusterRoleBinding "a" of ClusterRole "b" to User "c"`.
    fn described(&self) -> String {
        let (kind, name) = match self.place {
            ("", name) => ("ClusterRoleBinding", name.to_owned()),
            (namespace, name) => ("RoleBinding", format!("{name}/{namespace}")),
        };
        let RoleRef { kind: role, name: role_name, .. } = &self.binding.role;
        let Subject { kind: who, name: who_name, namespace, .. } = self.subject;
        let who_name = match (who.as_str(), namespace.as_deref()) {
            ("ServiceAccount", Some(of)) if !of.is_empty() => format!("{who_name}/{of}"),
            ("ServiceAccount", _) => format!("{who_name}/{}", self.place.0),
            _ => who_name.clone(),
        };
        format!("{kind} {} of {role} {} to {who} {}", quoted(&name), quoted(role_name), quoted(&who_name))
    }
}

/// What the authorizer says of roles that are not there. It names their kinds, not their resources, as upstream's does.
pub fn resolution_error(missing: &[RoleRef]) -> String {
    let resource = |role: &RoleRef| if role.kind == "Role" { "role" } else { "clusterrole" };
    let one = |role| Status::not_found(Qualified::new(RBAC_GROUP, resource(role)), &role.name).message;
    aggregate(missing.iter().map(one))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use remora_model::kinds;
    use serde_json::json;

    /// Kinds, names and what is in them: `role a/r`, `clusterrole r`, `binding a/b Role/r User:jane`.
    pub(in crate::rbac) fn access(lines: &[(&str, &str)]) -> Access {
        let mut access = Access::default();
        for (what, content) in lines {
            let (kind, place) = what.split_once(' ').unwrap();
            let (namespace, name) = place.split_once('/').map_or((None, place), |(of, name)| (Some(of), name));
            let key = |plural: &str| ObjectKey::new(kinds::rbac(plural), namespace, name);
            match (kind, namespace) {
                ("role", Some(_)) => access.put(&key("roles"), &role(content)),
                ("role", None) => access.put(&key("clusterroles"), &role(content)),
                (_, Some(_)) => access.put(&key("rolebindings"), &binding(content)),
                (_, None) => access.put(&key("clusterrolebindings"), &binding(content)),
            }
        }
        access
    }

    fn role(content: &str) -> Value {
        let rules: Vec<PolicyRule> = content.split("; ").map(rule::tests::rule).collect();
        json!({ "rules": rules })
    }

    fn binding(content: &str) -> Value {
        let (role, subjects) = content.split_once(' ').unwrap();
        let (kind, name) = role.split_once('/').unwrap();
        let subject = |text: &str| {
            let (kind, name) = text.split_once('=').unwrap();
            match (kind, name.split_once('/')) {
                ("ServiceAccount", Some((of, name))) => json!({"kind": kind, "name": name, "namespace": of}),
                _ => json!({"kind": kind, "name": name}),
            }
        };
        let subjects: Vec<Value> = subjects.split(' ').map(subject).collect();
        json!({"roleRef": {"apiGroup": RBAC_GROUP, "kind": kind, "name": name}, "subjects": subjects})
    }

    fn what<'a>(verb: &'a str, resource: &'a str, namespace: &'a str) -> Attributes<'a> {
        Attributes::Resource { verb, group: "", resource, subresource: "", namespace, name: "x" }
    }

    fn some_access() -> Access {
        access(&[
            ("role a/reader", "get core pods"),
            ("role reader", "get core secrets"),
            ("role nodes", "get core nodes; get /metrics"),
            ("binding a/pods", "Role/reader User=jane ServiceAccount=bot"),
            ("binding a/secrets", "ClusterRole/reader Group=dev ServiceAccount=b/bot"),
            ("binding nodes", "ClusterRole/nodes User=jane ServiceAccount=b/bot"),
            ("binding a/broken", "Role/gone User=joe"),
            ("binding broken", "ClusterRole/gone User=joe User=jane"),
        ])
    }

    #[test]
    fn bindings_give_roles_where_they_are() {
        let access = some_access();
        let dev = ["dev".to_owned()];
        let jane = Who { name: "jane", groups: &[] };
        let joe = Who { name: "joe", groups: &dev };
        let bot = |name| Who { name, groups: &[] };
        let gone = "RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found";
        for (who, verb, resource, namespace, reason) in [
            (jane, "get", "pods", "a", "RoleBinding \"pods/a\" of Role \"reader\" to User \"jane\""),
            (jane, "get", "pods", "b", gone),
            (jane, "get", "nodes", "", "ClusterRoleBinding \"nodes\" of ClusterRole \"nodes\" to User \"jane\""),
            (jane, "get", "nodes", "a", "ClusterRoleBinding \"nodes\" of ClusterRole \"nodes\" to User \"jane\""),
            (joe, "get", "secrets", "a", "RoleBinding \"secrets/a\" of ClusterRole \"reader\" to Group \"dev\""),
            (
                joe,
                "get",
                "pods",
                "a",
                "RBAC: [clusterrole.rbac.authorization.k8s.io \"gone\" not found, role.rbac.authorization.k8s.io \"gone\" not found]",
            ),
            (
                bot("system:serviceaccount:a:bot"),
                "get",
                "pods",
                "a",
                "RoleBinding \"pods/a\" of Role \"reader\" to ServiceAccount \"bot/a\"",
            ),
            (bot("system:serviceaccount:b:bot"), "get", "pods", "a", ""),
            (
                bot("system:serviceaccount:b:bot"),
                "get",
                "secrets",
                "a",
                "RoleBinding \"secrets/a\" of ClusterRole \"reader\" to ServiceAccount \"bot/b\"",
            ),
            (bot("system:serviceaccount::bot"), "get", "nodes", "", ""),
        ] {
            let decision = access.decide(who, &what(verb, resource, namespace));
            let expected =
                if reason.contains(" to ") { format!("RBAC: allowed by {reason}") } else { reason.to_owned() };
            assert_eq!(decision.reason, expected, "{} {verb} {resource} in {namespace:?}", who.name);
            assert_eq!(decision.allowed, reason.contains(" to "));
        }
        let path = Attributes::Path { verb: "get", path: "/metrics" };
        assert!(access.decide(jane, &path).allowed && !access.decide(joe, &path).allowed);
    }

    #[test]
    fn what_is_taken_out_counts_no_more() {
        let mut access = some_access();
        let jane = Who { name: "jane", groups: &[] };
        assert!(access.decide(jane, &what("get", "pods", "a")).allowed);
        access.remove(&ObjectKey::new(kinds::rbac("rolebindings"), Some("a"), "pods"));
        assert!(!access.decide(jane, &what("get", "pods", "a")).allowed);
        access.remove(&ObjectKey::new(kinds::rbac("clusterroles"), None, "nodes"));
        let all = access.rules_for(jane, "a");
        assert!(all.rules.is_empty());
        let missing: Vec<&str> = all.missing.iter().map(|role| role.name.as_str()).collect();
        assert_eq!(missing, ["gone", "nodes"]);
    }
}
