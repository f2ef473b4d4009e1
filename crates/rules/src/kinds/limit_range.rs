//! Limit ranges: what containers and pods of a namespace must at least, and may at most, ask for
//! (upstream: `SetDefaults_LimitRangeItem`, `ValidateLimitRange`). What they do to a pod is in [`crate::pod::limits`].

use std::collections::BTreeSet;

use remora_model::field::FieldErrors;
use remora_model::quantity::Quantity;
use remora_model::{FieldError, Path};
use serde_json::Value;

use crate::metadata::names;
use crate::metadata::validation::invalid;
use crate::object::{at, items_mut, list, object_mut, text};
use crate::pod::amounts::{self, Amounts};
use crate::pod::limits::ratio;
use crate::pod::validation::resources;

const SPEC: Path<'static> = Path::new("spec");
const AMOUNTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

/// The limit of a container is by default the most, and its request the limit, or else the least.
pub fn set_defaults(range: &mut Value) {
    let Some(spec) = range.get_mut("spec") else { return };
    for item in items_mut(spec, "limits").filter(|item| text(item, &["type"]) == "Container") {
        for (to, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
            for (name, amount) in item.get(from).and_then(Value::as_object).cloned().into_iter().flatten() {
                object_mut(item, to).entry(name).or_insert(amount);
            }
        }
    }
}

/// Each type once, with amounts that do not contradict each other.
pub fn validate(range: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let place = SPEC.child("limits");
    let items = list(range, &["spec", "limits"]);
    for (i, item) in items.iter().enumerate() {
        let path = place.index(i);
        let of = text(item, &["type"]);
        errors.extend(validate_type(of, &path.child("type")));
        if items[..i].iter().any(|before| text(before, &["type"]) == of) {
            errors.push(FieldError::duplicate(&path.child("type"), of));
        }
        errors.extend(validate_item(item, of, &path));
    }
    errors
}

fn validate_type(of: &str, path: &Path<'_>) -> FieldErrors {
    let errors = invalid(path, of, names::qualified_name);
    let is_standard = matches!(of, "Pod" | "Container" | "PersistentVolumeClaim");
    if errors.is_empty() && !of.contains('/') && !is_standard {
        return vec![FieldError::invalid(path, of, "must be a standard limit type or fully qualified")];
    }
    errors
}

fn validate_item(item: &Value, of: &str, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let [max, min, default, request, ratio] = AMOUNTS.map(|field| amounts::read(at(item, &[field])));
    for (field, amounts) in AMOUNTS.into_iter().zip([&max, &min, &default, &request, &ratio]) {
        if of == "Pod" && field.starts_with("default") {
            if !amounts.is_empty() {
                errors.push(FieldError::forbidden(&path.child(field), "may not be specified when `type` is 'Pod'"));
            }
            continue;
        }
        let place = path.child(field);
        errors.extend(amounts.keys().flat_map(|name| validate_name(of, name, &place.key(name))));
    }
    if of == "PersistentVolumeClaim" && !max.contains_key("storage") && !min.contains_key("storage") {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(FieldError::required(&path.child("limits"), why));
    }
    let names: BTreeSet<&String> =
        [&max, &min, &default, &request, &ratio].into_iter().flat_map(Amounts::keys).collect();
    for name in names {
        let of = |amounts: &Amounts| amounts.get(name).copied();
        let bounds =
            Bounds { max: of(&max), min: of(&min), default: of(&default), request: of(&request), ratio: of(&ratio) };
        errors.extend(bounds.contradictions(name, path));
    }
    errors
}

fn validate_name(of: &str, name: &str, path: &Path<'_>) -> FieldErrors {
    if matches!(of, "Pod" | "Container") {
        return resources::validate_name(name, path);
    }
    let errors = invalid(path, name, names::qualified_name);
    if !errors.is_empty() || name.contains('/') || resources::is_standard(name) || name == "storage" {
        return errors;
    }
    vec![FieldError::invalid(path, name, resources::NOT_STANDARD)]
}

/// What an item says of one resource.
struct Bounds {
    max: Option<Quantity>,
    min: Option<Quantity>,
    default: Option<Quantity>,
    request: Option<Quantity>,
    ratio: Option<Quantity>,
}

