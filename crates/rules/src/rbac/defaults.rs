//! The roles and bindings that every cluster has: one table. Names and rules of upstream's roles are facts of kube-apiserver v1.34
//! (`plugin/pkg/auth/authorizer/rbac/bootstrappolicy`); what differs, and what is our own, says so. Written at start by the API server.
//!
//! Deliberately absent: upstream's roles for parts that are not here (`system:kube-dns`, `system:node-proxier`, signers, …).

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::PolicyRule;
use remora_model::kinds::{self, Kind, METRICS_GROUP, RBAC_GROUP};
use serde_json::{Value, json};

use super::MASTERS;
use super::reconcile::AUTO_UPDATE;

/// A role of the cluster, and to whom it is given.
struct Role {
    name: &'static str,
    rules: &'static [Rule],
    /// It is a part of the role of this name.
    part_of: &'static str,
    /// It is made of all roles that say so.
    is_collected: bool,
    bound: Bound,
}

/// Whether there is a binding, which has the role's name, and of whom.
enum Bound {
    No,
    Groups(&'static [&'static str]),
    User(&'static str),
    /// A service account of `kube-system`.
    Account(&'static str),
}

/// What is allowed: verbs, groups, resources, names; or verbs and paths.
struct Rule(
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
);

const fn on(
    verbs: &'static [&'static str],
    groups: &'static [&'static str],
    resources: &'static [&'static str],
) -> Rule {
    Rule(verbs, groups, resources, &[], &[])
}

const fn paths(verbs: &'static [&'static str], paths: &'static [&'static str]) -> Rule {
    Rule(verbs, &[], &[], &[], paths)
}

const fn role(name: &'static str, rules: &'static [Rule]) -> Role {
    Role { name, rules, part_of: "", is_collected: false, bound: Bound::No }
}

