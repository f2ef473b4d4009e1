//! The one table of every kind that Remora serves. Routing, discovery, storage keys, canonical form and RBAC names
//! read it; adding a kind is one entry here (and its types in [`crate::schema`], its rules in `rules`).

use crate::status::Qualified;
use Verb::{Create, Delete, DeleteCollection, Get, List, Patch, Update, Watch};

/// What can be done with a resource; the words of discovery and RBAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// POST
    Create,
    /// DELETE of one
    Delete,
    /// DELETE of a collection
    DeleteCollection,
    /// GET of one
    Get,
    /// GET of a collection
    List,
    /// PATCH
    Patch,
    /// PUT
    Update,
    /// GET with `watch=true`
    Watch,
}

impl Verb {
    /// The word of discovery and RBAC.
    pub fn as_str(self) -> &'static str {
        match self {
            Create => "create",
            Delete => "delete",
            DeleteCollection => "deletecollection",
            Get => "get",
            List => "list",
            Patch => "patch",
            Update => "update",
            Watch => "watch",
        }
    }
}

/// Where objects of a kind live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Storage {
    /// In the store, under `/registry/<this>/`. Two kinds with the same word are two views of the same objects.
    Stored(&'static str),
    /// Nowhere: answered from the request alone (access reviews), or by nodes (what is used).
    Virtual,
}

/// A part of a resource with its own path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subresource {
    /// The last part of the path: `status`.
    pub name: &'static str,
    /// Group of its own kind, where that is not the parent's; discovery shows it.
    pub group: &'static str,
    /// Version of its own kind, where that is not the parent's.
    pub version: &'static str,
    /// The kind of request or object: `Pod`, `PodExecOptions`.
    pub kind: &'static str,
    /// What can be done with it.
    pub verbs: &'static [Verb],
}

/// A kind of object as one API version shows it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// API group; empty for core.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// `Pod`.
    pub kind: &'static str,
    /// `pods`: the resource.
    pub plural: &'static str,
    /// `pod`.
    pub singular: &'static str,
    /// What kubectl also understands.
    pub short_names: &'static [&'static str],
    /// `all`, for `kubectl get all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// In the order of discovery.
    pub subresources: &'static [Subresource],
    /// In the order of discovery.
    pub verbs: &'static [Verb],
    /// Where its objects live.
    pub storage: Storage,
    /// The name of its type in [`crate::schema`].
    pub schema: &'static str,
    /// What whoever still asks for it is told in a warning.
    pub deprecated: Option<&'static str>,
}

const ALL_VERBS: &[Verb] = &[Create, Delete, DeleteCollection, Get, List, Patch, Update, Watch];
const ONE_BY_ONE: &[Verb] = &[Create, Delete, Get, List, Patch, Update, Watch];
const READ_WRITE: &[Verb] = &[Get, Patch, Update];
/// Of what passes every method on.
const PROXIED: &[Verb] = &[Create, Delete, Get, Patch, Update];

const fn part(name: &'static str, kind: &'static str, verbs: &'static [Verb]) -> Subresource {
    Subresource { name, group: "", version: "", kind, verbs }
}

/// A namespaced core/v1 kind with every verb; entries change what differs.
const CORE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    singular: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
    subresources: &[],
    verbs: ALL_VERBS,
    storage: Storage::Virtual,
    schema: "",
    deprecated: None,
};

/// A question about identity or rights: answered at its creation, kept nowhere.
const fn review(group: &'static str, kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind { group, kind, plural, singular, namespaced: false, verbs: &[Create], schema: kind, ..CORE }
}

/// What runs pods.
const WORKLOAD: Kind = Kind { group: "apps", categories: &["all"], ..CORE };

/// The number of replicas, which can be read and written alone.
const SCALE_PART: Subresource =
    Subresource { name: "scale", group: "autoscaling", version: "v1", kind: "Scale", verbs: READ_WRITE };

/// What `…/scale` shows of an object. It is no kind of its own: nothing leads to it but that path.
pub static SCALE: Kind =
    Kind { group: "autoscaling", kind: "Scale", plural: "scales", singular: "scale", schema: "Scale", ..CORE };

