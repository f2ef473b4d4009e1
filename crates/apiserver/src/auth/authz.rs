//! Who may do what, until there is RBAC: one table of what the parts of this process need, everything for
//! `system:masters`, and for all others what RBAC's default roles give everyone (`system:discovery`, `system:basic-user`,
//! `system:public-info-viewer`). Pure. Requests and access reviews are answered by the same function.

use remora_http::User;
use remora_model::Status;
use remora_model::status::Qualified;

use crate::request::{RequestInfo, ResourceInfo};

/// Everyone who was authenticated is in it.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Everyone who was not is in it.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Whoever is in it may do everything.
pub const MASTERS: &str = "system:masters";
/// The name of who did not say who they are.
pub const ANONYMOUS: &str = "system:anonymous";

/// What is to be done, as authorizers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attributes<'a> {
    /// Something with a resource.
    Resource {
        /// `get`, `create`, …
        verb: &'a str,
        /// Empty for core.
        group: &'a str,
        /// `pods`
        resource: &'a str,
        /// `status`, or empty.
        subresource: &'a str,
        /// Empty for all.
        namespace: &'a str,
        /// Empty for all.
        name: &'a str,
    },
    /// A path that is no resource.
    Path {
        /// `get`
        verb: &'a str,
        /// `/version`
        path: &'a str,
    },
}

/// The answer, with what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Yes or no.
    pub allowed: bool,
    /// Why yes; empty for masters, as in upstream.
    pub reason: &'static str,
}

const NO: Decision = Decision { allowed: false, reason: "" };

impl<'a> From<&'a RequestInfo> for Attributes<'a> {
    fn from(info: &'a RequestInfo) -> Self {
        match &info.resource {
            None => Self::Path { verb: &info.verb, path: &info.path },
            Some(ResourceInfo { group, namespace, resource, subresource, name, .. }) => {
                Self::Resource { verb: &info.verb, group, resource, subresource, namespace, name }
            }
        }
    }
}

/// Whether `user` may.
pub fn decide(user: &User, what: &Attributes<'_>) -> Decision {
    let is_in = |group: &str| user.groups.iter().any(|g| g == group);
    if is_in(MASTERS) {
        return Decision { allowed: true, reason: "" };
    }
    if is_public(what) {
        return Decision { allowed: true, reason: "system:public-info-viewer" };
    }
    if is_in(AUTHENTICATED) && is_for_everyone(what) {
        return Decision { allowed: true, reason: "system:discovery or system:basic-user" };
    }
    match account_role(user) {
        Some(role) if !is_of_another_node(user, what) && role.rules.iter().any(|rule| rule.covers(what)) => {
            Decision { allowed: true, reason: role.name }
        }
        _ => NO,
    }
}

/// What a user may do beyond what everyone may, by the table.
pub fn rules_of(user: &User) -> &'static [Rule] {
    account_role(user).map_or(&[], |role| role.rules)
}

/// 403 with upstream's words (`pkg/endpoints/handlers/responsewriters/errors.go`).
pub fn forbidden(user: &User, what: &Attributes<'_>) -> Status {
    let name = &user.name;
    match what {
        Attributes::Path { verb, path } => {
            let why = format!("User {name:?} cannot {verb} path {path:?}");
            let mut status = Status::forbidden(Qualified::core(""), "", &why);
            status.message = format!("forbidden: {why}");
            status
        }
        Attributes::Resource { verb, group, resource, subresource, namespace, name: object } => {
            let slash = if subresource.is_empty() { "" } else { "/" };
            let place = match *namespace {
                "" => "at the cluster scope".to_owned(),
                namespace => format!("in the namespace {namespace:?}"),
            };
            let why = format!(
                "User {name:?} cannot {verb} resource \"{resource}{slash}{subresource}\" in API group {group:?} {place}"
            );
            Status::forbidden(Qualified::new(group, resource), object, &why)
        }
    }
}

/// What even the unknown may see.
fn is_public(what: &Attributes<'_>) -> bool {
    let Attributes::Path { verb: "get" | "head", path } = what else { return false };
    let path = path.trim_end_matches('/');
    let below = |of: &str| path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    path == "/version" || ["/healthz", "/livez", "/readyz"].into_iter().any(below)
}

/// What all who are known may do: discovery, and questions about themselves.
fn is_for_everyone(what: &Attributes<'_>) -> bool {
    match *what {
        Attributes::Path { verb: "get" | "head", path } => {
            let below = |of: &str| path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            ["/api", "/apis", "/openapi"].into_iter().any(below)
        }
        Attributes::Path { .. } => false,
        Attributes::Resource { verb, group, resource, .. } => {
            verb == "create"
                && matches!(
                    (group, resource),
                    ("authorization.k8s.io", "selfsubjectaccessreviews" | "selfsubjectrulesreviews")
                        | ("authentication.k8s.io", "selfsubjectreviews")
                )
        }
    }
}

