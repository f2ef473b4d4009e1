//! What the limit ranges of its namespace give to a new pod, and what they refuse (upstream: `plugin/pkg/admission/limitranger`). The API server
//! looks the ranges up; it calls [`complete`] before any other plugin, and [`judge`] once the pod is valid. Later changes are not judged: containers keep theirs.

use remora_model::Status;
use remora_model::quantity::Quantity;
use remora_model::text::aggregate;
use serde_json::{Map, Value};

use super::admission::forbidden;
use super::amounts::{self, Amounts};
use crate::object::{at, field_mut, items_mut, list, object_mut, text};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// What Go compares in thousandths: larger amounts it compares in wholes.
const MAX_MILLI_VALUE: i64 = i64::MAX / 1000;

/// Gives the containers what the ranges say and they do not.
pub fn complete(pod: &mut Value, ranges: &[Value]) {
    let given: Vec<String> = ranges.iter().flat_map(|range| complete_by(pod, range)).collect();
    if !given.is_empty() {
        let note = format!("LimitRanger plugin set: {}", given.join("; "));
        object_mut(field_mut(pod, "metadata"), "annotations").insert(ANNOTATION.to_owned(), note.into());
    }
}

/// Judges what the pod asks for now.
///
/// # Errors
/// 403 for a pod outside a range, with everything that is outside of it.
pub fn judge(pod: &Value, ranges: &[Value]) -> Result<(), Status> {
    ranges.iter().try_for_each(|range| judge_by(pod, range))
}

/// Gives defaults; tells to which container it gave what.
fn complete_by(pod: &mut Value, range: &Value) -> Vec<String> {
    let (mut requests, mut limits) = (Map::new(), Map::new());
    for item in items_of(range, "Container") {
        requests.extend(map(item, "defaultRequest"));
        limits.extend(map(item, "default"));
    }
    let mut notes = Vec::new();
    let Some(spec) = pod.get_mut("spec") else { return notes };
    for (field, word) in [("containers", "container"), ("initContainers", "init container")] {
        for container in items_mut(spec, field) {
            let name = text(container, &["name"]).to_owned();
            for (which, defaults, what) in [("requests", &requests, "request"), ("limits", &limits, "limit")] {
                let set = fill(container, which, defaults);
                if !set.is_empty() {
                    notes.push(format!("{} {what} for {word} {name}", set.join(", ")));
                }
            }
        }
    }
    notes
}

fn fill(container: &mut Value, which: &str, defaults: &Map<String, Value>) -> Vec<String> {
    let mut set = Vec::new();
    for (name, amount) in defaults {
        if at(container, &["resources", which, name]).is_null() {
            object_mut(field_mut(container, "resources"), which).insert(name.clone(), amount.clone());
            set.push(name.clone());
        }
    }
    set
}

fn judge_by(pod: &Value, range: &Value) -> Result<(), Status> {
    let mut faults = Vec::new();
    for item in list(range, &["spec", "limits"]) {
        match text(item, &["type"]) {
            "Container" => {
                let containers = ["containers", "initContainers"].map(|field| list(pod, &["spec", field]));
                for container in containers.into_iter().flatten() {
                    let of = |which| amounts::of_container(container, which);
                    faults.extend(Judged { item, requests: of("requests"), limits: of("limits") }.faults());
                }
            }
            "Pod" => {
                let of = |which| amounts::of_pod(pod, which);
                faults.extend(Judged { item, requests: of("requests"), limits: of("limits") }.faults());
            }
            _ => {}
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(forbidden(pod, &aggregate(faults))) }
}

fn items_of<'v>(range: &'v Value, of: &'static str) -> impl Iterator<Item = &'v Value> {
    list(range, &["spec", "limits"]).iter().filter(move |item| text(item, &["type"]) == of)
}

fn map(item: &Value, field: &str) -> Map<String, Value> {
    item.get(field).and_then(Value::as_object).cloned().unwrap_or_default()
}

/// One item of a range, and what it is compared with.
struct Judged<'v> {
    item: &'v Value,
    requests: Amounts,
    limits: Amounts,
}

