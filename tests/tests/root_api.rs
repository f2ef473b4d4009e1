//! What stock kubectls of every version do with the API alone, no stream needed: apply, on both sides, and explain.
//!
//! `cargo xtask test` starts the node. Every test works in a namespace of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::PathBuf;

use anyhow::{Result, ensure};
use remora_tests::{Client, TestNode};

/// Runs a check with every kubectl, each in a namespace of its own, which is removed afterwards.
fn with_each_kubectl(test: &str, check: impl Fn(&Client<'_>) -> Result<()>) {
    let Some(node) = TestNode::from_environment() else { return };
    let Some(newest) = node.kubectls().pop() else { return };
    for kubectl in node.kubectls_of_every_version() {
        let namespace = format!("api-{test}-{}", kubectl.name().replace('.', "-"));
        kubectl.ok(&format!("create namespace {namespace}")).unwrap();
        // kubectls before 1.31 cannot wait for something to be created.
        newest.ok(&format!("wait --for=create serviceaccount/default -n {namespace} --timeout=30s")).unwrap();
        let result = check(&kubectl.in_namespace(&namespace));
        kubectl.ok(&format!("delete namespace {namespace} --wait=false")).unwrap();
        result.unwrap_or_else(|error| panic!("{}: {error:?}", kubectl.name()));
    }
}

/// A manifest in a file of its own, by the test's and the client's name.
fn manifest(kubectl: &Client<'_>, name: &str, text: &str) -> Result<String> {
    let path: PathBuf = std::env::temp_dir().join(format!("remora-{}-{name}.yaml", kubectl.namespace()));
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

fn pod(label: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  labels: {{app: {label}}}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
         containers:\n  - name: web\n    image: k8s.gcr.io/pause:3.1\n    imagePullPolicy: IfNotPresent\n    \
         ports: [{{containerPort: 80}}]\n"
    )
}

#[test]
fn apply_with_validation_creates_changes_and_refuses() {
    with_each_kubectl("apply", |kubectl| {
        let file = manifest(kubectl, "good", &pod("a"))?;
        ensure!(kubectl.ok(&format!("apply -f {file}"))? == "pod/web created\n");
        kubectl.ok("wait --for=condition=Ready pod/web --timeout=60s")?;
        ensure!(kubectl.ok(&format!("apply -f {file}"))? == "pod/web unchanged\n");
        let changed = manifest(kubectl, "changed", &pod("b"))?;
        ensure!(kubectl.ok(&format!("apply -f {changed}"))? == "pod/web configured\n");
        ensure!(kubectl.ok("get pod web -o jsonpath={.metadata.labels.app}")? == "b");
        let wrong = manifest(kubectl, "wrong", &pod("a").replace("name: web\n  labels", "name: other\n  labls"))?;
        let refused = kubectl.fails(&format!("apply -f {wrong}"), 1)?;
        ensure!(refused.contains("strict decoding error: unknown field \"metadata.labls\""), "{refused}");
        Ok(())
    });
}

#[test]
fn explain_shows_fields_and_their_types() {
    with_each_kubectl("explain", |kubectl| {
        let shown = kubectl.ok("explain pod.spec.ephemeralContainers")?;
        ensure!(shown.contains("KIND:       Pod") && shown.contains("targetContainerName\t<string>"), "{shown}");
        let all = kubectl.ok("explain pod.spec.containers.resources --recursive")?;
        ensure!(all.contains("limits\t<map[string]Quantity>"), "{all}");
        Ok(())
    });
}

fn config(value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: cm}}\ndata: {{a: {value}, b: same}}\n")
}

