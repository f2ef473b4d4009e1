//! The containers of a pod: visiting them, and which one an exec, attach or log means
//! (upstream: `pkg/registry/core/pod/strategy.go`, `pkg/api/pod/util.go`).

use remora_model::{ContainerKind, Status};
use serde_json::Value;

use crate::object::{list, text};

/// The fields of `spec` that hold containers, in upstream's order of visiting.
pub const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
/// Names the container that is meant if none is named.
pub const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Every container of a pod with its kind.
pub fn all(pod: &Value) -> impl Iterator<Item = (ContainerKind, &Value)> {
    LISTS.into_iter().flat_map(move |field| {
        list(pod, &["spec", field]).iter().map(move |container| (kind_in(field, container), container))
    })
}

fn kind_in(field: &str, container: &Value) -> ContainerKind {
    match field {
        "initContainers" => ContainerKind::of_init(container.get("restartPolicy").and_then(Value::as_str)),
        "ephemeralContainers" => ContainerKind::Ephemeral,
        _ => ContainerKind::Container,
    }
}

fn names(pod: &Value, field: &str) -> Vec<String> {
    list(pod, &["spec", field]).iter().map(|c| text(c, &["name"]).to_owned()).collect()
}

/// The container that a request for exec, attach or logs means.
///
/// # Errors
/// 400 if the named one is not there, or none is named and there is more than one to choose from.
pub fn choose(pod: &Value, wanted: &str) -> Result<String, Status> {
    let pod_name = text(pod, &["metadata", "name"]);
    if !wanted.is_empty() {
        let known = all(pod).any(|(_, c)| text(c, &["name"]) == wanted);
        let refused = || Status::bad_request(format!("container {wanted} is not valid for pod {pod_name}"));
        return known.then(|| wanted.to_owned()).ok_or_else(refused);
    }
    let annotated = text(pod, &["metadata", "annotations", DEFAULT_CONTAINER]);
    if !annotated.is_empty() && all(pod).any(|(_, c)| text(c, &["name"]) == annotated) {
        return Ok(annotated.to_owned());
    }
    let [init, ordinary] = ["initContainers", "containers"].map(|field| names(pod, field));
    match ordinary.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {pod_name}"))),
        several => {
            let mut message = format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                several.join(" ")
            );
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            Err(Status::bad_request(message))
        }
    }
}

/// The node that runs the pod.
///
/// # Errors
/// 400 if it is not assigned to one yet.
pub fn node_of(pod: &Value) -> Result<&str, Status> {
    match text(pod, &["spec", "nodeName"]) {
        "" => {
            let name = text(pod, &["metadata", "name"]);
            Err(Status::bad_request(format!("pod {name} does not have a host assigned")))
        }
        node => Ok(node),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(pod: &Value, wanted: &str, expected: Result<&str, &str>) {
        let got = choose(pod, wanted);
        assert_eq!(got.as_deref().map_err(|s| s.message.as_str()), expected);
    }

    #[test]
    fn the_container_is_named_annotated_or_the_only_one() {
        let one = json!({"metadata": {"name": "eph"}, "spec": {"containers": [{"name": "eph"}], "ephemeralContainers": [{"name": "d1"}]}});
        check(&one, "", Ok("eph"));
        check(&one, "d1", Ok("d1"));
        check(&one, "ghost", Err("container ghost is not valid for pod eph"));
        let mut two = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}});
        check(
            &two,
            "",
            Err(
                "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]",
            ),
        );
        two["metadata"]["annotations"] = json!({ DEFAULT_CONTAINER: "b" });
        check(&two, "", Ok("b"));
    }
}
