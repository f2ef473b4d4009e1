//! How much cpu and memory: of one container, and of a pod as a whole.
//!
//! Sources: k8s.io/component-helpers `resource`, kubernetes `pkg/kubelet/cm/helpers_linux.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use remora_model::quantity::Quantity;

type List = Option<BTreeMap<String, Text>>;

/// CPU in thousandths, memory in bytes. None: nothing is asked for, or there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// `requests.cpu`
    pub cpu_request: Option<i64>,
    /// `limits.cpu`
    pub cpu_limit: Option<i64>,
    /// `requests.memory`
    pub memory_request: Option<i64>,
    /// `limits.memory`
    pub memory_limit: Option<i64>,
}

impl Amounts {
    /// What a container is to have.
    pub fn of(resources: &ResourceRequirements) -> Self {
        Self {
            cpu_request: amount(&resources.requests, "cpu"),
            cpu_limit: amount(&resources.limits, "cpu"),
            memory_request: amount(&resources.requests, "memory"),
            memory_limit: amount(&resources.limits, "memory"),
        }
    }

    /// What of it a cgroup knows: no request of memory.
    pub(crate) fn of_cgroup(self) -> Self {
        Self { memory_request: None, ..self }
    }

    /// The greater of each.
    pub(crate) fn at_least(self, other: Self) -> Self {
        // No limit is more than any.
        let limit = |a: Option<i64>, b: Option<i64>| Some(a?.max(b?));
        Self {
            cpu_request: self.cpu_request.max(other.cpu_request),
            cpu_limit: limit(self.cpu_limit, other.cpu_limit),
            memory_request: self.memory_request.max(other.memory_request),
            memory_limit: limit(self.memory_limit, other.memory_limit),
        }
    }
}

/// What a pod needs and may use: its containers together, or an init container beside the sidecars before it, whichever is more; and its
/// overhead. There is a limit only if all of them have one.
pub fn pod_amounts(pod: &Pod) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::default() };
    let request = |name: &str| {
        let (sum, _) = total(spec, |resources| amount(&resources.requests, name));
        Some(sum + amount(&spec.overhead, name).unwrap_or(0)).filter(|sum| *sum > 0)
    };
    let limit = |name: &str| {
        let (sum, all) = total(spec, |resources| amount(&resources.limits, name));
        Some(sum + amount(&spec.overhead, name).unwrap_or(0)).filter(|_| all && sum > 0)
    };
    Amounts {
        cpu_request: request("cpu"),
        cpu_limit: limit("cpu"),
        memory_request: request("memory"),
        memory_limit: limit("memory"),
    }
}

/// The amount for the whole pod, and whether every container says one.
fn total(spec: &PodSpec, of: impl Fn(&ResourceRequirements) -> Option<i64>) -> (i64, bool) {
    let of = |container: &Container| container.resources.as_ref().and_then(&of);
    let (mut running, mut all) = (0, true);
    for amount in spec.containers.iter().map(of) {
        running += amount.unwrap_or(0);
        all &= amount.is_some();
    }
    let (mut sidecars, mut starting) = (0, 0);
    for container in spec.init_containers.iter().flatten() {
        let needed = sidecars + of(container).unwrap_or(0);
        if container.restart_policy.as_deref() == Some("Always") {
            running += needed - sidecars;
            sidecars = needed;
        }
        starting = needed.max(starting);
        all &= needed > 0;
    }
    (running.max(starting), all)
}

/// CPU in thousandths, the rest in units. Nothing is as good as none.
fn amount(list: &List, name: &str) -> Option<i64> {
    let quantity = Quantity::parse(&list.as_ref()?.get(name)?.0).ok()?;
    Some(if name == "cpu" { quantity.milli_value() } else { quantity.value() }).filter(|amount| *amount > 0)
}

/// Whether two lists have the same amounts, however they are written.
pub(super) fn same(a: &List, b: &List) -> bool {
    let read = |list: &List| -> Vec<(String, Option<Quantity>)> {
        list.iter().flatten().map(|(name, text)| (name.clone(), Quantity::parse(&text.0).ok())).collect()
    };
    read(a) == read(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(spec: Value, expected: (i64, i64, i64, i64)) {
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
        let found = pod_amounts(&pod);
        let all =
            [found.cpu_request, found.cpu_limit, found.memory_request, found.memory_limit].map(|a| a.unwrap_or(0));
        assert_eq!(<(i64, i64, i64, i64)>::from(all), expected, "{spec}");
    }

    #[test]
    fn a_pod_needs_what_its_containers_need_and_is_limited_if_all_of_them_are() {
        let one =
            json!({"name": "a", "resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "1Ki"}}});
        let free = json!({"name": "b"});
        let sidecar = json!({"name": "s", "restartPolicy": "Always", "resources": one["resources"]});
        let big = json!({"name": "i", "resources": {"requests": {"cpu": "4"}, "limits": {"cpu": "4"}}});
        check(json!({"containers": [one]}), (500, 1000, 0, 1024));
        check(json!({"containers": [one, free]}), (500, 0, 0, 0));
        check(json!({"containers": [one], "initContainers": [free]}), (500, 0, 0, 0));
        check(json!({"containers": [one], "initContainers": [sidecar]}), (1000, 2000, 0, 2048));
        check(json!({"containers": [one], "initContainers": [sidecar, big]}), (4500, 5000, 0, 2048));
        check(json!({"containers": [one], "overhead": {"cpu": "500m", "memory": "1Ki"}}), (1000, 1500, 1024, 2048));
        check(json!({"containers": [free]}), (0, 0, 0, 0));
    }

    #[test]
    fn no_limit_is_more_than_any() {
        let of = |cpu_request, cpu_limit| Amounts { cpu_request, cpu_limit, ..Amounts::default() };
        assert_eq!(of(Some(1), Some(5)).at_least(of(Some(2), Some(4))), of(Some(2), Some(5)));
        assert_eq!(of(None, None).at_least(of(Some(2), Some(4))), of(Some(2), None));
    }
}