#[test]
fn server_side_apply_conflicts_takes_over_and_shares() {
    with_each_kubectl("ssa", |kubectl| {
        let (one, two) = (manifest(kubectl, "one", &config("one"))?, manifest(kubectl, "two", &config("two"))?);
        let apply = |file: &str, manager: &str| format!("apply --server-side --field-manager={manager} -f {file}");
        ensure!(kubectl.ok(&apply(&one, "first"))? == "configmap/cm serverside-applied\n");
        ensure!(kubectl.ok(&apply(&one, "second"))? == "configmap/cm serverside-applied\n");
        let refused = kubectl.fails(&apply(&two, "second"), 1)?;
        ensure!(refused.contains("Apply failed with 1 conflict: conflict with \"first\": .data.a"), "{refused}");
        ensure!(refused.contains("--force-conflicts"), "{refused}");
        kubectl.ok(&format!("{} --force-conflicts", apply(&two, "second")))?;
        let shown = kubectl.ok("get configmap cm -o yaml --show-managed-fields")?;
        ensure!(shown.contains("manager: second") && shown.contains("operation: Apply"), "{shown}");
        ensure!(!kubectl.ok("get configmap cm -o yaml")?.contains("managedFields"));
        let only =
            manifest(kubectl, "only", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}\ndata: {b: same}\n")?;
        kubectl.ok(&apply(&only, "second"))?;
        ensure!(kubectl.ok("get configmap cm -o jsonpath={.data}")? == r#"{"b":"same"}"#);
        Ok(())
    });
}

#[test]
fn applies_on_either_side_follow_each_other() {
    with_each_kubectl("sides", |kubectl| {
        let (one, two) = (manifest(kubectl, "one", &pod("a"))?, manifest(kubectl, "two", &pod("b"))?);
        ensure!(kubectl.ok(&format!("apply -f {one}"))? == "pod/web created\n");
        kubectl.ok("wait --for=condition=Ready pod/web --timeout=60s")?;
        // The node writes the status meanwhile, in its own name: nobody's conflict.
        let managers =
            kubectl.ok("get pod web -o jsonpath={.metadata.managedFields[*].manager} --show-managed-fields")?;
        ensure!(managers == "kubectl-client-side-apply kubelet", "{managers}");
        ensure!(kubectl.ok(&format!("apply --server-side -f {two}"))? == "pod/web serverside-applied\n");
        ensure!(kubectl.ok("get pod web -o jsonpath={.metadata.labels.app}")? == "b");
        ensure!(kubectl.ok(&format!("apply -f {one}"))? == "pod/web configured\n");
        ensure!(kubectl.ok(&format!("apply --server-side -f {one}"))? == "pod/web serverside-applied\n");
        kubectl.ok("label pod web app=c --overwrite")?;
        let refused = kubectl.fails(&format!("apply --server-side -f {one}"), 1)?;
        ensure!(refused.contains("conflict with \"kubectl-label\" using v1: .metadata.labels.app"), "{refused}");
        ensure!(
            kubectl.ok(&format!("apply --server-side --force-conflicts -f {one}"))? == "pod/web serverside-applied\n"
        );
        Ok(())
    });
}

const LIMITED: &str = "apiVersion: v1\nkind: LimitRange\nmetadata: {name: limits}\nspec:\n  limits:\n  - type: Container\n    \
     defaultRequest: {memory: 16Mi}\n    max: {memory: 32Mi}\n";

#[test]
fn quotas_and_limit_ranges_hold_and_evictions_give_back() {
    with_each_kubectl("quota", |kubectl| {
        kubectl.ok(&format!("apply -f {}", manifest(kubectl, "limits", LIMITED)?))?;
        kubectl.ok("create quota few --hard=pods=1,requests.memory=20Mi")?;
        kubectl.ok("wait --for=jsonpath={.status.hard.pods}=1 quota/few --timeout=30s")?;
        let web = manifest(kubectl, "web", &pod("a"))?;
        kubectl.ok(&format!("apply -f {web}"))?;
        let given = kubectl.ok("get pod web -o jsonpath={.spec.containers[0].resources}")?;
        ensure!(given == r#"{"limits":{"memory":"32Mi"},"requests":{"memory":"16Mi"}}"#, "{given}");
        let second = manifest(kubectl, "second", &pod("a").replace("name: web\n  labels", "name: second\n  labels"))?;
        let refused = kubectl.fails(&format!("apply -f {second}"), 1)?;
        let why = "is forbidden: exceeded quota: few, requested: pods=1,requests.memory=16Mi, used: pods=1,requests.memory=16Mi, limited: pods=1,requests.memory=20Mi";
        ensure!(refused.contains(why), "{refused}");
        ensure!(kubectl.ok("get quota few")?.contains("pods: 1/1, requests.memory: 16Mi/20Mi"));
        let greedy = pod("a").replace("    ports:", "    resources: {limits: {memory: 64Mi}}\n    ports:");
        let greedy = manifest(kubectl, "greedy", &greedy.replace("name: web\n  labels", "name: greedy\n  labels"))?;
        let refused = kubectl.fails(&format!("apply -f {greedy}"), 1)?;
        ensure!(refused.contains("maximum memory usage per Container is 32Mi, but limit is 64Mi"), "{refused}");
        let eviction = manifest(
            kubectl,
            "eviction",
            &format!(
                "{{\"apiVersion\": \"policy/v1\", \"kind\": \"Eviction\", \"metadata\": {{\"name\": \"web\", \"namespace\": \"{}\"}}}}",
                kubectl.namespace()
            ),
        )?;
        let path = format!("/api/v1/namespaces/{}/pods/web/eviction", kubectl.namespace());
        kubectl.ok(&format!("create --raw {path} -f {eviction}"))?;
        kubectl.ok("wait --for=delete pod/web --timeout=60s")?;
        kubectl.ok(&format!("apply -f {second}"))?;
        Ok(())
    });
}

#[test]
fn pods_have_the_priority_of_their_class() {
    with_each_kubectl("priority", |kubectl| {
        let class = format!("class-{}", kubectl.namespace());
        kubectl.ok(&format!("create priorityclass {class} --value=1000"))?;
        let text = pod("a").replace("spec:\n", &format!("spec:\n  priorityClassName: {class}\n"));
        let done = manifest(kubectl, "web", &text).and_then(|file| {
            kubectl.ok(&format!("apply -f {file}"))?;
            kubectl.ok("get pod web -o jsonpath={.spec.priority}")
        });
        kubectl.ok(&format!("delete priorityclass {class}"))?;
        let priority = done?;
        ensure!(priority == "1000", "{priority}");
        Ok(())
    });
}
