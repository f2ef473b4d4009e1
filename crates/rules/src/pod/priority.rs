//! The priority of a new pod (upstream: `plugin/pkg/admission/priority`). The API server looks the classes up and calls [`admit`] before the pod's
//! runtime class is asked.

use remora_model::Status;
use serde_json::Value;

use super::admission::forbidden;
use crate::object::{at, field_mut, flag, integer, set, text};

/// Sets priority and preemption policy by the pod's class among `classes`, or by the default class.
///
/// # Errors
/// 403 if there is no such class, or the pod says something else than it.
pub fn admit(pod: &mut Value, classes: &[Value]) -> Result<(), Status> {
    let named = text(pod, &["spec", "priorityClassName"]);
    let class = if named.is_empty() { default_of(classes) } else { class_of(classes, named) };
    if class.is_none() && !named.is_empty() {
        return Err(forbidden(pod, &format!("no PriorityClass with name {named} was found")));
    }
    let priority = class.and_then(|class| integer(class, &["value"])).unwrap_or_default();
    let policy = class.map_or("", |class| text(class, &["preemptionPolicy"]));
    let policy = if policy.is_empty() { "PreemptLowerPriority" } else { policy };
    if let Some(given) = at(pod, &["spec", "priority"]).as_i64().filter(|given| *given != priority) {
        return Err(forbidden(pod, &contradiction("integer value of priority", given, priority)));
    }
    let given = text(pod, &["spec", "preemptionPolicy"]);
    if !given.is_empty() && given != policy {
        return Err(forbidden(pod, &contradiction("string value of PreemptionPolicy", given, policy)));
    }
    let name = class.map(|class| text(class, &["metadata", "name"]).to_owned());
    let spec = field_mut(pod, "spec");
    if let Some(name) = name {
        set(spec, "priorityClassName", name.into());
    }
    set(spec, "priority", priority.into());
    set(spec, "preemptionPolicy", policy.into());
    Ok(())
}

fn class_of<'v>(classes: &'v [Value], name: &str) -> Option<&'v Value> {
    classes.iter().find(|class| text(class, &["metadata", "name"]) == name)
}

/// Of several the lowest.
fn default_of(classes: &[Value]) -> Option<&Value> {
    classes.iter().filter(|class| flag(class, &["globalDefault"])).min_by_key(|class| integer(class, &["value"]))
}

fn contradiction<T: std::fmt::Display>(what: &str, given: T, computed: T) -> String {
    format!(
        "the {what} ({given}) must not be provided in pod spec; priority admission controller computed {computed} from the given PriorityClass name"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn admitted(spec: Value) -> Result<Value, String> {
        let classes = [
            json!({"metadata": {"name": "gold"}, "value": 100, "preemptionPolicy": "Never"}),
            json!({"metadata": {"name": "usual"}, "value": 7, "globalDefault": true, "preemptionPolicy": "PreemptLowerPriority"}),
        ];
        let mut pod = json!({"metadata": {"name": "p"}, "spec": spec});
        admit(&mut pod, &classes).map(|()| pod["spec"].clone()).map_err(|status| status.message)
    }

    #[test]
    fn a_pod_has_the_priority_of_its_class_or_of_the_default() {
        let expected =
            |name, value, policy| Ok(json!({"priorityClassName": name, "priority": value, "preemptionPolicy": policy}));
        assert_eq!(admitted(json!({"priorityClassName": "gold"})), expected("gold", 100, "Never"));
        assert_eq!(admitted(json!({})), expected("usual", 7, "PreemptLowerPriority"));
        let mut pod = json!({"spec": {}});
        admit(&mut pod, &[]).unwrap();
        assert_eq!(pod["spec"], json!({"priority": 0, "preemptionPolicy": "PreemptLowerPriority"}));
    }

    #[test]
    fn a_pod_may_not_say_otherwise() {
        let check = |spec, why: &str| assert_eq!(admitted(spec), Err(format!("pods \"p\" is forbidden: {why}")));
        check(json!({"priorityClassName": "tin"}), "no PriorityClass with name tin was found");
        check(
            json!({"priorityClassName": "gold", "priority": 1}),
            "the integer value of priority (1) must not be provided in pod spec; priority admission controller computed 100 from the given PriorityClass name",
        );
        check(
            json!({"priorityClassName": "gold", "preemptionPolicy": "PreemptLowerPriority"}),
            "the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority admission controller computed Never from the given PriorityClass name",
        );
    }
}