/// Written with every service that takes an address or a port of the nodes, so that no two take the same one. Nobody reads what is in it, and
/// nothing leads to it.
pub static SERVICE_RANGES: Kind = Kind {
    kind: "RangeAllocation",
    plural: "rangeallocations",
    namespaced: false,
    storage: Storage::Stored("ranges"),
    ..CORE
};

/// A kind of RBAC: who may do what.
const RBAC: Kind = Kind { group: RBAC_GROUP, ..CORE };

/// The group of roles and their bindings.
pub const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

/// What is used: asked of the nodes, kept nowhere.
const USAGE: Kind = Kind { group: METRICS_GROUP, version: "v1beta1", verbs: &[Get, List], ..CORE };

/// The group of what is used.
pub const METRICS_GROUP: &str = "metrics.k8s.io";

/// Every kind, by group and then by resource.
pub static KINDS: &[Kind] = &[
    Kind {
        kind: "ConfigMap",
        plural: "configmaps",
        singular: "configmap",
        short_names: &["cm"],
        storage: Storage::Stored("configmaps"),
        schema: "ConfigMap",
        ..CORE
    },
    Kind {
        kind: "Endpoints",
        plural: "endpoints",
        singular: "endpoints",
        short_names: &["ep"],
        // Kubernetes keeps endpoints and services below one word.
        storage: Storage::Stored("services/endpoints"),
        schema: "Endpoints",
        deprecated: Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
        ..CORE
    },
    Kind {
        kind: "Event",
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        storage: Storage::Stored("events"),
        schema: "Event",
        ..CORE
    },
    Kind {
        kind: "LimitRange",
        plural: "limitranges",
        singular: "limitrange",
        short_names: &["limits"],
        storage: Storage::Stored("limitranges"),
        schema: "LimitRange",
        ..CORE
    },
    Kind {
        kind: "Namespace",
        plural: "namespaces",
        singular: "namespace",
        short_names: &["ns"],
        namespaced: false,
        subresources: &[part("finalize", "Namespace", &[Update]), part("status", "Namespace", READ_WRITE)],
        verbs: ONE_BY_ONE,
        storage: Storage::Stored("namespaces"),
        schema: "Namespace",
        ..CORE
    },
    Kind {
        kind: "Node",
        plural: "nodes",
        singular: "node",
        short_names: &["no"],
        namespaced: false,
        subresources: &[part("proxy", "NodeProxyOptions", PROXIED), part("status", "Node", READ_WRITE)],
        // Kubernetes keeps the word it used before nodes were called nodes.
        storage: Storage::Stored("minions"),
        schema: "Node",
        ..CORE
    },
    Kind {
        kind: "PersistentVolumeClaim",
        plural: "persistentvolumeclaims",
        singular: "persistentvolumeclaim",
        short_names: &["pvc"],
        subresources: &[part("status", "PersistentVolumeClaim", READ_WRITE)],
        storage: Storage::Stored("persistentvolumeclaims"),
        schema: "PersistentVolumeClaim",
        ..CORE
    },
    Kind {
        kind: "PersistentVolume",
        plural: "persistentvolumes",
        singular: "persistentvolume",
        short_names: &["pv"],
        namespaced: false,
        subresources: &[part("status", "PersistentVolume", READ_WRITE)],
        storage: Storage::Stored("persistentvolumes"),
        schema: "PersistentVolume",
        ..CORE
    },
    Kind {
        kind: "Pod",
        plural: "pods",
        singular: "pod",
        short_names: &["po"],
        categories: &["all"],
        subresources: &[
            part("attach", "PodAttachOptions", &[Create, Get]),
            part("binding", "Binding", &[Create]),
            part("ephemeralcontainers", "Pod", READ_WRITE),
            Subresource { name: "eviction", group: "policy", version: "v1", kind: "Eviction", verbs: &[Create] },
            part("exec", "PodExecOptions", &[Create, Get]),
            part("log", "Pod", &[Get]),
            part("portforward", "PodPortForwardOptions", &[Create, Get]),
            part("proxy", "PodProxyOptions", PROXIED),
            part("resize", "Pod", READ_WRITE),
            part("status", "Pod", READ_WRITE),
        ],
        storage: Storage::Stored("pods"),
        schema: "Pod",
        ..CORE
    },
    Kind {
        kind: "PodTemplate",
        plural: "podtemplates",
        singular: "podtemplate",
        storage: Storage::Stored("podtemplates"),
        schema: "PodTemplate",
        ..CORE
    },
    Kind {
        kind: "ResourceQuota",
        plural: "resourcequotas",
        singular: "resourcequota",
        short_names: &["quota"],
        subresources: &[part("status", "ResourceQuota", READ_WRITE)],
        storage: Storage::Stored("resourcequotas"),
        schema: "ResourceQuota",
        ..CORE
    },
    Kind {
        kind: "Secret",
        plural: "secrets",
        singular: "secret",
        storage: Storage::Stored("secrets"),
        schema: "Secret",
        ..CORE
    },
    Kind {
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        singular: "serviceaccount",
        short_names: &["sa"],
        subresources: &[Subresource {
            name: "token",
            group: "authentication.k8s.io",
            version: "v1",
            kind: "TokenRequest",
            verbs: &[Create],
        }],
        storage: Storage::Stored("serviceaccounts"),
        schema: "ServiceAccount",
        ..CORE
    },
    Kind {
        kind: "Service",
        plural: "services",
        singular: "service",
        short_names: &["svc"],
        categories: &["all"],
        subresources: &[part("proxy", "ServiceProxyOptions", PROXIED), part("status", "Service", READ_WRITE)],
        storage: Storage::Stored("services/specs"),
        schema: "Service",
        ..CORE
    },
    Kind {
        kind: "Deployment",
        plural: "deployments",
        singular: "deployment",
        short_names: &["deploy"],
        subresources: &[SCALE_PART, part("status", "Deployment", READ_WRITE)],
        storage: Storage::Stored("deployments"),
        schema: "Deployment",
        ..WORKLOAD
    },
    Kind {
        kind: "ReplicaSet",
        plural: "replicasets",
        singular: "replicaset",
        short_names: &["rs"],
        subresources: &[SCALE_PART, part("status", "ReplicaSet", READ_WRITE)],
        storage: Storage::Stored("replicasets"),
        schema: "ReplicaSet",
        ..WORKLOAD
    },
    review("authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview"),
    review("authentication.k8s.io", "TokenReview", "tokenreviews", "tokenreview"),
    Kind {
        namespaced: true,
        ..review(
            "authorization.k8s.io",
            "LocalSubjectAccessReview",
            "localsubjectaccessreviews",
            "localsubjectaccessreview",
        )
    },
    review("authorization.k8s.io", "SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview"),
    review("authorization.k8s.io", "SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview"),
    review("authorization.k8s.io", "SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview"),
    Kind {
        group: "coordination.k8s.io",
        kind: "Lease",
        plural: "leases",
        singular: "lease",
        storage: Storage::Stored("leases"),
        schema: "Lease",
        ..CORE
    },
    Kind {
        group: "discovery.k8s.io",
        kind: "EndpointSlice",
        plural: "endpointslices",
        singular: "endpointslice",
        storage: Storage::Stored("endpointslices"),
        schema: "EndpointSlice",
        ..CORE
    },
    Kind {
        group: "events.k8s.io",
        kind: "Event",
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        storage: Storage::Stored("events"),
        schema: "events.k8s.io/Event",
        ..CORE
    },
    Kind { kind: "NodeMetrics", plural: "nodes", namespaced: false, schema: "NodeMetrics", ..USAGE },
    Kind { kind: "PodMetrics", plural: "pods", schema: "PodMetrics", ..USAGE },
    Kind {
        group: "node.k8s.io",
        kind: "RuntimeClass",
        plural: "runtimeclasses",
        singular: "runtimeclass",
        namespaced: false,
        storage: Storage::Stored("runtimeclasses"),
        schema: "RuntimeClass",
        ..CORE
    },
    Kind {
        group: "policy",
        kind: "PodDisruptionBudget",
        plural: "poddisruptionbudgets",
        singular: "poddisruptionbudget",
        short_names: &["pdb"],
        subresources: &[part("status", "PodDisruptionBudget", READ_WRITE)],
        storage: Storage::Stored("poddisruptionbudgets"),
        schema: "PodDisruptionBudget",
        ..CORE
    },
    Kind {
        kind: "ClusterRoleBinding",
        plural: "clusterrolebindings",
        singular: "clusterrolebinding",
        namespaced: false,
        storage: Storage::Stored("clusterrolebindings"),
        schema: "ClusterRoleBinding",
        ..RBAC
    },
    Kind {
        kind: "ClusterRole",
        plural: "clusterroles",
        singular: "clusterrole",
        namespaced: false,
        storage: Storage::Stored("clusterroles"),
        schema: "ClusterRole",
        ..RBAC
    },
    Kind {
        kind: "RoleBinding",
        plural: "rolebindings",
        singular: "rolebinding",
        storage: Storage::Stored("rolebindings"),
        schema: "RoleBinding",
        ..RBAC
    },
    Kind { kind: "Role", plural: "roles", singular: "role", storage: Storage::Stored("roles"), schema: "Role", ..RBAC },
    Kind {
        group: "scheduling.k8s.io",
        kind: "PriorityClass",
        plural: "priorityclasses",
        singular: "priorityclass",
        short_names: &["pc"],
        namespaced: false,
        storage: Storage::Stored("priorityclasses"),
        schema: "PriorityClass",
        ..CORE
    },
    Kind {
        group: "storage.k8s.io",
        kind: "StorageClass",
        plural: "storageclasses",
        singular: "storageclass",
        short_names: &["sc"],
        namespaced: false,
        storage: Storage::Stored("storageclasses"),
        schema: "StorageClass",
        ..CORE
    },
];

