//! What kubectl shows of objects: server-side tables, columns and cells per kind
//! (upstream: `pkg/printers/internalversion/printers.go`). One row per kind in one table here; cells that need thought
//! are with their kind.

mod cells;
pub mod duration;
mod services;
mod volumes;
mod workloads;

use jiff::Timestamp;
use remora_model::Kind;
use remora_model::kinds::RBAC_GROUP;
use serde_json::{Value, json};

use crate::object::{at, text};

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// The type of its cells.
    pub r#type: &'static str,
    /// `name` for the object's name.
    pub format: &'static str,
    /// What it shows.
    pub description: &'static str,
    /// 0 is always shown, 1 only when wide.
    pub priority: i32,
}

/// What stands beside the cells of a row: the query parameter `includeObject`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// The metadata.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

impl IncludeObject {
    /// Reads the query parameter.
    pub fn from_query(word: &str) -> Self {
        match word {
            "None" => Self::None,
            "Object" => Self::Object,
            _ => Self::Metadata,
        }
    }
}

const fn column(name: &'static str, description: &'static str) -> Column {
    Column { name, r#type: "string", format: "", description, priority: 0 }
}

const fn number(name: &'static str, description: &'static str) -> Column {
    Column { r#type: "integer", ..column(name, description) }
}

const fn wide(name: &'static str, description: &'static str) -> Column {
    Column { priority: 1, ..column(name, description) }
}

const NAME: Column = Column { format: "name", ..column("Name", "Name of the object, unique in its namespace.") };
const AGE: Column = column("Age", "How long ago the object was created.");

const CONTAINERS: Column = wide("Containers", "Names of the template's containers.");
const IMAGES: Column = wide("Images", "Images of the template's containers.");
const SELECTOR: Column = wide("Selector", "Labels by which it finds its pods.");

type Cells = fn(&Value, Timestamp) -> Vec<Value>;

/// By group and resource: columns and cells.
static TABLES: &[(&str, &str, &[Column], Cells)] = &[
    (
        "",
        "pods",
        &[
            NAME,
            column("Ready", "How many of the pod's containers are ready."),
            column("Status", "What the pod's containers are doing, in one word."),
            column("Restarts", "How often containers were restarted, and when the last one was."),
            AGE,
            wide("IP", "The pod's address."),
            wide("Node", "The node that runs the pod."),
            wide("Nominated Node", "The node on which room is being made for the pod."),
            wide("Readiness Gates", "How many of the pod's readiness gates are true."),
        ],
        crate::pod::columns::cells,
    ),
    (
        "",
        "persistentvolumes",
        &[
            NAME,
            column("Capacity", "How much it holds."),
            column("Access Modes", "How it may be used, in short."),
            column("Reclaim Policy", "What becomes of it when its claim goes."),
            column("Status", "Whether a claim has it."),
            column("Claim", "The claim that has it."),
            column("StorageClass", "The class that it is of."),
            column("VolumeAttributesClass", "The class of its attributes."),
            column("Reason", "Why it is not as it should be."),
            AGE,
            wide("VolumeMode", "Whether pods see a file system or a device."),
        ],
        volumes::volume,
    ),
    (
        "",
        "persistentvolumeclaims",
        &[
            NAME,
            column("Status", "Whether it has a volume."),
            column("Volume", "The volume that it has."),
            column("Capacity", "How much that holds."),
            column("Access Modes", "How it may be used, in short."),
            column("StorageClass", "The class that it wants."),
            column("VolumeAttributesClass", "The class of its volume's attributes."),
            AGE,
            wide("VolumeMode", "Whether pods see a file system or a device."),
        ],
        volumes::claim,
    ),
    (
        "storage.k8s.io",
        "storageclasses",
        &[
            NAME,
            column("Provisioner", "Who makes its volumes."),
            column("ReclaimPolicy", "What becomes of them when their claims go."),
            column("VolumeBindingMode", "When claims get them."),
            column("AllowVolumeExpansion", "Whether they can grow."),
            AGE,
        ],
        volumes::class,
    ),
    ("", "namespaces", &[NAME, column("Status", "Active or Terminating."), AGE], cells::namespace),
    (
        "",
        "nodes",
        &[
            NAME,
            column("Status", "Whether the node is ready, and whether pods are scheduled on it."),
            column("Roles", "The roles that labels give the node."),
            AGE,
            column("Version", "Version of the node's agent."),
            wide("Internal-IP", "Address inside the cluster."),
            wide("External-IP", "Address from outside."),
            wide("OS-Image", "Operating system."),
            wide("Kernel-Version", "Kernel."),
            wide("Container-Runtime", "Container runtime and its version."),
        ],
        cells::node,
    ),
    ("", "events", EVENT_COLUMNS, cells::event),
    ("events.k8s.io", "events", EVENT_COLUMNS, cells::event),
    ("", "configmaps", &[NAME, column("Data", "Number of entries."), AGE], cells::config_map),
    (
        "",
        "resourcequotas",
        &[
            NAME,
            column("Request", "How much is used, and may be, of what is requested or counted."),
            column("Limit", "How much is used, and may be, of limits."),
            AGE,
        ],
        cells::resource_quota,
    ),
    (
        "",
        "secrets",
        &[NAME, column("Type", "What the secret is for."), column("Data", "Number of entries."), AGE],
        cells::secret,
    ),
    ("", "serviceaccounts", &[NAME, column("Secrets", "Number of secrets."), AGE], cells::service_account),
    (
        "",
        "podtemplates",
        &[
            NAME,
            column("Containers", "Names of the template's containers."),
            column("Images", "Images of the template's containers."),
            column("Pod Labels", "Labels of pods that are made of it."),
        ],
        workloads::pod_template,
    ),
    (
        "apps",
        "deployments",
        &[
            NAME,
            column("Ready", "How many of the pods are ready, of how many that are wanted."),
            column("Up-to-date", "How many pods are made of the present template."),
            column("Available", "How many pods have been ready for long enough."),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        workloads::deployment,
    ),
    (
        "apps",
        "replicasets",
        &[
            NAME,
            number("Desired", "How many pods are wanted."),
            number("Current", "How many pods there are."),
            number("Ready", "How many pods are ready."),
            AGE,
            CONTAINERS,
            IMAGES,
            SELECTOR,
        ],
        workloads::replica_set,
    ),
    (
        "autoscaling",
        "scales",
        &[NAME, number("Desired", "How many pods are wanted."), number("Available", "How many pods there are."), AGE],
        workloads::scale,
    ),
    (
        "",
        "services",
        &[
            NAME,
            column("Type", "How the service can be reached."),
            column("Cluster-IP", "Its address inside of the cluster."),
            column("External-IP", "Its addresses from outside."),
            column("Port(s)", "Its ports, each with that of the nodes, if it has one."),
            AGE,
            SELECTOR,
        ],
        services::service,
    ),
    (
        "",
        "endpoints",
        &[NAME, column("Endpoints", "Addresses and ports behind the service."), AGE],
        services::endpoints,
    ),
    (
        "discovery.k8s.io",
        "endpointslices",
        &[
            NAME,
            column("AddressType", "What the addresses are."),
            column("Ports", "Ports of all addresses."),
            column("Endpoints", "Addresses behind the service."),
            AGE,
        ],
        services::endpoint_slice,
    ),
    ("coordination.k8s.io", "leases", &[NAME, column("Holder", "Who holds the lease."), AGE], cells::lease),
    (
        "node.k8s.io",
        "runtimeclasses",
        &[NAME, column("Handler", "The runtime's configuration that runs the pods of this class."), AGE],
        cells::runtime_class,
    ),
    (
        "policy",
        "poddisruptionbudgets",
        &[
            NAME,
            column("Min Available", "How many pods must be available."),
            column("Max Unavailable", "How many pods may be missing."),
            number("Allowed Disruptions", "How many pods may be evicted now."),
            AGE,
        ],
        workloads::disruption_budget,
    ),
    (
        "scheduling.k8s.io",
        "priorityclasses",
        &[
            NAME,
            column("Value", "The priority of pods of this class; the higher comes first."),
            Column { r#type: "boolean", ..column("Global-Default", "Whether it is the class of pods that name none.") },
            AGE,
            column("PreemptionPolicy", "Whether its pods may push out those of lower priority."),
        ],
        cells::priority_class,
    ),
    (RBAC_GROUP, "rolebindings", BINDING_COLUMNS, cells::binding),
    (RBAC_GROUP, "clusterrolebindings", BINDING_COLUMNS, cells::binding),
];

const BINDING_COLUMNS: &[Column] = &[
    NAME,
    column("Role", "The role that is given, and of which kind it is."),
    AGE,
    wide("Users", "Users who have it."),
    wide("Groups", "Groups that have it."),
    wide("ServiceAccounts", "Service accounts that have it, each after its namespace."),
];

const EVENT_COLUMNS: &[Column] = &[
    column("Last Seen", "When it happened last."),
    column("Type", "Normal or Warning."),
    column("Reason", "Why, in one word."),
    column("Object", "The object that it is about."),
    wide("Subobject", "The part of the object."),
    wide("Source", "Who reports it."),
    column("Message", "What happened."),
    wide("First Seen", "When it happened first."),
    wide("Count", "How often it happened."),
    Column { format: "name", ..wide("Name", "Name of the event.") },
];
const DEFAULT_COLUMNS: &[Column] =
    &[NAME, Column { r#type: "date", ..column("Created At", "When the object was created.") }];

fn table_of(kind: &Kind) -> (&'static [Column], Cells) {
    let found = TABLES.iter().find(|(group, plural, ..)| (*group, *plural) == (kind.group, kind.plural));
    found.map_or((DEFAULT_COLUMNS, cells::any as Cells), |(_, _, columns, cells)| (columns, *cells))
}

/// The columns of a kind.
pub fn columns(kind: &Kind) -> &'static [Column] {
    table_of(kind).0
}

/// The cells of a stored object (events in their core/v1 form), one per column.
pub fn cells(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    table_of(kind).1(object, now)
}

/// The columns as a Table carries them.
pub fn column_definitions(kind: &Kind) -> Value {
    let one = |c: &Column| json!({"name": c.name, "type": c.r#type, "format": c.format, "description": c.description, "priority": c.priority});
    columns(kind).iter().map(one).collect()
}

/// One row of a Table.
pub fn row(kind: &Kind, object: &Value, include: IncludeObject, now: Timestamp) -> Value {
    let mut row = json!({"cells": cells(kind, object, now)});
    if (kind.group, kind.plural) == ("", "pods")
        && let Some(condition) = completed(object)
    {
        row["conditions"] = json!([condition]);
    }
    row["object"] = match include {
        IncludeObject::None => Value::Null,
        IncludeObject::Object => object.clone(),
        IncludeObject::Metadata => json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": at(object, &["metadata"]),
        }),
    };
    row
}

/// Marks the rows of pods that have ended, so that clients may hide them.
fn completed(pod: &Value) -> Option<Value> {
    let (reason, message) = match text(pod, &["status", "phase"]) {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!({"type": "Completed", "status": "True", "reason": reason, "message": message}))
}

/// A Table of the rows, with the list's or the object's metadata (`resourceVersion`, `continue`, …).
pub fn table(kind: &Kind, rows: Vec<Value>, list_metadata: Value) -> Value {
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_metadata,
        "columnDefinitions": column_definitions(kind), "rows": rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::kinds::{KINDS, core};

    #[test]
    fn every_kind_has_as_many_cells_as_columns() {
        for kind in KINDS {
            let cells = cells(kind, &json!({"metadata": {"name": "x"}}), Timestamp::UNIX_EPOCH);
            assert_eq!(cells.len(), columns(kind).len(), "{}", kind.resource());
        }
    }

    #[test]
    fn a_table_has_rows_with_metadata() {
        let pod = json!({"metadata": {"name": "p"}, "status": {"phase": "Succeeded"}});
        let table = table(
            core("pods"),
            vec![row(core("pods"), &pod, IncludeObject::Metadata, Timestamp::UNIX_EPOCH)],
            json!({}),
        );
        assert_eq!(table["rows"][0]["object"]["metadata"]["name"], "p");
        assert_eq!(table["rows"][0]["conditions"][0]["reason"], "Succeeded");
        assert_eq!(table["columnDefinitions"][0]["format"], "name");
    }
}
