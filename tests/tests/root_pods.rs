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
fn a_pod_that_fills_a_volume_beyond_its_limit_is_evicted() {
    with_kubectl("limits", |_, kubectl| {
        let mount = json!([{"name": "data", "mountPath": "/data"}]);
        let volumes = json!([{"name": "data", "emptyDir": {"sizeLimit": "1Mi"}}]);
        let fill = |kilobytes: u32| {
            let script = format!("dd if=/dev/zero of=/data/file bs=1024 count={kilobytes} 2>&1; exec sleep 1000");
            json!({"volumeMounts": mount, "command": ["sh", "-c", script]})
        };
        create(kubectl, "small", fill(900), json!({"volumes": volumes}))?;
        create(kubectl, "large", fill(2000), json!({"volumes": volumes}))?;
        kubectl.ok("wait --for=jsonpath={.status.reason}=Evicted pod/large --timeout=60s")?;
        let shown = kubectl.ok("get pod large -o jsonpath={.status.phase}:{.status.message}")?;
        ensure!(shown == "Failed:Usage of EmptyDir volume \"data\" exceeds the limit \"1Mi\". ", "{shown}");
        let about = "involvedObject.name=large,reason=Evicted";
        let told = kubectl.ok(&format!("get events --field-selector={about} -o jsonpath={{.items[0].message}}"))?;
        ensure!(told == shown["Failed:".len()..], "{told}");
        ensure!(kubectl.ok("get pod small -o jsonpath={.status.phase}")? == "Running");
        Ok(())
    });
}

/// Creates what this JSON says.
fn apply(kubectl: &Client<'_>, name: &str, object: &Value) -> Result<()> {
    let path: PathBuf = std::env::temp_dir().join(format!("remora-{}-{name}.json", kubectl.namespace()));
    std::fs::write(&path, object.to_string())?;
    kubectl.ok(&format!("apply -f {}", path.display())).map(drop)
}

#[test]
fn what_a_pod_writes_into_a_claim_the_next_one_finds() {
    with_kubectl("claims", |_, kubectl| {
        let claim = |name: &str, spec: Value| {
            let mut whole = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
            whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": whole})
        };
        apply(kubectl, "data", &claim("data", json!({})))?;
        let open = kubectl.ok("get pvc data --no-headers")?;
        ensure!(open.contains("Pending") && open.contains("local-path"), "nobody wants it yet: {open}");

        let mounts =
            json!([{"name": "data", "mountPath": "/data"}, {"name": "data", "mountPath": "/part", "subPath": "a/b"}]);
        let volumes = |name: &str, read_only: bool| json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": name, "readOnly": read_only}}]});
        let run = |script: &str| json!({"volumeMounts": mounts, "command": ["sh", "-c", script], "securityContext": {"runAsUser": 1000}});
        create(kubectl, "writer", run("echo kept > /data/file && exec sleep 1000"), volumes("data", false))?;
        ready(kubectl, "writer")?;
        kubectl.ok("wait --for=jsonpath={.status.phase}=Bound pvc/data --timeout=30s")?;
        ensure!(kubectl.ok("get pvc data -o jsonpath={.status.capacity.storage}")? == "1Gi");
        let volume = kubectl.ok("get pvc data -o jsonpath={.spec.volumeName}")?;
        let shown = kubectl.ok(&format!("get pv {volume} --no-headers"))?;
        ensure!(
            ["1Gi", "RWO", "Retain", "Bound", "pods-claims/data"].iter().all(|word| shown.contains(word)),
            "{shown}"
        );
        kubectl.ok("delete pod writer --timeout=30s")?;

        let script = "cat /data/file; touch /data/new 2>&1; exec sleep 1000";
        create(kubectl, "reader", run(script), volumes("data", true))?;
        ready(kubectl, "reader")?;
        let log = kubectl.ok("logs reader")?;
        ensure!(log.starts_with("kept\n") && log.contains("Read-only file system"), "{log}");

        // A folder of an administrator's, found by its class and labels.
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("file"), "mine")?;
        let place = json!({"capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "manual", "hostPath": {"path": folder.path()}});
        let pv = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "claims-mine", "labels": {"a": "b"}}, "spec": place});
        apply(kubectl, "pv", &pv)?;
        kubectl.ok("wait --for=jsonpath={.status.phase}=Available pv/claims-mine --timeout=30s")?;
        let selector = json!({"storageClassName": "manual", "selector": {"matchLabels": {"a": "b"}}});
        apply(kubectl, "mine", &claim("mine", selector))?;
        kubectl.ok("wait --for=jsonpath={.status.phase}=Bound pvc/mine --timeout=30s")?;
        let one = json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]});
        create(kubectl, "mine", one, volumes("mine", false))?;
        ready(kubectl, "mine")?;
        ensure!(kubectl.ok("exec mine -- cat /data/file")? == "mine");
        kubectl.ok("delete pod reader mine --timeout=30s")?;
        kubectl.ok("delete pvc data mine --timeout=30s")?;
        kubectl.ok("wait --for=jsonpath={.status.phase}=Released pv/claims-mine --timeout=30s")?;
        ensure!(folder.path().join("file").exists());
        kubectl.ok(&format!("delete pv claims-mine {volume} --timeout=30s"))?;
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

