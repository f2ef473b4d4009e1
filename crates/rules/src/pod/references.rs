//! Which other objects a pod names: secrets, config maps, claims, and whatever else the API would have to be asked for.

use serde_json::Value;

use super::containers;
use crate::object::{at, list, text};

/// Volumes that are other objects, or need them (upstream: `podutil.HasAPIObjectReference`).
const VOLUMES: [(&str, &str); 7] = [
    ("configMap", "configmaps (via configmap volumes)"),
    ("secret", "secrets (via secret volumes)"),
    ("csi", "csidrivers (via CSI volumes)"),
    ("glusterfs", "endpoints (via glusterFS volumes)"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
    ("azureFile", "secrets (via azureFile volumes)"),
];
/// The same of what is projected.
const SOURCES: [(&str, &str); 5] = [
    ("configMap", "configmaps (via projected volumes)"),
    ("secret", "secrets (via projected volumes)"),
    ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
    ("clusterTrustBundle", "clustertrustbundles"),
    ("podCertificate", "podcertificates"),
];

/// The first kind of objects that this pod names, if it names any: a mirror of a static pod may not.
pub fn referenced(pod: &Value) -> Option<&'static str> {
    let spec = at(pod, &["spec"]);
    if ["serviceAccountName", "serviceAccount"].iter().any(|field| !text(spec, &[field]).is_empty()) {
        return Some("serviceaccounts");
    }
    if secrets(pod).any(|name| !name.is_empty()) {
        return Some("secrets");
    }
    if config_maps(pod).any(|name| !name.is_empty()) {
        return Some("configmaps");
    }
    if !list(spec, &["resourceClaims"]).is_empty() {
        return Some("resourceclaims");
    }
    let named = |of: &Value, kinds: &[(&str, &'static str)]| {
        kinds.iter().find(|(field, _)| !at(of, &[field]).is_null()).map(|(_, what)| *what)
    };
    volumes(pod).find_map(|volume| {
        let mut sources = list(volume, &["projected", "sources"]).iter();
        named(volume, &VOLUMES).or_else(|| sources.find_map(|source| named(source, &SOURCES)))
    })
}

/// What its environments and volumes take from secrets, and what its images are pulled with (upstream: `VisitPodSecretNames`).
pub fn secrets(pod: &Value) -> impl Iterator<Item = &str> {
    let pulls = list(pod, &["spec", "imagePullSecrets"]).iter().map(|secret| text(secret, &["name"]));
    let mounted = volumes(pod).flat_map(|volume| {
        // Each kind of volume has its own field for it.
        let sources = volume.as_object().into_iter().flat_map(|fields| fields.values());
        sources.flat_map(|source| {
            let refs = ["secretRef", "nodePublishSecretRef"].map(|field| text(source, &[field, "name"]));
            refs.into_iter().chain([text(source, &["secretName"])])
        })
    });
    pulls.chain(mounted).chain(projected(pod, "secret")).chain(environment(pod, "secretRef", "secretKeyRef"))
}

/// The same for config maps (upstream: `VisitPodConfigmapNames`).
pub fn config_maps(pod: &Value) -> impl Iterator<Item = &str> {
    let mounted = volumes(pod).map(|volume| text(volume, &["configMap", "name"]));
    mounted.chain(projected(pod, "configMap")).chain(environment(pod, "configMapRef", "configMapKeyRef"))
}

/// The claims that its volumes are.
pub fn claims(pod: &Value) -> impl Iterator<Item = &str> {
    volumes(pod).map(|volume| text(volume, &["persistentVolumeClaim", "claimName"]))
}

fn volumes(pod: &Value) -> impl Iterator<Item = &Value> {
    list(pod, &["spec", "volumes"]).iter()
}

fn projected<'v>(pod: &'v Value, source: &'static str) -> impl Iterator<Item = &'v str> {
    let sources = volumes(pod).flat_map(|volume| list(volume, &["projected", "sources"]));
    sources.map(move |one| text(one, &[source, "name"]))
}

fn environment<'v>(pod: &'v Value, whole: &'static str, key: &'static str) -> impl Iterator<Item = &'v str> {
    containers::all(pod).flat_map(move |(_, container)| {
        let wholes = list(container, &["envFrom"]).iter().map(move |from| text(from, &[whole, "name"]));
        wholes.chain(list(container, &["env"]).iter().map(move |variable| text(variable, &["valueFrom", key, "name"])))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_pod_names_is_found() {
        let volume = |volume: Value| json!({"volumes": [{"emptyDir": {}}, volume]});
        let projected = |source: Value| volume(json!({"projected": {"sources": [{"downwardAPI": {}}, source]}}));
        let env = |from: Value| json!({"ephemeralContainers": [{"env": [{"valueFrom": from}]}]});
        for (spec, expected) in [
            (json!({"volumes": [{"hostPath": {"path": "/"}}], "containers": [{"env": [{"value": "x"}]}]}), None),
            (json!({"serviceAccountName": "s"}), Some("serviceaccounts")),
            (json!({"serviceAccount": "s"}), Some("serviceaccounts")),
            (json!({"resourceClaims": [{"name": "r"}]}), Some("resourceclaims")),
            (env(json!({"secretKeyRef": {"name": "s"}})), Some("secrets")),
            (env(json!({"configMapKeyRef": {"name": "s"}})), Some("configmaps")),
            (volume(json!({"secret": {"secretName": "s"}})), Some("secrets")),
            (volume(json!({"secret": {}})), Some("secrets (via secret volumes)")),
            (volume(json!({"ephemeral": {}})), Some("persistentvolumeclaims (via ephemeral volumes)")),
            (volume(json!({"persistentVolumeClaim": {"claimName": "c"}})), Some("persistentvolumeclaims")),
            (projected(json!({"serviceAccountToken": {}})), Some("serviceaccounts (via projected volumes)")),
            (projected(json!({"configMap": {"name": "c"}})), Some("configmaps")),
        ] {
            assert_eq!(referenced(&json!({"spec": spec})), expected, "{spec}");
        }
    }
}
