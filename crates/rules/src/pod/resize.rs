//! Resizing in place: the rules of the subresource `pods/NAME/resize` (KEP-1287; upstream: `podResizeStrategy`,
//! `ValidatePodResize`). Of containers and sidecars it changes how much cpu and memory they have, and nothing else. Whether the node has
//! room for it is the node's matter.

use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};
use serde_json::{Map, Value};

use super::admission::MIRROR_ANNOTATION;
use super::{gates, status, validation};
use crate::metadata::place::raise_generation;
use crate::object::{at, copy_field, field_mut, items_mut, list, set, text};
use crate::strategy::Ctx;

const SPEC: Path<'static> = Path::new("spec");
const LISTS: [&str; 2] = ["containers", "initContainers"];
/// What can be resized.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];
const ONLY: &str = "only cpu and memory resources are mutable";

/// Of the request only the containers' resources and resize policies are taken; a changed spec raises the generation by one. A request
/// with other containers stays as it is, for [`validate`] to refuse.
pub fn prepare(new: &mut Value, old: &Value, _: &Ctx) {
    let count = |pod: &Value| LISTS.map(|field| list(pod, &["spec", field]).len());
    if count(new) == count(old) {
        let mut kept = old.clone();
        let spec = field_mut(&mut kept, "spec");
        for field in LISTS {
            take_containers(spec, at(new, &["spec"]), field);
        }
        *new = kept;
    }
    gates::drop_disabled(new);
    raise_generation(new, old);
}

fn take_containers(spec: &mut Value, wanted: &Value, field: &str) {
    let names = |spec: &Value| list(spec, &[field]).iter().map(|c| text(c, &["name"]).to_owned()).collect::<Vec<_>>();
    if names(spec) != names(wanted) {
        return copy_field(wanted, spec, field);
    }
    for (container, wanted) in items_mut(spec, field).zip(list(wanted, &[field])) {
        copy_field(wanted, container, "resources");
        copy_field(wanted, container, "resizePolicy");
    }
}

/// The whole new pod, then what differs from the old one.
pub fn validate(new: &Value, old: &Value) -> FieldErrors {
    let mut errors = validation::validate(new);
    if let Some(why) = not_resizable(new, old) {
        return vec![FieldError::forbidden(&Path::ROOT, why)];
    }
    let class = text(old, &["status", "qosClass"]);
    let before = if class.is_empty() { status::qos_class(old) } else { class };
    if before != status::qos_class(new) {
        let why = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid(&SPEC, text(new, &["status", "qosClass"]), why));
    }
    if !node_resizes(old) {
        errors.push(FieldError::forbidden(&SPEC, "Pod running on node without support for resize"));
    }
    let others = LISTS.iter().flat_map(|field| other_containers(new, old, field)).collect::<FieldErrors>();
    if !others.is_empty() {
        errors.extend(others);
        return errors;
    }
    errors
        .extend(pairs(new, old, "initContainers").filter(|pair| is_sidecar(pair.old)).flat_map(|pair| pair.removed()));
    errors.extend(pairs(new, old, "containers").flat_map(|pair| pair.removed()));
    errors.extend(
        pairs(new, old, "containers").filter(|pair| pair.differs()).map(|_| FieldError::forbidden(&SPEC, ONLY)),
    );
    errors.extend(pairs(new, old, "initContainers").filter_map(|pair| pair.init_refusal()));
    if errors.is_empty() && differs_elsewhere(new, old) {
        errors.push(FieldError::forbidden(&SPEC, ONLY));
    }
    errors
}

/// Pods that are never resized, whatever is asked for.
fn not_resizable(new: &Value, old: &Value) -> Option<&'static str> {
    let has_amounts = |pod: &Value| {
        let amounts = |which| at(pod, &["spec", "resources", which]).as_object().is_some_and(|map| !map.is_empty());
        amounts("requests") || amounts("limits")
    };
    if has_amounts(old) || has_amounts(new) {
        return Some("pods with pod-level resources cannot be resized");
    }
    if !at(old, &["metadata", "annotations", MIRROR_ANNOTATION]).is_null() {
        return Some("static pods cannot be resized");
    }
    (text(old, &["spec", "os", "name"]) == "windows").then_some("windows pods cannot be resized")
}

/// A node that knows of resizing reports what running containers have. One that runs none says nothing about itself.
fn node_resizes(pod: &Value) -> bool {
    let mut statuses = list(pod, &["status", "containerStatuses"]).iter();
    let running = statuses.find(|status| !at(status, &["state", "running"]).is_null());
    running.is_none_or(|status| !at(status, &["resources"]).is_null())
}