/// A part of this process, and what it needs.
struct Role {
    name: &'static str,
    rules: &'static [Rule],
}

/// Verbs on resources (`pods/status`) of groups; `*` is all.
#[derive(Debug)]
pub struct Rule {
    /// Of these groups,
    pub groups: &'static [&'static str],
    /// these resources
    pub resources: &'static [&'static str],
    /// may be treated so.
    pub verbs: &'static [&'static str],
}

impl Rule {
    fn covers(&self, what: &Attributes<'_>) -> bool {
        let Attributes::Resource { verb, group, resource, subresource, .. } = *what else { return false };
        let has = |list: &[&str], word: &str| list.iter().any(|entry| *entry == "*" || *entry == word);
        let is_meant = |entry: &str| match entry.split_once('/') {
            None => entry == "*" || (subresource.is_empty() && entry == resource),
            Some((of, part)) => (of == "*" || of == resource) && part == subresource,
        };
        has(self.groups, group) && has(self.verbs, verb) && self.resources.iter().any(|entry| is_meant(entry))
    }
}

const CORE: &[&str] = &[""];
const EVENTS: &[&str] = &["", "events.k8s.io"];
const READ: &[&str] = &["get", "list", "watch"];
const WRITE_EVENTS: Rule = Rule { groups: EVENTS, resources: &["events"], verbs: &["create", "patch", "update"] };
const LEASES: Rule = Rule {
    groups: &["coordination.k8s.io"],
    resources: &["leases"],
    verbs: &["get", "create", "update", "patch", "delete"],
};

/// `system:node` of RBAC, less what this API server does not serve. The node authorizer's limits to a node's own objects are not here.
const NODE: Role = Role {
    name: "system:node",
    rules: &[
        Rule { groups: CORE, resources: &["nodes"], verbs: &["create", "get", "list", "watch", "update", "patch"] },
        Rule { groups: CORE, resources: &["nodes/status"], verbs: &["get", "update", "patch"] },
        Rule { groups: CORE, resources: &["pods"], verbs: &["get", "list", "watch", "create", "delete"] },
        Rule { groups: CORE, resources: &["pods/status"], verbs: &["get", "update", "patch"] },
        Rule { groups: CORE, resources: &["configmaps", "secrets", "serviceaccounts", "namespaces"], verbs: READ },
        Rule { groups: CORE, resources: &["serviceaccounts/token"], verbs: &["create"] },
        Rule { groups: &["node.k8s.io"], resources: &["runtimeclasses"], verbs: READ },
        Rule { groups: &["authentication.k8s.io"], resources: &["tokenreviews"], verbs: &["create"] },
        Rule {
            groups: &["authorization.k8s.io"],
            resources: &["subjectaccessreviews", "localsubjectaccessreviews"],
            verbs: &["create"],
        },
        LEASES,
        WRITE_EVENTS,
    ],
};

const SCHEDULER: Role = Role {
    name: "system:kube-scheduler",
    rules: &[
        Rule { groups: CORE, resources: &["nodes", "namespaces"], verbs: READ },
        Rule { groups: CORE, resources: &["pods"], verbs: &["get", "list", "watch", "delete"] },
        Rule { groups: CORE, resources: &["pods/binding", "bindings"], verbs: &["create"] },
        Rule { groups: CORE, resources: &["pods/status"], verbs: &["update", "patch"] },
        LEASES,
        WRITE_EVENTS,
    ],
};

/// Service accounts of `kube-system` that stand for controllers, as upstream names them.
const CONTROLLERS: &[Role] = &[
    Role {
        name: "namespace-controller",
        rules: &[
            Rule { groups: CORE, resources: &["namespaces"], verbs: &["get", "list", "watch", "delete"] },
            Rule {
                groups: CORE,
                resources: &["namespaces/finalize", "namespaces/status"],
                verbs: &["update", "patch"],
            },
            Rule { groups: &["*"], resources: &["*"], verbs: &["get", "list", "watch", "delete", "deletecollection"] },
        ],
    },
    Role {
        name: "service-account-controller",
        rules: &[
            Rule { groups: CORE, resources: &["namespaces"], verbs: READ },
            Rule { groups: CORE, resources: &["serviceaccounts"], verbs: &["get", "list", "watch", "create"] },
            WRITE_EVENTS,
        ],
    },
    Role {
        name: "resourcequota-controller",
        rules: &[
            Rule { groups: &["*"], resources: &["*"], verbs: &["list", "watch"] },
            Rule { groups: CORE, resources: &["resourcequotas"], verbs: &["get"] },
            Rule { groups: CORE, resources: &["resourcequotas/status"], verbs: &["update", "patch"] },
            WRITE_EVENTS,
        ],
    },
    Role {
        name: "root-ca-cert-publisher",
        rules: &[
            Rule { groups: CORE, resources: &["namespaces"], verbs: READ },
            Rule {
                groups: CORE,
                resources: &["configmaps"],
                verbs: &["get", "list", "watch", "create", "update", "patch"],
            },
            WRITE_EVENTS,
        ],
    },
];

