//! What the API says of pods, held against the recordings of Kubernetes v1.34.4 (`reference/behaviours`, `transcripts`).

use serde_json::{Value, json};

use super::world::{World, pod};
use crate::{ImageProblem, ImageState, StartFailure, StartProblem};

/// The status as JSON, without times, addresses and ids, as the recorder keeps it.
fn essence(world: &World) -> Value {
    let mut value = serde_json::to_value(world.status()).unwrap();
    tidy(&mut value);
    value
}

fn tidy(value: &mut Value) {
    const VOLATILE: [&str; 9] = [
        "lastTransitionTime",
        "startTime",
        "startedAt",
        "finishedAt",
        "containerID",
        "podIP",
        "podIPs",
        "hostIP",
        "hostIPs",
    ];
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !VOLATILE.contains(&key.as_str()));
            map.values_mut().for_each(tidy);
        }
        Value::Array(list) => list.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn check(title: &str, world: &mut World, phase: &str, conditions: &[(&str, &str, &str, &str)]) {
    world.look();
    let seen = essence(world);
    let text = |c: &Value, key: &str| c[key].as_str().unwrap_or_default().to_owned();
    let found: Vec<_> = seen["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (text(c, "type"), text(c, "status"), text(c, "reason"), text(c, "message")))
        .collect();
    let expected: Vec<_> = conditions
        .iter()
        .map(|(a, b, c, d)| ((*a).into(), (*b).into(), (*c).into(), (*d).into()))
        .collect::<Vec<(String, String, String, String)>>();
    assert_eq!((seen["phase"].as_str().unwrap(), found), (phase, expected), "{title}");
}

fn settled(spec: Value) -> World {
    let mut world = World::new(pod(spec));
    world.settle();
    world
}

const STARTED: (&str, &str, &str, &str) = ("PodReadyToStartContainers", "True", "", "");
const STOPPED: (&str, &str, &str, &str) = ("PodReadyToStartContainers", "False", "", "");
const INITIALIZED: (&str, &str, &str, &str) = ("Initialized", "True", "", "");

#[test]
fn phase_and_conditions() {
    let mut world = World::new(pod(json!({"containers": ["c"]})));
    let unready = "containers with unready status: [c]";
    check(
        "nothing is there yet",
        &mut world,
        "Pending",
        &[
            STOPPED,
            INITIALIZED,
            ("Ready", "False", "ContainersNotReady", unready),
            ("ContainersReady", "False", "ContainersNotReady", unready),
        ],
    );
    world.settle();
    check(
        "it runs",
        &mut world,
        "Running",
        &[STARTED, INITIALIZED, ("Ready", "True", "", ""), ("ContainersReady", "True", "", "")],
    );
}

#[test]
fn phase_and_conditions_of_pods_that_have_ended() {
    let unready = "containers with unready status: [c]";
    let mut world = settled(json!({"restartPolicy": "Never", "containers": ["c"]}));
    world.exit("c", 0);
    world.settle();
    check(
        "it has succeeded",
        &mut world,
        "Succeeded",
        &[
            STOPPED,
            ("Initialized", "True", "PodCompleted", ""),
            ("Ready", "False", "PodCompleted", ""),
            ("ContainersReady", "False", "PodCompleted", ""),
        ],
    );

    let mut world = settled(json!({"restartPolicy": "Never", "containers": ["c"]}));
    world.exit("c", 3);
    world.settle();
    let failed =
        [STOPPED, INITIALIZED, ("Ready", "False", "PodFailed", ""), ("ContainersReady", "False", "PodFailed", "")];
    check("it has failed", &mut world, "Failed", &failed);

    let mut world = settled(json!({"restartPolicy": "Never", "init": ["i"], "containers": ["c"]}));
    let incomplete = ("Initialized", "False", "ContainersNotInitialized", "containers with incomplete status: [i]");
    check(
        "an init container runs",
        &mut world,
        "Pending",
        &[
            STARTED,
            incomplete,
            ("Ready", "False", "ContainersNotReady", unready),
            ("ContainersReady", "False", "ContainersNotReady", unready),
        ],
    );
    world.exit("i", 1);
    world.settle();
    check(
        "an init container has failed for good",
        &mut world,
        "Failed",
        &[STOPPED, incomplete, ("Ready", "False", "PodFailed", ""), ("ContainersReady", "False", "PodFailed", "")],
    );

    let mut world = settled(json!({"activeDeadlineSeconds": 5, "containers": ["c"]}));
    world.pass(5);
    world.settle();
    check("the deadline has passed", &mut world, "Failed", &failed);
    assert_eq!(world.status().reason.as_deref(), Some("DeadlineExceeded"));
    assert_eq!(
        world.status().message.as_deref(),
        Some("Pod was active on the node longer than the specified deadline")
    );
}

#[test]
fn an_evicted_pod_says_what_it_took_too_much_of() {
    let volumes = json!([{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}]);
    let mut world = settled(json!({"containers": ["c"], "volumes": volumes}));
    world.usage.insert("v".into(), 2 << 20);
    world.pass(10);
    world.settle();
    let status = world.status();
    let said = (status.phase.as_deref(), status.reason.as_deref(), status.message.as_deref());
    let message = "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ";
    assert_eq!(said, (Some("Failed"), Some("Evicted"), Some(message)));
    world.restart_agent();
    world.settle();
    assert_eq!(world.status().message.as_deref(), Some(message), "the next agent leaves it so");
}

#[test]
fn conditions_change_their_time_only_with_their_status() {
    let mut world = settled(json!({"containers": ["c"]}));
    let times = |world: &World| -> Vec<String> {
        let conditions = world.status().conditions.clone().unwrap();
        conditions.iter().map(|c| c.last_transition_time.as_ref().unwrap().0.to_string()).collect()
    };
    let before = times(&world);
    world.pass(60);
    world.look();
    assert_eq!(times(&world), before);
    world.exit("c", 1);
    world.exit("c", 1);
    world.pass(1);
    world.look();
    assert_ne!(times(&world)[2], before[2], "Ready");
    assert_eq!(times(&world)[1], before[1], "Initialized");
}

fn check_container(title: &str, world: &mut World, list: &str, expected: Value) {
    world.look();
    let seen = essence(world);
    assert_eq!(seen[list][0], expected, "{title}");
}

const IMAGE: &str = "docker.io/library/busybox:1";

#[test]
fn container_statuses() {
    let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
    let mut world = World::new(pod(json!({"containers": ["c"]})));
    check_container(
        "not started",
        &mut world,
        "containerStatuses",
        json!({"name": "c", "image": "busybox:1", "imageID": "", "lastState": {}, "ready": false, "restartCount": 0,
               "started": false, "state": waiting("ContainerCreating")}),
    );
    let mut world = World::new(pod(json!({"init": ["i"], "containers": ["c"]})));
    check_container(
        "waiting for an init container",
        &mut world,
        "containerStatuses",
        json!({"name": "c", "image": "busybox:1", "imageID": "", "lastState": {}, "ready": false, "restartCount": 0,
               "started": false, "state": waiting("PodInitializing")}),
    );
    let mounts = json!([{"name": "v", "mountPath": "/v"}, {"name": "t", "mountPath": "/t", "readOnly": true}]);
    let mut world = settled(json!({"containers": [{"name": "c", "volumeMounts": mounts}]}));
    check_container(
        "running",
        &mut world,
        "containerStatuses",
        json!({"name": "c", "image": IMAGE, "imageID": "sha256:1", "lastState": {}, "ready": true, "resources": {},
               "restartCount": 0, "started": true, "state": {"running": {}},
               "volumeMounts": [{"name": "v", "mountPath": "/v"},
                                {"name": "t", "mountPath": "/t", "readOnly": true, "recursiveReadOnly": "Disabled"}]}),
    );
    let mut world = settled(json!({"containers": ["c"]}));
    world.exit("c", 1);
    world.settle();
    world.exit("c", 1);
    check_container(
        "crashed twice",
        &mut world,
        "containerStatuses",
        json!({"name": "c", "image": IMAGE, "imageID": "sha256:1", "ready": false, "resources": {}, "restartCount": 1,
               "started": false, "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
               "state": {"waiting": {"reason": "CrashLoopBackOff",
                 "message": "back-off 10s restarting failed container=c pod=web_shop(u-1)"}}}),
    );
    let mut world = settled(json!({"init": ["i"], "containers": ["c"]}));
    world.exit("i", 0);
    world.settle();
    check_container(
        "an init container that is done",
        &mut world,
        "initContainerStatuses",
        json!({"name": "i", "image": IMAGE, "imageID": "sha256:1", "lastState": {}, "ready": true, "resources": {},
               "restartCount": 0, "started": false, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}),
    );
}

#[test]
fn ephemeral_container_statuses() {
    let mut world = settled(json!({"restartPolicy": "Never", "containers": ["c"]}));
    world.add_ephemeral(json!("d"));
    let waiting = json!({"name": "d", "image": "busybox:1", "imageID": "", "lastState": {}, "ready": false,
                         "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}});
    check_container("not started", &mut world, "ephemeralContainerStatuses", waiting);
    world.settle();
    let running = json!({"name": "d", "image": IMAGE, "imageID": "sha256:1", "lastState": {}, "ready": false,
                         "resources": {}, "restartCount": 0, "state": {"running": {}}});
    check_container("running", &mut world, "ephemeralContainerStatuses", running);
    world.look();
    assert_eq!(world.status().observed_generation, Some(2));
    world.seen.tracks.remove("d");
    let lost = json!({"name": "d", "image": IMAGE, "imageID": "sha256:1", "lastState": {}, "ready": false,
        "resources": {}, "restartCount": 0, "state": {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown",
        "message": "The container could not be located when the pod was deleted.  The container used to be Running"}}});
    check_container("lost by the runtime", &mut world, "ephemeralContainerStatuses", lost);
    let ready = |world: &World| {
        let conditions = world.status().conditions.clone().unwrap();
        conditions.iter().find(|c| c.type_ == "Ready").unwrap().status.clone()
    };
    assert_eq!((ready(&world).as_str(), world.status().phase.as_deref()), ("True", Some("Running")));
}

#[test]
fn ephemeral_containers_are_sorted_by_name() {
    let mut world = settled(json!({"containers": ["c"]}));
    ["z", "a", "m"].iter().for_each(|name| world.add_ephemeral(json!(name)));
    world.settle();
    let names: Vec<_> = world.status().ephemeral_container_statuses.iter().flatten().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["a", "m", "z"]);
}

fn reason_of(world: &mut World) -> (String, String) {
    world.look();
    let waiting = world.status().container_statuses.clone().unwrap().remove(0).state.unwrap().waiting.unwrap();
    (waiting.reason.unwrap(), waiting.message.unwrap_or_default())
}

#[test]
fn why_a_container_waits() {
    let mut world = World::new(pod(json!({"containers": [{"name": "c", "image": "gone:1"}]})));
    world.missing_images.push("gone:1".into());
    world.settle();
    assert_eq!(reason_of(&mut world), ("ErrImagePull".into(), "no such image".into()));
    world.pass(1);
    world.settle();
    let expected = "Back-off pulling image \"gone:1\": ErrImagePull: no such image";
    assert_eq!(reason_of(&mut world), ("ImagePullBackOff".into(), expected.into()));

    let now = world.now;
    let track = world.seen.tracks.get_mut("c").unwrap();
    if let ImageState::Failed { problem, announced, .. } = &mut track.image {
        (*problem, *announced) = (ImageProblem::ErrImageNeverPull, false);
    }
    assert_eq!(reason_of(&mut world).0, "ErrImageNeverPull");

    let track = world.seen.tracks.get_mut("c").unwrap();
    let (problem, message) = (StartProblem::CreateContainerConfigError, "configmap \"none\" not found".to_owned());
    track.image = ImageState::Unknown;
    track.failure = Some(StartFailure { problem, message, at: now, retry: now });
    let expected = ("CreateContainerConfigError".to_owned(), "configmap \"none\" not found".to_owned());
    assert_eq!(reason_of(&mut world), expected);
}

#[test]
fn a_resize_is_told_in_conditions_and_in_what_the_container_has() {
    let request = |cpu: &str| json!({"requests": {"cpu": cpu}});
    let mut world = settled(json!({"containers": [{"name": "c", "resources": request("100m")}]}));
    let now = world.now;
    let told = |world: &mut World| {
        world.look();
        let seen = serde_json::to_value(world.status()).unwrap();
        let conditions = seen["conditions"].as_array().unwrap().iter();
        let resizing = conditions.filter(|c| c["type"].as_str().unwrap().starts_with("PodResize")).cloned();
        let mut c = seen["containerStatuses"][0].clone();
        (Value::from_iter(resizing), c["resources"].take(), c["allocatedResources"].take())
    };
    world.seen.resize.refuse("Deferred", "no room".to_owned(), Some(2), now);
    let at = "2026-01-01T00:00:00Z";
    let pending = json!([{"type": "PodResizePending", "status": "True", "reason": "Deferred", "message": "no room",
                          "observedGeneration": 2, "lastProbeTime": at, "lastTransitionTime": at}]);
    assert_eq!(told(&mut world), (pending, request("100m"), json!({"cpu": "100m"})));

    world.resize("c", request("200m"));
    let in_progress = json!([{"type": "PodResizeInProgress", "status": "True", "observedGeneration": 2, "lastProbeTime": at,
                              "lastTransitionTime": at}]);
    assert_eq!(told(&mut world), (in_progress, request("100m"), json!({"cpu": "200m"})), "it has what it had");
    world.pass(1);
    let (now, generation) = (world.now, Some(7));
    world.seen.resize.failed("it cannot be".to_owned(), generation, now);
    let failed = told(&mut world).0;
    assert_eq!((&failed[0]["reason"], &failed[0]["message"]), (&json!("Error"), &json!("it cannot be")));
    assert_eq!(
        (&failed[0]["observedGeneration"], &failed[0]["lastTransitionTime"]),
        (&json!(2), &json!("2026-01-01T00:00:01Z"))
    );
    world.settle();
    assert_eq!(told(&mut world), (json!([]), request("200m"), json!({"cpu": "200m"})));
}