/// None may be added, removed, renamed, or change its place.
fn other_containers(new: &Value, old: &Value, field: &str) -> FieldErrors {
    let path = SPEC.child(field);
    let [after, before] = [new, old].map(|pod| list(pod, &["spec", field]));
    if after.len() != before.len() {
        return vec![FieldError::forbidden(&path, format!("{field} may not be added or removed on resize"))];
    }
    let pairs = after.iter().zip(before).enumerate();
    let renamed = pairs.filter(|(_, (after, before))| text(after, &["name"]) != text(before, &["name"]));
    let why = || format!("{field} may not be renamed or reordered on resize");
    renamed.map(|(i, _)| FieldError::forbidden(&path.index(i).child("name"), why())).collect()
}

fn is_sidecar(container: &Value) -> bool {
    text(container, &["restartPolicy"]) == "Always"
}

/// A container as it is to be, and as it is.
struct Pair<'v> {
    field: &'static str,
    index: usize,
    new: &'v Value,
    old: &'v Value,
}

fn pairs<'v>(new: &'v Value, old: &'v Value, field: &'static str) -> impl Iterator<Item = Pair<'v>> {
    let both = list(new, &["spec", field]).iter().zip(list(old, &["spec", field])).enumerate();
    both.map(move |(index, (new, old))| Pair { field, index, new, old })
}

impl Pair<'_> {
    /// What was asked for or limited stays so: only how much it is may change.
    fn removed(&self) -> FieldErrors {
        let place = SPEC.child(self.field);
        let (place, mut errors) = (place.index(self.index), FieldErrors::new());
        for (which, what) in [("requests", "resource requests"), ("limits", "resource limits")] {
            let [after, before] = [self.new, self.old].map(|container| amounts(container, which));
            if before.keys().any(|name| !after.contains_key(name)) {
                let resources = place.child("resources");
                errors.push(FieldError::forbidden(&resources.child(which), format!("{what} cannot be removed")));
            }
        }
        errors
    }

    /// Whether more than cpu and memory differs.
    fn differs(&self) -> bool {
        let mut alike = self.new.clone();
        let mut resources = Map::new();
        for which in ["limits", "requests"] {
            let before = amounts(self.old, which);
            // As upstream has it: where there was nothing, anything may come.
            let after = if before.is_empty() { Map::new() } else { amounts(self.new, which) };
            let others = after.into_iter().filter(|(name, _)| !RESIZABLE.contains(&name.as_str()));
            let resized = before.into_iter().filter(|(name, _)| RESIZABLE.contains(&name.as_str()));
            let all: Map<String, Value> = others.chain(resized).collect();
            if !all.is_empty() {
                resources.insert(which.to_owned(), all.into());
            }
        }
        set(&mut alike, "resources", resources.into());
        alike != *self.old
    }

    fn init_refusal(&self) -> Option<FieldError> {
        let why = if is_sidecar(self.new) {
            self.differs().then_some("only cpu and memory resources for sidecar containers are mutable")
        } else {
            (self.new != self.old).then_some("resources for non-sidecar init containers are immutable")
        };
        why.map(|why| FieldError::forbidden(&SPEC, why))
    }
}

fn amounts(container: &Value, which: &str) -> Map<String, Value> {
    at(container, &["resources", which]).as_object().cloned().unwrap_or_default()
}

