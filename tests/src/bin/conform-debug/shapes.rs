//! The pods that are debugged. The first container is the one that a session is for, unless an annotation names another.

use serde_json::{Value, json};

/// Without a shell, as good images are.
const BARE: &str = "k8s.gcr.io/pause:3.1";
const BUSYBOX: &str = "busybox";

/// A kind of pod.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// It is in every namespace, for [`crate::matrix`].
    pub(crate) in_matrix: bool,
    pub(crate) until: Until,
    pub(crate) spec: fn() -> Value,
}

/// What a pod must have become before it is debugged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Running,
    Ended,
    /// Its container has ended at least once.
    Crashed,
    Unscheduled,
}

impl Until {
    pub(crate) fn is_reached(self, pod: &Value) -> bool {
        let status = &pod["status"];
        let containers = || status["containerStatuses"].as_array().into_iter().flatten();
        match self {
            Until::Running => containers().count() > 0 && containers().all(|c| c["state"]["running"].is_object()),
            Until::Ended => status["phase"] == "Succeeded",
            Until::Crashed => {
                containers().any(|c| c["state"]["waiting"].is_object() && c["lastState"]["terminated"].is_object())
            }
            Until::Unscheduled => {
                let mut conditions = status["conditions"].as_array().into_iter().flatten();
                conditions.any(|c| c["type"] == "PodScheduled" && c["status"] == "False")
            }
        }
    }
}

pub(crate) const ALL: [Shape; 12] = [
    Shape { name: "plain", in_matrix: true, until: Until::Running, spec: plain },
    Shape { name: "user", in_matrix: true, until: Until::Running, spec: user },
    Shape { name: "strict", in_matrix: true, until: Until::Running, spec: strict },
    Shape { name: "shared", in_matrix: true, until: Until::Running, spec: shared },
    Shape { name: "host", in_matrix: true, until: Until::Running, spec: host },
    Shape { name: "rich", in_matrix: true, until: Until::Running, spec: rich },
    Shape { name: "two", in_matrix: false, until: Until::Running, spec: two },
    Shape { name: "readonly", in_matrix: false, until: Until::Running, spec: readonly },
    Shape { name: "nonroot", in_matrix: false, until: Until::Running, spec: nonroot },
    Shape { name: "crashed", in_matrix: false, until: Until::Crashed, spec: crashed },
    Shape { name: "done", in_matrix: false, until: Until::Ended, spec: done },
    Shape { name: "nowhere", in_matrix: false, until: Until::Unscheduled, spec: nowhere },
];

/// kubectl's way to say which container is meant.
pub(crate) fn annotations(shape: &str) -> Value {
    if shape == "two" { json!({"kubectl.kubernetes.io/default-container": "second"}) } else { json!({}) }
}

/// A spec of one container, `app`, with some fields over it.
fn of(image: &str, container: Value, pod: Value) -> Value {
    let mut app = json!({"name": "app", "image": image, "imagePullPolicy": "IfNotPresent"});
    if image == BUSYBOX {
        app["command"] = json!(["/bin/sleep", "1000000"]);
    }
    let mut spec = json!({"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false});
    overlay(&mut app, container);
    spec["containers"] = json!([app]);
    overlay(&mut spec, pod);
    spec
}

fn overlay(onto: &mut Value, from: Value) {
    if let (Some(onto), Value::Object(from)) = (onto.as_object_mut(), from) {
        onto.extend(from);
    }
}

pub(crate) fn plain() -> Value {
    of(BARE, json!({}), json!({}))
}

/// Another user than root.
fn user() -> Value {
    of(BARE, json!({"securityContext": {"runAsUser": 1000, "runAsGroup": 2000}}), json!({}))
}

/// What the restricted level admits.
fn strict() -> Value {
    let context = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
        "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}});
    of(BARE, json!({"securityContext": context}), json!({}))
}

fn shared() -> Value {
    of(BARE, json!({}), json!({"shareProcessNamespace": true}))
}

fn host() -> Value {
    of(BARE, json!({}), json!({"hostNetwork": true}))
}

/// Everything that a session takes over, and what it cannot.
fn rich() -> Value {
    let container = json!({
        "env": [{"name": "MODE", "value": "fast"}, {"name": "PATH", "value": "/nowhere"}, {"name": "LD_PRELOAD", "value": "/no.so"},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "envFrom": [{"configMapRef": {"name": "settings"}}],
        "workingDir": "/data",
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "data", "mountPath": "/part", "subPath": "x"},
            {"name": "data", "mountPath": "/ro", "readOnly": true}],
    });
    of(BUSYBOX, container, json!({"volumes": [{"name": "data", "emptyDir": {}}]}))
}

fn two() -> Value {
    let mut spec = of(BUSYBOX, json!({"name": "first"}), json!({}));
    let second = of(BUSYBOX, json!({"name": "second", "env": [{"name": "WHICH", "value": "second"}]}), json!({}));
    if let Some(containers) = spec["containers"].as_array_mut() {
        containers.push(second["containers"][0].clone());
    }
    spec
}

fn readonly() -> Value {
    of(BUSYBOX, json!({"securityContext": {"readOnlyRootFilesystem": true}}), json!({}))
}

fn nonroot() -> Value {
    of(BARE, json!({}), json!({"securityContext": {"runAsNonRoot": true, "runAsUser": 4000}}))
}

fn crashed() -> Value {
    of(BUSYBOX, json!({"command": ["sh", "-c", "echo evidence > /left; exit 3"]}), json!({}))
}

fn done() -> Value {
    of(BUSYBOX, json!({"command": ["true"]}), json!({"restartPolicy": "Never"}))
}

fn nowhere() -> Value {
    of(BARE, json!({}), json!({"nodeSelector": {"conform.debug/nowhere": "yes"}}))
}
