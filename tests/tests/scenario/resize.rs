//! Resizing in place, in a whole cluster on fakes: what is asked through the API, what the runtime is told, what is reported.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use remora_testkit::{container, pod};
use serde_json::{Value, json};

use crate::cluster::{Cluster, status_of, wait_for};

impl Cluster {
    /// Asks for other resources, as `kubectl patch --subresource resize` does.
    async fn resize(&self, pod: &str, container: &str, resources: Value) {
        let patch = json!({"spec": {"containers": [{"name": container, "resources": resources}]}});
        self.pods()
            .patch_resize(pod, &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .expect("the resize is taken");
    }

    /// What the runtime was told since so many calls.
    fn told(&self, since: usize) -> Vec<String> {
        self.runtime.calls().split_off(since)
    }
}

fn both(cpu: &str, memory: &str) -> Value {
    json!({"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}})
}

fn resize_condition(pod: &Value, name: &str) -> Value {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|c| c["type"] == name).unwrap_or_default()
}

fn has(pod: &Value, container: &str, cpu: &str) -> bool {
    let status = status_of(pod, container);
    status["resources"]["requests"]["cpu"] == cpu && resize_condition(pod, "PodResizeInProgress").is_null()
}

#[tokio::test(start_paused = true)]
async fn a_running_pod_is_given_more_and_less_and_goes_on() {
    let cluster = Cluster::start().await;
    let guaranteed = container("c", json!({"resources": both("500m", "64Mi")}));
    cluster.create(pod("web", &[guaranteed], json!({}))).await;
    let before = cluster.until_ready("web").await;
    let since = cluster.runtime.calls().len();
    cluster.resize("web", "c", both("1", "64Mi")).await;
    let after = cluster.until("web", "resized", |p| has(p, "c", "1")).await;
    assert_eq!(status_of(&after, "c")["containerID"], status_of(&before, "c")["containerID"]);
    assert_eq!(status_of(&after, "c")["restartCount"], 0);
    assert_eq!(status_of(&after, "c")["allocatedResources"], json!({"cpu": "1", "memory": "64Mi"}));
    assert_eq!((&after["metadata"]["generation"], &after["status"]["observedGeneration"]), (&json!(2), &json!(2)));
    let grown = "1024 shares, 100000 us, 67108864 bytes";
    assert_eq!(cluster.told(since), [format!("resize the pod to {grown}"), format!("resize c to {grown}")]);

    let since = cluster.runtime.calls().len();
    cluster.resize("web", "c", both("250m", "32Mi")).await;
    cluster.until("web", "resized", |p| has(p, "c", "250m")).await;
    let shrunk = "256 shares, 25000 us, 33554432 bytes";
    assert_eq!(cluster.told(since), [format!("resize c to {shrunk}"), format!("resize the pod to {shrunk}")]);
    let events = cluster.events("web", 6).await;
    let words = "Pod resize completed: {\"containers\":[{\"name\":\"c\",\"resources\":{\"limits\":{\"cpu\":\"250m\",\"memory\":\"32Mi\"},\"requests\":{\"cpu\":\"250m\",\"memory\":\"32Mi\"}}}]}";
    assert!(events.iter().any(|(reason, said, _)| reason == "ResizeCompleted" && said == words), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_container_whose_policy_says_so_is_restarted() {
    let cluster = Cluster::start().await;
    let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    let restarted = container("c", json!({"resources": both("500m", "64Mi"), "resizePolicy": policy}));
    cluster.create(pod("web", &[restarted], json!({}))).await;
    let before = cluster.until_ready("web").await;
    cluster.resize("web", "c", both("500m", "128Mi")).await;
    let after = cluster.until("web", "restarted", |p| status_of(p, "c")["restartCount"] == 1).await;
    assert_ne!(status_of(&after, "c")["containerID"], status_of(&before, "c")["containerID"]);
    assert_eq!(status_of(&after, "c")["resources"], both("500m", "128Mi"));
    let events = cluster.events("web", 6).await;
    assert!(
        events.iter().any(|(reason, said, _)| reason == "Killing" && said == "Container c resize requires restart")
    );
    cluster.resize("web", "c", both("600m", "128Mi")).await;
    let in_place = cluster.until("web", "resized", |p| has(p, "c", "600m")).await;
    assert_eq!(status_of(&in_place, "c")["restartCount"], 1);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_waits_until_another_gives_it_back_and_what_never_will_is_told() {
    let cluster = Cluster::start().await;
    let cpus = std::thread::available_parallelism().unwrap().get() * 1000;
    let all_but = |milli: usize| format!("{}m", cpus - milli);
    let of = |cpu: &str| container("c", json!({"resources": {"requests": {"cpu": cpu}}}));
    cluster.create(pod("one", &[of("100m")], json!({}))).await;
    cluster.create(pod("two", &[of("300m")], json!({}))).await;
    cluster.until_ready("one").await;
    cluster.until_ready("two").await;
    cluster.resize("one", "c", json!({"requests": {"cpu": all_but(200)}})).await;
    let pending = |p: &Value| resize_condition(p, "PodResizePending");
    let waits = cluster.until("one", "deferred", |p| pending(p)["reason"] == "Deferred").await;
    let (asked, capacity) = (cpus - 200, cpus);
    let words = format!("Node didn't have enough resource: cpu, requested: {asked}, used: 300, capacity: {capacity}");
    assert_eq!((&pending(&waits)["message"], &pending(&waits)["observedGeneration"]), (&json!(words), &json!(2)));
    assert_eq!(status_of(&waits, "c")["allocatedResources"]["cpu"], "100m");
    cluster.resize("two", "c", json!({"requests": {"cpu": "200m"}})).await;
    let given = cluster.until("one", "resized", |p| has(p, "c", &all_but(200))).await;
    assert!(pending(&given).is_null());

    cluster.resize("two", "c", json!({"requests": {"cpu": "1000"}})).await;
    let refused = cluster.until("two", "infeasible", |p| pending(p)["reason"] == "Infeasible").await;
    let words = format!("Node didn't have enough capacity: cpu, requested: 1000000, capacity: {capacity}");
    assert_eq!(pending(&refused)["message"], words);
    cluster.resize("two", "c", json!({"requests": {"cpu": "200m"}})).await;
    cluster.until("two", "as it was", |p| pending(p).is_null()).await;
    cluster.delete("two", 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_resize_that_fails_is_told_and_tried_again() {
    let cluster = Cluster::start().await;
    cluster.create(pod("web", &[container("c", json!({"resources": both("500m", "64Mi")}))], json!({}))).await;
    cluster.until_ready("web").await;
    let why = "attempting to set container \"c\" memory limit (33554432) below current usage (40000000)";
    cluster.runtime.refuse_resize("c", Some(why));
    cluster.resize("web", "c", both("500m", "32Mi")).await;
    let failing = |p: &Value| resize_condition(p, "PodResizeInProgress")["reason"] == "Error";
    let failed = cluster.until("web", "failing", failing).await;
    let words = format!("cannot decrease memory limits: {why}");
    assert_eq!(resize_condition(&failed, "PodResizeInProgress")["message"], words);
    assert_eq!(status_of(&failed, "c")["resources"], both("500m", "64Mi"), "what it has, not what it is to have");
    cluster.runtime.refuse_resize("c", None);
    let done = cluster.until("web", "resized", |p| resize_condition(p, "PodResizeInProgress").is_null()).await;
    assert_eq!(status_of(&done, "c")["resources"], both("500m", "32Mi"));
}

#[tokio::test(start_paused = true)]
async fn the_next_agent_knows_what_was_allocated() {
    let mut cluster = Cluster::start().await;
    let of = |cpu: &str| json!({"requests": {"cpu": cpu}});
    cluster.create(pod("web", &[container("c", json!({"resources": of("100m")}))], json!({}))).await;
    cluster.until_ready("web").await;
    cluster.resize("web", "c", of("200m")).await;
    cluster.until("web", "resized", |p| has(p, "c", "200m")).await;
    cluster.stop_node().await;
    // Asked for while no agent is there: it is not taken for what the container has.
    cluster.resize("web", "c", of("300m")).await;
    let since = cluster.runtime.calls().len();
    cluster.start_node().await;
    cluster.until("web", "resized", |p| has(p, "c", "300m")).await;
    let grown = "307 shares, 0 us, 0 bytes";
    assert_eq!(cluster.told(since), [format!("resize the pod to {grown}"), format!("resize c to {grown}")]);
    cluster.stop_node().await;
    cluster.resize("web", "c", of("1000")).await;
    cluster.start_node().await;
    let refused = |p: &Value| resize_condition(p, "PodResizePending")["reason"] == "Infeasible";
    let refused = cluster.until("web", "infeasible", refused).await;
    assert_eq!(status_of(&refused, "c")["resources"], of("300m"));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(cluster.told(since).len(), 2);
    cluster.delete("web", 0).await;
    wait_for("gone", || async { cluster.pods().get_opt("web").await.unwrap().is_none() }).await;
}
