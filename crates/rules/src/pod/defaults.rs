//! What Kubernetes fills into a pod when it is decoded (upstream: `pkg/apis/core/v1/defaults.go` and the generated
//! calls). Not what admission adds: that is [`super::admission`].

use serde_json::{Value, json};

use super::containers::LISTS;
use crate::object::{at, field_mut, flag, items_mut, list, object_mut, set, set_default, text};

/// Fills in a pod in canonical form; nothing that is set is changed.
pub fn set_defaults(pod: &mut Value) {
    set_template_defaults(pod);
    let spec = field_mut(pod, "spec");
    set_default(spec, "enableServiceLinks", true);
    let host_network = flag(spec, &["hostNetwork"]);
    // Neither is for ephemeral containers: they may have no ports and no resources.
    for list in LISTS.into_iter().filter(|list| *list != "ephemeralContainers") {
        for container in items_mut(spec, list) {
            request_limits(container);
            if host_network {
                publish_ports(container);
            }
        }
    }
    mirror_pod_ip(field_mut(pod, "status"));
}

/// Fills in what pods are made of. The rest waits for the pods themselves.
pub fn set_template_defaults(template: &mut Value) {
    let spec = field_mut(template, "spec");
    mirror_service_account(spec);
    for (name, value) in [
        ("dnsPolicy", json!("ClusterFirst")),
        ("restartPolicy", json!("Always")),
        ("securityContext", json!({})),
        ("terminationGracePeriodSeconds", json!(30)),
        ("schedulerName", json!("default-scheduler")),
    ] {
        set_default(spec, name, value);
    }
    for list in LISTS {
        items_mut(spec, list).for_each(set_container);
    }
    items_mut(spec, "volumes").for_each(set_volume);
}