/// The role of a controller, bound to its service account.
const fn controller(name: &'static str, account: &'static str, rules: &'static [Rule]) -> Role {
    Role { bound: Bound::Account(account), ..role(name, rules) }
}

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];
const READ_WRITE: &[&str] = &["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
const READ_UPDATE: &[&str] = &["get", "list", "watch", "update", "patch"];
const CREATE: &[&str] = &["create"];
const ALL: &[&str] = &["*"];

const CORE: &[&str] = &[""];
const APPS: &[&str] = &["apps"];
const WORKLOADS: &[&str] = &["apps", "extensions"];
const AUTHENTICATION: &[&str] = &["authentication.k8s.io"];
const AUTHORIZATION: &[&str] = &["authorization.k8s.io"];
const AUTOSCALING: &[&str] = &["autoscaling"];
const BATCH: &[&str] = &["batch"];
const CERTIFICATES: &[&str] = &["certificates.k8s.io"];
const COORDINATION: &[&str] = &["coordination.k8s.io"];
const DISCOVERY: &[&str] = &["discovery.k8s.io"];
const EXTENSIONS: &[&str] = &["extensions"];
const NETWORKING: &[&str] = &["networking.k8s.io"];
const NODE: &[&str] = &["node.k8s.io"];
const POLICY: &[&str] = &["policy"];
const RBAC: &[&str] = &[RBAC_GROUP];
const RESOURCE: &[&str] = &["resource.k8s.io"];
const STORAGE: &[&str] = &["storage.k8s.io"];

const EVENTS: Rule = on(&["create", "patch", "update"], &["", "events.k8s.io"], &["events"]);
/// Upstream's controllers remember what they have written; ours read an event that they count on.
const COUNTED_EVENTS: Rule = on(&["get", "create", "patch", "update"], &["", "events.k8s.io"], &["events"]);
const ASK_ABOUT_OTHERS: [Rule; 2] =
    [on(CREATE, AUTHENTICATION, &["tokenreviews"]), on(CREATE, AUTHORIZATION, &["subjectaccessreviews"])];

const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";

/// The lease in `kube-system` of the node whose controllers work, where several share a store.
pub const CONTROLLERS_LEASE: &str = "remora-controllers";

const CLUSTER_ROLES: &[Role] = &[
    Role { bound: Bound::Groups(&[MASTERS]), ..role("cluster-admin", &[on(ALL, ALL, ALL), paths(ALL, ALL)]) },
    Role { is_collected: true, ..role("admin", &[]) },
    Role { is_collected: true, part_of: "admin", ..role("edit", &[]) },
    Role { is_collected: true, part_of: "edit", ..role("view", &[]) },
    Role { part_of: "admin", ..role("system:aggregate-to-admin", ADMIN) },
    Role { part_of: "edit", ..role("system:aggregate-to-edit", EDIT) },
    Role { part_of: "view", ..role("system:aggregate-to-view", VIEW) },
    role(DEBUGGER_NAME, DEBUGGER),
    Role {
        bound: Bound::Groups(&[AUTHENTICATED]),
        ..role(
            "system:discovery",
            &[paths(
                &["get"],
                &[
                    "/livez",
                    "/readyz",
                    "/healthz",
                    "/version",
                    "/version/",
                    "/openapi",
                    "/openapi/*",
                    "/api",
                    "/api/*",
                    "/apis",
                    "/apis/*",
                ],
            )],
        )
    },
    Role {
        bound: Bound::Groups(&[AUTHENTICATED]),
        ..role(
            "system:basic-user",
            &[
                on(CREATE, AUTHORIZATION, &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
                on(CREATE, AUTHENTICATION, &["selfsubjectreviews"]),
            ],
        )
    },
    Role {
        bound: Bound::Groups(&[AUTHENTICATED, UNAUTHENTICATED]),
        ..role(
            "system:public-info-viewer",
            &[paths(&["get"], &["/livez", "/readyz", "/healthz", "/version", "/version/"])],
        )
    },
    Role {
        bound: Bound::Groups(&["system:monitoring"]),
        ..role(
            "system:monitoring",
            &[
                paths(
                    &["get"],
                    &[
                        "/metrics",
                        "/metrics/slis",
                        "/livez",
                        "/readyz",
                        "/healthz",
                        "/livez/*",
                        "/readyz/*",
                        "/healthz/*",
                    ],
                ),
                on(&["get"], CORE, &["nodes/metrics"]),
            ],
        )
    },
    // As metrics-server's manifests have it.
    Role {
        part_of: "view",
        ..role("system:aggregated-metrics-reader", &[on(READ, &[METRICS_GROUP], &["pods", "nodes"])])
    },
    role(
        "system:kubelet-api-admin",
        &[
            on(READ, CORE, &["nodes"]),
            on(&["proxy"], CORE, &["nodes"]),
            on(ALL, CORE, &["nodes/proxy", "nodes/metrics", "nodes/stats", "nodes/log"]),
            on(ALL, CORE, &["nodes/pods", "nodes/healthz", "nodes/configz"]),
        ],
    ),
    role("system:auth-delegator", &ASK_ABOUT_OTHERS),
    // Bound to nobody: nodes have these rights by what they are.
    Role { bound: Bound::Groups(&[]), ..role("system:node", NODE_RULES) },
    Role { bound: Bound::User("system:kube-scheduler"), ..role("system:kube-scheduler", SCHEDULER) },
    Role {
        bound: Bound::User("system:kube-scheduler"),
        ..role(
            "system:volume-scheduler",
            &[
                on(READ_UPDATE, CORE, &["persistentvolumes"]),
                on(READ, STORAGE, &["storageclasses"]),
                on(READ_UPDATE, CORE, &["persistentvolumeclaims"]),
            ],
        )
    },
    controller(
        "system:controller:clusterrole-aggregation-controller",
        "clusterrole-aggregation-controller",
        &[on(&["escalate", "get", "list", "watch", "update", "patch"], RBAC, &["clusterroles"])],
    ),
    // Our own: upstream's controllers have this right by the role of `system:kube-controller-manager`.
    controller(
        "remora:leader-election",
        "leader-election",
        &[
            on(CREATE, COORDINATION, &["leases"]),
            Rule(&["get", "list", "watch", "update"], COORDINATION, &["leases"], &[CONTROLLERS_LEASE], &[]),
        ],
    ),
    // Upstream's has no patch of the status: ours marks the namespace with one.
    controller(
        "system:controller:namespace-controller",
        "namespace-controller",
        &[
            on(&["get", "list", "watch", "delete"], CORE, &["namespaces"]),
            on(&["update", "patch"], CORE, &["namespaces/finalize", "namespaces/status"]),
            on(&["get", "list", "watch", "delete", "deletecollection"], ALL, ALL),
        ],
    ),
    controller(
        "system:controller:deployment-controller",
        "deployment-controller",
        &[
            on(&["get", "list", "update", "watch"], WORKLOADS, &["deployments"]),
            on(&["update"], WORKLOADS, &["deployments/status"]),
            on(&["update"], WORKLOADS, &["deployments/finalizers"]),
            on(&["create", "delete", "get", "list", "patch", "update", "watch"], WORKLOADS, &["replicasets"]),
            on(&["get", "list", "update", "watch"], CORE, &["pods"]),
            COUNTED_EVENTS,
        ],
    ),
    controller(
        "system:controller:disruption-controller",
        "disruption-controller",
        &[
            on(READ, WORKLOADS, &["deployments"]),
            on(READ, WORKLOADS, &["replicasets"]),
            on(READ, POLICY, &["poddisruptionbudgets"]),
            on(&["update"], POLICY, &["poddisruptionbudgets/status"]),
            on(&["list"], CORE, &["pods"]),
        ],
    ),
    controller(
        "system:controller:endpoint-controller",
        "endpoint-controller",
        &[
            on(READ, CORE, &["services", "pods"]),
            on(&["get", "list", "watch", "create", "update", "delete"], CORE, &["endpoints"]),
            on(CREATE, CORE, &["endpoints/restricted"]),
            EVENTS,
        ],
    ),
    controller(
        "system:controller:endpointslice-controller",
        "endpointslice-controller",
        &[
            on(READ, CORE, &["services", "pods", "nodes"]),
            on(&["update"], CORE, &["services/finalizers"]),
            on(&["get", "list", "watch", "create", "update", "delete"], DISCOVERY, &["endpointslices"]),
            EVENTS,
        ],
    ),
    controller(
        "system:controller:persistent-volume-binder",
        "persistent-volume-binder",
        &[
            on(&["create", "delete", "get", "list", "update", "watch"], CORE, &["persistentvolumes"]),
            on(&["update"], CORE, &["persistentvolumes/status"]),
            on(&["get", "list", "update", "watch"], CORE, &["persistentvolumeclaims"]),
            on(&["update"], CORE, &["persistentvolumeclaims/status"]),
            on(&["list"], CORE, &["pods"]),
            on(READ, STORAGE, &["storageclasses"]),
            COUNTED_EVENTS,
        ],
    ),
    controller(
        "system:controller:replicaset-controller",
        "replicaset-controller",
        &[
            on(&["get", "list", "update", "watch"], WORKLOADS, &["replicasets"]),
            on(&["update"], WORKLOADS, &["replicasets/status"]),
            on(&["update"], WORKLOADS, &["replicasets/finalizers"]),
            on(&["create", "delete", "list", "patch", "watch"], CORE, &["pods"]),
            COUNTED_EVENTS,
        ],
    ),
    controller(
        "system:controller:generic-garbage-collector",
        "generic-garbage-collector",
        &[on(&["delete", "get", "list", "patch", "update", "watch"], ALL, ALL), EVENTS],
    ),
    // What of it evicting by taints needs; upstream's also looks after nodes.
    controller(
        "system:controller:node-controller",
        "node-controller",
        &[
            on(&["get"], CORE, &["nodes"]),
            on(&["list", "delete"], CORE, &["pods"]),
            on(&["patch"], CORE, &["pods/status"]),
            COUNTED_EVENTS,
        ],
    ),
    // These two look with their own eyes; upstream's look with those of `system:kube-controller-manager`, which may list and watch everything.
    controller(
        "system:controller:service-account-controller",
        "service-account-controller",
        &[on(CREATE, CORE, &["serviceaccounts"]), EVENTS, on(READ, CORE, &["namespaces", "serviceaccounts"])],
    ),
    controller(
        "system:controller:resourcequota-controller",
        "resourcequota-controller",
        &[
            on(&["list", "watch"], &["*"], &["*"]),
            on(&["get"], CORE, &["resourcequotas"]),
            on(&["patch", "update"], CORE, &["resourcequotas/status"]),
            EVENTS,
        ],
    ),
    controller(
        "system:controller:root-ca-cert-publisher",
        "root-ca-cert-publisher",
        &[on(&["create", "update"], CORE, &["configmaps"]), EVENTS, on(READ, CORE, &["namespaces", "configmaps"])],
    ),
];

/// For whom may debug the pods of a namespace and change nothing else; to be bound by a RoleBinding. Our own: upstream has no role that may add
/// ephemeral containers but `cluster-admin`.
const DEBUGGER_NAME: &str = "remora:debugger";
const DEBUGGER: &[Rule] = &[
    on(READ, CORE, &["pods"]),
    on(READ, &["", "events.k8s.io"], &["events"]),
    // Of the one namespace where it is bound: its labels say which debug containers are admitted.
    on(&["get"], CORE, &["namespaces"]),
    on(&["get"], CORE, &["pods/log"]),
    on(&["get", "patch", "update"], CORE, &["pods/ephemeralcontainers"]),
    // A session begins with POST (SPDY) or GET (WebSocket).
    on(&["create", "get"], CORE, &["pods/attach", "pods/exec"]),
];

const ADMIN: &[Rule] =
    &[on(CREATE, AUTHORIZATION, &["localsubjectaccessreviews"]), on(READ_WRITE, RBAC, &["roles", "rolebindings"])];

const EDIT: &[Rule] = &[
    on(READ, CORE, &["pods/attach", "pods/proxy", "pods/exec", "pods/portforward", "secrets", "services/proxy"]),
    on(&["impersonate"], CORE, &["serviceaccounts"]),
    on(WRITE, CORE, &["pods", "pods/attach", "pods/proxy", "pods/exec", "pods/portforward"]),
    on(CREATE, CORE, &["pods/eviction"]),
    on(
        WRITE,
        CORE,
        &[
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "serviceaccounts",
            "services",
            "services/proxy",
            "persistentvolumeclaims",
            "configmaps",
            "secrets",
            "events",
        ],
    ),
    on(CREATE, CORE, &["serviceaccounts/token"]),
    on(
        WRITE,
        APPS,
        &[
            "statefulsets",
            "statefulsets/scale",
            "daemonsets",
            "deployments",
            "deployments/scale",
            "deployments/rollback",
            "replicasets",
            "replicasets/scale",
        ],
    ),
    on(WRITE, AUTOSCALING, &["horizontalpodautoscalers"]),
    on(WRITE, BATCH, &["jobs", "cronjobs"]),
    on(
        WRITE,
        EXTENSIONS,
        &[
            "daemonsets",
            "deployments",
            "deployments/scale",
            "deployments/rollback",
            "ingresses",
            "replicasets",
            "replicasets/scale",
            "replicationcontrollers/scale",
            "networkpolicies",
        ],
    ),
    on(WRITE, POLICY, &["poddisruptionbudgets"]),
    on(WRITE, NETWORKING, &["networkpolicies", "ingresses"]),
    on(READ_WRITE, COORDINATION, &["leases"]),
    on(WRITE, RESOURCE, &["resourceclaims", "resourceclaimtemplates"]),
];

const VIEW: &[Rule] = &[
    on(
        READ,
        CORE,
        &[
            "pods",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "serviceaccounts",
            "services",
            "services/status",
            "endpoints",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "configmaps",
        ],
    ),
    on(
        READ,
        CORE,
        &[
            "limitranges",
            "resourcequotas",
            "bindings",
            "events",
            "pods/status",
            "resourcequotas/status",
            "namespaces/status",
            "replicationcontrollers/status",
            "pods/log",
        ],
    ),
    // In a namespace, the right to read that one namespace.
    on(READ, CORE, &["namespaces"]),
    on(READ, DISCOVERY, &["endpointslices"]),
    on(
        READ,
        APPS,
        &[
            "controllerrevisions",
            "statefulsets",
            "statefulsets/status",
            "statefulsets/scale",
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/status",
            "deployments/scale",
            "replicasets",
            "replicasets/status",
            "replicasets/scale",
        ],
    ),
    on(READ, AUTOSCALING, &["horizontalpodautoscalers", "horizontalpodautoscalers/status"]),
    on(READ, BATCH, &["jobs", "cronjobs", "cronjobs/status", "jobs/status"]),
    on(
        READ,
        EXTENSIONS,
        &[
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "ingresses",
            "ingresses/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "replicationcontrollers/scale",
            "networkpolicies",
        ],
    ),
    on(READ, POLICY, &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
    on(READ, NETWORKING, &["networkpolicies", "ingresses", "ingresses/status"]),
    on(READ, RESOURCE, &["resourceclaims", "resourceclaims/status", "resourceclaimtemplates"]),
];

const NODE_RULES: &[Rule] = &[
    on(CREATE, AUTHENTICATION, &["tokenreviews"]),
    on(CREATE, AUTHORIZATION, &["subjectaccessreviews", "localsubjectaccessreviews"]),
    on(READ, CORE, &["services"]),
    on(&["create", "get", "list", "watch"], CORE, &["nodes"]),
    on(&["update", "patch"], CORE, &["nodes/status"]),
    on(&["update", "patch"], CORE, &["nodes"]),
    // Upstream's nodes write events of the old group only.
    EVENTS,
    on(READ, CORE, &["pods"]),
    on(&["create", "delete"], CORE, &["pods"]),
    on(&["update", "patch"], CORE, &["pods/status"]),
    on(CREATE, CORE, &["pods/eviction"]),
    on(READ, CORE, &["secrets", "configmaps"]),
    on(&["get"], CORE, &["persistentvolumeclaims", "persistentvolumes"]),
    on(&["get"], CORE, &["endpoints"]),
    on(&["create", "get", "list", "watch"], CERTIFICATES, &["certificatesigningrequests"]),
    on(&["get", "create", "update", "patch", "delete"], COORDINATION, &["leases"]),
    on(&["get"], STORAGE, &["volumeattachments"]),
    on(CREATE, CORE, &["serviceaccounts/token"]),
    on(READ, STORAGE, &["csidrivers"]),
    on(&["get", "create", "update", "patch", "delete"], STORAGE, &["csinodes"]),
    on(READ, NODE, &["runtimeclasses"]),
    on(&["get"], RESOURCE, &["resourceclaims"]),
    on(&["deletecollection"], RESOURCE, &["resourceslices"]),
    on(&["get"], CORE, &["serviceaccounts"]),
];

const SCHEDULER: &[Rule] = &[
    EVENTS,
    on(CREATE, COORDINATION, &["leases"]),
    Rule(&["get", "update", "list", "watch"], COORDINATION, &["leases"], &["kube-scheduler"], &[]),
    on(READ_WRITE, COORDINATION, &["leasecandidates"]),
    on(READ, CORE, &["nodes"]),
    on(&["get", "list", "watch", "delete"], CORE, &["pods"]),
    on(CREATE, CORE, &["pods/binding", "bindings"]),
    on(&["patch", "update"], CORE, &["pods/status"]),
    on(READ, CORE, &["services", "replicationcontrollers"]),
    on(READ, &["apps", "extensions"], &["replicasets"]),
    on(READ, APPS, &["statefulsets"]),
    on(READ, POLICY, &["poddisruptionbudgets"]),
    on(READ, CORE, &["persistentvolumeclaims", "persistentvolumes"]),
    on(CREATE, AUTHENTICATION, &["tokenreviews"]),
    on(CREATE, AUTHORIZATION, &["subjectaccessreviews"]),
    on(READ, STORAGE, &["csinodes"]),
    on(READ, STORAGE, &["volumeattachments"]),
    on(READ, CORE, &["namespaces"]),
    on(READ, STORAGE, &["csidrivers"]),
    on(READ, STORAGE, &["csistoragecapacities"]),
    on(READ, RESOURCE, &["deviceclasses"]),
    on(READ_UPDATE, RESOURCE, &["resourceclaims"]),
    on(READ_UPDATE, RESOURCE, &["resourceclaims/status"]),
    on(&["update"], CORE, &["pods/finalizers"]),
    on(READ, RESOURCE, &["resourceslices"]),
];

/// Every default role and binding, with its kind; roles first.
pub fn objects() -> Vec<(&'static Kind, Value)> {
    let roles = CLUSTER_ROLES.iter().map(|of| (kinds::rbac("clusterroles"), of.object()));
    let bindings = CLUSTER_ROLES.iter().filter_map(|of| Some((kinds::rbac("clusterrolebindings"), of.binding()?)));
    roles.chain(bindings).collect()
}

/// The rules of `system:node`.
pub(super) fn node_rules() -> Vec<PolicyRule> {
    NODE_RULES.iter().map(Rule::typed).collect()
}

fn aggregation_label(name: &str) -> String {
    format!("{RBAC_GROUP}/aggregate-to-{name}")
}

impl Role {
    fn metadata(&self) -> Value {
        json!({
            "name": self.name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {AUTO_UPDATE: "true"},
        })
    }

    fn object(&self) -> Value {
        let rules: Vec<Value> = self.rules.iter().map(Rule::json).collect();
        let mut object = json!({
            "kind": "ClusterRole",
            "apiVersion": format!("{RBAC_GROUP}/v1"),
            "metadata": self.metadata(),
            "rules": if rules.is_empty() { Value::Null } else { rules.into() },
        });
        if !self.part_of.is_empty() {
            object["metadata"]["labels"][aggregation_label(self.part_of)] = "true".into();
        }
        if self.is_collected {
            let selector = json!({"matchLabels": {aggregation_label(self.name): "true"}});
            object["aggregationRule"] = json!({ "clusterRoleSelectors": [selector] });
        }
        object
    }

    fn binding(&self) -> Option<Value> {
        let user = |kind: &str, name: &str| json!({"kind": kind, "apiGroup": RBAC_GROUP, "name": name});
        let subjects: Vec<Value> = match self.bound {
            Bound::No => return None,
            Bound::Groups(names) => names.iter().map(|name| user("Group", name)).collect(),
            Bound::User(name) => vec![user("User", name)],
            Bound::Account(name) => {
                vec![json!({"kind": "ServiceAccount", "name": name, "namespace": "kube-system"})]
            }
        };
        let mut binding = json!({
            "kind": "ClusterRoleBinding",
            "apiVersion": format!("{RBAC_GROUP}/v1"),
            "metadata": self.metadata(),
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": self.name},
        });
        if !subjects.is_empty() {
            binding["subjects"] = subjects.into();
        }
        Some(binding)
    }
}

impl Rule {
    fn typed(&self) -> PolicyRule {
        // Upstream's are sorted.
        let owned = |words: &[&str]| -> Vec<String> {
            words.iter().copied().collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect()
        };
        let some = |words: &[&str]| Some(owned(words)).filter(|words| !words.is_empty());
        let Self(verbs, groups, resources, names, paths) = *self;
        PolicyRule {
            verbs: owned(verbs),
            api_groups: some(groups),
            resources: some(resources),
            resource_names: some(names),
            non_resource_urls: some(paths),
        }
    }

    fn json(&self) -> Value {
        // Made of lists of words: it serializes.
        serde_json::to_value(self.typed()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Access, Attributes, Who, authorize};
    use super::*;
    use crate::strategy::{Ctx, strategy};
    use remora_model::ObjectKey;
    use remora_model::canonical::canonicalize;
    use remora_model::schema::type_of;

    fn stored() -> Access {
        let mut access = Access::default();
        for (kind, object) in objects() {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            access.put(&ObjectKey::new(kind, None, name), &object);
        }
        access
    }

    #[test]
    fn every_default_is_as_our_own_rules_want_it() {
        let ctx = Ctx { now: jiff::Timestamp::UNIX_EPOCH, uid: "u".to_owned(), suffix: String::new() };
        let mut seen = Vec::new();
        for (kind, object) in objects() {
            let rules = strategy(kind, "").unwrap();
            let mut defaulted = object.clone();
            rules.set_defaults(&mut defaulted);
            assert_eq!(defaulted, object);
            let canonical = canonicalize(type_of(kind.schema).unwrap(), object.clone()).unwrap();
            assert_eq!(canonical.value, object);
            rules.create(kind, object.clone(), &ctx).unwrap();
            let key = (kind.plural, object["metadata"]["name"].as_str().unwrap().to_owned());
            assert!(!seen.contains(&key), "{key:?} twice");
            seen.push(key);
        }
    }

    #[test]
    fn each_may_do_what_the_defaults_say_and_no_more() {
        let access = stored();
        let own = |groups: &[&str]| -> Vec<String> {
            groups.iter().chain(&[AUTHENTICATED]).map(|group| (*group).to_owned()).collect()
        };
        let accounts = &["system:serviceaccounts", "system:serviceaccounts:kube-system"];
        let unknown = [UNAUTHENTICATED.to_owned()];
        let (masters, nobody, node, account) = (own(&[MASTERS]), own(&[]), own(&["system:nodes"]), own(accounts));
        let admin = Who { name: "a", groups: &masters };
        let anonymous = Who { name: "system:anonymous", groups: &unknown };
        let jane = Who { name: "jane", groups: &nobody };
        let node = Who { name: "system:node:n", groups: &node };
        let scheduler = Who { name: "system:kube-scheduler", groups: &nobody };
        let controller = Who { name: "system:serviceaccount:kube-system:namespace-controller", groups: &account };
        let stranger = Who { name: "system:serviceaccount:other:namespace-controller", groups: &account };
        let collector =
            Who { name: "system:serviceaccount:kube-system:clusterrole-aggregation-controller", groups: &account };
        let candidate = Who { name: "system:serviceaccount:kube-system:leader-election", groups: &account };
        for (who, verb, path, expected) in [
            (candidate, "watch", "coordination.k8s.io:leases remora-controllers", true),
            (candidate, "update", "coordination.k8s.io:leases other", false),
            (candidate, "get", "pods p", false),
            (admin, "get", "/metrics", true),
            (admin, "delete", "pods x", true),
            (anonymous, "get", "/healthz", true),
            (anonymous, "get", "/readyz/ping", false),
            (anonymous, "get", "/version", true),
            (anonymous, "get", "/api", false),
            (anonymous, "post", "/version", false),
            (jane, "get", "/apis/events.k8s.io/v1", true),
            (jane, "get", "/openapi/v3", true),
            (jane, "get", "/metrics", false),
            (jane, "list", "pods ", false),
            (jane, "create", "authorization.k8s.io:selfsubjectaccessreviews ", true),
            (jane, "create", "authorization.k8s.io:subjectaccessreviews ", false),
            (node, "patch", "pods/status p", true),
            (node, "patch", "nodes/status other", false),
            (scheduler, "create", "pods/binding p", true),
            (scheduler, "create", "pods p", false),
            (controller, "delete", "coordination.k8s.io:leases l", true),
            (controller, "create", "pods p", false),
            (stranger, "delete", "pods p", false),
            (collector, "escalate", "rbac.authorization.k8s.io:clusterroles admin", true),
            (collector, "escalate", "rbac.authorization.k8s.io:roles r", false),
        ] {
            let what = match path.split_once(' ') {
                Some((resource, name)) => {
                    let (group, resource) = resource.rsplit_once(':').unwrap_or(("", resource));
                    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                    Attributes::Resource { verb, group, resource, subresource, namespace: "a", name }
                }
                None => Attributes::Path { verb, path },
            };
            assert_eq!(authorize(&access, who, &what).allowed, expected, "{} {verb} {path}", who.name);
        }
    }
}
