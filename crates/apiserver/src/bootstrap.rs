//! What an API server needs to have stored before anything else works: the namespaces and priority classes of the
//! system, the default roles and bindings, and the service of the API server. Called once by the binary after the store is open. Service accounts are a controller's business,
//! as is what aggregated roles are made of.

use std::net::SocketAddrV4;

use futures::future::try_join_all;
use remora_model::{Kind, ObjectKey, Status, kinds};
use remora_rules::kinds::priority_class::SYSTEM_CLASSES;
use remora_rules::kinds::service::allocation;
use remora_rules::kinds::storage_class::{self, DEFAULT_ANNOTATION, LOCAL_PROVISIONER};
use remora_rules::managed::{self, Writer};
use remora_rules::object::text;
use remora_rules::rbac::defaults;
use remora_rules::rbac::reconcile::{Correction, correction};
use remora_rules::strategy::{Strategy, strategy};
use serde_json::{Value, json};

use crate::encode;
use crate::objects::{StoredObject, WriteError};
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
    let kind = kinds::priority_classes();
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

/// Creates the storage class of claims that name none, if it is missing: folders of the node, which stay when their claims go. Where another class is the default by now, it is a
/// class beside that: the newest default counts, so that it would take the default back from the administrator's.
///
/// # Errors
/// If the store fails.
pub async fn default_storage_class(state: &State) -> Result<(), Status> {
    let kind = kinds::storage_classes();
    let classes = state.objects().all(kind, None).await?;
    let annotations = match storage_class::default_of(&classes) {
        None => json!({DEFAULT_ANNOTATION: "true"}),
        Some(_) => json!({}),
    };
    let object = json!({
        "kind": kind.kind,
        "apiVersion": kind.api_version(),
        "metadata": {"name": "local-path", "annotations": annotations},
        "provisioner": LOCAL_PROVISIONER,
        "reclaimPolicy": "Retain",
        "volumeBindingMode": "WaitForFirstConsumer",
    });
    create_missing(state, kind, object).await
}

/// Creates the service that stands for the API server, which listens on this port. Its address is nobody else's, so that nothing is to be claimed.
///
/// # Errors
/// If the store fails.
pub async fn api_service(state: &State, port: u16) -> Result<(), Status> {
    let (namespace, name) = allocation::API_SERVICE;
    let service = service_address();
    let address = service.ip().to_string();
    let object = json!({
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {
            "namespace": namespace, "name": name, "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "protocol": "TCP", "port": service.port(), "targetPort": port}],
        },
    });
    create_missing(state, kinds::core("services"), object).await
}

/// The API server's, as pods know it.
pub fn service_address() -> SocketAddrV4 {
    SocketAddrV4::new(allocation::api_server_address(), 443)
}

async fn create_missing(state: &State, kind: &'static Kind, object: Value) -> Result<(), Status> {
    let word = |field: &str| text(&object, &["metadata", field]);
    let key = ObjectKey::new(kind, Some(word("namespace")), word("name"));
    if state.objects().get(&key).await?.is_some() {
        return Ok(());
    }
    match create(state, &key, object).await {
        Ok(_) | Err(WriteError::Raced(_)) => Ok(()),
        Err(WriteError::Status(status)) => Err(*status),
    }
}

/// Creates the default roles and bindings that are missing, and adds to the others what they lack. All at once, so that they share a commit.
///
/// # Errors
/// If the store fails.
pub async fn default_access(state: &State) -> Result<(), Status> {
    try_join_all(defaults::objects().into_iter().map(|(kind, object)| ensure(state, kind, object))).await.map(drop)
}

/// Until nobody writes in between.
async fn ensure(state: &State, kind: &'static Kind, expected: Value) -> Result<(), Status> {
    let key = ObjectKey::new(kind, None, text(&expected, &["metadata", "name"]));
    let mut current = state.objects().get(&key).await?;
    loop {
        let done = match &current {
            None => create(state, &key, expected.clone()).await.map(Some),
            Some(there) => correct(state, &key, there, &expected).await,
        };
        match done {
            // A binding of another role is gone: now the expected one comes.
            Ok(None) => current = None,
            Ok(Some(_)) => return Ok(()),
            Err(WriteError::Raced(now)) => current = now,
            Err(WriteError::Status(status)) => return Err(*status),
        }
    }
}

/// What is there then; none if it had to go.
async fn correct(
    state: &State,
    key: &ObjectKey,
    there: &StoredObject,
    expected: &Value,
) -> Result<Option<StoredObject>, WriteError> {
    let old = there.decoded();
    match correction(&old, expected) {
        Correction::None => Ok(Some(there.clone())),
        Correction::Recreate => state.objects().remove(there, key, &[]).await.map(|_| None),
        Correction::Replace(mut new) => {
            let rules = rules_for(key.kind)?;
            managed::update::update(&writer(state, key.kind, rules), &old, &mut new);
            let new = rules.update(key.kind, &old, new, &write::ctx(state))?;
            state.objects().replace(there, key, encode::stored(key.kind, &new), &[]).await.map(Some)
        }
    }
}

async fn create(state: &State, key: &ObjectKey, mut object: Value) -> Result<StoredObject, WriteError> {
    let rules = rules_for(key.kind)?;
    rules.set_defaults(&mut object);
    managed::update::create(&writer(state, key.kind, rules), &mut object);
    let object = rules.create(key.kind, object, &write::ctx(state))?;
    state.objects().create(key, encode::stored(key.kind, &object), &[]).await
}

fn rules_for(kind: &Kind) -> Result<&'static Strategy, Status> {
    strategy(kind, "").ok_or_else(Status::method_not_allowed)
}

fn writer(state: &State, kind: &'static Kind, rules: &'static Strategy) -> Writer<'static> {
    Writer { kind, subresource: "", resets: rules.resets, name: "kube-apiserver", now: state.now() }
}
