//! Pods that are files of their node's: what the API shows of them, and that nothing in the API ends them.

use std::fs;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Node};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use remora_testkit::{container, pod};
use serde_json::{Value, json};

use crate::cluster::{Cluster, condition, status_of, wait_for};

const NAME: &str = "web-anchor";
/// Another image that is there.
const OTHER: &str = "k8s.gcr.io/pause:3.1";

/// A manifest with one container.
fn manifest(image: &str) -> String {
    let container = json!({"name": "c", "image": image});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": [container]}})
        .to_string()
}

async fn with_pod() -> (Cluster, Value) {
    let cluster = Cluster::start().await;
    fs::write(cluster.manifests().join("web.yaml"), manifest("busybox")).expect("a manifest can be written");
    let mirror = cluster.until_ready(NAME).await;
    (cluster, mirror)
}

/// Waits until another object has the name, and is ready.
async fn until_new(cluster: &Cluster, old: &Value) -> Value {
    let old = old["metadata"]["uid"].clone();
    cluster.until(NAME, "another", |p| p["metadata"]["uid"] != old && condition(p, "Ready") == "True").await
}

/// `kubectl delete` asks for the name, then lists and watches it: between the two there must be none.
async fn until_seen_gone(cluster: &Cluster) {
    cluster.until_gone(NAME).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(cluster.pods().get_opt(NAME).await.expect("the API answers"), None, "it is back at once");
}

#[tokio::test(start_paused = true)]
async fn a_file_runs_and_the_api_shows_its_mirror() {
    let (cluster, mirror) = with_pod().await;
    let annotations = &mirror["metadata"]["annotations"];
    let hash = annotations["kubernetes.io/config.hash"].clone();
    assert_eq!(annotations["kubernetes.io/config.mirror"], hash);
    assert_eq!(annotations["kubernetes.io/config.source"], "file");
    assert_ne!(mirror["metadata"]["uid"], hash, "the API gives its own UIDs");
    let node: Node = Api::<Node>::all(cluster.client.clone()).get("anchor").await.unwrap();
    let owner =
        json!({"apiVersion": "v1", "kind": "Node", "name": "anchor", "uid": node.metadata.uid, "controller": true});
    assert_eq!(mirror["metadata"]["ownerReferences"], json!([owner]));
    assert_eq!(mirror["status"]["phase"], "Running");
    assert_eq!(condition(&mirror, "PodScheduled"), "True");
    assert_eq!(mirror["spec"]["tolerations"], json!([{"operator": "Exists", "effect": "NoExecute"}]));
    // Events are about the pod that runs: `kubectl describe` looks for them under the mirror's annotation.
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    let about = ListParams::default().fields(&format!("involvedObject.uid={}", hash.as_str().unwrap()));
    wait_for("started", || async {
        let events = events.list(&about).await.unwrap();
        events.items.iter().any(|event| event.reason.as_deref() == Some("Started"))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_is_deleted_comes_back_and_nothing_is_restarted() {
    let (cluster, first) = with_pod().await;
    cluster.delete(NAME, 30).await;
    until_seen_gone(&cluster).await;
    let second = until_new(&cluster, &first).await;
    cluster.delete(NAME, 0).await;
    until_seen_gone(&cluster).await;
    let third = until_new(&cluster, &second).await;
    assert_eq!(status_of(&third, "c")["containerID"], status_of(&first, "c")["containerID"]);
    assert_eq!(third["status"]["startTime"], first["status"]["startTime"]);
    assert_eq!(cluster.runtime.starts("c"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_container_of_a_static_pod_is_restarted_and_its_mirror_says_so() {
    let (cluster, _) = with_pod().await;
    cluster.runtime.exit("c", 3);
    let again = cluster.until(NAME, "restarted", |p| status_of(p, "c")["restartCount"] == 1).await;
    assert_eq!(status_of(&again, "c")["lastState"]["terminated"]["exitCode"], 3);
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_is_another_pod_and_a_file_that_goes_ends_its_pod() {
    let (cluster, first) = with_pod().await;
    let file = cluster.manifests().join("web.yaml");
    let spaced = manifest("busybox").replace(':', ": ");
    fs::write(&file, spaced).unwrap();
    fs::write(&file, manifest(OTHER)).unwrap();
    let second = until_new(&cluster, &first).await;
    assert_eq!(second["spec"]["containers"][0]["image"], OTHER);
    assert_eq!(cluster.runtime.starts("c"), 2, "other words for the same pod start nothing");

    fs::rename(&file, cluster.manifests().join(".web.yaml")).unwrap();
    cluster.until_gone(NAME).await;
    wait_for("removed", || async { cluster.runtime.calls().contains(&"remove sandbox".to_owned()) }).await;
    fs::rename(cluster.manifests().join(".web.yaml"), &file).unwrap();
    cluster.until_ready(NAME).await;
}

#[tokio::test(start_paused = true)]
async fn a_bad_file_is_told_of_and_ends_nothing() {
    let (cluster, first) = with_pod().await;
    let file = cluster.manifests().join("web.yaml");
    fs::write(&file, manifest("busybox").replace("image", "imagine")).unwrap();
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), "default");
    let about = ListParams::default().fields("involvedObject.kind=Node,reason=InvalidStaticPod");
    wait_for("told", || async {
        let told = events.list(&about).await.unwrap().items;
        let message = told.first().and_then(|event| event.message.clone()).unwrap_or_default();
        let expected = format!("{}: Pod \"web-anchor\" is invalid", file.display());
        message.starts_with(&expected) && message.contains("spec.containers[0].image: Required value")
    })
    .await;
    let now = serde_json::to_value(cluster.pods().get(NAME).await.unwrap()).unwrap();
    assert_eq!(now["metadata"]["uid"], first["metadata"]["uid"]);
    assert_eq!(cluster.runtime.starts("c"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_next_agent_adopts_what_runs_and_ends_what_has_no_file_any_more() {
    let (mut cluster, first) = with_pod().await;
    cluster.stop_node().await;
    cluster.start_node().await;
    cluster.runtime.exit("c", 1);
    let again = cluster.until(NAME, "restarted", |p| status_of(p, "c")["restartCount"] == 1).await;
    assert_eq!(again["metadata"]["uid"], first["metadata"]["uid"], "the same mirror");
    assert_eq!(again["status"]["startTime"], first["status"]["startTime"]);
    assert_eq!(cluster.runtime.starts("c"), 2);

    cluster.stop_node().await;
    fs::remove_file(cluster.manifests().join("web.yaml")).unwrap();
    cluster.start_node().await;
    cluster.until_gone(NAME).await;
    wait_for("removed", || async { cluster.runtime.calls().contains(&"remove sandbox".to_owned()) }).await;
    let calls = cluster.runtime.calls();
    assert!(calls.contains(&"stop c 30".to_owned()), "it has its grace: {calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_only_says_that_it_is_a_mirror_goes() {
    let cluster = Cluster::start().await;
    let mut pod = pod("liar", &[container("c", json!({}))], json!({"nodeName": "anchor"}));
    pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    cluster.create(pod).await;
    cluster.until_gone("liar").await;
    assert_eq!(cluster.runtime.starts("c"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_mirror_comes_back_after_its_node_object() {
    let (cluster, first) = with_pod().await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    nodes.delete("anchor", &DeleteParams::default()).await.unwrap();
    // As an agent does every five minutes.
    let second = until_new(&cluster, &first).await;
    let node = nodes.get("anchor").await.unwrap();
    assert_eq!(second["metadata"]["ownerReferences"][0]["uid"], json!(node.metadata.uid));
    assert_eq!(cluster.runtime.starts("c"), 1);
}