impl Judged<'_> {
    fn faults(&self) -> Vec<String> {
        let bounds = |field| amounts::read(at(self.item, &[field])).into_iter();
        let below = bounds("min").filter_map(|(name, least)| self.below(&name, least));
        let above = bounds("max").filter_map(|(name, most)| self.above(&name, most));
        let apart = bounds("maxLimitRequestRatio").filter_map(|(name, most)| self.apart(&name, most));
        below.chain(above).chain(apart).collect()
    }

    fn sides(&self, name: &str) -> (Option<Quantity>, Option<Quantity>) {
        (self.requests.get(name).copied(), self.limits.get(name).copied())
    }

    fn below(&self, name: &str, least: Quantity) -> Option<String> {
        let rule = format!("minimum {name} usage per {} is {}", self.of(), least.canonical());
        match self.sides(name) {
            (None, _) => Some(format!("{rule}.  No request is specified")),
            (Some(request), _) if request < least => Some(format!("{rule}, but request is {}", request.canonical())),
            (_, Some(limit)) if limit < least => Some(format!("{rule}, but limit is {}", limit.canonical())),
            _ => None,
        }
    }

    fn above(&self, name: &str, most: Quantity) -> Option<String> {
        let rule = format!("maximum {name} usage per {} is {}", self.of(), most.canonical());
        match self.sides(name) {
            (_, None) => Some(format!("{rule}.  No limit is specified")),
            (_, Some(limit)) if limit > most => Some(format!("{rule}, but limit is {}", limit.canonical())),
            (Some(request), _) if request > most => Some(format!("{rule}, but request is {}", request.canonical())),
            _ => None,
        }
    }

    fn apart(&self, name: &str, most: Quantity) -> Option<String> {
        let rule = format!("{name} max limit to request ratio per {} is {}", self.of(), most.canonical());
        let given = |side: Option<Quantity>| side.filter(|amount| amount.sign() != 0);
        let (request, limit) = self.sides(name);
        let Some(request) = given(request) else {
            return Some(format!("{rule}, but no request is specified or request is 0"));
        };
        let Some(limit) = given(limit) else {
            return Some(format!("{rule}, but no limit is specified or limit is 0"));
        };
        let ratio = ratio(limit, request);
        let most = if most.value() <= MAX_MILLI_VALUE { milli(most) / 1000.0 } else { whole(most) };
        (ratio > most).then(|| format!("{rule}, but provided ratio is {ratio:.6}"))
    }

    fn of(&self) -> &str {
        text(self.item, &["type"])
    }
}

/// One amount by another, in thousandths where both can be told so.
pub(crate) fn ratio(of: Quantity, by: Quantity) -> f64 {
    if of.value().max(by.value()) <= MAX_MILLI_VALUE { milli(of) / milli(by) } else { whole(of) / whole(by) }
}

#[expect(clippy::cast_precision_loss, reason = "so does Go, whose answer this is")]
fn milli(amount: Quantity) -> f64 {
    amount.milli_value() as f64
}

#[expect(clippy::cast_precision_loss, reason = "so does Go, whose answer this is")]
fn whole(amount: Quantity) -> f64 {
    amount.value() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(resources: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": resources}]}})
    }

    fn range(item: Value) -> Value {
        json!({"spec": {"limits": [item]}})
    }

    #[test]
    fn what_is_left_out_is_given_and_noted() {
        let mut pod = pod(json!({"requests": {"cpu": "10m"}}));
        pod["spec"]["initContainers"] = json!([{"name": "i"}]);
        let defaults =
            json!({"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "500m"}});
        complete(&mut pod, &[range(defaults)]);
        let resources = &pod["spec"]["containers"][0]["resources"];
        assert_eq!(*resources, json!({"requests": {"cpu": "10m"}, "limits": {"cpu": "1", "memory": "1Gi"}}));
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu, memory limit for container c; cpu request for init container i; cpu, memory limit for init container i"
        );
    }

    #[test]
    fn what_is_outside_is_refused_in_the_words_of_upstream() {
        let check = |item: Value, resources: Value, why: &str| {
            let said = judge(&pod(resources), &[range(item)]).map_err(|status| status.message);
            let expected = if why.is_empty() { Ok(()) } else { Err(format!("pods \"p\" is forbidden: {why}")) };
            assert_eq!(said, expected);
        };
        let least = json!({"type": "Container", "min": {"cpu": "100m"}});
        check(least.clone(), json!({"requests": {"cpu": "100m"}}), "");
        check(least.clone(), json!({}), "minimum cpu usage per Container is 100m.  No request is specified");
        check(
            least.clone(),
            json!({"requests": {"cpu": "50m"}}),
            "minimum cpu usage per Container is 100m, but request is 50m",
        );
        let most = json!({"type": "Pod", "max": {"memory": "1Gi", "cpu": "1"}});
        check(
            most.clone(),
            json!({"limits": {"memory": "2Gi"}}),
            "[maximum cpu usage per Pod is 1.  No limit is specified, maximum memory usage per Pod is 1Gi, but limit is 2Gi]",
        );
        check(most, json!({"limits": {"memory": "1Gi", "cpu": "1"}, "requests": {"cpu": "1"}}), "");
        let ratio = json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}});
        check(ratio.clone(), json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}), "");
        check(
            ratio.clone(),
            json!({"requests": {"cpu": "1"}, "limits": {"cpu": "2500m"}}),
            "cpu max limit to request ratio per Container is 2, but provided ratio is 2.500000",
        );
        check(
            ratio,
            json!({"limits": {"cpu": "2"}}),
            "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
        );
    }

    #[test]
    fn what_is_wrong_with_several_containers_is_said_once() {
        let mut pod = pod(json!({}));
        pod["spec"]["initContainers"] = json!([{"name": "i"}]);
        let refused = judge(&pod, &[range(json!({"type": "Container", "min": {"cpu": "100m"}}))]).unwrap_err();
        let why = "minimum cpu usage per Container is 100m.  No request is specified";
        assert_eq!(refused.message, format!("pods \"p\" is forbidden: {why}"));
    }
}
