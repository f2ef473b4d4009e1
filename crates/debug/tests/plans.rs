//! What is asked of the server and said to people, for pods of many shapes. Snapshots: read them like pages.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fmt::Write;
use std::time::Duration;

use k8s_openapi::api::core::v1::{EnvVar, Pod};
use remora_debug::{
    CopyRequest, DEFAULT_IMAGE, DebugRequest, Facts, Keep, Limits, Mirror, PlanError, PodPlan, Profile, Refusal,
    Refused, Refuser, Report, Right, Root, TargetChoice,
};
use serde_json::{Value, json};

fn pod(value: Value) -> Pod {
    serde_json::from_value(value).unwrap()
}

fn web() -> Pod {
    pod(json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "app", "image": "shop/app:1"}]}}))
}

/// A pod with everything that can be mirrored.
fn shop() -> Pod {
    pod(json!({
        "metadata": {"name": "shop", "namespace": "prod", "labels": {"app": "shop"}, "annotations": {"note": "x"}},
        "spec": {
            "nodeName": "anchor",
            "initContainers": [{"name": "init", "image": "i"}],
            "containers": [
                {
                    "name": "app", "image": "shop/app:1", "workingDir": "/srv",
                    "securityContext": {"runAsUser": 1000, "runAsGroup": 2000},
                    "env": [{"name": "MODE", "value": "fast"}, {"name": "PATH", "value": "/app"}],
                    "envFrom": [{"secretRef": {"name": "keys"}}],
                    "volumeMounts": [
                        {"name": "data", "mountPath": "/data"},
                        {"name": "config", "mountPath": "/etc/shop.conf", "subPath": "shop.conf"},
                    ],
                    "livenessProbe": {"tcpSocket": {"port": 80}},
                },
                {"name": "side", "image": "s"},
            ],
            "ephemeralContainers": [{"name": "old", "image": "busybox"}],
        },
    }))
}

fn crashed() -> Pod {
    let mut crashed = serde_json::to_value(web()).unwrap();
    crashed["status"] = json!({"containerStatuses": [{
        "name": "app", "image": "shop/app:1", "imageID": "", "ready": false, "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 3}},
    }]});
    pod(crashed)
}

fn facts() -> Facts {
    Facts { default_image: DEFAULT_IMAGE.to_owned(), ..Facts::default() }
}

fn on_remora() -> Facts {
    Facts { is_remora: true, images: vec!["docker.io/library/busybox:latest".to_owned()], ..facts() }
}

fn terminal() -> DebugRequest {
    DebugRequest { stdin: true, tty: true, attach: true, ..DebugRequest::default() }
}

/// As `kubectl debug --image=busybox` asks, with nothing mirrored.
fn named() -> DebugRequest {
    DebugRequest { image: Some("busybox".to_owned()), ..terminal() }
}

fn shown(request: &DebugRequest, pod: &Pod, facts: &Facts) -> String {
    let plan = remora_debug::plan(request, pod, facts, "abcde").unwrap();
    let mut text = plan.notices.join("\n") + "\n";
    for rung in &plan.rungs {
        writeln!(text, "--- {}", rung.name).unwrap();
        rung.notices.iter().for_each(|line| writeln!(text, "{line}").unwrap());
        writeln!(text, "{:#}", serde_json::to_value(&rung.entry).unwrap()).unwrap();
    }
    writeln!(text, "--- patch's order: {}", plan.patch(&plan.rungs[0])["spec"]["$setElementOrder/ephemeralContainers"])
        .unwrap();
    text
}

fn pod_shown(plan: &PodPlan) -> String {
    let pod = serde_json::to_value(&plan.pod).unwrap();
    format!("{}\nattach to: {:?}\n{pod:#}", plan.notices.join("\n"), plan.container)
}

#[test]
fn a_pod_with_everything_is_mirrored_on_any_cluster() {
    insta::assert_snapshot!(shown(&terminal(), &shop(), &facts()));
}

#[test]
fn on_a_node_of_ours_the_targets_root_is_the_root() {
    insta::assert_snapshot!(shown(
        &DebugRequest { profile: Some(Profile::General), ..terminal() },
        &shop(),
        &on_remora()
    ));
}

#[test]
fn a_crashed_container_is_looked_at() {
    let request = DebugRequest { profile: Some(Profile::General), ..terminal() };
    insta::assert_snapshot!("a_crashed_container_on_a_node_of_ours", shown(&request, &crashed(), &on_remora()));
    insta::assert_snapshot!("a_crashed_container_on_any_node", shown(&request, &crashed(), &facts()));
}

