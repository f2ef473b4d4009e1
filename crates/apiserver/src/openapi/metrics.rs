//! The schemas of metrics.k8s.io, which k8s-openapi does not have: facts of k8s.io/metrics `pkg/apis/metrics/v1beta1`. Pure.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

macro_rules! name {
    ($name:literal) => {
        fn schema_name() -> Cow<'static, str> {
            concat!("io.k8s.metrics.pkg.apis.metrics.v1beta1.", $name).into()
        }
    };
}

/// What a node uses.
pub(super) struct NodeMetrics;
/// What a pod's containers use.
pub(super) struct PodMetrics;
/// What a container uses.
struct ContainerMetrics;

fn usage(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "Processor time (`cpu`) and working set (`memory`).",
        "type": "object",
        "additionalProperties": generator.subschema_for::<Quantity>(),
    })
}

/// What nodes and pods have in common, and what is their own.
fn object(generator: &mut SchemaGenerator, own: (&str, Schema)) -> Schema {
    let mut schema = json_schema!({
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": generator.subschema_for::<ObjectMeta>(),
            "timestamp": generator.subschema_for::<Time>(),
            "window": {"description": "Over how long it was measured, up to the timestamp.", "type": "string"},
        },
        "required": ["timestamp", "window", own.0],
    });
    if let Some(properties) = schema.pointer_mut("/properties").and_then(|of| of.as_object_mut()) {
        properties.insert(own.0.to_owned(), own.1.to_value());
    }
    schema
}

impl JsonSchema for NodeMetrics {
    name!("NodeMetrics");

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let usage = usage(generator);
        object(generator, ("usage", usage))
    }
}

impl JsonSchema for PodMetrics {
    name!("PodMetrics");

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let containers = json_schema!({"type": "array", "items": generator.subschema_for::<ContainerMetrics>()});
        object(generator, ("containers", containers))
    }
}

impl JsonSchema for ContainerMetrics {
    name!("ContainerMetrics");

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {"name": {"type": "string"}, "usage": usage(generator)},
            "required": ["name", "usage"],
        })
    }
}
