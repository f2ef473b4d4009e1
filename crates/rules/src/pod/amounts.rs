//! Amounts of resources: of containers, and of a pod as a whole
//! (upstream: `k8s.io/component-helpers/resource`, `plugin/pkg/admission/limitranger`).

use std::collections::BTreeMap;

use remora_model::quantity::Quantity;
use serde_json::Value;

use crate::object::{at, list, text};

/// How much of which resource, by the resource's name.
pub type Amounts = BTreeMap<String, Quantity>;

/// The amounts of a map from names to quantities. What is in canonical form holds nothing but quantities.
pub fn read(amounts: &Value) -> Amounts {
    let entries = amounts.as_object().into_iter().flatten();
    entries.filter_map(|(name, amount)| Some((name.clone(), Quantity::parse(amount.as_str()?).ok()?))).collect()
}

/// `requests` or `limits` of a container.
pub fn of_container(container: &Value, which: &str) -> Amounts {
    read(at(container, &["resources", which]))
}

/// Adds each amount to what there is.
pub fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = to.get(name).copied().unwrap_or(Quantity::ZERO) + *amount;
        to.insert(name.clone(), sum);
    }
}

/// `requests` or `limits` of all containers of a pod, without its overhead: the greater of what they need together when the pod runs, and of
/// what each init container needs beside the sidecars before it.
pub fn of_pod(pod: &Value, which: &str) -> Amounts {
    in_pod(pod, |container| of_container(container, which))
}

/// As [`of_pod`], while it is being resized too: of each container what it is to have, what it has been allotted and what it has, whichever is
/// most. What its node cannot give it does not count.
pub fn held_by_pod(pod: &Value, which: &str) -> Amounts {
    let is_infeasible = list(pod, &["status", "conditions"])
        .iter()
        .any(|c| text(c, &["type"]) == "PodResizePending" && text(c, &["reason"]) == "Infeasible");
    let statuses = || {
        let lists = ["containerStatuses", "initContainerStatuses"];
        lists.into_iter().flat_map(|field| list(pod, &["status", field]))
    };
    in_pod(pod, |container| {
        let name = text(container, &["name"]);
        let status = statuses().find(|status| text(status, &["name"]) == name);
        let Some(status) = status.filter(|status| !at(status, &["resources"]).is_null()) else {
            return of_container(container, which);
        };
        let mut held = of_container(status, which);
        if which == "requests" {
            raise(&mut held, read(at(status, &["allocatedResources"])));
        }
        if !is_infeasible {
            raise(&mut held, of_container(container, which));
        }
        held
    })
}

fn in_pod(pod: &Value, of: impl Fn(&Value) -> Amounts) -> Amounts {
    let spec = at(pod, &["spec"]);
    let mut running = Amounts::new();
    list(spec, &["containers"]).iter().for_each(|container| add(&mut running, &of(container)));
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in list(spec, &["initContainers"]) {
        let own = of(container);
        let mut needed = sidecars.clone();
        add(&mut needed, &own);
        if text(container, &["restartPolicy"]) == "Always" {
            add(&mut running, &own);
            sidecars = needed.clone();
        }
        raise(&mut starting, needed);
    }
    raise(&mut running, starting);
    running
}

fn raise(to: &mut Amounts, least: Amounts) {
    for (name, amount) in least {
        let there = to.entry(name).or_insert(amount);
        *there = (*there).max(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_needs_the_greater_of_its_start_and_its_run() {
        let container = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let sidecar = |cpu: &str| json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
        let check = |init: Value, containers: Value, expected: &str| {
            let pod = json!({"spec": {"initContainers": init, "containers": containers}});
            assert_eq!(of_pod(&pod, "requests")["cpu"].canonical(), expected, "{pod}");
        };
        check(json!([]), json!([container("1"), container("500m")]), "1500m");
        check(json!([container("3"), container("2")]), json!([container("1")]), "3");
        check(json!([sidecar("1"), container("3")]), json!([container("1")]), "4");
        check(json!([container("3"), sidecar("1")]), json!([container("1")]), "3");
        check(json!([sidecar("1"), sidecar("1")]), json!([container("1")]), "3");
    }

    #[test]
    fn a_pod_that_is_resized_holds_the_most_of_what_it_is_to_have_was_allotted_and_has() {
        let check = |wanted: &str, allotted: &str, has: &str, reason: &str, expected: &str| {
            let pod = json!({
                "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": wanted}}}]},
                "status": {
                    "conditions": [{"type": "PodResizePending", "status": "True", "reason": reason}],
                    "containerStatuses": [{"name": "c", "allocatedResources": {"cpu": allotted}, "resources": {"requests": {"cpu": has}}}],
                },
            });
            assert_eq!(held_by_pod(&pod, "requests")["cpu"].canonical(), expected, "{pod}");
        };
        check("3", "1", "1", "Deferred", "3");
        check("1", "1", "2", "Deferred", "2");
        check("1", "3", "2", "Deferred", "3");
        check("9", "1", "2", "Infeasible", "2");
        let not_started = json!({"spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}]}});
        assert_eq!(held_by_pod(&not_started, "limits"), of_pod(&not_started, "limits"));
    }

    #[test]
    fn what_is_not_said_is_not_there() {
        let pod = json!({"spec": {"containers": [{"resources": {"limits": {"memory": "1Gi"}}}, {}]}});
        assert!(of_pod(&pod, "requests").is_empty());
        assert_eq!(of_pod(&pod, "limits")["memory"].canonical(), "1Gi");
    }
}