#[test]
fn kubectls_flags_give_kubectls_entry() {
    let request = DebugRequest {
        name: Some("d".to_owned()),
        target: TargetChoice::Named("app".to_owned()),
        command: vec!["sleep".to_owned(), "5".to_owned()],
        env: vec![EnvVar { name: "A".to_owned(), value: Some("1".to_owned()), value_from: None }],
        image_pull_policy: Some("Never".to_owned()),
        profile: Some(Profile::General),
        custom: Some(json!({"securityContext": {"runAsUser": 0}, "env": [{"name": "B", "value": "2"}]})),
        ..named()
    };
    insta::assert_snapshot!(shown(&request, &web(), &on_remora()));
}

#[test]
fn limits_are_variables_on_our_nodes_and_a_shell_elsewhere() {
    let limits = Limits { ttl: Some(Duration::from_secs(1800)), idle: Some(Duration::from_secs(600)) };
    let request = DebugRequest { limits, profile: Some(Profile::Baseline), mirror: Mirror::NONE, ..terminal() };
    let by_alice = Facts { user: Some("alice".to_owned()), ..on_remora() };
    insta::assert_snapshot!("limits_on_a_node_of_ours", shown(&request, &web(), &by_alice));
    insta::assert_snapshot!("limits_on_any_node", shown(&request, &web(), &facts()));
    let refused = |request: &DebugRequest| remora_debug::plan(request, &web(), &facts(), "x").unwrap_err();
    assert_eq!(refused(&DebugRequest { as_arguments: true, ..request.clone() }), PlanError::UnknownCommand);
    assert_eq!(refused(&DebugRequest { tty: false, ..request.clone() }), PlanError::IdleWithoutTerminal);
    let node = remora_debug::node_pod(&request, "anchor", &facts(), "x").unwrap_err().to_string();
    assert_eq!(node, "--idle-timeout is for debug containers in a running pod: copies and node sessions know --ttl");
    let ttl = DebugRequest { limits: Limits { idle: None, ..limits }, ..request };
    let node = remora_debug::node_pod(&ttl, "anchor", &facts(), "x").unwrap();
    assert_eq!(node.pod.spec.unwrap().active_deadline_seconds, Some(1800));
}

#[test]
fn what_needs_no_server_is_refused_at_once() {
    let check = |request: DebugRequest, facts: Facts, expected: PlanError| {
        assert_eq!(remora_debug::plan(&request, &web(), &facts, "x"), Err(expected));
    };
    check(DebugRequest { tty: true, ..DebugRequest::default() }, facts(), PlanError::TerminalWithoutInput);
    let image = |name: &str| DebugRequest { image: Some(name.to_owned()), ..terminal() };
    for wrong in ["Busy Box", "", "busybox:", "a//b", "BUSYBOX"] {
        check(image(wrong), facts(), PlanError::ImageName(wrong.to_owned()));
    }
    for right in ["busybox", "LOCALHOST.x:5000/a/b:Tag_1", "a/b@sha256:00ff", "a.b/c"] {
        assert!(remora_debug::plan(&image(right), &web(), &facts(), "x").is_ok(), "{right}");
    }
    let policy = DebugRequest { image_pull_policy: Some("Sometimes".to_owned()), ..terminal() };
    check(policy, facts(), PlanError::PullPolicy("Sometimes".to_owned()));
    check(DebugRequest { custom: Some(json!({"image": "x"})), ..terminal() }, facts(), PlanError::Custom);
    check(DebugRequest { root: Root::Target, ..terminal() }, facts(), PlanError::RootElsewhere);
    let no_target = DebugRequest { root: Root::Target, target: TargetChoice::None, ..terminal() };
    check(no_target, on_remora(), PlanError::RootWithoutTarget);
}

fn copy_request() -> CopyRequest {
    let keep = Keep {
        labels: false,
        annotations: false,
        liveness: false,
        readiness: false,
        startup: false,
        init_containers: true,
    };
    CopyRequest { name: "copy".to_owned(), same_node: false, share_processes: None, set_images: [].into(), keep }
}

#[test]
fn a_copy_has_a_debug_container_and_nobody_finds_it() {
    let plan = remora_debug::copy(&named(), &copy_request(), &shop(), "abcde").unwrap();
    insta::assert_snapshot!(pod_shown(&plan));
}