/// The kind served at `/apis/group/version/…/plural` (`/api/v1` for the empty group).
pub fn by_resource(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|k| k.group == group && k.version == version && k.plural == plural)
}

/// The kind that an object's `apiVersion` and `kind` name.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|k| k.group == group && k.version == version && k.kind == kind)
}

/// A v1 kind by its group and resource, for code that knows it is there.
///
/// # Panics
/// If the table has no such resource; the names are literals in our own code.
pub fn v1(group: &str, plural: &str) -> &'static Kind {
    by_resource(group, "v1", plural).unwrap_or_else(|| unreachable!("{plural} is not in the table of kinds"))
}

/// A core/v1 kind by its resource: see [`v1`].
pub fn core(plural: &str) -> &'static Kind {
    v1("", plural)
}

/// An RBAC kind by its resource: see [`v1`].
pub fn rbac(plural: &str) -> &'static Kind {
    v1(RBAC_GROUP, plural)
}

/// The kind of priority classes.
pub fn priority_classes() -> &'static Kind {
    v1("scheduling.k8s.io", "priorityclasses")
}

/// The kind of storage classes.
pub fn storage_classes() -> &'static Kind {
    v1("storage.k8s.io", "storageclasses")
}

impl Kind {
    /// `v1`, `coordination.k8s.io/v1`.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// `PodList`.
    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    /// `pods`, `leases.coordination.k8s.io`: how `NotFound` and `Forbidden` name it.
    pub fn resource(&self) -> Qualified<'static> {
        Qualified::new(self.group, self.plural)
    }

    /// `Pod`, `Lease.coordination.k8s.io`: how `Invalid` names it.
    pub fn qualified(&self) -> Qualified<'static> {
        Qualified::new(self.group, self.kind)
    }

    /// The subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// `/registry/pods/`: every key of this kind starts with it. `None` for virtual kinds.
    pub fn store_prefix(&self) -> Option<String> {
        match self.storage {
            Storage::Stored(word) => Some(format!("/registry/{word}/")),
            Storage::Virtual => None,
        }
    }

    /// The prefix of the objects of one namespace, or of all if none is given.
    pub fn store_prefix_in(&self, namespace: Option<&str>) -> Option<String> {
        let prefix = self.store_prefix()?;
        Some(match namespace {
            Some(namespace) if self.namespaced => format!("{prefix}{namespace}/"),
            _ => prefix,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_event_groups_show_the_same_stored_objects() {
        let [core, new] = ["", "events.k8s.io"].map(|g| by_resource(g, "v1", "events").unwrap());
        assert_eq!(core.store_prefix(), new.store_prefix());
    }

    #[test]
    fn every_kind_is_found_by_resource_and_by_kind() {
        for kind in KINDS {
            assert_eq!(by_resource(kind.group, kind.version, kind.plural), Some(kind));
            assert_eq!(by_kind(kind.group, kind.version, kind.kind), Some(kind));
            assert!(crate::schema::type_of(kind.schema).is_some(), "{} has no schema", kind.schema);
        }
    }
}
