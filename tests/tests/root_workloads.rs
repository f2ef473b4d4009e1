//! What replaces pods, as stock kubectls see it on a real node: deployments that are rolled out, undone, paused, restarted and scaled, and what
//! becomes of pods whose owner goes. The oldest and the newest kubectl tell the whole story.
//!
//! `cargo xtask test` starts the node. Every test works in a namespace of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use remora_tests::{Client, TestNode};
use serde_json::Value;

const IMAGE: &str = "registry.example/httpd:1";
/// The end of a step that goes well.
const SOON: &str = "--timeout=90s";

/// Runs a check with the oldest and the newest kubectl, each in a namespace of its own, which is removed afterwards.
fn with_kubectls(test: &str, check: impl Fn(&TestNode, &Client<'_>) -> Result<()>) {
    let Some(node) = TestNode::from_environment() else { return };
    let all = node.kubectls_of_every_version();
    let chosen =
        all.iter().filter(|kubectl| ["kubectl.1.27", "kubectl.1.33", "kubectl"].contains(&kubectl.name().as_str()));
    for kubectl in chosen {
        let namespace = format!("work-{test}-{}", kubectl.name().replace('.', "-"));
        kubectl.ok(&format!("create namespace {namespace}")).unwrap();
        let result = check(&node, &kubectl.in_namespace(&namespace));
        kubectl.ok(&format!("delete namespace {namespace} --wait=false")).unwrap();
        result.unwrap_or_else(|error| panic!("{}: {error:?}", kubectl.name()));
    }
}

fn json(kubectl: &Client<'_>, what: &str) -> Result<Value> {
    Ok(serde_json::from_str(&kubectl.ok(&format!("get {what} -o json"))?)?)
}

fn names(kubectl: &Client<'_>, what: &str) -> Result<Vec<String>> {
    Ok(kubectl.ok(&format!("get {what} -o name"))?.lines().map(str::to_owned).collect())
}

/// A deployment `web` of two web servers, ready.
fn deploy(kubectl: &Client<'_>) -> Result<()> {
    kubectl.ok(&format!("create deployment web --image={IMAGE} --replicas=2"))?;
    let told = kubectl.ok(&format!("rollout status deployment/web {SOON}"))?;
    ensure!(told.contains("deployment \"web\" successfully rolled out"), "{told}");
    Ok(())
}

fn revision(kubectl: &Client<'_>) -> Result<String> {
    let found = json(kubectl, "deployment web")?;
    Ok(found["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_deployment_is_rolled_out_undone_paused_and_restarted() {
    with_kubectls("rollout", |_, kubectl| {
        deploy(kubectl)?;
        let table = kubectl.ok("get deployments web --no-headers")?;
        ensure!(table.split_whitespace().take(4).eq(["web", "2/2", "2", "2"]), "{table}");
        let all = names(kubectl, "all")?;
        for kind in ["pod/web-", "deployment.apps/web", "replicaset.apps/web-"] {
            ensure!(all.iter().any(|name| name.starts_with(kind)), "{kind}: {all:?}");
        }
        kubectl.ok("set env deployment/web COLOUR=blue")?;
        kubectl.ok(&format!("rollout status deployment/web {SOON}"))?;
        let history = kubectl.ok("rollout history deployment/web")?;
        ensure!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
        // A template whose image is not to be had is never rolled out, and takes no pod away that serves.
        kubectl.ok("set image deployment/web httpd=registry.example/none:1")?;
        let stuck = kubectl.fails("rollout status deployment/web --timeout=4s", 1)?;
        ensure!(stuck.contains("timed out waiting for the condition"), "{stuck}");
        ensure!(json(kubectl, "deployment web")?["status"]["availableReplicas"] == 2);
        let undone = kubectl.ok("rollout undo deployment/web")?;
        ensure!(undone.contains("rolled back"), "{undone}");
        kubectl.ok(&format!("rollout status deployment/web {SOON}"))?;
        ensure!(revision(kubectl)? == "4");
        ensure!(kubectl.ok("rollout history deployment/web --revision=4")?.contains("COLOUR:\tblue"));
        kubectl.ok("rollout undo deployment/web --to-revision=1")?;
        kubectl.ok(&format!("rollout status deployment/web {SOON}"))?;
        ensure!(revision(kubectl)? == "5");
        pause_and_restart(kubectl)
    });
}

fn pause_and_restart(kubectl: &Client<'_>) -> Result<()> {
    let before = names(kubectl, "replicasets")?;
    kubectl.ok("rollout pause deployment/web")?;
    kubectl.ok("set env deployment/web COLOUR=red")?;
    kubectl.ok("scale deployment/web --replicas=3")?;
    kubectl.ok(&format!("wait deployment/web --for=jsonpath={{.status.availableReplicas}}=3 {SOON}"))?;
    ensure!(names(kubectl, "replicasets")? == before, "a paused deployment was rolled out");
    kubectl.ok("rollout resume deployment/web")?;
    kubectl.ok(&format!("rollout status deployment/web {SOON}"))?;
    let old = names(kubectl, "pods")?;
    kubectl.ok("rollout restart deployment/web")?;
    kubectl.ok(&format!("rollout status deployment/web {SOON}"))?;
    for pod in old {
        kubectl.ok(&format!("wait {pod} --for=delete {SOON}"))?;
    }
    let events = kubectl.ok("get events -o wide")?;
    ensure!(events.contains("Scaled up replica set web-") && events.contains("SuccessfulDelete"), "{events}");
    Ok(())
}

#[test]
fn pods_that_fail_or_go_are_replaced_and_the_size_follows() {
    with_kubectls("size", |node, kubectl| {
        deploy(kubectl)?;
        let first = names(kubectl, "pods -l app=web")?.remove(0);
        kubectl.ok(&format!("delete {first} --now"))?;
        kubectl.ok(&format!("wait deployment/web --for=condition=Available {SOON}"))?;
        kubectl.ok(&format!("wait deployment/web --for=jsonpath={{.status.availableReplicas}}=2 {SOON}"))?;
        ensure!(!names(kubectl, "pods -l app=web")?.contains(&first));
        let set = names(kubectl, "replicasets")?.remove(0);
        let patch =
            ["patch", "deployment/web", "--subresource=scale", "--type=merge", "-p", r#"{"spec":{"replicas":1}}"#];
        let patched = kubectl.run(&patch)?;
        ensure!(patched.code == 0, "{patched:?}");
        kubectl.ok(&format!("wait {set} --for=jsonpath={{.status.replicas}}=1 {SOON}"))?;
        kubectl.fails("scale deployment/web --current-replicas=7 --replicas=2", 1)?;
        // A pod that the selector does not find any more is nobody's, and another takes its place.
        let ready = "pods -l app=web --field-selector=status.phase=Running";
        let pod = names(kubectl, ready)?.remove(0);
        kubectl.ok(&format!("label {pod} app=aside --overwrite"))?;
        kubectl.ok(&format!("wait {set} --for=jsonpath={{.status.readyReplicas}}=1 {SOON}"))?;
        kubectl.ok(&format!("wait {pod} --for=jsonpath={{.metadata.labels.app}}=aside {SOON}"))?;
        debug(node, kubectl)
    });
}

/// `remora debug` finds the pod of a deployment.
fn debug(node: &TestNode, kubectl: &Client<'_>) -> Result<()> {
    kubectl.ok(&format!("rollout status deployment/web {SOON}"))?;
    let remora = node.remora().in_namespace(kubectl.namespace());
    let done = remora.run(&["debug", "deploy/web", "--", "echo", "found"])?;
    ensure!(done.code == 0 && done.stdout.contains("found"), "{done:?}");
    Ok(())
}

#[test]
fn what_an_owner_leaves_behind_is_what_was_asked_for() {
    with_kubectls("owner", |_, kubectl| {
        deploy(kubectl)?;
        let set = names(kubectl, "replicasets")?.remove(0);
        kubectl.ok("delete deployment web --cascade=orphan")?;
        let orphan: Value = json(kubectl, &set)?;
        ensure!(orphan["metadata"].get("ownerReferences").is_none(), "{orphan}");
        // The same deployment again takes its replica set back, with its pods.
        let pods = names(kubectl, "pods")?;
        deploy(kubectl)?;
        ensure!(names(kubectl, "replicasets")? == [set.as_str()] && names(kubectl, "pods")? == pods);
        kubectl.ok(&format!("delete deployment web --cascade=foreground {SOON}"))?;
        let left = names(kubectl, "replicasets,pods")?;
        ensure!(left.is_empty(), "{left:?}");
        deploy(kubectl)?;
        let below = names(kubectl, "replicasets,pods")?;
        kubectl.ok("delete deployment web")?;
        for name in below {
            kubectl.ok(&format!("wait {name} --for=delete {SOON}"))?;
        }
        Ok(())
    });
}

#[test]
fn deployments_are_applied_and_explained() {
    with_kubectls("apply", |_, kubectl| {
        let explained = kubectl.ok("explain deployment.spec.strategy.rollingUpdate.maxSurge")?;
        ensure!(explained.contains("maxSurge"), "{explained}");
        let manifest = kubectl.ok(&format!("create deployment web --image={IMAGE} --dry-run=client -o yaml"))?;
        let file = std::env::temp_dir().join(format!("remora-{}.yaml", kubectl.namespace()));
        std::fs::write(&file, manifest)?;
        let path = file.display();
        kubectl.ok(&format!("apply --server-side -f {path}"))?;
        kubectl.ok(&format!("rollout status deployment/web {SOON}"))?;
        kubectl.ok("scale deployment/web --replicas=2")?;
        // Who scales it takes the number of replicas from who applied it.
        let conflict = kubectl.fails(&format!("apply --server-side --field-manager=other -f {path}"), 1)?;
        ensure!(conflict.contains(".spec.replicas"), "{conflict}");
        let managers = kubectl.ok("get deployment web -o yaml --show-managed-fields")?;
        for manager in ["manager: kubectl", "manager: kube-controller-manager", "subresource: scale"] {
            ensure!(managers.contains(manager), "{manager}: {managers}");
        }
        std::fs::remove_file(&file)?;
        Ok(())
    });
}

/// Services lead nowhere yet, but clients find pods by them.
#[test]
fn a_service_has_an_address_and_leads_clients_to_pods() {
    with_kubectls("service", |node, kubectl| {
        deploy(kubectl)?;
        kubectl.ok("expose deployment web --port=80 --target-port=8080")?;
        kubectl.ok("create service nodeport web-out --tcp=80:8080")?;
        let table = kubectl.ok("get services --no-headers")?;
        ensure!(
            table.matches("10.96.").count() == 2 && table.contains("NodePort") && table.contains("80:3"),
            "{table}"
        );
        let taken = json(kubectl, "service web")?["spec"]["clusterIP"].as_str().unwrap_or_default().to_owned();
        let refused = kubectl.fails(&format!("create service clusterip other --tcp=80 --clusterip={taken}"), 1)?;
        ensure!(refused.contains("provided IP is already allocated"), "{refused}");
        for name in ["svc/web", "deploy/web"] {
            let answer = forwarded(node, kubectl, name)?;
            ensure!(answer.starts_with("HTTP/1."), "{name}: {answer}");
        }
        // As a namespace that goes asks for it.
        kubectl.ok(&format!("delete --raw /api/v1/namespaces/{}/services", kubectl.namespace()))?;
        let left = names(kubectl, "services")?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    });
}

/// What the port 80 of a service, or 8080 of pods, answers through a port-forward.
fn forwarded(node: &TestNode, kubectl: &Client<'_>, name: &str) -> Result<String> {
    let port = if name.starts_with("svc") { ":80" } else { ":8080" };
    let mut command = kubectl.command(&["port-forward", name, "--address=127.0.0.1", port]);
    let mut child = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // It tells of each connection, and ends if nobody listens.
    let mut told = BufReader::new(child.stdout.take().context("stdout")?);
    let mut line = String::new();
    told.read_line(&mut line)?;
    let asked = ask(node, &line);
    rustix::process::kill_process_group(rustix::process::Pid::from_child(&child), rustix::process::Signal::KILL)?;
    child.wait()?;
    asked
}

fn ask(node: &TestNode, line: &str) -> Result<String> {
    let local = line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split(' ').next());
    let mut connection = node.connect(local.with_context(|| format!("no port in {line:?}"))?.parse()?)?;
    connection.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A budget stands against evictions, and `kubectl drain` waits for it. (As a dry run: other tests need the node.)
#[test]
fn a_budget_stands_against_evictions() {
    with_kubectls("budget", |_, kubectl| {
        deploy(kubectl)?;
        kubectl.ok("create pdb guard --selector=app=web --min-available=2")?;
        kubectl.ok(&format!("wait pdb/guard --for=jsonpath={{.status.currentHealthy}}=2 {SOON}"))?;
        let node = json(kubectl, "nodes")?["items"][0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let namespace = kubectl.namespace();
        // Of all namespaces, these pods are the only ones that drain finds by this label.
        kubectl.ok(&format!("label pods -l app=web drained={namespace}"))?;
        let drain = format!("drain {node} --dry-run=server --pod-selector=drained={namespace}");
        let refused = kubectl.fails(&format!("{drain} --timeout=2s"), 1)?;
        ensure!(refused.contains("Cannot evict pod as it would violate the pod's disruption budget."), "{refused}");
        let patch = kubectl.run(&["patch", "pdb", "guard", "--type=merge", "-p", r#"{"spec":{"minAvailable":1}}"#])?;
        ensure!(patch.code == 0, "{patch:?}");
        kubectl.ok(&format!("wait pdb/guard --for=jsonpath={{.status.disruptionsAllowed}}=1 {SOON}"))?;
        kubectl.ok(&format!("{drain} {SOON}"))?;
        let table = kubectl.ok("get pdb guard --no-headers")?;
        ensure!(table.split_whitespace().take(4).eq(["guard", "1", "N/A", "1"]), "{table}");
        Ok(())
    });
}
