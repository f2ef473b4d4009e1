//! Volumes that outlive pods.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use remora_testkit::{container, pod};
use serde_json::{Value, json};

use crate::cluster::{Cluster, wait_for};

fn with_claim(name: &str, read_only: bool) -> Value {
    let mount = json!([{"name": "data", "mountPath": "/data"}]);
    let claim = json!({"claimName": "data", "readOnly": read_only});
    let volumes = json!([{"name": "data", "persistentVolumeClaim": claim}]);
    pod(name, &[container("c", json!({"volumeMounts": mount}))], json!({"volumes": volumes}))
}

#[tokio::test(start_paused = true)]
async fn a_claim_gets_a_folder_that_outlives_its_pods() {
    let cluster = Cluster::start().await;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), "default");
    let volumes: Api<PersistentVolume> = Api::all(cluster.client.clone());
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let claim = json!({"metadata": {"name": "data"}, "spec": spec});
    let made = claims.create(&PostParams::default(), &serde_json::from_value(claim).unwrap()).await.unwrap();
    assert_eq!(made.spec.as_ref().unwrap().storage_class_name.as_deref(), Some("local-path"), "the default class");

    cluster.create(with_claim("first", false)).await;
    cluster.until_ready("first").await;
    let bound = claims.get("data").await.unwrap();
    let status = bound.status.unwrap();
    assert_eq!((status.phase.as_deref(), status.capacity.unwrap()["storage"].0.as_str()), (Some("Bound"), "1Gi"));
    let name = bound.spec.unwrap().volume_name.unwrap();
    let folder = cluster.folder().join("volumes").join(&name);
    assert_eq!(cluster.runtime.mount("c", "/data"), Some(folder.display().to_string()));
    std::fs::write(folder.join("kept"), "").unwrap();

    cluster.delete("first", 0).await;
    cluster.until_gone("first").await;
    wait_for("taken down", || async { cluster.runtime.calls().contains(&"remove sandbox".to_owned()) }).await;
    cluster.create(with_claim("second", true)).await;
    cluster.until_ready("second").await;
    assert_eq!(cluster.runtime.mount("c", "/data"), Some(folder.display().to_string()));
    assert!(folder.join("kept").exists());

    claims.delete("data", &DeleteParams::default()).await.unwrap();
    wait_for("released", || async {
        let phase = volumes.get(&name).await.unwrap().status.unwrap().phase;
        phase.as_deref() == Some("Released")
    })
    .await;
    assert!(folder.join("kept").exists());
}
