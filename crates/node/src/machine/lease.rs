//! The node's heartbeat: a Lease in `kube-node-lease`, renewed every 10 s, and the Node's status every 5 min.
//!
//! Source: KEP-589; kubernetes `pkg/kubelet/kubelet.go` (nodeLeaseDurationSeconds 40, renewed after a quarter of it).

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::register;
use crate::context::Context;

const NAMESPACE: &str = "kube-node-lease";
const VALID_SECONDS: i32 = 40;
const RENEWED_EVERY: Duration = Duration::from_secs(10);
/// Renewals between two full statuses.
const STATUS_EVERY: u32 = 30;

/// Renews until the agent stops.
pub(crate) async fn renew(context: Context) {
    let mut timer = tokio::time::interval(RENEWED_EVERY);
    let mut beats = 0;
    loop {
        // Both arms are cancel-safe.
        tokio::select! {
            () = context.stop.cancelled() => return,
            _ = timer.tick() => {}
        }
        if let Err(error) = beat(&context.config.client, &context.config.node_name, context.now()).await {
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

async fn beat(client: &Client, name: &str, now: Timestamp) -> Result<(), kube::Error> {
    let api: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let now = MicroTime(now);
    let patch = json!({"spec": {"renewTime": now, "holderIdentity": name, "leaseDurationSeconds": VALID_SECONDS}});
    match api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        result => return result.map(drop),
    }
    // The Node as it is now: with a former one as its owner, which somebody has deleted, the lease would be taken for garbage.
    let node = Api::<Node>::all(client.clone()).get(name).await?;
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.to_owned(),
        uid: node.metadata.uid.unwrap_or_default(),
        ..OwnerReference::default()
    };
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name.to_owned()),
            lease_duration_seconds: Some(VALID_SECONDS),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    };
    api.create(&PostParams::default(), &lease).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response};
    use http_body_util::{BodyExt, Full};
    use kube::client::Body;
    use serde_json::Value;

    use super::*;

    const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

    type Made = Arc<Mutex<Vec<Value>>>;

    /// An API with the Node `n` of this uid, if any, and no lease; notes leases that are made.
    fn api(uid: Option<&'static str>, made: &Made) -> Client {
        let made = Arc::clone(made);
        let answer = move |request: Request<Body>| {
            let made = Arc::clone(&made);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let answer = match (&parts.method, parts.uri.path(), uid) {
                    (&Method::POST, LEASES, _) => {
                        let lease: Value = serde_json::from_slice(&body).unwrap();
                        made.lock().unwrap().push(lease.clone());
                        (201, lease)
                    }
                    (&Method::GET, "/api/v1/nodes/n", Some(uid)) => {
                        (200, json!({"metadata": {"name": "n", "uid": uid}}))
                    }
                    _ => (404, json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})),
                };
                let bytes = answer.1.to_string().into_bytes();
                Response::builder().status(answer.0).body(Full::new(bytes::Bytes::from(bytes)))
            }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test]
    async fn a_lease_belongs_to_the_node_that_is_there_now() {
        let made = Made::default();
        for uid in ["first", "second"] {
            beat(&api(Some(uid), &made), "n", Timestamp::UNIX_EPOCH).await.unwrap();
        }
        let owners: Vec<Value> =
            made.lock().unwrap().iter().map(|lease| lease["metadata"]["ownerReferences"][0]["uid"].clone()).collect();
        assert_eq!(owners, ["first", "second"]);
    }

    #[tokio::test]
    async fn without_a_node_there_is_no_lease() {
        let made = Made::default();
        assert!(beat(&api(None, &made), "n", Timestamp::UNIX_EPOCH).await.is_err());
        assert!(made.lock().unwrap().is_empty());
    }
}
