//! What the API does with each kind on create and on update: ONE table, so that the API server has one path for all.
//! A row says how a kind is defaulted, prepared and validated; subresources are rows of their own, which take only their
//! part of the request. Adding a kind is one row here (and its entry in `remora_model::kinds`).
//!
//! The way of a write: [`crate::decode`] (canonical form, defaults) → admission ([`crate::pod::admission`]) → [`Strategy::create`]
//! or [`Strategy::update`] → the store. Upstream: k8s.io/apiserver `pkg/registry/rest/{create,update}.go`.

use jiff::Timestamp;
use remora_model::field::FieldErrors;
use remora_model::kinds::RBAC_GROUP;
use remora_model::{Kind, Status};
use serde_json::Value;

use crate::kinds::{
    config, deployment, disruption_budget, endpoints, event, lease, limit_range, namespace, node, persistent_volume,
    persistent_volume_claim, pod_template, priority_class, rbac, replica_set, resource_quota, runtime_class, service,
    storage_class,
};
use crate::managed::Resets;
use crate::metadata::names::{self, Check};
use crate::metadata::{place, validation};
use crate::object::{at, field_mut, set, text};
use crate::pod;

/// What the world gives to a write: rules read no clock and draw no random numbers.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// Now.
    pub now: Timestamp,
    /// The uid of an object that is created.
    pub uid: String,
    /// Five random characters of [`SUFFIX_ALPHABET`], for `generateName`.
    pub suffix: String,
}

/// The letters of generated names: no vowels and no look-alikes, as upstream's `rand.String`.
pub const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The rules of one kind, or of one of its subresources.
pub struct Strategy {
    group: &'static str,
    plural: &'static str,
    /// Empty for the kind itself.
    subresource: &'static str,
    name: Check,
    default: fn(&mut Value),
    prepare_create: fn(&mut Value),
    validate_create: fn(&Value) -> FieldErrors,
    prepare_update: fn(&mut Value, &Value, &Ctx),
    validate_update: fn(&Value, &Value) -> FieldErrors,
    /// Whether a PUT without resourceVersion overwrites.
    pub unconditional_update: bool,
    /// Whether a PUT of an object that is not there creates it.
    pub create_on_update: bool,
    /// What a write of it cannot change, so that nobody comes to manage it: upstream's `GetResetFields`.
    pub resets: Resets,
}

const STATUS: Resets = Resets(&[&["status"]]);
const SPEC: Resets = Resets(&[&["spec"]]);

/// What a kind without rules of its own does.
const PLAIN: Strategy = Strategy {
    group: "",
    plural: "",
    subresource: "",
    name: names::dns_subdomain,
    default: |_| {},
    prepare_create: |_| {},
    validate_create: |_| Vec::new(),
    prepare_update: |_, _, _| {},
    validate_update: |_, _| Vec::new(),
    unconditional_update: true,
    create_on_update: false,
    resets: Resets(&[]),
};

const POD: Strategy = Strategy {
    plural: "pods",
    default: pod::defaults::set_defaults,
    prepare_create: pod::create::prepare,
    validate_create: pod::create::validate,
    prepare_update: pod::update::prepare,
    validate_update: pod::update::validate,
    resets: STATUS,
    ..PLAIN
};

const DEPLOYMENT: Strategy = Strategy {
    group: "apps",
    plural: "deployments",
    default: deployment::set_defaults,
    prepare_create: deployment::prepare_create,
    validate_create: deployment::validate,
    prepare_update: deployment::prepare_update,
    validate_update: deployment::validate_update,
    resets: STATUS,
    ..PLAIN
};

const REPLICA_SET: Strategy = Strategy {
    group: "apps",
    plural: "replicasets",
    default: replica_set::set_defaults,
    prepare_create: replica_set::prepare_create,
    validate_create: replica_set::validate,
    prepare_update: replica_set::prepare_update,
    validate_update: replica_set::validate_update,
    resets: STATUS,
    ..PLAIN
};

const POD_TEMPLATE: Strategy = Strategy {
    plural: "podtemplates",
    default: pod_template::set_defaults,
    prepare_create: pod_template::prepare_create,
    validate_create: pod_template::validate_object,
    prepare_update: pod_template::prepare_update,
    validate_update: |new, _| pod_template::validate_object(new),
    ..PLAIN
};

