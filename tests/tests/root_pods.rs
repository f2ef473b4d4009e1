//! What a pod's author writes, on a real kernel: probes, volumes that change, logs that grow.
//!
//! `cargo xtask test` starts the node. Every test works in a namespace of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use remora_tests::{Client, TestNode};
use serde_json::{Value, json};

/// Runs a check with the newest kubectl in a namespace, which is removed afterwards.
fn with_kubectl(test: &str, check: impl Fn(&TestNode, &Client<'_>) -> Result<()>) {
    let Some(node) = TestNode::from_environment() else { return };
    let Some(kubectl) = node.kubectls().pop() else { return };
    let namespace = format!("pods-{test}");
    kubectl.ok(&format!("create namespace {namespace}")).unwrap();
    kubectl.ok(&format!("wait --for=create serviceaccount/default -n {namespace} --timeout=30s")).unwrap();
    let result = check(&node, &kubectl.in_namespace(&namespace));
    kubectl.ok(&format!("delete namespace {namespace} --wait=false")).unwrap();
    result.unwrap();
}

/// Creates a pod of one container.
fn create(kubectl: &Client<'_>, name: &str, container: Value, more: Value) -> Result<()> {
    let mut whole =
        json!({"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "1000"]});
    let mut spec = json!({"terminationGracePeriodSeconds": 0});
    for (into, from) in [(&mut whole, container), (&mut spec, more)] {
        let from = from.as_object().context("an object")?.clone();
        into.as_object_mut().context("an object")?.extend(from);
    }
    spec["containers"] = json!([whole]);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
    let path: PathBuf = std::env::temp_dir().join(format!("remora-{}-{name}.json", kubectl.namespace()));
    std::fs::write(&path, pod.to_string())?;
    kubectl.ok(&format!("create -f {}", path.display())).map(drop)
}

fn ready(kubectl: &Client<'_>, name: &str) -> Result<String> {
    kubectl.ok(&format!("wait --for=condition=Ready pod/{name} --timeout=30s"))
}

#[test]
fn probes_ask_by_name_and_over_tls_and_say_what_they_saw() {
    with_kubectl("probes", |_, kubectl| {
        // The probe goes out from the node, where its API server listens.
        let https = |path: &str| json!({"httpGet": {"scheme": "HTTPS", "host": "127.0.0.1", "port": "api", "path": path}, "periodSeconds": 1});
        let ports = json!([{"name": "api", "containerPort": 6443}]);
        create(kubectl, "https", json!({"ports": ports, "readinessProbe": https("/readyz")}), json!({}))?;
        ready(kubectl, "https")?;
        create(kubectl, "refused", json!({"ports": ports, "readinessProbe": https("/api/v1/pods")}), json!({}))?;
        let grpc =
            json!({"grpc": {"port": 4}, "periodSeconds": 1, "failureThreshold": 1, "terminationGracePeriodSeconds": 1});
        create(kubectl, "grpc", json!({"livenessProbe": grpc}), json!({"terminationGracePeriodSeconds": 600}))?;
        let restarted = "wait --for=jsonpath={.status.containerStatuses[0].restartCount}=1 pod/grpc --timeout=30s";
        kubectl.ok(restarted).context("the probe's own grace of 1 s holds, not the pod's of 600")?;
        let said = |name: &str| {
            let about = format!("involvedObject.name={name},reason=Unhealthy");
            kubectl.ok(&format!("get events --field-selector={about} -o jsonpath={{.items[0].message}}"))
        };
        let seen = said("refused")?;
        ensure!(seen == "Readiness probe failed: HTTP probe failed with statuscode: 403", "{seen}");
        let seen = said("grpc")?;
        ensure!(seen.starts_with("Liveness probe failed: error: failed to connect service at \""), "{seen}");
        ensure!(seen.ends_with(":4: connect: connection refused"), "{seen}");
        Ok(())
    });
}

#[test]
fn a_running_pod_sees_changes_of_its_config_map_and_of_its_labels() {
    with_kubectl("volumes", |_, kubectl| {
        kubectl.ok("create configmap cm --from-literal=a=one")?;
        let volumes = json!([
            {"name": "cm", "configMap": {"name": "cm"}},
            {"name": "me", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        ]);
        let script = "until grep -q two /cm/a && grep -q tier /me/labels; do sleep 0.05; done";
        let mounts = json!([{"name": "cm", "mountPath": "/cm"}, {"name": "me", "mountPath": "/me"}]);
        let container = json!({"command": ["sh", "-c", script], "volumeMounts": mounts});
        create(kubectl, "web", container, json!({"restartPolicy": "Never", "volumes": volumes}))?;
        ready(kubectl, "web")?;
        kubectl.ok("patch configmap cm --type=merge -p {\"data\":{\"a\":\"two\"}}")?;
        kubectl.ok("label pod web tier=front")?;
        kubectl.ok("wait --for=jsonpath={.status.phase}=Succeeded pod/web --timeout=10s").map(drop)
    });
}

#[test]
fn who_is_in_the_fs_group_can_write_where_a_sub_path_leads() {
    with_kubectl("subpath", |_, kubectl| {
        let mounts = json!([{"name": "e", "mountPath": "/e", "subPathExpr": "for/$(ME)"}]);
        let env = json!([{"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
        let container = json!({"command": ["sh", "-c", "touch /e/f && stat -c %u:%g:%a /e/f /e"], "volumeMounts": mounts, "env": env});
        let volumes = json!([{"name": "e", "emptyDir": {}}]);
        let security = json!({"runAsUser": 1000, "fsGroup": 2000});
        let more = json!({"restartPolicy": "Never", "volumes": volumes, "securityContext": security});
        create(kubectl, "web", container, more)?;
        kubectl.ok("wait --for=jsonpath={.status.phase}=Succeeded pod/web --timeout=30s")?;
        let seen = kubectl.ok("logs web")?;
        ensure!(seen == "1000:2000:644\n0:2000:2777\n", "{seen}");
        Ok(())
    });
}

#[test]
fn a_log_is_set_aside_before_it_fills_the_disk_and_a_follower_misses_nothing() {
    with_kubectl("logs", |node, kubectl| {
        // 25 MiB in lines of 1 KiB, not faster than a follower reads.
        let line = "head -c 1023 /dev/zero | tr '\\0' x > /line; echo >> /line";
        let script = format!(
            "{line}; i=0; while [ $i -lt 25 ]; do i=$((i+1)); j=0; while [ $j -lt 64 ]; do j=$((j+1)); cat /line /line /line /line /line /line /line /line /line /line /line /line /line /line /line /line; done; sleep 0.2; done; echo end"
        );
        create(kubectl, "web", json!({"command": ["sh", "-c", script]}), json!({"restartPolicy": "Never"}))?;
        ready(kubectl, "web")?;
        let followed = kubectl.ok("logs -f web")?;
        let lines: Vec<&str> = followed.lines().collect();
        ensure!((lines.len(), lines.last()) == (25 * 64 * 16 + 1, Some(&"end")), "{} lines", lines.len());
        let uid = kubectl.ok("get pod web -o jsonpath={.metadata.uid}")?;
        let folder = node.dir().join(format!("data/logs/{}_web_{uid}/c", kubectl.namespace()));
        let mut sizes = Vec::new();
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            sizes.push(entry?.metadata()?.len());
        }
        ensure!(sizes.len() == 3 && sizes.iter().all(|size| *size < 11 << 20), "{sizes:?}");
        ensure!(kubectl.ok("logs --tail=1 web")? == "end\n");
        Ok(())
    });
}

#[test]
fn containers_are_told_of_services_and_a_last_line_stays_as_it_is() {
    with_kubectl("told", |_, kubectl| {
        kubectl.ok("create service clusterip web-out --tcp=80:8080")?;
        let address = kubectl.ok("get service web-out -o jsonpath={.spec.clusterIP}")?;
        let script = "env | grep ^WEB_OUT_ | sort; printf last";
        let once = |links: bool| json!({"restartPolicy": "Never", "enableServiceLinks": links});
        for (name, links) in [("told", true), ("untold", false)] {
            create(kubectl, name, json!({"command": ["sh", "-c", script]}), once(links))?;
            kubectl.ok(&format!("wait --for=jsonpath={{.status.phase}}=Succeeded pod/{name} --timeout=30s"))?;
        }
        let told = kubectl.ok("logs told")?;
        for line in [format!("WEB_OUT_SERVICE_HOST={address}"), "WEB_OUT_SERVICE_PORT_80_8080=80".to_owned()] {
            ensure!(told.lines().any(|told| told == line), "{line} in {told}");
        }
        ensure!(told.lines().count() == 9 && told.ends_with("\nlast"), "{told:?}");
        let untold = kubectl.ok("logs untold")?;
        ensure!(untold == "last", "{untold:?}");
        Ok(())
    });
}
