//! Requests and limits as cgroup values.
//!
//! Source: kubernetes `pkg/kubelet/cm/helpers_linux.go` and `pkg/kubelet/qos/policy.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use remora_cri::LinuxContainerResources;
use remora_decide::{Amounts, QosClass, pod_amounts, qos_class, rules_of};
use remora_model::ContainerKind;
use remora_model::quantity::Quantity;

use crate::DebugLimits;

const PERIOD: i64 = 100_000;
const LEAST_QUOTA: i64 = 1_000;
const LEAST_SHARES: i64 = 2;
const MOST_SHARES: i64 = 262_144;
const MOST_OOM_SCORE: i64 = 1000;

/// What one container may use.
pub(crate) fn of_container(
    pod: &Pod,
    kind: ContainerKind,
    container: &Container,
    ceiling: DebugLimits,
) -> LinuxContainerResources {
    if rules_of(kind).guest {
        return of_guest(pod_resources(pod, None).memory_limit_in_bytes, ceiling);
    }
    let none = ResourceRequirements::default();
    let resources = container.resources.as_ref().unwrap_or(&none);
    LinuxContainerResources { oom_score_adj: oom_score(pod, resources), ..linux(resources) }
}

/// The node's ceiling, never above the pod's own limit; the least weight; and first to go when memory is short, the pod's or the node's.
fn of_guest(pod_memory: i64, ceiling: DebugLimits) -> LinuxContainerResources {
    let memory = [ceiling.memory, Some(pod_memory).filter(|&limit| limit > 0)].into_iter().flatten().min();
    LinuxContainerResources {
        cpu_shares: LEAST_SHARES,
        memory_limit_in_bytes: memory.unwrap_or(0),
        oom_score_adj: MOST_OOM_SCORE,
        unified: pids_max(ceiling.pids),
        ..LinuxContainerResources::default()
    }
}

/// CRI has no field of its own for it.
fn pids_max(limit: Option<i64>) -> BTreeMap<String, String> {
    limit.map(|limit| ("pids.max".to_owned(), limit.to_string())).into_iter().collect()
}

/// What the pod as a whole may use: the cgroup above its containers.
pub(crate) fn pod_resources(pod: &Pod, pids: Option<i64>) -> LinuxContainerResources {
    of_pod(pod_amounts(pod), pids)
}

/// The same, of what a pod is to have.
pub(crate) fn of_pod(amounts: Amounts, pids: Option<i64>) -> LinuxContainerResources {
    let cpu_limit = amounts.cpu_limit.unwrap_or(0);
    LinuxContainerResources {
        cpu_shares: shares(amounts.cpu_request.unwrap_or(0)),
        cpu_period: if cpu_limit > 0 { PERIOD } else { 0 },
        cpu_quota: quota(cpu_limit),
        memory_limit_in_bytes: amounts.memory_limit.unwrap_or(0),
        unified: pids_max(pids),
        ..LinuxContainerResources::default()
    }
}

/// What a container that runs is to have from now on. How early the kernel kills it stays as it was, as under a kubelet.
pub(crate) fn of_running(resources: &ResourceRequirements) -> LinuxContainerResources {
    linux(resources)
}

fn linux(resources: &ResourceRequirements) -> LinuxContainerResources {
    let cpu_limit = amount(&resources.limits, "cpu").unwrap_or(0);
    let cpu_request = amount(&resources.requests, "cpu").unwrap_or(cpu_limit);
    LinuxContainerResources {
        cpu_shares: shares(cpu_request),
        cpu_period: if cpu_limit > 0 { PERIOD } else { 0 },
        cpu_quota: quota(cpu_limit),
        memory_limit_in_bytes: amount(&resources.limits, "memory").unwrap_or(0),
        ..LinuxContainerResources::default()
    }
}

/// CPU in thousandths, the rest in units.
fn amount(amounts: &Option<BTreeMap<String, Text>>, name: &str) -> Option<i64> {
    let quantity = Quantity::parse(&amounts.as_ref()?.get(name)?.0).ok()?;
    Some(if name == "cpu" { quantity.milli_value() } else { quantity.value() })
}