const SERVICE: Strategy = Strategy {
    plural: "services",
    name: names::dns_1035_label,
    default: service::set_defaults,
    prepare_create: service::prepare_create,
    validate_create: service::validation::validate,
    prepare_update: service::prepare_update,
    validate_update: service::validation::validate_update,
    resets: STATUS,
    ..PLAIN
};

const DISRUPTION_BUDGET: Strategy = Strategy {
    group: "policy",
    plural: "poddisruptionbudgets",
    prepare_create: disruption_budget::prepare_create,
    validate_create: disruption_budget::validate,
    prepare_update: disruption_budget::prepare_update,
    validate_update: |new, _| disruption_budget::validate(new),
    unconditional_update: false,
    resets: STATUS,
    ..PLAIN
};

const PERSISTENT_VOLUME: Strategy = Strategy {
    plural: "persistentvolumes",
    default: persistent_volume::set_defaults,
    prepare_create: persistent_volume::prepare_create,
    validate_create: persistent_volume::validate,
    prepare_update: persistent_volume::prepare_update,
    validate_update: persistent_volume::validate_update,
    resets: STATUS,
    ..PLAIN
};

const PERSISTENT_VOLUME_CLAIM: Strategy = Strategy {
    plural: "persistentvolumeclaims",
    default: persistent_volume_claim::set_defaults,
    prepare_create: persistent_volume_claim::prepare_create,
    validate_create: persistent_volume_claim::validate,
    prepare_update: persistent_volume_claim::prepare_update,
    validate_update: persistent_volume_claim::validate_update,
    resets: STATUS,
    ..PLAIN
};

const RESOURCE_QUOTA: Strategy = Strategy {
    plural: "resourcequotas",
    prepare_create: resource_quota::prepare_create,
    validate_create: resource_quota::validate,
    prepare_update: resource_quota::prepare_update,
    validate_update: resource_quota::validate_update,
    resets: STATUS,
    ..PLAIN
};