/// `podIP` is the first of `podIPs`; each can stand for the other.
fn mirror_pod_ip(status: &mut Value) {
    let first = list(status, &["podIPs"]).first().map_or("", |ip| text(ip, &["ip"])).to_owned();
    match (text(status, &["podIP"]), first.as_str()) {
        ("", "") => {}
        ("", first) => set(status, "podIP", first.into()),
        (ip, first) if ip != first => {
            let only = json!([{ "ip": ip }]);
            set(status, "podIPs", only);
        }
        _ => {}
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are shown.
fn mirror_service_account(spec: &mut Value) {
    let name = match (text(spec, &["serviceAccountName"]), text(spec, &["serviceAccount"])) {
        ("", "") => return,
        ("", old) => old.to_owned(),
        (new, _) => new.to_owned(),
    };
    set(spec, "serviceAccountName", name.clone().into());
    set(spec, "serviceAccount", name.into());
}

fn set_container(container: &mut Value) {
    let policy = pull_policy(text(container, &["image"]));
    set_default(container, "imagePullPolicy", policy);
    set_default(container, "terminationMessagePath", "/dev/termination-log");
    set_default(container, "terminationMessagePolicy", "File");
    for port in items_mut(container, "ports") {
        set_default(port, "protocol", "TCP");
    }
    for env in items_mut(container, "env") {
        if let Some(source) = env.get_mut("valueFrom").and_then(|v| v.get_mut("fieldRef")) {
            set_default(source, "apiVersion", "v1");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe) {
            set_probe(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(handler) = container.get_mut("lifecycle").and_then(|l| l.get_mut(hook)) {
            set_handler(handler);
        }
    }
}

/// Always for the tag `latest`, named or meant; else IfNotPresent.
pub fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, false), |(name, _)| (name, true));
    let last = name.rsplit('/').next().unwrap_or(name);
    let tag = last.split_once(':').map(|(_, tag)| tag);
    match (tag, digest) {
        (Some("latest"), _) => "Always",
        (None, false) if !name.is_empty() => "Always",
        _ => "IfNotPresent",
    }
}

fn set_probe(probe: &mut Value) {
    set_handler(probe);
    for (name, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        set_default(probe, name, value);
    }
    if let Some(grpc) = probe.get_mut("grpc") {
        set_default(grpc, "service", "");
    }
}

fn set_handler(handler: &mut Value) {
    if let Some(get) = handler.get_mut("httpGet") {
        set_default(get, "path", "/");
        set_default(get, "scheme", "HTTP");
    }
}

/// A limit without a request is also the request.
fn request_limits(container: &mut Value) {
    let Some(limits) = at(container, &["resources", "limits"]).as_object().cloned() else { return };
    let requests = object_mut(field_mut(container, "resources"), "requests");
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

fn publish_ports(container: &mut Value) {
    for port in items_mut(container, "ports") {
        let number = at(port, &["containerPort"]).clone();
        set_default(port, "hostPort", number);
    }
}

fn set_volume(volume: &mut Value) {
    if volume.as_object().is_some_and(|v| v.len() == 1 && v.contains_key("name")) {
        set(volume, "emptyDir", json!({}));
    }
    for (source, field, value) in [
        ("secret", "defaultMode", json!(0o644)),
        ("configMap", "defaultMode", json!(0o644)),
        ("downwardAPI", "defaultMode", json!(0o644)),
        ("projected", "defaultMode", json!(0o644)),
        ("hostPath", "type", json!("")),
        ("iscsi", "iscsiInterface", json!("default")),
    ] {
        if let Some(source) = volume.get_mut(source) {
            set_default(source, field, value);
        }
    }
    if let Some(image) = volume.get_mut("image") {
        let policy = pull_policy(text(image, &["reference"]));
        set_default(image, "pullPolicy", policy);
    }
    if let Some(claim) = volume.get_mut("ephemeral").and_then(|e| e.get_mut("volumeClaimTemplate")) {
        set_default(field_mut(claim, "spec"), "volumeMode", "Filesystem");
    }
    if let Some(downward) = volume.get_mut("downwardAPI") {
        set_downward_items(downward);
    }
    if let Some(projected) = volume.get_mut("projected") {
        items_mut(projected, "sources").for_each(set_projection);
    }
}

fn set_projection(source: &mut Value) {
    if let Some(token) = source.get_mut("serviceAccountToken") {
        set_default(token, "expirationSeconds", 3600);
    }
    if let Some(downward) = source.get_mut("downwardAPI") {
        set_downward_items(downward);
    }
}

fn set_downward_items(downward: &mut Value) {
    for item in items_mut(downward, "items") {
        if let Some(field) = item.get_mut("fieldRef") {
            set_default(field, "apiVersion", "v1");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pull_policy_follows_the_tag() {
        for (image, expected) in [
            ("busybox", "Always"),
            ("busybox:latest", "Always"),
            ("k8s.gcr.io/pause:3.1", "IfNotPresent"),
            ("localhost:5000/busybox", "Always"),
            ("localhost:5000/busybox:1", "IfNotPresent"),
            ("busybox@sha256:abc", "IfNotPresent"),
            ("busybox:latest@sha256:abc", "Always"),
            ("", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), expected, "{image}");
        }
    }

    fn defaulted(spec: Value) -> Value {
        let mut pod = json!({ "spec": spec });
        set_defaults(&mut pod);
        pod["spec"].clone()
    }

    #[test]
    fn limits_are_requested_and_host_ports_published() {
        let spec = defaulted(json!({
            "hostNetwork": true,
            "containers": [{"name": "c", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "ports": [{"containerPort": 80}]}],
            "ephemeralContainers": [{"name": "e", "resources": {"limits": {"cpu": "1"}}, "ports": [{"containerPort": 80}]}],
        }));
        assert_eq!(spec["containers"][0]["resources"]["requests"], json!({"cpu": "500m", "memory": "1Gi"}));
        assert_eq!(spec["containers"][0]["ports"], json!([{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]));
        assert_eq!(spec["ephemeralContainers"][0]["resources"], json!({"limits": {"cpu": "1"}}));
        assert_eq!(spec["ephemeralContainers"][0]["ports"], json!([{"containerPort": 80, "protocol": "TCP"}]));
    }

    #[test]
    fn probes_volumes_and_the_old_account_name_are_filled_in() {
        let spec = defaulted(json!({
            "serviceAccount": "robot",
            "containers": [{"name": "c", "livenessProbe": {"httpGet": {"port": 80}}, "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}],
            "volumes": [{"name": "a"}, {"name": "b", "hostPath": {"path": "/x"}}, {"name": "c", "secret": {"secretName": "s"}}],
        }));
        assert_eq!(spec["serviceAccountName"], "robot");
        assert_eq!(
            spec["containers"][0]["livenessProbe"],
            json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3})
        );
        assert_eq!(spec["containers"][0]["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
        assert_eq!(spec["volumes"][0]["emptyDir"], json!({}));
        assert_eq!(spec["volumes"][1]["hostPath"]["type"], "");
        assert_eq!(spec["volumes"][2]["secret"]["defaultMode"], 420);
    }
}
