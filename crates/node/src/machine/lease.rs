//! The node's heartbeat: a Lease in `kube-node-lease`, renewed every 10 s, and the Node's status every 5 min.
//!
//! Source: KEP-589; kubernetes `pkg/kubelet/kubelet.go` (nodeLeaseDurationSeconds 40, renewed after a quarter of it).

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::{Registration, register};
use crate::context::Context;

const NAMESPACE: &str = "kube-node-lease";
const VALID_SECONDS: i32 = 40;
const RENEWED_EVERY: Duration = Duration::from_secs(10);
/// Renewals between two full statuses.
const STATUS_EVERY: u32 = 30;

/// Renews until the agent stops.
pub(crate) async fn renew(context: Context, registration: Registration) {
    let mut timer = tokio::time::interval(RENEWED_EVERY);
    let mut beats = 0;
    loop {
        // Both arms are cancel-safe.
        tokio::select! {
            () = context.stop.cancelled() => return,
            _ = timer.tick() => {}
        }
        if let Err(error) = beat(&context, &registration).await {
            tracing::warn!(%error, "the node's lease is not renewed");
        }
        beats += 1;
        if beats % STATUS_EVERY == 0
            && let Err(error) = register(&context, false).await
        {
            tracing::warn!(%error, "the node's status is not written");
        }
    }
}

async fn beat(context: &Context, registration: &Registration) -> Result<(), kube::Error> {
    let name = &context.config.node_name;
    let api: Api<Lease> = Api::namespaced(context.config.client.clone(), NAMESPACE);
    let now = MicroTime(context.now());
    let patch = json!({"spec": {"renewTime": now, "holderIdentity": name, "leaseDurationSeconds": VALID_SECONDS}});
    match api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        result => return result.map(drop),
    }
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.clone(),
        uid: registration.node.metadata.uid.clone().unwrap_or_default(),
        ..OwnerReference::default()
    };
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(NAMESPACE.to_owned()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.clone()),
            lease_duration_seconds: Some(VALID_SECONDS),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    };
    api.create(&PostParams::default(), &lease).await.map(drop)
}