/// Whether anything but containers differs.
fn differs_elsewhere(new: &Value, old: &Value) -> bool {
    let mut alike = at(new, &["spec"]).clone();
    LISTS.iter().for_each(|field| copy_field(at(old, &["spec"]), &mut alike, field));
    alike != *at(old, &["spec"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: Value) -> Value {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "generation": 1}, "spec": spec, "status": {}});
        crate::pod::defaults::set_defaults(&mut pod);
        pod["status"]["qosClass"] = status::qos_class(&pod).into();
        pod
    }

    fn container(resources: Value) -> Value {
        json!({"name": "c", "image": "i", "resources": resources})
    }

    fn ctx() -> Ctx {
        Ctx { now: jiff::Timestamp::UNIX_EPOCH, uid: "u".to_owned(), suffix: "abcde".to_owned() }
    }

    /// What comes of a request that changes the pod like this.
    fn resized(old: &Value, change: impl Fn(&mut Value)) -> (Value, Vec<String>) {
        let mut new = old.clone();
        change(&mut new);
        crate::pod::defaults::set_defaults(&mut new);
        prepare(&mut new, old, &ctx());
        let errors = validate(&new, old).iter().map(ToString::to_string).collect();
        (new, errors)
    }

    fn burstable() -> Value {
        pod(json!({
            "initContainers": [
                {"name": "i", "image": "i", "resources": {"requests": {"cpu": "10m"}}},
                {"name": "s", "image": "i", "restartPolicy": "Always", "resources": {"requests": {"cpu": "10m"}}},
            ],
            "containers": [container(json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "1", "memory": "64Mi"}}))],
        }))
    }

    #[test]
    fn cpu_and_memory_of_containers_and_sidecars_may_change_and_nothing_else_is_taken() {
        let (new, errors) = resized(&burstable(), |pod| {
            pod["metadata"]["labels"] = json!({"a": "b"});
            pod["spec"]["priority"] = json!(7);
            pod["spec"]["containers"][0]["image"] = "other".into();
            pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "200m".into();
            pod["spec"]["containers"][0]["resources"]["limits"]["memory"] = "32Mi".into();
            pod["spec"]["containers"][0]["resources"]["requests"]["memory"] = "32Mi".into();
            pod["spec"]["initContainers"][1]["resources"]["requests"]["cpu"] = "20m".into();
        });
        assert_eq!(errors, Vec::<String>::new());
        let expected = json!({"requests": {"cpu": "200m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "32Mi"}});
        assert_eq!(new["spec"]["containers"][0]["resources"], expected);
        assert_eq!(new["spec"]["initContainers"][1]["resources"]["requests"]["cpu"], "20m");
        assert_eq!((&new["spec"]["containers"][0]["image"], &new["metadata"]["generation"]), (&json!("i"), &json!(2)));
        assert!(new["metadata"].get("labels").is_none() && new["spec"].get("priority").is_none());
    }

    #[test]
    fn who_changes_nothing_raises_nothing() {
        let old = burstable();
        assert_eq!(resized(&old, |pod| pod["metadata"]["labels"] = json!({"a": "b"})), (old.clone(), Vec::new()));
    }

    #[test]
    fn refusals_are_kubernetes_own() {
        let check = |old: &Value, change: &dyn Fn(&mut Value), expected: &[&str]| {
            assert_eq!(resized(old, change).1, expected);
        };
        let old = burstable();
        check(
            &old,
            &|pod| pod["spec"]["containers"][0]["resources"]["limits"] = json!({}),
            &["spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"],
        );
        check(
            &old,
            &|pod| pod["spec"]["initContainers"][1]["resources"] = json!({}),
            &["spec.initContainers[1].resources.requests: Forbidden: resource requests cannot be removed"],
        );
        check(
            &old,
            &|pod| pod["spec"]["initContainers"][0]["resources"]["requests"]["cpu"] = "1".into(),
            &["spec: Forbidden: resources for non-sidecar init containers are immutable"],
        );
        check(
            &old,
            &|pod| {
                pod["spec"]["initContainers"][1]["resizePolicy"] =
                    json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}])
            },
            &["spec: Forbidden: only cpu and memory resources for sidecar containers are mutable"],
        );
        check(
            &old,
            &|pod| pod["spec"]["containers"][0]["resources"]["requests"]["ephemeral-storage"] = "1Gi".into(),
            &["spec: Forbidden: only cpu and memory resources are mutable"],
        );
        check(
            &old,
            &|pod| pod["spec"]["containers"][0]["name"] = "d".into(),
            &["spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"],
        );
        check(
            &old,
            &|pod| {
                pod["spec"]["containers"] = json!([container(json!({})), {"name": "d", "image": "i", "resources": {}}])
            },
            &["spec.containers: Forbidden: containers may not be added or removed on resize"],
        );
    }

    #[test]
    fn the_qos_class_stays() {
        let old = pod(json!({"containers": [container(json!({}))]}));
        let (_, errors) =
            resized(&old, |pod| pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}}));
        assert_eq!(
            errors,
            ["spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing"]
        );
        let both = json!({"cpu": "1", "memory": "64Mi"});
        let old = pod(json!({"containers": [container(json!({"requests": both, "limits": both}))]}));
        let (_, errors) = resized(&old, |pod| pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "2".into());
        assert_eq!(
            errors,
            ["spec: Invalid value: \"Guaranteed\": Pod QOS Class may not change as a result of resizing"]
        );
    }

    #[test]
    fn some_pods_are_never_resized() {
        let more = |pod: &mut Value| pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "200m".into();
        let check = |path: &[&str], value: Value, expected: &str| {
            let mut old = burstable();
            let (last, above) = path.split_last().unwrap();
            let place = above.iter().fold(&mut old, |place, step| field_mut(place, step));
            set(place, last, value);
            let (_, errors) = resized(&old, more);
            assert!(errors.iter().any(|error| error == expected), "{errors:?}");
        };
        check(
            &["metadata", "annotations"],
            json!({MIRROR_ANNOTATION: "x"}),
            "[]: Forbidden: static pods cannot be resized",
        );
        check(&["spec", "os"], json!({"name": "windows"}), "[]: Forbidden: windows pods cannot be resized");
        let whole = json!({"requests": {"cpu": "1"}});
        check(&["spec", "resources"], whole, "[]: Forbidden: pods with pod-level resources cannot be resized");
        let old_node = json!([{"name": "c", "state": {"running": {}}}]);
        let refused = "spec: Forbidden: Pod running on node without support for resize";
        check(&["status", "containerStatuses"], old_node, refused);
    }
}
