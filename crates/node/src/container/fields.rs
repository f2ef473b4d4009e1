//! The downward API: fields of the pod, and resources of its containers, as text. Used for environments and for files.
//!
//! Source: kubernetes `pkg/fieldpath`, `pkg/api/v1/resource`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use remora_model::quantity::Quantity;
use remora_model::text::quoted;

use super::find;
use crate::context::id_of;
use crate::machine::Machine;

/// A reference that leads nowhere.
#[derive(Debug, thiserror::Error, PartialEq)]
pub(crate) enum FieldError {
    #[error("unsupported fieldPath: {0}")]
    Unsupported(String),
    #[error("container {0} not found")]
    NoSuchContainer(String),
    #[error("unsupported container resource : {0}")]
    UnsupportedResource(String),
}

/// The value of a `fieldRef`.
pub(crate) fn value(pod: &Pod, path: &str, host_ips: &[String], pod_ips: &[String]) -> Result<String, FieldError> {
    let (id, spec) = (id_of(pod), pod.spec.as_ref());
    let none = BTreeMap::new();
    let map = |m: &'_ Option<BTreeMap<String, String>>| m.clone().unwrap_or_else(|| none.clone());
    let text = match path {
        "metadata.name" => id.name.to_owned(),
        "metadata.namespace" => id.namespace.to_owned(),
        "metadata.uid" => id.uid.to_owned(),
        "metadata.labels" => lines(&map(&pod.metadata.labels)),
        "metadata.annotations" => lines(&map(&pod.metadata.annotations)),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default(),
        "status.hostIP" => host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => host_ips.join(","),
        "status.podIP" => pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => pod_ips.join(","),
        other => return subscript(pod, other).ok_or_else(|| FieldError::Unsupported(other.to_owned())),
    };
    Ok(text)
}

/// `metadata.labels['key']` and its like; empty if there is no such key.
fn subscript(pod: &Pod, path: &str) -> Option<String> {
    let (map, key) = path.strip_suffix("']")?.split_once("['")?;
    let map = match map {
        "metadata.labels" => &pod.metadata.labels,
        "metadata.annotations" => &pod.metadata.annotations,
        _ => return None,
    };
    Some(map.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default())
}

fn lines(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={}", quoted(value))).collect::<Vec<_>>().join("\n")
}

/// The value of a `resourceFieldRef`; without a limit, what the machine has.
pub(crate) fn resource(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
    machine: &Machine,
) -> Result<String, FieldError> {
    let named = selector.container_name.as_deref().filter(|n| !n.is_empty());
    let container = match (named, own) {
        (Some(name), _) => {
            find(pod, name).map(|(_, c)| c).ok_or_else(|| FieldError::NoSuchContainer(name.to_owned()))?
        }
        (None, Some(own)) => own.clone(),
        (None, None) => return Err(FieldError::NoSuchContainer(String::new())),
    };
    let unsupported = || FieldError::UnsupportedResource(selector.resource.clone());
    let (list, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let resources = container.resources.unwrap_or_default();
    let amounts = match list {
        "limits" => resources.limits,
        "requests" => resources.requests,
        _ => return Err(unsupported()),
    };
    let amount = amounts.and_then(|a| a.get(name).cloned());
    let amount = match (amount, list) {
        (Some(amount), _) => amount,
        (None, "limits") => machine.allocatable(name).ok_or_else(unsupported)?,
        (None, _) => Text("0".to_owned()),
    };
    divided(&amount, selector.divisor.as_ref(), name).ok_or_else(unsupported)
}

/// Rounded up, as upstream does.
fn divided(amount: &Text, divisor: Option<&Text>, name: &str) -> Option<String> {
    let one = Text("1".to_owned());
    let divisor = divisor.filter(|d| d.0 != "0").unwrap_or(&one);
    let (amount, divisor) = (Quantity::parse(&amount.0).ok()?, Quantity::parse(&divisor.0).ok()?);
    let (amount, divisor) = match name {
        "cpu" => (amount.milli_value(), divisor.milli_value()),
        _ => (amount.value(), divisor.value()),
    };
    let quotient = (divisor > 0).then(|| (amount + divisor - 1) / divisor)?;
    Some(quotient.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u", "labels": {"a": "1", "b": "x\"y"}},
            "spec": {"nodeName": "anchor", "containers": [
                {"name": "c", "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}}}]},
        }))
        .unwrap()
    }

    #[test]
    fn fields_are_read_as_the_downward_api_writes_them() {
        let (host, ips) = (vec!["10.0.0.1".to_owned()], vec!["10.1.0.2".to_owned(), "fd00::2".to_owned()]);
        for (path, expected) in [
            ("metadata.name", "web"),
            ("metadata.labels", "a=\"1\"\nb=\"x\\\"y\""),
            ("metadata.labels['a']", "1"),
            ("metadata.annotations['none']", ""),
            ("status.podIPs", "10.1.0.2,fd00::2"),
            ("status.hostIP", "10.0.0.1"),
        ] {
            assert_eq!(value(&pod(), path, &host, &ips).as_deref(), Ok(expected), "{path}");
        }
        assert!(value(&pod(), "spec.containers", &host, &ips).is_err());
    }

    #[test]
    fn amounts_are_divided_and_rounded_up() {
        for (amount, divisor, name, expected) in [
            ("250m", "1", "cpu", "1"),
            ("250m", "1m", "cpu", "250"),
            ("64Mi", "1Mi", "memory", "64"),
            ("1", "0", "cpu", "1"),
        ] {
            let divisor = Text(divisor.to_owned());
            assert_eq!(divided(&Text(amount.to_owned()), Some(&divisor), name).as_deref(), Some(expected));
        }
    }
}
