//! Whether a persistent volume can be had on a node: pure. Upstream: `CheckNodeAffinity` in `pkg/volume/util`, which a kubelet asks before it mounts one.

use remora_model::node_selector;
use serde_json::Value;

/// Whether a volume's `nodeAffinity` allows the node of this name with these labels. One that requires nothing is to be had everywhere; a term of nothing allows nothing.
pub fn allows_node(volume: &Value, node: &str, labels: &Value) -> bool {
    let Some(required) = volume.pointer("/spec/nodeAffinity/required").filter(|required| !required.is_null()) else {
        return true;
    };
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    let field = |key: &str| (key == "metadata.name").then_some(node);
    items(required, "nodeSelectorTerms").iter().any(|term| {
        let (expressions, fields) = (items(term, "matchExpressions"), items(term, "matchFields"));
        !(expressions.is_empty() && fields.is_empty())
            && expressions.iter().all(|one| holds(one, label(text(one, "key"))))
            && fields.iter().all(|one| holds(one, field(text(one, "key"))))
    })
}

fn holds(requirement: &Value, is: Option<&str>) -> bool {
    let values: Vec<&str> = items(requirement, "values").iter().filter_map(Value::as_str).collect();
    node_selector::holds(text(requirement, "operator"), &values, is)
}

fn items<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_volume_is_to_be_had_only_where_its_affinity_allows() {
        let labels = json!({"kubernetes.io/hostname": "here", "zone": "a", "cores": "8"});
        let check = |affinity: Value, expected: bool| {
            let volume = json!({"spec": {"nodeAffinity": affinity}});
            assert_eq!(allows_node(&volume, "here", &labels), expected, "{affinity}");
        };
        let one =
            |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
        let terms = |terms: Value| json!({"required": {"nodeSelectorTerms": terms}});
        let host = |names: &[&str]| one("kubernetes.io/hostname", "In", names);
        check(Value::Null, true);
        check(json!({}), true);
        check(terms(json!([])), false);
        check(terms(json!([{}])), false);
        check(terms(json!([{"matchExpressions": [host(&["here"])]}])), true);
        check(terms(json!([{"matchExpressions": [host(&["there"])]}])), false);
        check(
            terms(json!([{"matchExpressions": [host(&["there"])]}, {"matchExpressions": [host(&["there", "here"])]}])),
            true,
        );
        check(terms(json!([{"matchExpressions": [host(&["here"]), one("zone", "NotIn", &["a"])]}])), false);
        check(
            terms(json!([{"matchExpressions": [one("cores", "Gt", &["4"]), one("disk", "DoesNotExist", &[])]}])),
            true,
        );
        check(terms(json!([{"matchFields": [one("metadata.name", "In", &["here"])]}])), true);
        check(
            terms(
                json!([{"matchExpressions": [host(&["here"])], "matchFields": [one("metadata.name", "In", &["there"])]}]),
            ),
            false,
        );
    }
}