/// The role of a part of this process.
fn account_role(user: &User) -> Option<&'static Role> {
    if user.name.starts_with("system:node:") {
        return user.groups.iter().any(|g| g == "system:nodes").then_some(&NODE);
    }
    if user.name == "system:kube-scheduler" {
        return Some(&SCHEDULER);
    }
    let controller = user.name.strip_prefix("system:serviceaccount:kube-system:")?;
    CONTROLLERS.iter().find(|role| role.name == controller)
}

/// A node writes no node and no node status but its own.
fn is_of_another_node(user: &User, what: &Attributes<'_>) -> bool {
    let Some(node) = user.name.strip_prefix("system:node:") else { return false };
    match *what {
        Attributes::Resource { verb: "update" | "patch", group: "", resource: "nodes", name, .. } => name != node,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(user: &User, verb: &str, path: &str) -> bool {
        let what = match path.split_once(' ') {
            Some((resource, name)) => {
                let (group, resource) = resource.rsplit_once(':').unwrap_or(("", resource));
                let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                Attributes::Resource { verb, group, resource, subresource, namespace: "a", name }
            }
            None => Attributes::Path { verb, path },
        };
        decide(user, &what).allowed
    }

    #[test]
    fn each_may_do_what_the_table_says_and_no_more() {
        let admin = User::new("a", [MASTERS, AUTHENTICATED]);
        let anonymous = User::new(ANONYMOUS, [UNAUTHENTICATED]);
        let jane = User::new("jane", [AUTHENTICATED]);
        let node = User::new("system:node:n", ["system:nodes", AUTHENTICATED]);
        let liar = User::new("system:node:n", [AUTHENTICATED]);
        let scheduler = User::new("system:kube-scheduler", [AUTHENTICATED]);
        let controller = User::new("system:serviceaccount:kube-system:namespace-controller", [AUTHENTICATED]);
        let own = User::new("system:serviceaccount:other:namespace-controller", [AUTHENTICATED]);
        for (user, verb, path, expected) in [
            (&admin, "get", "/metrics", true),
            (&admin, "delete", "pods x", true),
            (&anonymous, "get", "/healthz", true),
            (&anonymous, "get", "/readyz/ping", true),
            (&anonymous, "get", "/healthzz", false),
            (&anonymous, "get", "/version", true),
            (&anonymous, "get", "/api", false),
            (&anonymous, "post", "/version", false),
            (&jane, "get", "/apis/events.k8s.io/v1", true),
            (&jane, "get", "/openapi/v3", true),
            (&jane, "get", "/metrics", false),
            (&jane, "list", "pods ", false),
            (&jane, "create", "authorization.k8s.io:selfsubjectaccessreviews ", true),
            (&jane, "create", "authorization.k8s.io:subjectaccessreviews ", false),
            (&node, "patch", "pods/status p", true),
            (&node, "patch", "pods p", false),
            (&node, "patch", "pods/ephemeralcontainers p", false),
            (&node, "patch", "nodes/status n", true),
            (&node, "patch", "nodes/status other", false),
            (&node, "create", "events.k8s.io:events ", true),
            (&liar, "patch", "pods/status p", false),
            (&scheduler, "create", "pods/binding p", true),
            (&scheduler, "create", "pods p", false),
            (&controller, "delete", "coordination.k8s.io:leases l", true),
            (&controller, "create", "pods p", false),
            (&own, "delete", "pods p", false),
        ] {
            assert_eq!(may(user, verb, path), expected, "{} {verb} {path}", user.name);
        }
    }

    #[test]
    fn refusals_read_as_recorded() {
        let jane = User::new("jane", [AUTHENTICATED]);
        let mut what = Attributes::Resource {
            verb: "patch",
            group: "",
            resource: "pods",
            subresource: "ephemeralcontainers",
            namespace: "NS",
            name: "eph",
        };
        let expected = "pods \"eph\" is forbidden: User \"jane\" cannot patch resource \"pods/ephemeralcontainers\" in API \
                        group \"\" in the namespace \"NS\"";
        assert_eq!(forbidden(&jane, &what).message, expected);
        what = Attributes::Resource {
            verb: "list",
            group: "",
            resource: "nodes",
            subresource: "",
            namespace: "",
            name: "",
        };
        let expected =
            "nodes is forbidden: User \"jane\" cannot list resource \"nodes\" in API group \"\" at the cluster scope";
        assert_eq!(forbidden(&jane, &what).message, expected);
        what = Attributes::Path { verb: "get", path: "/metrics" };
        assert_eq!(forbidden(&jane, &what).message, "forbidden: User \"jane\" cannot get path \"/metrics\"");
    }
}