fn shares(milli_cpu: i64) -> i64 {
    (milli_cpu * 1024 / 1000).clamp(LEAST_SHARES, MOST_SHARES)
}

fn quota(milli_cpu: i64) -> i64 {
    if milli_cpu > 0 { (milli_cpu * PERIOD / 1000).max(LEAST_QUOTA) } else { 0 }
}

/// How early the kernel kills it when memory is short: the less it asked for, the earlier.
fn oom_score(pod: &Pod, resources: &ResourceRequirements) -> i64 {
    match qos_class(pod) {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => MOST_OOM_SCORE,
        QosClass::Burstable => {
            let request = memory_request(resources);
            let capacity = i64::try_from(crate::machine::memory_bytes()).unwrap_or(i64::MAX).max(1);
            let score = 1000 - (1000 * i128::from(request) / i128::from(capacity)) as i64;
            score.clamp(3, 999)
        }
    }
}

/// Bytes asked for; the limit where there is no request.
fn memory_request(resources: &ResourceRequirements) -> i64 {
    amount(&resources.requests, "memory").or(amount(&resources.limits, "memory")).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(resources: serde_json::Value, expected: (i64, i64, i64)) {
        let resources: ResourceRequirements = serde_json::from_value(resources).unwrap();
        let linux = linux(&resources);
        assert_eq!((linux.cpu_shares, linux.cpu_quota, linux.memory_limit_in_bytes), expected, "{resources:?}");
    }

    #[test]
    fn a_guest_has_the_nodes_ceiling_but_never_more_than_its_pod() {
        let check = |pod_memory, memory, pids, expected: (i64, Option<&str>)| {
            let found = of_guest(pod_memory, DebugLimits { memory, pids });
            let pids = found.unified.get("pids.max").map(String::as_str);
            assert_eq!((found.memory_limit_in_bytes, pids), expected, "{pod_memory} {memory:?}");
            assert_eq!((found.cpu_shares, found.oom_score_adj, found.cpu_quota), (2, 1000, 0));
        };
        check(0, Some(1 << 30), Some(1024), (1 << 30, Some("1024")));
        check(64 << 20, Some(1 << 30), Some(1024), (64 << 20, Some("1024")));
        check(2 << 30, Some(1 << 30), None, (1 << 30, None));
        check(64 << 20, None, None, (64 << 20, None));
        check(0, None, None, (0, None));
    }

    #[test]
    fn a_pod_may_use_what_its_containers_may_and_its_overhead() {
        let check = |spec: serde_json::Value, expected: (i64, i64, i64)| {
            let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {}, "spec": spec})).unwrap();
            let found = pod_resources(&pod, Some(64));
            assert_eq!((found.cpu_shares, found.cpu_quota, found.memory_limit_in_bytes), expected, "{pod:?}");
            assert_eq!(found.unified.get("pids.max").map(String::as_str), Some("64"));
        };
        let one = serde_json::json!({"name": "a", "resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "1Ki"}}});
        let free = serde_json::json!({"name": "b"});
        check(serde_json::json!({"containers": [one]}), (512, 100_000, 1024));
        check(serde_json::json!({"containers": [one, free]}), (512, 0, 0));
        let overhead = serde_json::json!({"cpu": "500m", "memory": "1Ki"});
        check(serde_json::json!({"containers": [one], "overhead": overhead}), (1024, 150_000, 2048));
    }

    #[test]
    fn requests_are_weights_and_limits_are_limits() {
        check(serde_json::json!({}), (2, 0, 0));
        check(serde_json::json!({"requests": {"cpu": "500m"}}), (512, 0, 0));
        check(serde_json::json!({"limits": {"cpu": "10m", "memory": "32Mi"}}), (10, 1000, 33_554_432));
        check(serde_json::json!({"limits": {"cpu": "1m"}}), (2, 1000, 0));
    }
}