/// What the kernel has in a file of a pod's cgroup, or of its only container's, whoever makes cgroups here: systemd writes UIDs with other dashes.
fn cgroup_value(uid: &str, of_container: bool, files: &[&str]) -> Result<String> {
    let pattern = format!("*pod{}*", uid.replace('-', "?"));
    let found =
        std::process::Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-path", &pattern]).output()?;
    let folders = String::from_utf8(found.stdout)?;
    let name = |folder: &str| folder.rsplit('/').next().unwrap_or_default().replace('_', "-");
    let is_meant = |folder: &&str| {
        let name = name(folder);
        of_container != name.contains(uid) && !name.ends_with(".scope") && name != "holder"
    };
    let meant = folders.lines().filter(is_meant);
    let mut files = meant.flat_map(|folder| files.iter().map(move |file| PathBuf::from(folder).join(file)));
    let text = files.find_map(|file| std::fs::read_to_string(file).ok());
    text.map(|text| text.trim().to_owned()).with_context(|| format!("no such file in {folders}"))
}

#[test]
fn a_pod_is_resized_while_it_runs_and_restarted_only_where_its_policy_says_so() {
    with_kubectl("resize", |_, kubectl| {
        let both = |cpu: &str, memory: &str| json!({"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}});
        let policy = json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}, {"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
        let me = json!([{"name": "me", "downwardAPI": {"items": [{"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu", "divisor": "1m"}}]}}]);
        let mounts = json!([{"name": "me", "mountPath": "/me"}]);
        create(
            kubectl,
            "web",
            json!({"resources": both("200m", "64Mi"), "resizePolicy": policy, "volumeMounts": mounts}),
            json!({"volumes": me}),
        )?;
        ready(kubectl, "web")?;
        let field = |path: &str| kubectl.ok(&format!("get pod web -o jsonpath={{{path}}}"));
        let (uid, before) = (field(".metadata.uid")?, field(".status.containerStatuses[0].containerID")?);
        let resize = |cpu: &str, memory: &str| {
            let patch = json!({"spec": {"containers": [{"name": "c", "resources": both(cpu, memory)}]}});
            kubectl.ok(&format!("patch pod web --subresource resize -p {patch}"))?;
            let has = format!("{{.status.containerStatuses[0].resources.limits.cpu}}={cpu}");
            kubectl.ok(&format!("wait --for=jsonpath={has} pod/web --timeout=20s"))?;
            let has = format!("{{.status.containerStatuses[0].resources.limits.memory}}={memory}");
            kubectl.ok(&format!("wait --for=jsonpath={has} pod/web --timeout=20s"))
        };
        let quota = |of_container| {
            let text = cgroup_value(&uid, of_container, &["cpu.max", "cpu.cfs_quota_us"])?;
            anyhow::Ok(text.split(' ').next().unwrap_or_default().to_owned())
        };
        resize("300m", "64Mi")?;
        ensure!(
            (quota(true)?.as_str(), quota(false)?.as_str()) == ("30000", "30000"),
            "{:?}",
            (quota(true), quota(false))
        );
        resize("100m", "64Mi")?;
        kubectl.ok("wait --for=jsonpath={.status.observedGeneration}=3 pod/web --timeout=20s")?;
        ensure!(quota(true)? == "10000", "{:?}", quota(true));
        ensure!(field(".status.containerStatuses[0].containerID")? == before, "it goes on");
        ensure!(
            kubectl
                .run(&[
                    "exec",
                    "web",
                    "--",
                    "timeout",
                    "10",
                    "sh",
                    "-c",
                    "until grep -q 100 /me/cpu; do sleep 0.05; done"
                ])?
                .code
                == 0
        );

        resize("100m", "96Mi")?;
        kubectl.ok("wait --for=jsonpath={.status.containerStatuses[0].restartCount}=1 pod/web --timeout=20s")?;
        ready(kubectl, "web")?;
        ensure!(field(".status.containerStatuses[0].containerID")? != before, "it was restarted");
        for of_container in [true, false] {
            let memory = cgroup_value(&uid, of_container, &["memory.max", "memory.limit_in_bytes"])?;
            ensure!(memory == (96 << 20).to_string(), "{memory}");
        }
        let said = kubectl
            .ok("get events --field-selector=involvedObject.name=web,reason=Killing -o jsonpath={.items[0].message}")?;
        ensure!(said == "Container c resize requires restart", "{said}");
        let refused = kubectl.fails("patch pod web --subresource resize -p {\"spec\":{\"containers\":[{\"name\":\"c\",\"resources\":{\"limits\":{\"cpu\":\"2\"}}}]}}", 1)?;
        ensure!(refused.contains("Pod QOS Class may not change as a result of resizing"), "{refused}");
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
