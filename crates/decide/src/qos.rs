//! Quality of service: which pods suffer first when memory is short.
//!
//! Source: kubernetes `pkg/apis/core/v1/helper/qos/qos.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// A pod's class, which is also the name of its cgroup's parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QosClass {
    /// Every container has limits for cpu and memory, and requests equal to them.
    Guaranteed,
    /// Some request or limit.
    Burstable,
    /// None.
    BestEffort,
}

impl QosClass {
    /// As `status.qosClass` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// The class of a pod. The API server sets it at create; if it did, that answer stays.
pub fn qos_class(pod: &Pod) -> QosClass {
    match pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) {
        Some("Guaranteed") => QosClass::Guaranteed,
        Some("Burstable") => QosClass::Burstable,
        Some("BestEffort") => QosClass::BestEffort,
        _ => computed(pod),
    }
}

fn computed(pod: &Pod) -> QosClass {
    let Some(spec) = &pod.spec else { return QosClass::BestEffort };
    let all = || spec.init_containers.iter().flatten().chain(&spec.containers);
    if all().all(|c| amounts(c).next().is_none()) {
        QosClass::BestEffort
    } else if all().all(is_guaranteed) {
        QosClass::Guaranteed
    } else {
        QosClass::Burstable
    }
}

fn amounts(c: &Container) -> impl Iterator<Item = (&String, &Quantity)> {
    let resources = c.resources.iter();
    resources
        .flat_map(|r| r.requests.iter().chain(r.limits.iter()).flatten())
        .filter(|(name, amount)| matches!(name.as_str(), "cpu" | "memory") && amount.0 != "0")
}

fn is_guaranteed(c: &Container) -> bool {
    let none = BTreeMap::new();
    let resources = c.resources.as_ref();
    let limits = resources.and_then(|r| r.limits.as_ref()).unwrap_or(&none);
    let requests = resources.and_then(|r| r.requests.as_ref()).unwrap_or(limits);
    ["cpu", "memory"]
        .iter()
        .all(|name| limits.get(*name).is_some_and(|limit| requests.get(*name).unwrap_or(limit) == limit))
}