impl Bounds {
    fn contradictions(&self, name: &str, path: &Path<'_>) -> FieldErrors {
        let mut errors = FieldErrors::new();
        // Upstream shows now the smaller, now the larger value.
        let mut ordered =
            |lower: (Option<Quantity>, &str), higher: (Option<Quantity>, &str), field: &str, shows_lower: bool| {
                let (Some(low), Some(high)) = (lower.0, higher.0) else { return };
                if low > high {
                    let why = format!(
                        "{} value {} is greater than {} value {}",
                        lower.1,
                        low.canonical(),
                        higher.1,
                        high.canonical()
                    );
                    let shown = if shows_lower { low } else { high };
                    errors.push(FieldError::invalid(&path.child(field).key(name), shown.canonical(), why));
                }
            };
        ordered((self.min, "min"), (self.max, "max"), "min", true);
        ordered((self.min, "min"), (self.request, "default request"), "defaultRequest", false);
        ordered((self.request, "default request"), (self.max, "max"), "defaultRequest", true);
        ordered((self.request, "default request"), (self.default, "default limit"), "defaultRequest", true);
        ordered((self.min, "min"), (self.default, "default"), "default", true);
        ordered((self.default, "default"), (self.max, "max"), "default", false);
        errors.extend(self.judge_ratio(&path.child("maxLimitRequestRatio").key(name)));
        errors
    }

    fn judge_ratio(&self, path: &Path<'_>) -> FieldErrors {
        let Some(most) = self.ratio else { return FieldErrors::new() };
        let one = Quantity::of_count(1);
        let mut errors = FieldErrors::new();
        if most < one {
            let why = format!("ratio {} is less than 1", most.canonical());
            errors.push(FieldError::invalid(path, most.canonical(), why));
        }
        if let (Some(min), Some(max)) = (self.min, self.max)
            && min.sign() > 0
            && ratio(most, one) > ratio(max, min)
        {
            let why = format!("ratio {} is greater than max/min = {:.6}", most.canonical(), ratio(max, min));
            errors.push(FieldError::invalid(path, most.canonical(), why));
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_get_defaults_from_bounds() {
        let check = |item: Value, default: Value, request: Value| {
            let mut range = json!({"spec": {"limits": [item]}});
            set_defaults(&mut range);
            let item = &range["spec"]["limits"][0];
            assert_eq!((&item["default"], &item["defaultRequest"]), (&default, &request));
        };
        check(json!({"type": "Container", "max": {"cpu": "2"}}), json!({"cpu": "2"}), json!({"cpu": "2"}));
        check(json!({"type": "Container", "min": {"cpu": "1"}}), Value::Null, json!({"cpu": "1"}));
        check(
            json!({"type": "Container", "max": {"cpu": "2"}, "default": {"cpu": "1"}, "min": {"cpu": "500m"}}),
            json!({"cpu": "1"}),
            json!({"cpu": "1"}),
        );
        check(json!({"type": "Pod", "max": {"cpu": "2"}}), Value::Null, Value::Null);
    }

    #[test]
    fn contradictions_are_named() {
        let check = |items: Value, expected: &[&str]| {
            let errors: Vec<String> =
                validate(&json!({"spec": {"limits": items}})).iter().map(ToString::to_string).collect();
            assert_eq!(errors, expected);
        };
        check(json!([{"type": "Pod", "max": {"cpu": "2"}}, {"type": "Container", "min": {"memory": "1Gi"}}]), &[]);
        check(
            json!([{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]),
            &["spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"],
        );
        check(
            json!([{"type": "Pod", "default": {"cpu": "1"}}, {"type": "Pod"}]),
            &[
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
                "spec.limits[1].type: Duplicate value: \"Pod\"",
            ],
        );
        check(
            json!([{"type": "Container", "default": {"cpu": "3"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "500m"}}]),
            &[
                "spec.limits[0].default[cpu]: Invalid value: \"2\": default value 3 is greater than max value 2",
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"500m\": ratio 500m is less than 1",
            ],
        );
        check(
            json!([{"type": "Wibble", "max": {"gold": "1"}}]),
            &[
                "spec.limits[0].type: Invalid value: \"Wibble\": must be a standard limit type or fully qualified",
                "spec.limits[0].max[gold]: Invalid value: \"gold\": must be a standard resource type or fully qualified",
            ],
        );
    }
}
