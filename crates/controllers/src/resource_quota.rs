//! A resource quota that nobody has counted yet, or that asks for something else now: what is there is counted, and the status says so. From then on
//! the API server keeps it exact, for it writes a quota together with what it counts. Started by [`run`](crate::run).
//!
//! The count is exact too: it is written only if the quota is as it was before the objects were listed, and whoever makes one of them in between
//! writes the quota too ([`quota::charge`]). Source of the rules: upstream's `pkg/controller/resourcequota`.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, ResourceExt};
use remora_model::Kind;
use remora_rules::quota;
use serde_json::{Value, json};

use crate::Account;
use crate::namespace::resource_of;
use crate::per_object::{self, CallError, answered};

/// As whom.
pub const ACCOUNT: Account = Account::service_account("system:serviceaccount:kube-system:resourcequota-controller");

/// Runs until dropped.
pub async fn run(client: Client) {
    let controller = Controller::new(Api::all(client.clone()), watcher::Config::default());
    per_object::run("resource-quota", controller, move |quota| reconcile(client.clone(), quota)).await;
}

async fn reconcile(client: Client, seen: Arc<ResourceQuota>) -> Result<(), CallError> {
    let (name, namespace) = (seen.name_any(), seen.namespace().unwrap_or_default());
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), &namespace);
    let what = || format!("count the resource quota {namespace}/{name}");
    // The watch may be behind.
    let found = quotas.get_opt(&name).await.map_err(CallError::new(what()))?;
    let Some(quota) = found else { return Ok(()) };
    let decoded = value(&quota);
    if !quota::needs_count(&decoded) {
        return Ok(());
    }
    let mut objects: Vec<(&'static Kind, Value)> = Vec::new();
    for kind in quota::counted_kinds(&decoded) {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource_of(kind));
        let listed = api.list(&ListParams::default()).await.map_err(CallError::new(what()))?;
        objects.extend(listed.items.iter().map(|object| (kind, value(object))));
    }
    let status = quota::recount(&decoded, objects.iter().map(|(kind, object)| (*kind, object)));
    let patch = Patch::Merge(json!({
        "metadata": {"resourceVersion": quota.resource_version()},
        "status": replacing(&decoded, status),
    }));
    match quotas.patch_status(&name, &PatchParams::default(), &patch).await {
        // It has changed, or gone: the watch brings us here again.
        Err(error) if answered(&error, 409) || answered(&error, 404) => Ok(()),
        written => written.map(drop).map_err(CallError::new(what())),
    }
}

/// A merge patch that leaves nothing of the old status.
fn replacing(quota: &Value, mut status: Value) -> Value {
    for field in ["hard", "used"] {
        let old = quota.pointer(&format!("/status/{field}")).and_then(Value::as_object);
        for name in old.into_iter().flatten().map(|(name, _)| name) {
            if status[field].get(name).is_none() {
                status[field][name] = Value::Null;
            }
        }
    }
    status
}

fn value(object: &impl serde::Serialize) -> Value {
    // What came as JSON is JSON again.
    serde_json::to_value(object).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_longer_limited_goes_from_the_status() {
        let old = json!({"status": {"hard": {"pods": "1", "cpu": "1"}, "used": {"pods": "0", "cpu": "1"}}});
        let new = json!({"hard": {"pods": "1"}, "used": {"pods": "0"}});
        let expected = json!({"hard": {"pods": "1", "cpu": null}, "used": {"pods": "0", "cpu": null}});
        assert_eq!(replacing(&old, new), expected);
    }
}
