//! What an API server needs to have stored before anything else works: the namespaces and priority classes of the system. Called once by the
//! binary after the store is open; what is there already is left alone. Service accounts are a controller's business.

use remora_model::{Kind, ObjectKey, Status, kinds};
use remora_rules::kinds::priority_class::SYSTEM_CLASSES;
use remora_rules::managed::{self, Writer};
use remora_rules::object::text;
use remora_rules::strategy::strategy;
use serde_json::{Value, json};

use crate::encode;
use crate::objects::WriteError;
use crate::server::State;
use crate::verbs::write;

/// Upstream's system namespaces.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Creates the namespaces that are missing.
///
/// # Errors
/// If the store fails.
pub async fn system_namespaces(state: &State) -> Result<(), Status> {
    for name in NAMESPACES {
        let object = json!({
            "kind": "Namespace",
            "apiVersion": "v1",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {},
            "status": {},
        });
        create_missing(state, kinds::core("namespaces"), object).await?;
    }
    Ok(())
}

/// Creates the priority classes that are missing.
///
/// # Errors
/// If the store fails.
pub async fn system_priority_classes(state: &State) -> Result<(), Status> {
    let kind = kinds::by_resource("scheduling.k8s.io", "v1", "priorityclasses").ok_or_else(Status::no_such_resource)?;
    for class in &SYSTEM_CLASSES {
        let object = json!({
            "kind": kind.kind,
            "apiVersion": kind.api_version(),
            "metadata": {"name": class.name},
            "value": class.value,
            "description": class.description,
        });
        create_missing(state, kind, object).await?;
    }
    Ok(())
}

async fn create_missing(state: &State, kind: &'static Kind, mut object: Value) -> Result<(), Status> {
    let key = ObjectKey::new(kind, None, text(&object, &["metadata", "name"]));
    if state.objects().get(&key).await?.is_some() {
        return Ok(());
    }
    let rules = strategy(kind, "").ok_or_else(Status::method_not_allowed)?;
    let writer = Writer { kind, subresource: "", resets: rules.resets, name: "kube-apiserver", now: state.now() };
    rules.set_defaults(&mut object);
    managed::update::create(&writer, &mut object);
    let object = rules.create(kind, object, &write::ctx(state))?;
    match state.objects().create(&key, encode::stored(kind, object), &[]).await {
        Ok(_) | Err(WriteError::Raced(_)) => Ok(()),
        Err(WriteError::Status(status)) => Err(*status),
    }
}
