//! A deleted namespace: all that is in it goes, then the namespace itself. Started by [`run`](crate::run).
//!
//! ```text
//! deleted ──▶ Terminating ──▶ everything deleted ──▶ everything gone ──▶ finalizer `kubernetes` removed: the API server removes it
//! ```
//!
//! What goes only after a grace period (pods) is waited for by a watch of that namespace alone.
//! Source of the rules: upstream's `namespacedResourcesDeleter`.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, ObjectList, Patch, PatchParams, PostParams};
use kube::api::{WatchEvent, WatchParams};
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, ResourceExt};
use remora_model::Kind;
use remora_model::kinds::{KINDS, Storage, Verb};
use serde_json::json;

use crate::Account;
use crate::per_object::{self, CallError, answered};

/// As whom.
pub const ACCOUNT: Account = Account::service_account("system:serviceaccount:kube-system:namespace-controller");

const FINALIZER: &str = "kubernetes";

/// Runs until dropped.
pub async fn run(client: Client) {
    let controller = Controller::new(Api::all(client.clone()), watcher::Config::default());
    per_object::run("namespace", controller, move |namespace| reconcile(client.clone(), namespace)).await;
}

async fn reconcile(client: Client, namespace: Arc<Namespace>) -> Result<(), CallError> {
    if !is_ours(&namespace) {
        return Ok(());
    }
    let name = namespace.name_any();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    if !is_terminating(&namespace) {
        let phase = Patch::Merge(json!({ "status": { "phase": "Terminating" } }));
        let marked = namespaces.patch_status(&name, &PatchParams::default(), &phase).await;
        unless_gone(marked).map_err(CallError::new(format!("mark the namespace {name} as terminating")))?;
    }
    let contents: Vec<_> =
        contents().map(|kind| (kind.plural.clone(), Api::namespaced_with(client.clone(), &name, &kind))).collect();
    for (plural, api) in &contents {
        delete_all(api).await.map_err(CallError::new(format!("delete the {plural} in the namespace {name}")))?;
    }
    for (plural, api) in &contents {
        until_none_is_left(api).await.map_err(CallError::new(format!("wait for the end of the {plural} in {name}")))?;
    }
    finalize(&namespaces, &name).await.map_err(CallError::new(format!("finalize the namespace {name}")))
}

/// Whether it is deleted and waits for us.
fn is_ours(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
    let waits = finalizers.is_some_and(|finalizers| finalizers.iter().any(|finalizer| finalizer == FINALIZER));
    namespace.metadata.deletion_timestamp.is_some() && waits
}

fn is_terminating(namespace: &Namespace) -> bool {
    namespace.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Terminating")
}

/// Every kind of object that can be in a namespace, once: of two views of the same objects the first is enough.
fn contents() -> impl Iterator<Item = ApiResource> {
    let mut seen = Vec::new();
    let kept = KINDS.iter().filter(move |kind| {
        let Storage::Stored(place) = kind.storage else { return false };
        let is_new = !seen.contains(&place);
        seen.push(place);
        is_new && kind.namespaced && kind.verbs.contains(&Verb::DeleteCollection)
    });
    kept.map(resource_of)
}

/// A kind as a client that knows no types calls it.
pub(crate) fn resource_of(kind: &Kind) -> ApiResource {
    ApiResource {
        group: kind.group.to_owned(),
        version: kind.version.to_owned(),
        api_version: kind.api_version(),
        kind: kind.kind.to_owned(),
        plural: kind.plural.to_owned(),
    }
}

async fn delete_all(api: &Api<DynamicObject>) -> Result<(), kube::Error> {
    api.delete_collection(&DeleteParams::background(), &ListParams::default()).await.map(drop)
}

/// Returns when none is left. Between two looks it waits for as many deletions as there are objects.
async fn until_none_is_left(api: &Api<DynamicObject>) -> Result<(), kube::Error> {
    loop {
        let left: ObjectList<DynamicObject> = api.list(&ListParams::default()).await?;
        if left.items.is_empty() {
            return Ok(());
        }
        let since = left.metadata.resource_version.unwrap_or_default();
        let watch = api.watch(&WatchParams::default(), &since).await?.map_ok(|event| match event {
            WatchEvent::Deleted(_) => Ok(true),
            WatchEvent::Error(status) => Err(kube::Error::Api(status)),
            WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Bookmark(_) => Ok(false),
        });
        // The server ends a watch after some minutes: then we look again.
        let deletions = watch.map(|event| event.flatten()).try_filter(|is_deletion| std::future::ready(*is_deletion));
        deletions.take(left.items.len()).try_collect::<Vec<bool>>().await?;
    }
}

async fn finalize(namespaces: &Api<Namespace>, name: &str) -> Result<(), kube::Error> {
    let Some(mut namespace) = namespaces.get_opt(name).await? else { return Ok(()) };
    if !is_ours(&namespace) {
        return Ok(());
    }
    if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    let done = namespaces.replace_subresource("finalize", name, &PostParams::default(), &namespace).await;
    unless_gone(done)
}

/// What is gone needs nothing more.
fn unless_gone<T>(answer: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match answer {
        Err(error) if !answered(&error, 404) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_deleted_namespaces_that_wait_for_us_are_ours() {
        let check = |object: serde_json::Value, expected: bool| {
            let namespace: Namespace = serde_json::from_value(object.clone()).unwrap();
            assert_eq!(is_ours(&namespace), expected, "{object}");
        };
        let deleted = "2026-01-01T00:00:00Z";
        check(json!({}), false);
        check(json!({"spec": {"finalizers": ["kubernetes"]}}), false);
        check(json!({"metadata": {"deletionTimestamp": deleted}}), false);
        check(json!({"metadata": {"deletionTimestamp": deleted}, "spec": {"finalizers": ["mine"]}}), false);
        check(
            json!({"metadata": {"deletionTimestamp": deleted}, "spec": {"finalizers": ["mine", "kubernetes"]}}),
            true,
        );
    }

    #[test]
    fn every_stored_kind_in_a_namespace_is_deleted_once() {
        let mut plurals: Vec<String> = contents().map(|kind| kind.plural).collect();
        plurals.sort();
        assert_eq!(
            plurals,
            [
                "configmaps",
                "deployments",
                "endpoints",
                "endpointslices",
                "events",
                "leases",
                "limitranges",
                "persistentvolumeclaims",
                "poddisruptionbudgets",
                "pods",
                "podtemplates",
                "replicasets",
                "resourcequotas",
                "rolebindings",
                "roles",
                "secrets",
                "serviceaccounts",
                "services"
            ]
        );
    }
}
