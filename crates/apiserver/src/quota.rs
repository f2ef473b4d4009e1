//! The admission plugin ResourceQuota: the quotas of a namespace that a change concerns are written with it, in one transaction. So a quota is
//! exact whoever else writes at the same time, through this API server or another one; nothing needs to be given back if the change comes to
//! nothing. How much is charged is `rules`' business; quotas that nobody has counted yet are the controller's.

use remora_model::{ObjectKey, Status, kinds};
use remora_rules::object::text;
use remora_rules::quota::{self, Change};
use serde_json::Value;

use crate::encode;
use crate::objects::Beside;
use crate::server::State;

/// The most quotas of one namespace that are kept: what a transaction can hold, less the object itself.
const MOST: usize = remora_store::MAX_TXN_OPS - 1;

/// What must be written beside the change, or must not change meanwhile.
///
/// # Errors
/// 403 if a quota stands against it.
pub async fn charge(state: &State, key: &ObjectKey, change: Change<'_>) -> Result<Vec<Beside>, Status> {
    let Some(namespace) = key.namespace.as_deref().filter(|_| change.counts()) else { return Ok(Vec::new()) };
    let kind = kinds::core("resourcequotas");
    let quotas = state.objects().all_stored(kind, Some(namespace)).await?;
    if key.kind == kind && change.old.is_none() && quotas.len() >= MOST {
        let why = format!("the namespace {namespace} has {MOST} resource quotas, and no more are possible");
        return Err(Status::forbidden(key.kind.resource(), &key.name, &why));
    }
    let mut beside = Vec::new();
    for stored in quotas {
        let decoded = stored.decoded();
        let at = ObjectKey::new(kind, Some(namespace), text(&decoded, &["metadata", "name"]));
        if at == *key || !quota::counts(&decoded, key.kind) {
            continue;
        }
        let charged = quota::charge(&decoded, &change)
            .map_err(|why| Status::forbidden(key.kind.resource(), name_of(key, &change), &why))?;
        let bytes = charged.map(|quota| encode::stored(kind, &quota));
        beside.push(Beside { key: at, read_at: Some(stored.revision()), bytes });
    }
    if beside.len() <= MOST {
        return Ok(beside);
    }
    // Quotas that were made at once have slipped in. What goes may go, uncounted, lest there be no way out.
    if change.old.is_some() {
        tracing::warn!(namespace, "there are more resource quotas than can be kept: a change is not counted");
        return Ok(Vec::new());
    }
    let why = format!("the namespace {namespace} has {} resource quotas for it; {MOST} are possible", beside.len());
    Err(Status::forbidden(key.kind.resource(), &key.name, &why))
}

fn name_of<'v>(key: &'v ObjectKey, change: &Change<'v>) -> &'v str {
    change.new.map_or(key.name.as_str(), |new: &Value| text(new, &["metadata", "name"]))
}
