//! A container's environment: config maps, secrets, fields, `$(VAR)`, services, and the address of the API.
//!
//! Source: kubernetes `pkg/kubelet/kubelet_pods.go`, `makeEnvironmentVariables`. Later entries win; the first place stays.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, Pod, Secret};

use super::expand::expand;
use super::fields::{self, FieldError};
use super::services;
use crate::context::{Context, id_of};
use crate::volumes::lookup::{self, LookupError};

/// Why an environment cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvError {
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey { kind: &'static str, namespace: String, name: String, key: String },
    #[error(transparent)]
    Field(#[from] FieldError),
}

type Pairs = Vec<(String, String)>;

/// Names and values, in the order of the spec.
pub(crate) async fn variables(
    context: &Context,
    pod: &Pod,
    container: &Container,
    pod_ips: &[String],
) -> Result<Pairs, EnvError> {
    let services = known_services(context, pod).await;
    let mut result = Pairs::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let mut all = BTreeMap::new();
        if let Some(reference) = &source.config_map_ref {
            let optional = reference.optional.unwrap_or(false);
            let map = lookup::config_map(context, pod, &reference.name, optional).await?;
            all.extend(map.and_then(|m| m.data).unwrap_or_default());
        }
        if let Some(reference) = &source.secret_ref {
            let optional = reference.optional.unwrap_or(false);
            let secret = lookup::secret(context, pod, &reference.name, optional).await?;
            all.extend(secret.into_iter().flat_map(text_of));
        }
        all.into_iter().for_each(|(key, value)| put(&mut result, format!("{prefix}{key}"), value));
    }
    for var in container.env.iter().flatten() {
        if let Some(value) = value(context, pod, container, var, &result, &services, pod_ips).await? {
            put(&mut result, var.name.clone(), value);
        }
    }
    for (key, value) in services {
        if result.iter().all(|(k, _)| *k != key) {
            result.push((key, value));
        }
    }
    Ok(result)
}

fn put(pairs: &mut Pairs, key: String, value: String) {
    match pairs.iter_mut().find(|(k, _)| *k == key) {
        Some((_, old)) => *old = value,
        None => pairs.push((key, value)),
    }
}

async fn value(
    context: &Context,
    pod: &Pod,
    container: &Container,
    var: &EnvVar,
    so_far: &Pairs,
    services: &Pairs,
    pod_ips: &[String],
) -> Result<Option<String>, EnvError> {
    let Some(from) = &var.value_from else {
        let text = var.value.as_deref().unwrap_or_default();
        let known = |name: &str| so_far.iter().chain(services).find(|(key, _)| key == name).map(|(_, v)| v.clone());
        return Ok(Some(expand(text, known)));
    };
    if let Some(field) = &from.field_ref {
        let host_ips: Vec<String> = context.config.node_ips.iter().map(ToString::to_string).collect();
        return Ok(Some(fields::value(pod, &field.field_path, &host_ips, pod_ips)?));
    }
    if let Some(resource) = &from.resource_field_ref {
        return Ok(Some(fields::resource(pod, Some(container), resource, &context.machine)?));
    }
    if let Some(r) = &from.config_map_key_ref {
        let optional = r.optional.unwrap_or(false);
        let map: Option<ConfigMap> = lookup::config_map(context, pod, &r.name, optional).await?;
        let found = map.and_then(|m| m.data).and_then(|d| d.get(&r.key).cloned());
        return required(found, optional, "ConfigMap", pod, &r.name, &r.key);
    }
    if let Some(r) = &from.secret_key_ref {
        let optional = r.optional.unwrap_or(false);
        let secret: Option<Secret> = lookup::secret(context, pod, &r.name, optional).await?;
        let found = secret.and_then(|s| s.data).and_then(|d| d.get(&r.key).cloned());
        let found = found.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned());
        return required(found, optional, "Secret", pod, &r.name, &r.key);
    }
    Ok(Some(String::new()))
}

fn required(
    found: Option<String>,
    optional: bool,
    kind: &'static str,
    pod: &Pod,
    name: &str,
    key: &str,
) -> Result<Option<String>, EnvError> {
    if found.is_some() || optional {
        return Ok(found);
    }
    let (namespace, name, key) = (id_of(pod).namespace.to_owned(), name.to_owned(), key.to_owned());
    Err(EnvError::NoKey { kind, namespace, name, key })
}

fn text_of(secret: Secret) -> Vec<(String, String)> {
    let data = secret.data.unwrap_or_default();
    data.into_iter().map(|(key, bytes)| (key, String::from_utf8_lossy(&bytes.0).into_owned())).collect()
}

/// Those of the pod's namespace, and the API server's.
async fn known_services(context: &Context, pod: &Pod) -> Pairs {
    let mut known = services::variables(context, pod).await;
    for (key, value) in api_service(context, pod) {
        if known.iter().all(|(other, _)| *other != key) {
            known.push((key, value));
        }
    }
    known
}

/// The `kubernetes` service, which every pod sees whatever `enableServiceLinks` says; but for those in the node's network, whose ways are the
/// node's own: its address leads nowhere there.
fn api_service(context: &Context, pod: &Pod) -> Pairs {
    let is_outside = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
    let Some(service) = context.config.kubernetes_service.as_ref().filter(|_| !is_outside) else { return Pairs::new() };
    let (host, port) = (&service.host, service.port);
    let url = format!("tcp://{host}:{port}");
    let prefix = format!("KUBERNETES_PORT_{port}_TCP");
    [
        ("KUBERNETES_SERVICE_HOST".to_owned(), host.clone()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), port.to_string()),
        ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), port.to_string()),
        ("KUBERNETES_PORT".to_owned(), url.clone()),
        (prefix.clone(), url),
        (format!("{prefix}_PROTO"), "tcp".to_owned()),
        (format!("{prefix}_PORT"), port.to_string()),
        (format!("{prefix}_ADDR"), host.clone()),
    ]
    .into()
}
