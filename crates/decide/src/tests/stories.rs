//! What a node does with a pod, as stories: on the left what happens, on the right every plan that follows until there
//! is nothing left to do. Plans are separated by ` | `, the actions of one plan by commas.

use super::world::{World, pod};
use crate::StopReason;
use serde_json::{Value, json};

type Story<'a> = &'a [(&'a str, &'a str)];

/// Plays a story. What can happen: `a exits 1`, `a fails its liveness probe`, `10 s pass`, `the sandbox dies`, `the runtime forgets a stop`, `a's image is missing`, `it is deleted`,
/// `it is deleted by force`, `add d`, `add d in a`, `add d on crashed a`, `the runtime loses a` (or
/// `everything`), `a gets a new image`, `` (nothing).
fn check(title: &str, spec: Value, story: Story<'_>) {
    let mut world = World::new(pod(spec));
    for (what, expected) in story {
        happen(&mut world, what);
        assert_eq!(world.settle().join(" | "), *expected, "{title}: after {what:?}");
    }
}

fn happen(world: &mut World, what: &str) {
    let words: Vec<&str> = what.split(' ').collect();
    match words.as_slice() {
        [""] => {}
        [name, "exits", code] => world.exit(name, code.parse().unwrap()),
        [seconds, "s", "pass"] => world.pass(seconds.parse().unwrap()),
        [name, "fails", "its", probe, "probe"] => world.fail_probe(
            name,
            match *probe {
                "liveness" => StopReason::LivenessProbe,
                "startup" => StopReason::StartupProbe,
                other => panic!("no {other} probe ends a container"),
            },
        ),
        ["the", "sandbox", "dies"] => world.sandbox_dies(),
        ["the", "runtime", "forgets", "a", "stop"] => {
            world.seen.sandboxes.last_mut().unwrap().ips = vec!["10.1.0.2".into()];
        }
        ["image", image, "is", "missing"] => world.missing_images.push((*image).into()),
        ["image", image, "appears"] => world.missing_images.retain(|i| i != image),
        ["it", "is", "deleted"] => world.delete(30),
        ["it", "is", "deleted", "by", "force"] => world.seen.removed = true,
        ["add", name] => world.add_ephemeral(json!(name)),
        ["add", name, "on", "crashed", target] => world.add_ephemeral(json!({
            "name": name, "targetContainerName": target, "env": [{"name": "REMORA_ROOT", "value": "crashed"}],
        })),
        ["add", name, "in", target] => world.add_ephemeral(json!({"name": name, "targetContainerName": target})),
        ["the", "runtime", "loses", "everything"] => {
            world.seen.tracks.clear();
            world.seen.sandboxes.clear();
        }
        ["the", "runtime", "loses", name] => {
            world.seen.tracks.remove(*name);
        }
        [name, "gets", "a", "new", "image"] => {
            let spec = world.pod.spec.as_mut().unwrap();
            spec.containers.iter_mut().filter(|c| c.name == *name).for_each(|c| c.image = Some("busybox:2".into()));
        }
        _ => panic!("nobody knows how {what:?} happens"),
    }
}

const STARTS: &str = "volumes, sandbox | image of a | start a";

#[test]
fn ordinary_containers() {
    check("a pod starts", json!({"containers": ["a"]}), &[("", STARTS)]);
    check(
        "containers start one after the other, their images are looked up together",
        json!({"containers": ["a", "b"]}),
        &[("", "volumes, sandbox | image of a, image of b | start a | start b")],
    );
    check(
        "Always: restarted at once, then after 10 s, then after 20 s",
        json!({"containers": ["a"]}),
        &[
            ("", STARTS),
            ("a exits 1", "image of a | start a #1"),
            ("a exits 0", "say that a crashes"),
            ("9 s pass", ""),
            ("1 s pass", "image of a | start a #2 | remove old a"),
            ("a exits 1", "say that a crashes"),
            ("19 s pass", ""),
            ("1 s pass", "image of a | start a #3 | remove old a"),
        ],
    );
    check(
        "ten minutes of running and the first restart is immediate again",
        json!({"containers": ["a"]}),
        &[
            ("", STARTS),
            ("a exits 1", "image of a | start a #1"),
            ("601 s pass", ""),
            ("a exits 1", "image of a | start a #2 | remove old a"),
        ],
    );
    check(
        "Never: it stays ended, and the pod with it",
        json!({"restartPolicy": "Never", "containers": ["a"]}),
        &[("", STARTS), ("a exits 3", "stop sandbox | take volumes down"), ("1000 s pass", "")],
    );
    check(
        "OnFailure: only a failure is restarted",
        json!({"restartPolicy": "OnFailure", "containers": ["a"]}),
        &[("", STARTS), ("a exits 1", "image of a | start a #1"), ("a exits 0", "stop sandbox | take volumes down")],
    );
    check(
        "one of two ends: the pod goes on",
        json!({"restartPolicy": "Never", "containers": ["a", "b"]}),
        &[
            ("", "volumes, sandbox | image of a, image of b | start a | start b"),
            ("a exits 2", ""),
            ("b exits 0", "stop sandbox | take volumes down"),
        ],
    );
    check(
        "a new image is a new container, whatever the policy says",
        json!({"restartPolicy": "Never", "containers": ["a"]}),
        &[("", STARTS), ("a gets a new image", "stop a | image of a | start a #1")],
    );
}