#[test]
fn a_copy_can_change_a_container_instead_and_keep_what_it_was() {
    let keep = Keep {
        labels: true,
        annotations: true,
        liveness: true,
        readiness: true,
        startup: true,
        init_containers: false,
    };
    let request =
        DebugRequest { image: None, name: Some("app".to_owned()), command: vec!["sh".to_owned()], ..terminal() };
    let changes = CopyRequest { keep, same_node: true, share_processes: Some(false), ..copy_request() };
    insta::assert_snapshot!(pod_shown(&remora_debug::copy(&request, &changes, &shop(), "abcde").unwrap()));
}

#[test]
fn a_copy_can_change_only_images() {
    let set_images = [("*".to_owned(), "new:1".to_owned()), ("side".to_owned(), "side:2".to_owned())].into();
    let request = DebugRequest { image: None, ..terminal() };
    let plan = remora_debug::copy(&request, &CopyRequest { set_images, ..copy_request() }, &shop(), "abcde").unwrap();
    let images: Vec<_> = plan.pod.spec.unwrap().containers.into_iter().filter_map(|c| c.image).collect();
    assert_eq!((images, plan.container), (vec!["new:1".to_owned(), "side:2".to_owned()], None));
}

#[test]
fn copies_are_refused_in_kubectls_words() {
    let check = |request: DebugRequest, expected: &str| {
        let refused = remora_debug::copy(&request, &copy_request(), &shop(), "x").unwrap_err();
        assert_eq!(refused.to_string(), expected);
    };
    let plain = DebugRequest { image: None, ..terminal() };
    check(plain.clone(), "you must specify --image, --set-image or command arguments.");
    let words = DebugRequest { command: vec!["sh".to_owned()], ..plain.clone() };
    check(words, "you must specify an existing container or a new image when specifying args.");
    let ghost = DebugRequest { command: vec!["sh".to_owned()], name: Some("ghost".to_owned()), ..plain };
    check(ghost, "you must specify image when creating new container");
    let target = DebugRequest { target: TargetChoice::Named("app".to_owned()), ..named() };
    check(target, "--target is incompatible with --copy-to. Use --share-processes instead.");
}

#[test]
fn a_nodes_pod_is_in_the_hosts_namespaces() {
    insta::assert_snapshot!(pod_shown(&remora_debug::node_pod(&terminal(), "anchor", &on_remora(), "abcde").unwrap()));
    let restricted = DebugRequest { profile: Some(Profile::Restricted), ..named() };
    insta::assert_snapshot!(
        "a_restricted_pod_on_a_node",
        pod_shown(&remora_debug::node_pod(&restricted, "anchor", &facts(), "abcde").unwrap())
    );
}

#[test]
fn a_plan_tells_everything_before_anything_is_done() {
    let plan = remora_debug::plan(&terminal(), &shop(), &on_remora(), "abcde").unwrap();
    let by = Refuser::PodSecurity("baseline:latest".to_owned());
    let refusal = Refusal { by, why: "SYS_PTRACE".to_owned(), remedy: "kubectl label namespace prod".to_owned() };
    let right = |verb, resource, purpose, allowed| Right { verb, resource, purpose, allowed };
    let report = |refused: usize, admitted: Option<usize>, offers: &[&str]| Report {
        pod: "prod/shop".to_owned(),
        node: Some("anchor (remora://0.1.0)".to_owned()),
        obstacle: None,
        pod_security: Some(vec!["enforce=baseline".to_owned()]),
        rights: vec![
            right("patch", "pods/ephemeralcontainers", "to add the container", Some(true)),
            right("get", "pods/attach", "to reach it", None),
        ],
        plan: &plan,
        refused: plan.rungs[..refused]
            .iter()
            .map(|rung| Refused { name: rung.name.clone(), refusal: refusal.clone() })
            .collect(),
        admitted: admitted.map(|i| plan.rungs[i].clone()),
        offers: offers.iter().map(|offer| (*offer).to_owned()).collect(),
    };
    insta::assert_snapshot!("a_report_of_a_second_choice", report(1, Some(1), &[]).lines().join("\n"));
    insta::assert_snapshot!("a_report_of_a_refusal", report(4, None, &["remora debug node/anchor"]).lines().join("\n"));
    let unread = Report { pod_security: None, ..report(1, Some(1), &[]) };
    assert!(unread.lines().contains(&"Namespace  Pod Security: not known (you may not read the namespace)".to_owned()));
    insta::assert_snapshot!("a_report_for_programs", format!("{:#}", report(1, Some(1), &[]).object()));
}
