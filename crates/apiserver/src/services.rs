//! Addresses and ports of services: no two have the same. A service that takes one is written together with [`SERVICE_RANGES`], as that was before
//! the other services were read; so whoever comes second reads again. Nothing needs to be given back: what is taken is what services have. Which
//! one is taken is `rules`' business.

use remora_model::kinds::SERVICE_RANGES;
use remora_model::{Kind, ObjectKey, Status, kinds};
use remora_rules::kinds::service::allocation;
use remora_rules::object::{at, text};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::encode;
use crate::objects::Beside;
use crate::server::State;

/// Gives a service what it needs; what must be written beside it, if it takes anything that it did not have.
///
/// # Errors
/// 422 if it asks for what is taken, or is not to be had.
pub async fn claim(
    state: &State,
    kind: &Kind,
    service: &mut Value,
    old: Option<&Value>,
) -> Result<Option<Beside>, Status> {
    if kind != kinds::core("services") {
        return Ok(None);
    }
    if let Some(old) = old {
        allocation::keep(service, old);
    }
    if !allocation::concerns(service) {
        allocation::allocate(service, &[], 0)?;
        return Ok(None);
    }
    let key = ObjectKey::new(&SERVICE_RANGES, None, "services");
    // Before the services are read: what is taken after that is seen in this.
    let read_at = state.objects().get(&key).await?.map(|range| range.revision());
    let others = others(state, service).await?;
    allocation::allocate(service, &others, Uuid::new_v4().as_u64_pair().0)?;
    if old.is_some_and(|old| taken(old) == taken(service)) {
        return Ok(None);
    }
    let range = json!({"metadata": {"name": key.name}});
    Ok(Some(Beside { key, read_at, bytes: Some(encode::stored(&SERVICE_RANGES, &range)) }))
}

async fn others(state: &State, service: &Value) -> Result<Vec<Value>, Status> {
    let place = |of: &Value| ["namespace", "name"].map(|field| text(of, &["metadata", field]).to_owned());
    let own = place(service);
    let mut all = state.objects().all(kinds::core("services"), None).await?;
    all.retain(|other| place(other) != own);
    Ok(all)
}

fn taken(service: &Value) -> [Value; 3] {
    ["clusterIPs", "ports", "healthCheckNodePort"].map(|field| at(service, &["spec", field]).clone())
}
