//! What a pod's runtime class adds to it when it is created (upstream: `plugin/pkg/admission/runtimeclass`). The API server looks up the class
//! and calls [`admit`] after [`super::admission::admit`].

use remora_model::Status;
use remora_model::text::quoted;
use serde_json::Value;

use super::admission::{forbidden, push};
use crate::object::{at, field_mut, list, object_mut, set, text};

/// Adds overhead and scheduling of the pod's runtime class, `class` as stored.
///
/// # Errors
/// 403 if the class does not exist, or says something else than the pod.
pub fn admit(pod: &mut Value, class: Option<&Value>) -> Result<(), Status> {
    let name = text(pod, &["spec", "runtimeClassName"]).to_owned();
    if class.is_none() && !name.is_empty() {
        return Err(forbidden(pod, &format!("pod rejected: RuntimeClass {} not found", quoted(&name))));
    }
    let class = class.unwrap_or(&Value::Null);
    set_overhead(pod, at(class, &["overhead", "podFixed"]))?;
    merge_node_selector(pod, at(class, &["scheduling", "nodeSelector"]))?;
    merge_tolerations(field_mut(pod, "spec"), list(class, &["scheduling", "tolerations"]));
    Ok(())
}

fn set_overhead(pod: &mut Value, fixed: &Value) -> Result<(), Status> {
    let given = at(pod, &["spec", "overhead"]);
    match (given.is_null(), fixed.is_null()) {
        (true, true) => Ok(()),
        (false, true) => {
            Err(forbidden(pod, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
        }
        (false, false) if given != fixed => {
            Err(forbidden(pod, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"))
        }
        _ => {
            set(field_mut(pod, "spec"), "overhead", fixed.clone());
            Ok(())
        }
    }
}

fn merge_node_selector(pod: &mut Value, wanted: &Value) -> Result<(), Status> {
    for (key, value) in wanted.as_object().into_iter().flatten() {
        let given = at(pod, &["spec", "nodeSelector", key]);
        if !given.is_null() && given != value {
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                word(value),
                word(given)
            );
            return Err(forbidden(pod, &why));
        }
        object_mut(field_mut(pod, "spec"), "nodeSelector").insert(key.clone(), value.clone());
    }
    Ok(())
}

/// What another one tolerates as well is not added (upstream: `pkg/util/tolerations`).
fn merge_tolerations(spec: &mut Value, wanted: &[Value]) {
    for toleration in wanted {
        if !list(spec, &["tolerations"]).iter().any(|given| tolerates_all_of(given, toleration)) {
            push(spec, "tolerations", toleration.clone());
        }
    }
}

fn tolerates_all_of(given: &Value, other: &Value) -> bool {
    let field = |of: &Value, name: &str| text(of, &[name]).to_owned();
    let same_or_any = |name: &str| matches!(field(given, name), word if word.is_empty() || word == field(other, name));
    let seconds = |of: &Value| at(of, &["tolerationSeconds"]).as_i64().unwrap_or(i64::MAX);
    let lasts = field(given, "effect") != "NoExecute" || seconds(given) >= seconds(other);
    let is_exists = field(given, "operator") == "Exists";
    let same_value = field(other, "operator") != "Exists" && field(given, "value") == field(other, "value");
    same_or_any("key") && same_or_any("effect") && lasts && (is_exists || same_value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: &Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": spec})
    }

    fn admitted(spec: &Value, class: &Value) -> Value {
        let mut pod = pod(spec);
        admit(&mut pod, Some(class)).unwrap();
        pod["spec"].clone()
    }

    fn refused(spec: &Value, class: Option<&Value>) -> String {
        admit(&mut pod(spec), class).unwrap_err().message
    }

    #[test]
    fn a_pod_gets_what_its_class_asks_for() {
        let class = json!({
            "handler": "x",
            "overhead": {"podFixed": {"cpu": "10m"}},
            "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "t", "operator": "Exists"}]},
        });
        let spec = admitted(&json!({"runtimeClassName": "x", "nodeSelector": {"c": "d"}}), &class);
        assert_eq!(spec["overhead"], json!({"cpu": "10m"}));
        assert_eq!(spec["nodeSelector"], json!({"a": "b", "c": "d"}));
        assert_eq!(spec["tolerations"], json!([{"key": "t", "operator": "Exists"}]));
        let plain = json!({"runtimeClassName": "x"});
        assert_eq!(admitted(&plain, &json!({"handler": "x"})), plain);
    }

    #[test]
    fn what_is_tolerated_already_is_not_added() {
        let wanted =
            json!([{"key": "t", "operator": "Equal", "value": "v", "effect": "NoExecute", "tolerationSeconds": 5}]);
        let class = json!({"scheduling": {"tolerations": wanted}});
        for (given, added) in [
            (json!([{"operator": "Exists"}]), false),
            (json!([{"key": "t", "value": "v"}]), false),
            (json!([{"key": "t", "value": "w"}]), true),
            (json!([{"key": "t", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 4}]), true),
            (json!([{"key": "t", "operator": "Exists", "effect": "NoSchedule"}]), true),
        ] {
            let spec = admitted(&json!({"runtimeClassName": "x", "tolerations": given}), &class);
            assert_eq!(spec["tolerations"].as_array().unwrap().len() == 2, added, "{given}");
        }
    }

    #[test]
    fn a_class_that_is_missing_or_says_something_else_refuses_the_pod() {
        assert_eq!(
            refused(&json!({"runtimeClassName": "gone"}), None),
            "pods \"p\" is forbidden: pod rejected: RuntimeClass \"gone\" not found"
        );
        let class = json!({"overhead": {"podFixed": {"cpu": "10m"}}, "scheduling": {"nodeSelector": {"a": "b"}}});
        assert!(
            refused(&json!({"overhead": {"cpu": "1"}}), None)
                .ends_with("without corresponding RuntimeClass defined Overhead")
        );
        assert!(
            refused(&json!({"runtimeClassName": "x", "overhead": {"cpu": "1"}}), Some(&class))
                .contains("doesn't match")
        );
        assert!(
            refused(&json!({"runtimeClassName": "x", "nodeSelector": {"a": "c"}}), Some(&class))
                .ends_with("conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = c")
        );
    }
}
