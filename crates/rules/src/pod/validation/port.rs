//! Ports of containers, and that no two containers want the same one of the host.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, ContainerPort};
use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};

use super::{Spec, one_of};
use crate::metadata::names;
use crate::metadata::validation::invalid;

pub(super) fn validate(ports: &[ContainerPort], path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        if let Some(name) = port.name.as_deref().filter(|n| !n.is_empty()) {
            let wrong = invalid(&path.child("name"), name, names::port_name);
            if wrong.is_empty() && !seen.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
            errors.extend(wrong);
        }
        match port.container_port {
            0 => errors.push(FieldError::required(&path.child("containerPort"), "")),
            number => errors.extend(validate_number(&path.child("containerPort"), number)),
        }
        if let Some(number) = port.host_port.filter(|n| *n != 0) {
            errors.extend(validate_number(&path.child("hostPort"), number));
        }
        errors.extend(one_of(&path.child("protocol"), port.protocol.as_deref(), &["SCTP", "TCP", "UDP"]));
    }
    errors
}

/// A port's number, of whichever field.
pub(super) fn validate_number(path: &Path<'_>, number: i32) -> FieldErrors {
    let wrong = names::port_number(i64::from(number));
    wrong.into_iter().map(|sentence| FieldError::invalid(path, number, sentence)).collect()
}

/// In the host's network a container's port is the host's.
pub(super) fn validate_host_network(pod: &Spec<'_>, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for (i, container) in pod.containers.iter().enumerate() {
        let container_path = path.index(i);
        let ports = container_path.child("ports");
        for (j, port) in container.ports.iter().flatten().enumerate() {
            let number = port.host_port.unwrap_or_default();
            // A template's are set in the pods that are made of it.
            if pod.is_template && number == 0 {
                continue;
            }
            if number != port.container_port {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(&ports.index(j).child("hostPort"), number, detail));
            }
        }
    }
    errors
}

/// Two containers of a pod cannot have the same port of the host.
pub(super) fn host_conflicts(containers: &[Container], path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut seen = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        for (j, port) in container.ports.iter().flatten().enumerate() {
            let Some(number) = port.host_port.filter(|n| *n != 0) else { continue };
            let protocol = port.protocol.as_deref().unwrap_or_default();
            let address = port.host_ip.as_deref().unwrap_or_default();
            if !seen.insert((protocol, address, number)) {
                let container = path.index(i);
                let ports = container.child("ports");
                let place = ports.index(j);
                errors.push(FieldError::duplicate(&place.child("hostPort"), format!("{protocol}/{address}/{number}")));
            }
        }
    }
    errors
}