#[test]
fn images() {
    check(
        "a missing image is asked for after 10 s, then after 20 s",
        json!({"containers": [{"name": "a", "image": "gone:1"}]}),
        &[
            ("image gone:1 is missing", "volumes, sandbox | image of a"),
            ("1 s pass", "say that a's image waits"),
            ("9 s pass", "image of a"),
            ("19 s pass", "say that a's image waits"),
            ("image gone:1 appears", ""),
            ("1 s pass", "image of a | start a"),
        ],
    );
    check(
        "a container whose image is missing does not hold up the next",
        json!({"containers": [{"name": "a", "image": "gone:1"}, "b"]}),
        &[("image gone:1 is missing", "volumes, sandbox | image of a, image of b | start b")],
    );
}

#[test]
fn init_containers_and_sidecars() {
    check(
        "init containers run one after the other, then the others",
        json!({"init": ["i", "j"], "containers": ["a"]}),
        &[
            ("", "volumes, sandbox | image of i | start i"),
            ("i exits 0", "image of j | start j"),
            ("j exits 0", "image of a | start a"),
        ],
    );
    check(
        "a failing init container is restarted, with back-off",
        json!({"init": ["i"], "containers": ["a"]}),
        &[
            ("", "volumes, sandbox | image of i | start i"),
            ("i exits 1", "image of i | start i #1"),
            ("i exits 1", "say that i crashes"),
            ("10 s pass", "image of i | start i #2 | remove old i"),
            ("i exits 0", "image of a | start a"),
        ],
    );
    check(
        "Never: a failing init container ends the pod",
        json!({"restartPolicy": "Never", "init": ["i"], "containers": ["a"]}),
        &[("", "volumes, sandbox | image of i | start i"), ("i exits 1", "stop sandbox | take volumes down")],
    );
    let sidecar = json!({"name": "s", "restartPolicy": "Always"});
    check(
        "a sidecar starts first, is restarted even under Never, and ends after the others",
        json!({"restartPolicy": "Never", "init": [sidecar], "containers": ["a"]}),
        &[
            ("", "volumes, sandbox | image of s | start s | image of a | start a"),
            ("s exits 1", "image of s | start s #1"),
            ("a exits 0", "stop s | stop sandbox | take volumes down"),
        ],
    );
}

#[test]
fn ephemeral_containers() {
    check(
        "it starts beside a running container, which is left alone",
        json!({"containers": ["a"]}),
        &[("", STARTS), ("add d", "image of d | start d"), ("add e in a", "image of e | start e in a")],
    );
    check(
        "it starts while init containers still run",
        json!({"init": ["i"], "containers": ["a"]}),
        &[("", "volumes, sandbox | image of i | start i"), ("add d in i", "image of d | start d in i")],
    );
    check(
        "it is never restarted, whatever the policy and the exit code",
        json!({"restartPolicy": "Always", "containers": ["a"]}),
        &[("", STARTS), ("add d", "image of d | start d"), ("d exits 1", ""), ("1000 s pass", "")],
    );
    check(
        "it is not started a second time when the runtime has lost it",
        json!({"containers": ["a"]}),
        &[("", STARTS), ("add d", "image of d | start d"), ("the runtime loses d", "")],
    );
    check(
        "it is not started again in a new sandbox",
        json!({"containers": ["a"]}),
        &[
            ("", STARTS),
            ("add d", "image of d | start d"),
            ("the sandbox dies", "stop sandbox | sandbox #1 | image of a | start a #1"),
        ],
    );
    check(
        "it keeps no pod alive: when the ordinary containers are done it ends with the pod",
        json!({"restartPolicy": "Never", "containers": ["a"]}),
        &[("", STARTS), ("add d", "image of d | start d"), ("a exits 0", "stop d | stop sandbox | take volumes down")],
    );
    check(
        "one whose target does not run is tried again later",
        json!({"restartPolicy": "Never", "containers": ["a", "b"]}),
        &[
            ("", "volumes, sandbox | image of a, image of b | start a | start b"),
            ("a exits 0", ""),
            ("add d in a", "image of d | start d in a"),
            ("10 s pass", "image of d | start d in a"),
        ],
    );
    check(
        "one added to a pod that has ended never starts",
        json!({"restartPolicy": "Never", "containers": ["a"]}),
        &[("", STARTS), ("a exits 0", "stop sandbox | take volumes down"), ("add d", "")],
    );
}

