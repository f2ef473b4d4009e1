//! The node agent in a whole cluster on fakes: what a user sees through the API, without root, on paused time.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::Api;
use kube::api::{LogParams, Patch, PatchParams, PostParams};
use remora_testkit::{Program, container, pod};
use serde_json::json;

use crate::cluster::{Cluster, condition, status_of, wait_for};

fn one(name: &str, more: serde_json::Value) -> serde_json::Value {
    pod(name, &[container("c", json!({}))], more)
}

#[tokio::test(start_paused = true)]
async fn a_pod_runs_is_debugged_and_is_deleted() {
    let cluster = Cluster::start().await;
    cluster.create(one("web", json!({"restartPolicy": "Never"}))).await;
    let running = cluster.until_ready("web").await;
    assert_eq!(running["status"]["phase"], "Running");
    assert_eq!(running["status"]["podIP"], "10.88.0.2");
    assert_eq!(running["status"]["hostIP"], "10.0.0.1");
    let c = status_of(&running, "c");
    assert_eq!(c["image"], "docker.io/library/busybox:latest");
    assert!(c["containerID"].as_str().unwrap_or_default().starts_with("remora://"));

    cluster.debug("web", &[container("d", json!({"targetContainerName": "c"}))]).await;
    cluster.until_state("web", "d", "running").await;
    assert_eq!(cluster.runtime.pid_namespace("d").map(|(mode, _)| mode), Some(3), "NamespaceMode::TARGET");
    cluster.runtime.exit("d", 5);
    let ended = cluster.until_state("web", "d", "terminated").await;
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(5), &json!("Error")));
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(cluster.runtime.starts("d"), 1, "an ephemeral container is never restarted");

    cluster.delete("web", 30).await;
    cluster.until_gone("web").await;
    wait_for("removed", || async { cluster.runtime.calls().contains(&"remove sandbox".to_owned()) }).await;
}

#[tokio::test(start_paused = true)]
async fn events_are_told_in_the_words_of_kubernetes() {
    let cluster = Cluster::start().await;
    cluster.create(one("web", json!({}))).await;
    cluster.until_ready("web").await;
    let events = cluster.events("web", 4).await;
    let field = Some("spec.containers{c}".to_owned());
    for expected in [
        ("Pulled", "Container image \"busybox\" already present on machine"),
        ("Created", "Created container: c"),
        ("Started", "Started container c"),
    ] {
        let wanted = (expected.0.to_owned(), expected.1.to_owned(), field.clone());
        assert!(events.contains(&wanted), "{wanted:?} in {events:?}");
    }
    assert!(events.iter().any(|(reason, ..)| reason == "Scheduled"));
}

#[tokio::test(start_paused = true)]
async fn a_crashing_container_backs_off() {
    let cluster = Cluster::start().await;
    cluster.runtime.program("c", Program::exits(Duration::from_secs(1), 1));
    cluster.create(one("crash", json!({}))).await;
    let seen = cluster
        .until("crash", "backing off", |p| {
            let c = status_of(p, "c");
            c["state"]["waiting"]["reason"] == "CrashLoopBackOff" && c["restartCount"] == 1
        })
        .await;
    let message = status_of(&seen, "c")["state"]["waiting"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with("back-off 10s restarting failed container=c pod=crash_default("), "{message}");
    cluster.until("crash", "restarted again", |p| status_of(p, "c")["restartCount"] == 3).await;
    let events = cluster.events("crash", 5).await;
    assert!(events.iter().any(|(r, m, _)| r == "BackOff" && m.starts_with("Back-off restarting failed container c")));
}