static STRATEGIES: &[Strategy] = &[
    Strategy {
        plural: "configmaps",
        validate_create: config::validate_config_map,
        validate_update: config::validate_config_map_update,
        ..PLAIN
    },
    EVENT,
    Strategy { group: "events.k8s.io", ..EVENT },
    Strategy {
        plural: "limitranges",
        default: limit_range::set_defaults,
        validate_create: limit_range::validate,
        validate_update: |new, _| limit_range::validate(new),
        ..PLAIN
    },
    Strategy {
        plural: "namespaces",
        name: names::dns_label,
        default: namespace::set_defaults,
        prepare_create: namespace::prepare_create,
        prepare_update: namespace::prepare_update,
        resets: STATUS,
        ..PLAIN
    },
    Strategy {
        plural: "namespaces",
        subresource: "status",
        name: names::dns_label,
        prepare_update: namespace::prepare_status,
        validate_update: namespace::validate_status,
        resets: SPEC,
        ..PLAIN
    },
    Strategy {
        plural: "namespaces",
        subresource: "finalize",
        name: names::dns_label,
        prepare_update: namespace::prepare_finalize,
        validate_update: namespace::validate_finalize,
        resets: STATUS,
        ..PLAIN
    },
    Strategy {
        plural: "nodes",
        default: node::set_defaults,
        validate_create: node::validate,
        prepare_update: node::prepare_update,
        validate_update: node::validate_update,
        resets: STATUS,
        ..PLAIN
    },
    Strategy {
        plural: "nodes",
        subresource: "status",
        default: node::set_defaults,
        prepare_update: node::prepare_status,
        validate_update: node::validate_update,
        resets: SPEC,
        ..PLAIN
    },
    PERSISTENT_VOLUME,
    Strategy {
        subresource: "status",
        prepare_update: persistent_volume::prepare_status,
        validate_update: |_, _| Vec::new(),
        resets: SPEC,
        ..PERSISTENT_VOLUME
    },
    PERSISTENT_VOLUME_CLAIM,
    Strategy {
        subresource: "status",
        prepare_update: persistent_volume_claim::prepare_status,
        validate_update: |_, _| Vec::new(),
        resets: SPEC,
        ..PERSISTENT_VOLUME_CLAIM
    },
    POD,
    POD_TEMPLATE,
    Strategy {
        subresource: "status",
        prepare_update: pod::status::prepare,
        validate_update: pod::status::validate,
        resets: Resets(&[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]]),
        ..POD
    },
    Strategy {
        subresource: "ephemeralcontainers",
        prepare_update: pod::ephemeral::prepare,
        validate_update: pod::ephemeral::validate_update,
        ..POD
    },
    Strategy {
        subresource: "resize",
        prepare_update: pod::resize::prepare,
        validate_update: pod::resize::validate,
        // Recorded: who resizes comes to manage all that it sent, whether it is taken or not.
        resets: Resets(&[]),
        ..POD
    },
    RESOURCE_QUOTA,
    Strategy {
        subresource: "status",
        prepare_update: resource_quota::prepare_status,
        validate_update: resource_quota::validate_status,
        resets: SPEC,
        ..RESOURCE_QUOTA
    },
    Strategy {
        plural: "secrets",
        default: config::default_secret,
        validate_create: config::validate_secret,
        prepare_update: config::prepare_secret_update,
        validate_update: config::validate_secret_update,
        ..PLAIN
    },
    DEPLOYMENT,
    Strategy {
        subresource: "status",
        prepare_update: deployment::prepare_status,
        validate_update: deployment::validate_status,
        resets: Resets(&[&["spec"], &["metadata", "labels"]]),
        ..DEPLOYMENT
    },
    Strategy { subresource: "scale", ..DEPLOYMENT },
    REPLICA_SET,
    Strategy {
        subresource: "status",
        prepare_update: replica_set::prepare_status,
        validate_update: replica_set::validate_status,
        resets: SPEC,
        ..REPLICA_SET
    },
    Strategy { subresource: "scale", ..REPLICA_SET },
    SERVICE,
    Strategy {
        subresource: "status",
        prepare_update: service::prepare_status,
        validate_update: service::validation::validate_status,
        resets: SPEC,
        ..SERVICE
    },
    Strategy {
        plural: "endpoints",
        default: endpoints::set_defaults,
        validate_create: endpoints::validate,
        validate_update: |new, _| endpoints::validate(new),
        create_on_update: true,
        ..PLAIN
    },
    Strategy {
        group: "discovery.k8s.io",
        plural: "endpointslices",
        default: endpoints::set_slice_defaults,
        prepare_create: endpoints::prepare_slice,
        validate_create: endpoints::validate_slice,
        prepare_update: endpoints::prepare_slice_update,
        validate_update: endpoints::validate_slice_update,
        ..PLAIN
    },
    DISRUPTION_BUDGET,
    Strategy {
        subresource: "status",
        prepare_update: disruption_budget::prepare_status,
        validate_update: disruption_budget::validate_status,
        resets: SPEC,
        ..DISRUPTION_BUDGET
    },
    // Nothing but metadata is judged; their tokens are the API server's matter.
    Strategy { plural: "serviceaccounts", ..PLAIN },
    Strategy {
        group: "coordination.k8s.io",
        plural: "leases",
        validate_create: lease::validate,
        validate_update: |new, _| lease::validate(new),
        unconditional_update: false,
        create_on_update: true,
        ..PLAIN
    },
    Strategy {
        group: "node.k8s.io",
        plural: "runtimeclasses",
        validate_create: runtime_class::validate,
        validate_update: runtime_class::validate_update,
        unconditional_update: false,
        ..PLAIN
    },
    Strategy {
        plural: "roles",
        prepare_create: rbac::prepare_role,
        prepare_update: |new, _, _| rbac::prepare_role(new),
        validate_create: rbac::validate_role,
        validate_update: |new, _| rbac::validate_role(new),
        ..RBAC
    },
    Strategy {
        plural: "clusterroles",
        prepare_create: rbac::prepare_role,
        prepare_update: |new, _, _| rbac::prepare_role(new),
        validate_create: rbac::validate_cluster_role,
        validate_update: |new, _| rbac::validate_cluster_role(new),
        ..RBAC
    },
    Strategy {
        plural: "rolebindings",
        default: rbac::default_binding,
        validate_create: rbac::validate_role_binding,
        validate_update: rbac::validate_role_binding_update,
        ..RBAC
    },
    Strategy {
        plural: "clusterrolebindings",
        default: rbac::default_binding,
        validate_create: rbac::validate_cluster_role_binding,
        validate_update: rbac::validate_cluster_role_binding_update,
        ..RBAC
    },
    Strategy {
        group: "scheduling.k8s.io",
        plural: "priorityclasses",
        default: priority_class::set_defaults,
        validate_create: priority_class::validate,
        validate_update: priority_class::validate_update,
        ..PLAIN
    },
    Strategy {
        group: "storage.k8s.io",
        plural: "storageclasses",
        default: storage_class::set_defaults,
        validate_create: storage_class::validate,
        validate_update: storage_class::validate_update,
        ..PLAIN
    },
];