#[test]
fn the_root_of_a_crashed_container() {
    check(
        "it is looked at while its successor waits or runs, and kept for as long as somebody does",
        json!({"containers": ["a"]}),
        &[
            ("", STARTS),
            ("add d on crashed a", "image of d | start d in a"),
            ("1 s pass", ""),
            ("a exits 1", "image of a, image of d | start a #1, start d in a"),
            ("a exits 1", "say that a crashes"),
            ("10 s pass", "image of a | start a #2"),
            ("d exits 0", "remove old a"),
        ],
    );
}

#[test]
fn probes() {
    check(
        "a liveness probe fails: an end with the pod's grace, and anew",
        json!({"containers": [{"name": "a", "livenessProbe": {}}]}),
        &[("", STARTS), ("a fails its liveness probe", "stop a | image of a | start a #1")],
    );
    check(
        "a probe has a grace of its own, and each its own",
        json!({"containers": [{"name": "a", "livenessProbe": {"terminationGracePeriodSeconds": 5}, "startupProbe": {"terminationGracePeriodSeconds": 2}}]}),
        &[
            ("", STARTS),
            ("a fails its startup probe", "stop a within 2 s | image of a | start a #1"),
            ("a fails its liveness probe", "stop a within 5 s | say that a crashes"),
        ],
    );
    check(
        "Never: a container that its probe has ended stays ended",
        json!({"restartPolicy": "Never", "containers": [{"name": "a", "livenessProbe": {}}, "b"]}),
        &[
            ("", "volumes, sandbox | image of a, image of b | start a | start b"),
            ("a fails its liveness probe", "stop a"),
        ],
    );
}

#[test]
fn the_end_of_a_pod() {
    check(
        "deleted: all stop at once, then the sandbox, the volumes, the object, the rest",
        json!({"containers": ["a", "b"]}),
        &[
            ("", "volumes, sandbox | image of a, image of b | start a | start b"),
            (
                "it is deleted",
                "stop a, stop b | stop sandbox | take volumes down | delete pod | remove sandbox | forget",
            ),
        ],
    );
    check(
        "deleted by force: the object is gone already",
        json!({"containers": ["a"]}),
        &[
            ("", STARTS),
            (
                "it is deleted by force",
                "stop a within 0 s | stop sandbox | take volumes down | remove sandbox | forget",
            ),
        ],
    );
    check(
        "deleted after it has ended",
        json!({"restartPolicy": "Never", "containers": ["a"]}),
        &[
            ("", STARTS),
            ("a exits 0", "stop sandbox | take volumes down"),
            ("it is deleted", "delete pod | remove sandbox | forget"),
        ],
    );
    check("deleted before it began", json!({"containers": ["a"]}), &[("it is deleted", "delete pod | forget")]);
    check(
        "activeDeadlineSeconds",
        json!({"activeDeadlineSeconds": 5, "containers": ["a"]}),
        &[
            ("", STARTS),
            ("4 s pass", ""),
            ("1 s pass", "stop a | stop sandbox | take volumes down"),
            ("1000 s pass", ""),
        ],
    );
}

#[test]
fn a_sandbox_that_dies() {
    check(
        "Always: a new one, and its containers again",
        json!({"containers": ["a"]}),
        &[
            ("", STARTS),
            ("the sandbox dies", "stop sandbox | sandbox #1 | image of a | start a #1"),
            ("the runtime forgets a stop", "stop sandbox"),
        ],
    );
    check(
        "init containers run again in the new one",
        json!({"init": ["i"], "containers": ["a"]}),
        &[
            ("", "volumes, sandbox | image of i | start i"),
            ("i exits 0", "image of a | start a"),
            ("the sandbox dies", "stop sandbox | sandbox #1 | image of i | start i #1"),
            ("i exits 0", "image of a | start a #1"),
        ],
    );
    check(
        "Never: the pod has failed, and its address is free",
        json!({"restartPolicy": "Never", "containers": ["a"]}),
        &[("", STARTS), ("the sandbox dies", "stop sandbox, take volumes down")],
    );
    check(
        "a runtime that starts from nothing: all of it again, ephemeral containers never",
        json!({"init": ["i"], "containers": ["a"]}),
        &[
            ("", "volumes, sandbox | image of i | start i"),
            ("i exits 0", "image of a | start a"),
            ("add d", "image of d | start d"),
            ("the runtime loses everything", "sandbox #1 | image of i | start i #1"),
            ("i exits 0", "image of a | start a #1"),
        ],
    );
}