#[tokio::test(start_paused = true)]
async fn pods_end_as_their_policy_says() {
    let cluster = Cluster::start().await;
    for (name, policy, code, phase) in
        [("ok", "Never", 0, "Succeeded"), ("bad", "Never", 3, "Failed"), ("once", "OnFailure", 0, "Succeeded")]
    {
        cluster.runtime.program("c", Program::exits(Duration::from_secs(1), code));
        cluster.create(one(name, json!({"restartPolicy": policy}))).await;
        let ended = cluster.until_phase(name, phase).await;
        assert_eq!(status_of(&ended, "c")["state"]["terminated"]["exitCode"], code);
        cluster.until(name, "stopped", |p| condition(p, "PodReadyToStartContainers") == "False").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_volume_outgrows_its_limit_is_evicted() {
    let cluster = Cluster::start().await;
    let volumes = json!([{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}]);
    let created = cluster.create(one("large", json!({"volumes": volumes}))).await;
    cluster.until_ready("large").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    cluster.until_ready("large").await;
    let uid = created.metadata.uid.unwrap();
    let folder = cluster.folder().join("node/pods").join(uid).join("volumes/kubernetes.io~empty-dir/data");
    std::fs::write(folder.join("file"), vec![1; 2 << 20]).unwrap();
    let failed = cluster.until_phase("large", "Failed").await;
    assert_eq!(failed["status"]["reason"], "Evicted");
    let message = "Usage of EmptyDir volume \"data\" exceeds the limit \"1Mi\". ";
    assert_eq!(failed["status"]["message"], message);
    let events = cluster.events("large", 5).await;
    assert!(events.iter().any(|(reason, said, _)| reason == "Evicted" && said == message), "{events:?}");
    cluster.until("large", "taken down", |p| condition(p, "PodReadyToStartContainers") == "False").await;
}

#[tokio::test(start_paused = true)]
async fn images_that_cannot_be_had() {
    let cluster = Cluster::start().await;
    let image = |image: &str, policy: &str| container("c", json!({"image": image, "imagePullPolicy": policy}));
    cluster.create(pod("missing", &[image("no-such-image:1", "IfNotPresent")], json!({}))).await;
    cluster.create(pod("never", &[image("no-such-image:1", "Never")], json!({}))).await;
    cluster.create(pod("invalid", &[image("Not/A/Valid:Name:x", "IfNotPresent")], json!({}))).await;
    let reason = |p: &serde_json::Value| status_of(p, "c")["state"]["waiting"]["reason"].clone();
    cluster.until("never", "refused", |p| reason(p) == "ErrImageNeverPull").await;
    cluster.until("invalid", "refused", |p| reason(p) == "InvalidImageName").await;
    cluster.until("missing", "failing", |p| reason(p) == "ErrImagePull").await;
    cluster.until("missing", "backing off", |p| reason(p) == "ImagePullBackOff").await;
    cluster.runtime.publish("docker.io/library/no-such-image:1", None);
    cluster.until_ready("missing").await;
}

#[tokio::test(start_paused = true)]
async fn a_container_whose_command_is_missing_fails_to_start() {
    let cluster = Cluster::start().await;
    cluster.runtime.program("c", Program::cannot_start("exec: \"/no/such\": no such file or directory"));
    cluster.create(one("bad", json!({"restartPolicy": "Never"}))).await;
    let failed = cluster.until_phase("bad", "Failed").await;
    let ended = &status_of(&failed, "c")["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&json!(128), &json!("StartError")));
    let events = cluster.events("bad", 4).await;
    assert!(
        events.iter().any(|(r, m, _)| r == "Failed" && m == "Error: exec: \"/no/such\": no such file or directory")
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_container_is_given() {
    let cluster = Cluster::start().await;
    let env = json!([
        {"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "CA", "valueFrom": {"configMapKeyRef": {"name": "kube-root-ca.crt", "key": "ca.crt"}}},
    ]);
    cluster.create(pod("given", &[container("c", json!({"env": env}))], json!({}))).await;
    cluster.until_ready("given").await;
    let environment = cluster.runtime.environment("c");
    assert_eq!((environment["B"].as_str(), environment["NAME"].as_str()), ("12", "given"));
    assert_eq!(environment["CA"], "the authority's certificate");
    let folder = cluster.runtime.mount("c", "/var/run/secrets/kubernetes.io/serviceaccount").unwrap_or_default();
    let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}")).unwrap_or_default();
    assert_eq!(read("namespace"), "default");
    assert_eq!(read("ca.crt"), "the authority's certificate");
    assert_eq!(read("token").split('.').count(), 3, "a JSON web token");
    assert!(cluster.runtime.mount("c", "/etc/hosts").is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_said_and_waited_for() {
    let cluster = Cluster::start().await;
    let from = json!({"envFrom": [{"configMapRef": {"name": "none"}}]});
    cluster.create(pod("env", &[container("c", from)], json!({}))).await;
    let state = cluster
        .until("env", "refused", |p| status_of(p, "c")["state"]["waiting"]["reason"] == "CreateContainerConfigError")
        .await;
    assert_eq!(status_of(&state, "c")["state"]["waiting"]["message"], "configmap \"none\" not found");

    let volume = json!({"volumes": [{"name": "v", "secret": {"secretName": "none"}}]});
    let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    cluster.create(pod("volume", &[container("v", mounts)], volume)).await;
    let events = cluster.events("volume", 2).await;
    let message = "MountVolume.SetUp failed for volume \"v\" : secret \"none\" not found";
    assert!(events.iter().any(|(r, m, _)| r == "FailedMount" && m == message), "{events:?}");
    let waiting = cluster.until_state("volume", "v", "waiting").await;
    assert_eq!(waiting["reason"], "ContainerCreating");

    let root = json!({"securityContext": {"runAsNonRoot": true}});
    cluster.create(pod("root", &[container("r", root)], json!({}))).await;
    let state = cluster
        .until("root", "refused", |p| status_of(p, "r")["state"]["waiting"]["reason"] == "CreateContainerConfigError")
        .await;
    let message = status_of(&state, "r")["state"]["waiting"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(
        message.starts_with("container has runAsNonRoot and image will run as root (pod: \"root_default("),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_new_node_agent_adopts_what_runs() {
    let mut cluster = Cluster::start().await;
    cluster.create(one("web", json!({"restartPolicy": "Never"}))).await;
    cluster.until_ready("web").await;
    cluster.debug("web", &[container("d", json!({})), container("e", json!({}))]).await;
    cluster.until_state("web", "d", "running").await;
    cluster.until_state("web", "e", "running").await;
    cluster.create(one("gone", json!({}))).await;
    cluster.until_ready("gone").await;

    cluster.stop_node().await;
    cluster.runtime.lose("d");
    cluster.delete("gone", 0).await;
    cluster.start_node().await;

    cluster.until("web", "d is lost", |p| status_of(p, "d")["state"].get("terminated").is_some()).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    let web = cluster.until_ready("web").await;
    assert_eq!(status_of(&web, "c")["restartCount"], 0);
    assert!(status_of(&web, "e")["state"].get("running").is_some());
    assert_eq!((cluster.runtime.starts("c"), cluster.runtime.starts("d"), cluster.runtime.starts("e")), (2, 1, 1));
    wait_for("cleaned up", || async { cluster.runtime.calls().iter().any(|c| c == "remove sandbox") }).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_reboot_pods_start_again() {
    let mut cluster = Cluster::start().await;
    cluster.create(one("web", json!({}))).await;
    cluster.until_ready("web").await;
    cluster.stop_node().await;
    cluster.runtime.reboot();
    cluster.start_node().await;
    let web = cluster.until("web", "restarted", |p| status_of(p, "c")["restartCount"] == 1).await;
    assert!(status_of(&web, "c")["lastState"].get("terminated").is_some());
    cluster.until_ready("web").await;
}

#[tokio::test(start_paused = true)]
async fn a_run_of_which_only_the_log_is_left_is_not_begun_again() {
    let mut cluster = Cluster::start().await;
    let made = cluster.create(one("web", json!({}))).await;
    cluster.until_ready("web").await;
    cluster.debug("web", &[container("d", json!({}))]).await;
    cluster.until_state("web", "d", "running").await;
    cluster.stop_node().await;
    // The records are damaged, and the API has not heard of the start.
    cluster.runtime.lose("d");
    let unheard = json!({"status": {"ephemeralContainerStatuses": null}});
    cluster.pods().patch_status("web", &Default::default(), &Patch::Merge(unheard)).await.unwrap();
    let logs = cluster.folder().join("logs").join(format!("default_web_{}", made.metadata.uid.unwrap())).join("d");
    std::fs::create_dir_all(&logs).unwrap();
    std::fs::write(logs.join("0.log"), "").unwrap();
    cluster.start_node().await;
    let web = cluster.until("web", "d has ended", |p| status_of(p, "d")["state"].get("terminated").is_some()).await;
    assert_eq!(status_of(&web, "d")["state"]["terminated"]["reason"], "ContainerStatusUnknown");
    assert_eq!(cluster.runtime.starts("d"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_exit_between_adoption_and_the_first_list_is_not_missed() {
    let mut cluster = Cluster::start().await;
    cluster.create(one("web", json!({"restartPolicy": "Never"}))).await;
    cluster.until_ready("web").await;
    cluster.stop_node().await;
    cluster.runtime.exit_once_seen("c", 7);
    cluster.start_node().await;
    let web = cluster.until("web", "ended", |p| status_of(p, "c")["state"].get("terminated").is_some()).await;
    assert_eq!(status_of(&web, "c")["state"]["terminated"]["exitCode"], 7);
}

#[tokio::test(start_paused = true)]
async fn volumes_in_memory_are_filled_again_after_a_reboot() {
    let mut cluster = Cluster::start().await;
    let made = cluster.create(one("web", json!({}))).await;
    cluster.until_ready("web").await;
    let uid = made.metadata.uid.unwrap();
    let volumes = cluster.folder().join("node/pods").join(uid).join("volumes/kubernetes.io~projected");
    let volume = std::fs::read_dir(&volumes).unwrap().next().unwrap().unwrap().path();
    assert!(volume.join("token").exists());
    cluster.stop_node().await;
    cluster.runtime.reboot();
    // A tmpfs, in a real node: the folder is there, what was mounted on it is not.
    std::fs::remove_dir_all(&volume).unwrap();
    std::fs::create_dir(&volume).unwrap();
    cluster.start_node().await;
    cluster.until("web", "restarted", |p| status_of(p, "c")["restartCount"] == 1).await;
    assert!(volume.join("token").exists());
}

#[tokio::test(start_paused = true)]
async fn tokens_are_renewed_by_the_next_node_agent_too() {
    let mut cluster = Cluster::start().await;
    let made = cluster.create(one("web", json!({}))).await;
    cluster.until_ready("web").await;
    let volumes = cluster.folder().join("node/pods").join(made.metadata.uid.unwrap());
    let volume = std::fs::read_dir(volumes.join("volumes/kubernetes.io~projected")).unwrap().next().unwrap();
    let token = volume.unwrap().path().join("token");
    let first = std::fs::read_to_string(&token).unwrap();
    cluster.stop_node().await;
    cluster.start_node().await;
    tokio::time::sleep(Duration::from_secs(3500)).await;
    assert_ne!(std::fs::read_to_string(&token).unwrap(), first);
}

#[tokio::test(start_paused = true)]
async fn folders_of_pods_that_nobody_knows_are_removed_with_their_logs() {
    let mut cluster = Cluster::start().await;
    let made = cluster.create(one("web", json!({}))).await;
    cluster.until_ready("web").await;
    cluster.stop_node().await;
    let (node, logs) = (cluster.folder().join("node/pods"), cluster.folder().join("logs"));
    let ghost = "0c4cbf3a-6d52-4b6c-9a5b-6d6d5f0c1a11";
    std::fs::create_dir_all(node.join(ghost).join("volumes")).unwrap();
    std::fs::create_dir_all(logs.join(format!("default_ghost_{ghost}")).join("c")).unwrap();
    cluster.start_node().await;
    let uid = made.metadata.uid.unwrap();
    let names = |folder| -> Vec<String> {
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names(logs), [format!("default_web_{uid}")]);
    assert_eq!(names(node), [uid]);
}

#[tokio::test(start_paused = true)]
async fn probes_decide_readiness_and_restarts() {
    let cluster = Cluster::start().await;
    let probe = |command: &str| json!({"exec": {"command": [command]}, "periodSeconds": 2, "failureThreshold": 2});
    let ready = json!({"readinessProbe": probe("true"), "startupProbe": probe("true")});
    cluster.create(pod("ready", &[container("r", ready)], json!({}))).await;
    cluster.until_ready("ready").await;
    let unready = json!({"readinessProbe": probe("false")});
    cluster.create(pod("unready", &[container("u", unready)], json!({}))).await;
    let seen = cluster.until("unready", "started", |p| status_of(p, "u")["started"] == true).await;
    assert_eq!(status_of(&seen, "u")["ready"], false);
    cluster.create(pod("sick", &[container("s", json!({"livenessProbe": probe("false")}))], json!({}))).await;
    cluster.until("sick", "restarted", |p| status_of(p, "s")["restartCount"] == 1).await;
    let events = cluster.events("sick", 6).await;
    assert!(
        events.iter().any(|(r, m, _)| r == "Killing" && m == "Container s failed liveness probe, will be restarted")
    );
    assert!(events.iter().any(|(r, m, _)| r == "Unhealthy" && m.starts_with("Liveness probe failed: ")));
}

#[tokio::test(start_paused = true)]
async fn logs_are_read_followed_and_remembered() {
    let cluster = Cluster::start().await;
    let script = |text: &str| json!({"command": ["sh", "-c", text]});
    cluster.create(pod("log", &[container("c", script("echo one; echo two; sleep 5; exit 1"))], json!({}))).await;
    cluster.until_state("log", "c", "running").await;
    let pods = cluster.pods();
    let pods = &pods;
    let read = |params: LogParams| async move { pods.logs("log", &params).await.unwrap_or_default() };
    assert_eq!(read(LogParams::default()).await, "one\ntwo\n");
    assert_eq!(read(LogParams { tail_lines: Some(1), ..LogParams::default() }).await, "two\n");
    assert_eq!(read(LogParams { follow: true, ..LogParams::default() }).await, "one\ntwo\n", "ends with the container");
    cluster.until("log", "restarted", |p| status_of(p, "c")["restartCount"] == 1).await;
    assert_eq!(read(LogParams { previous: true, ..LogParams::default() }).await, "one\ntwo\n");

    cluster
        .create(pod("none", &[container("n", json!({"image": "gone", "imagePullPolicy": "Never"}))], json!({})))
        .await;
    cluster.until_state("none", "n", "waiting").await;
    let refused = cluster.pods().logs("none", &LogParams::default()).await.err().map(|e| e.to_string());
    let expected = "container \"n\" in pod \"none\" is waiting to start: ";
    assert!(refused.as_deref().is_some_and(|e| e.contains(expected)), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn the_end_is_graceful_and_then_forced() {
    let cluster = Cluster::start().await;
    cluster.runtime.program("c", Program::ignores_signals());
    cluster.create(one("stubborn", json!({"terminationGracePeriodSeconds": 7}))).await;
    cluster.until_ready("stubborn").await;
    cluster.delete("stubborn", 7).await;
    cluster.until_gone("stubborn").await;
    assert!(cluster.runtime.calls().contains(&"stop c 7".to_owned()), "{:?}", cluster.runtime.calls());

    cluster.create(one("forced", json!({}))).await;
    cluster.until_ready("forced").await;
    cluster.delete("forced", 0).await;
    cluster.until_gone("forced").await;
    wait_for("killed", || async { cluster.runtime.calls().contains(&"stop c 0".to_owned()) }).await;
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_cannot_be_made_is_told_and_tried_again() {
    let cluster = Cluster::start().await;
    cluster.runtime.sandboxes_fail(Some("no address is left"));
    cluster.create(one("web", json!({}))).await;
    let events = cluster.events("web", 2).await;
    let message = "Failed to create pod sandbox: no address is left";
    assert!(events.iter().any(|(r, m, _)| r == "FailedCreatePodSandBox" && m == message), "{events:?}");
    cluster.runtime.sandboxes_fail(None);
    cluster.until_ready("web").await;
}

#[tokio::test(start_paused = true)]
async fn pods_with_users_of_their_own_have_a_range_each_for_all_that_is_theirs() {
    let mut cluster = Cluster::start().await;
    let folder = cluster.folder().join("node/pods");
    let own = |name: &str, more| pod(name, &[container(name, more)], json!({"hostUsers": false}));
    let first = |cluster: &Cluster, name: &str| {
        let all = cluster.runtime.first_ids(name).unwrap();
        assert!(all.len() > 2 && all.iter().all(|ids| *ids == all[0]), "{name}: {all:?}");
        all[0]
    };
    cluster.create(own("one", json!({}))).await;
    cluster.create(own("two", json!({}))).await;
    cluster.create(pod("host", &[container("host", json!({}))], json!({}))).await;
    for name in ["one", "two", "host"] {
        cluster.until_ready(name).await;
    }
    let (one, two) = (first(&cluster, "one").unwrap(), first(&cluster, "two").unwrap());
    assert!(one >= 65536 && one.is_multiple_of(65536) && two.is_multiple_of(65536) && one != two, "{one} and {two}");
    assert_eq!(first(&cluster, "host"), None);

    cluster.stop_node().await;
    cluster.start_node().await;
    cluster.debug("one", &[container("debugger", json!({"targetContainerName": "one"}))]).await;
    cluster.until_state("one", "debugger", "running").await;
    assert_eq!(first(&cluster, "debugger"), Some(one));

    cluster.delete("one", 0).await;
    cluster.until_gone("one").await;
    let held =
        || std::fs::read_dir(&folder).unwrap().filter(|pod| pod.as_ref().unwrap().path().join("userns").exists());
    wait_for("given back", || async { held().count() == 1 }).await;
    cluster.create(own("three", json!({}))).await;
    cluster.until_ready("three").await;
    assert_ne!(first(&cluster, "three"), Some(two));
}

#[tokio::test(start_paused = true)]
async fn a_runtime_without_user_namespaces_is_told_as_a_kubelet_tells_it() {
    let cluster = Cluster::start().await;
    cluster.runtime.knows_no_user_namespaces();
    cluster.create(one("own", json!({"hostUsers": false}))).await;
    let sentence = "can't set `spec.hostUsers: false`, runtime does not support user namespaces";
    wait_for("told", || async {
        let events = cluster.events("own", 1).await;
        events.iter().any(|(reason, message, _)| reason == "FailedCreatePodSandBox" && message.contains(sentence))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_node_says_what_its_runtime_can() {
    let mut cluster = Cluster::start().await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let status = async || serde_json::to_value(nodes.list(&Default::default()).await.unwrap().items[0].status.clone());
    let handlers = |user_namespaces: bool| json!([{"name": "", "features": {"recursiveReadOnlyMounts": false, "userNamespaces": user_namespaces}}]);
    let first = status().await.unwrap();
    assert_eq!(first["runtimeHandlers"], handlers(true));
    assert_eq!(first["features"], json!({"supplementalGroupsPolicy": true}));

    // Another runtime, another answer.
    cluster.stop_node().await;
    cluster.runtime.knows_no_user_namespaces();
    cluster.start_node().await;
    assert_eq!(status().await.unwrap()["runtimeHandlers"], handlers(false));
}

#[tokio::test(start_paused = true)]
async fn volumes_follow_the_objects_that_they_are_made_of() {
    let cluster = Cluster::start().await;
    let volumes = json!([
        {"name": "late", "configMap": {"name": "late"}},
        {"name": "labels", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]);
    cluster.create(one("web", json!({"volumes": volumes}))).await;
    let failed = |events: &[(String, String, Option<String>)]| events.iter().any(|(r, ..)| r == "FailedMount");
    wait_for("missed", || async { failed(&cluster.events("web", 1).await) }).await;
    // By now the next try would be more than a minute away.
    tokio::time::sleep(Duration::from_secs(200)).await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let map = |text: &str| -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": "late"}, "data": {"key": text}})).unwrap()
    };
    let begun = tokio::time::Instant::now();
    maps.create(&PostParams::default(), &map("one")).await.unwrap();
    let uid = cluster.until_ready("web").await["metadata"]["uid"].as_str().unwrap().to_owned();
    assert!(begun.elapsed() < Duration::from_secs(2), "it was heard of, not waited for: {:?}", begun.elapsed());
    let volumes = cluster.folder().join("node/pods").join(uid).join("volumes");
    let read = |path: &str| std::fs::read_to_string(volumes.join(path)).unwrap_or_default();
    assert_eq!(read("kubernetes.io~configmap/late/key"), "one");
    maps.replace("late", &PostParams::default(), &map("two")).await.unwrap();
    wait_for("written", || async { read("kubernetes.io~configmap/late/key") == "two" }).await;
    let labelled = json!({"metadata": {"labels": {"tier": "front"}}});
    cluster.pods().patch("web", &PatchParams::default(), &Patch::Merge(&labelled)).await.unwrap();
    wait_for("shown", || async { read("kubernetes.io~downward-api/labels/labels").contains("tier=\"front\"") }).await;
}

#[tokio::test(start_paused = true)]
async fn a_post_start_hook_that_hangs_does_not_hold_up_a_deletion() {
    let cluster = Cluster::start().await;
    let hook = json!({"lifecycle": {"postStart": {"sleep": {"seconds": 3000}}}});
    cluster.create(pod("web", &[container("c", hook)], json!({"terminationGracePeriodSeconds": 6000}))).await;
    wait_for("started", || async { cluster.runtime.starts("c") == 1 }).await;
    let begun = tokio::time::Instant::now();
    cluster.delete("web", 5).await;
    cluster.until_gone("web").await;
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_tcp_hook_fails_as_it_does_elsewhere() {
    let cluster = Cluster::start().await;
    let hook = json!({"lifecycle": {"postStart": {"tcpSocket": {"port": 80}}}});
    cluster.create(pod("web", &[container("c", hook)], json!({"restartPolicy": "Never"}))).await;
    // The program ends well when it is told to.
    cluster.until_phase("web", "Succeeded").await;
    let events = cluster.events("web", 5).await;
    assert!(events.iter().any(|(reason, ..)| reason == "FailedPostStartHook"), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn a_container_starts_as_soon_as_its_environment_can_be_had() {
    let cluster = Cluster::start().await;
    let from = json!({"envFrom": [{"configMapRef": {"name": "late"}}]});
    cluster.create(pod("web", &[container("c", from)], json!({}))).await;
    let reason = |p: &serde_json::Value| status_of(p, "c")["state"]["waiting"]["reason"].clone();
    cluster.until("web", "waiting", |p| reason(p) == "CreateContainerConfigError").await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "default");
    let map = serde_json::from_value(json!({"metadata": {"name": "late"}, "data": {"key": "one"}})).unwrap();
    let begun = tokio::time::Instant::now();
    maps.create(&PostParams::default(), &map).await.unwrap();
    cluster.until_ready("web").await;
    assert!(begun.elapsed() < Duration::from_secs(5), "it was heard of, not waited for: {:?}", begun.elapsed());
    assert_eq!(cluster.runtime.environment("c").get("key").map(String::as_str), Some("one"));
}

#[tokio::test(start_paused = true)]
async fn pods_go_from_a_node_whose_taint_they_do_not_tolerate() {
    let cluster = Cluster::start().await;
    cluster.create(one("goes", json!({"terminationGracePeriodSeconds": 0}))).await;
    cluster.create(one("stays", json!({"tolerations": [{"key": "down", "operator": "Exists"}]}))).await;
    for name in ["goes", "stays"] {
        cluster.until_ready(name).await;
    }
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let name = nodes.list(&Default::default()).await.unwrap().items[0].metadata.name.clone().unwrap();
    let taint = json!({"spec": {"taints": [{"key": "down", "effect": "NoExecute"}]}});
    nodes.patch(&name, &PatchParams::default(), &Patch::Merge(taint)).await.unwrap();
    cluster.until_gone("goes").await;
    let stays = cluster.pods().get("stays").await.unwrap();
    assert_eq!(stays.metadata.deletion_timestamp, None);
}
