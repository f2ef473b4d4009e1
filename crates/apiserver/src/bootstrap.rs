//! What an API server needs to have stored before anything else works: the namespaces of the system. Called once by the
//! binary after the store is open; what is there already is left alone. Service accounts are a controller's business.

use remora_model::{ObjectKey, Status, kinds};
use remora_rules::managed::{self, Writer};
use remora_rules::strategy::strategy;
use serde_json::json;

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
    let kind = kinds::core("namespaces");
    let rules = strategy(kind, "").ok_or_else(Status::method_not_allowed)?;
    let writer = Writer { kind, subresource: "", resets: rules.resets, name: "kube-apiserver", now: state.now() };
    for name in NAMESPACES {
        let key = ObjectKey::new(kind, None, name);
        if state.objects().get(&key).await?.is_some() {
            continue;
        }
        let mut object = json!({
            "kind": "Namespace",
            "apiVersion": "v1",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {},
            "status": {},
        });
        rules.set_defaults(&mut object);
        managed::update::create(&writer, &mut object);
        let object = rules.create(kind, object, &write::ctx(state))?;
        match state.objects().create(&key, encode::stored(kind, object)).await {
            Ok(_) | Err(WriteError::Raced(_)) => {}
            Err(WriteError::Status(status)) => return Err(*status),
        }
    }
    Ok(())
}
