//! What the pods do, and what may be expected of them. Pure.
//!
//! Each container writes a line to a file of the machine when it starts: only the workload itself knows how often it began.

use serde_json::{Value, json};

use crate::random::Random;

/// The container that every pod has.
pub(crate) const MAIN: &str = "main";
/// The container that some pods begin with.
pub(crate) const INIT: &str = "init";
/// How many numbers it prints, before it ends with 0.
pub(crate) const INIT_LINES: u32 = 3;
/// Where the folder of marks is seen in containers.
const MARKS: &str = "/marks";

/// What a pod is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Prints consecutive numbers for ever; restarted when it ends.
    Counter,
    /// Prints some numbers and ends with its code; never restarted.
    Finite,
    /// The same, and restarted.
    Crasher,
    /// Sleeps; what others join.
    Idle,
}

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodPlan {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    /// How many numbers it prints, unless it prints for ever.
    pub(crate) lines: u32,
    /// What it ends with.
    pub(crate) code: i32,
    /// Its containers share their processes: a pause process holds them.
    shares_processes: bool,
    /// An init container comes first.
    pub(crate) begins: bool,
    /// On which low-level runtime; the node's default if none.
    class: Option<&'static str>,
}

impl PodPlan {
    /// `classes`: runtime classes that the machine offers beside its default.
    pub(crate) fn new(name: String, shape: Shape, classes: &[&'static str], random: &mut Random) -> Self {
        let (lines, code) = (random.between(1, 80) as u32, random.pick(&[0, 1, 3, 7, 42, 99, 200]));
        let shares_processes = shape == Shape::Idle && random.percent(40);
        let begins = random.percent(30);
        let class = (!classes.is_empty() && random.percent(30)).then(|| random.pick(classes));
        PodPlan { name, shape, lines, code, shares_processes, begins, class }
    }

    /// Once ended it stays so.
    pub(crate) fn never_again(&self) -> bool {
        self.shape == Shape::Finite
    }

    /// The pod as it is created. `marks` is a folder of the machine.
    pub(crate) fn object(&self, marks: &str) -> Value {
        let body = match self.shape {
            Shape::Counter => FOR_EVER.to_owned(),
            Shape::Finite | Shape::Crasher => finite(self.lines, self.code),
            Shape::Idle => "sleep 100000 & wait".to_owned(),
        };
        let policy = if self.never_again() { "Never" } else { "Always" };
        let mut pod = json!({
            "metadata": {"name": self.name, "labels": {"chaos": "yes"}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "restartPolicy": policy,
                "shareProcessNamespace": self.shares_processes,
                "containers": [self.container(MAIN, &body)],
                "volumes": [
                    {"name": "marks", "hostPath": {"path": marks, "type": "Directory"}},
                    {"name": "memory", "emptyDir": {"medium": "Memory"}},
                ],
            },
        });
        if self.begins {
            pod["spec"]["initContainers"] = json!([self.container(INIT, &finite(INIT_LINES, 0))]);
        }
        if let Some(class) = self.class {
            pod["spec"]["runtimeClassName"] = class.into();
        }
        pod
    }

    fn container(&self, name: &str, body: &str) -> Value {
        json!({
            "name": name,
            "image": "busybox",
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", script(&self.name, name, body)],
            "volumeMounts": [{"name": "marks", "mountPath": MARKS}, {"name": "memory", "mountPath": "/memory"}],
        })
    }
}

/// What is wrong with its volumes a container says by its exit code.
pub(crate) const NO_TOKEN: i32 = 251;
pub(crate) const NO_MEMORY: i32 = 252;

const FOR_EVER: &str = "i=0; while :; do i=$((i+1)); echo $i; echo $i > $m.said; sleep 0.05; done";

fn finite(lines: u32, code: i32) -> String {
    format!("i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo $i; sleep 0.02; done; exit {code}")
}

fn script(pod: &str, container: &str, body: &str) -> String {
    let token = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    format!(
        "m={MARKS}/{pod}.{container}; trap 'exit 0' TERM; echo start >> $m.starts; \
         [ -s {token} ] || exit {NO_TOKEN}; grep -q ' /memory tmpfs ' /proc/mounts || exit {NO_MEMORY}; {body}"
    )
}

/// An ephemeral container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EphemeralPlan {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// It stands in the main container's PID namespace, and ends with it.
    pub(crate) targets: bool,
}

/// What an ephemeral container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Tool { lines: u32, code: i32 },
    Shell,
}

impl EphemeralPlan {
    /// The patch that adds it.
    pub(crate) fn patch(&self, pod: &str) -> Value {
        let body = match self.role {
            Role::Tool { lines, code } => finite(lines, code),
            Role::Shell => "exec sh".to_owned(),
        };
        let shell = self.role == Role::Shell;
        let command = format!("m={MARKS}/{pod}.{}; echo start >> $m.starts; {body}", self.name);
        let mut entry = json!({
            "name": self.name, "image": "busybox", "imagePullPolicy": "IfNotPresent", "stdin": shell, "tty": shell,
            "command": ["sh", "-c", command], "volumeMounts": [{"name": "marks", "mountPath": MARKS}],
        });
        if self.targets {
            entry["targetContainerName"] = MAIN.into();
        }
        json!({"spec": {"ephemeralContainers": [entry]}})
    }
}