/// Names of roles and bindings are what a path can hold: `system:node` is one. A PUT may create them.
const RBAC: Strategy = Strategy { group: RBAC_GROUP, name: names::path_segment, create_on_update: true, ..PLAIN };

const EVENT: Strategy = Strategy {
    plural: "events",
    validate_create: event::validate,
    validate_update: |new, _| event::validate(new),
    create_on_update: true,
    ..PLAIN
};

/// The rules of a kind (`subresource` empty) or of one of its subresources.
pub fn strategy(kind: &Kind, subresource: &str) -> Option<&'static Strategy> {
    STRATEGIES.iter().find(|s| (s.group, s.plural, s.subresource) == (kind.group, kind.plural, subresource))
}

impl Strategy {
    /// Sets what was left out, as decoding does upstream. The object is in canonical form and stays so.
    pub fn set_defaults(&self, object: &mut Value) {
        (self.default)(object);
    }

    /// Makes a decoded, defaulted and admitted object one that may be stored.
    ///
    /// # Errors
    /// 422 with everything that is wrong with it.
    pub fn create(&self, kind: &Kind, mut object: Value, ctx: &Ctx) -> Result<Value, Status> {
        place::fill_system_fields(&mut object, ctx)?;
        (self.prepare_create)(&mut object);
        let mut errors = validation::validate(&object, kind.namespaced, self.name);
        errors.extend((self.validate_create)(&object));
        refuse(kind, &object, &errors)?;
        refuse(kind, &object, &validation::validate(&object, kind.namespaced, names::path_segment))?;
        Ok(object)
    }

    /// Makes of the stored object and a decoded, defaulted and admitted one what is to be stored; equal to `old` if
    /// nothing changes. Conflicts of resourceVersion are judged before: it is no part of the result. Who manages the new object's fields
    /// is the caller's word ([`crate::managed`]): such is kept whatever part of the object is written.
    ///
    /// # Errors
    /// 422 with everything that may not be so.
    pub fn update(&self, kind: &Kind, old: &Value, mut new: Value, ctx: &Ctx) -> Result<Value, Status> {
        place::keep_system_fields(&mut new, old);
        let managers = at(&new, &["metadata", "managedFields"]).clone();
        (self.prepare_update)(&mut new, old, ctx);
        set(field_mut(&mut new, "metadata"), "managedFields", managers);
        // Upstream validates metadata in the generic part and again in each strategy; clients see each cause as often.
        let mut errors = validation::validate(&new, kind.namespaced, names::path_segment);
        errors.extend(validation::validate_update(&new, old));
        errors.extend(validation::validate_update(&new, old));
        errors.extend(validation::validate(&new, kind.namespaced, self.name));
        errors.extend((self.validate_update)(&new, old));
        refuse(kind, &new, &errors)?;
        Ok(new)
    }
}

fn refuse(kind: &Kind, object: &Value, errors: &FieldErrors) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(kind.qualified(), text(object, &["metadata", "name"]), errors))
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::kinds::{KINDS, Storage};

    #[test]
    fn every_stored_kind_has_rules() {
        for kind in KINDS.iter().filter(|k| matches!(k.storage, Storage::Stored(_))) {
            assert!(strategy(kind, "").is_some(), "{}", kind.resource());
        }
    }
}
