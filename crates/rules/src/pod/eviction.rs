//! What an eviction says on the pod that it deletes (upstream: `pkg/registry/core/pod/storage/eviction.go`).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::admission::push;
use crate::object::{field_mut, items_mut, text};
use crate::time;

const TYPE: &str = "DisruptionTarget";

/// The pod with the condition that it is being evicted; `None` if it says so already.
pub fn mark(mut pod: Value, now: Timestamp) -> Option<Value> {
    let condition = json!({
        "type": TYPE,
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": time::seconds(now),
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    });
    let status = field_mut(&mut pod, "status");
    let there = items_mut(status, "conditions").find(|condition| text(condition, &["type"]) == TYPE);
    match there {
        Some(there) if text(there, &["status"]) == "True" => return None,
        Some(there) => *there = condition,
        None => push(status, "conditions", condition),
    }
    Some(pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_says_once_that_it_is_evicted() {
        let now = Timestamp::UNIX_EPOCH;
        let check = |conditions: Value, expected: Option<usize>| {
            let marked = mark(json!({"status": {"conditions": conditions}}), now);
            let count = marked.map(|pod| {
                let conditions = pod["status"]["conditions"].as_array().unwrap().clone();
                assert!(conditions.iter().any(|c| c["reason"] == "EvictionByEvictionAPI"));
                conditions.len()
            });
            assert_eq!(count, expected);
        };
        check(json!([]), Some(1));
        check(json!([{"type": "Ready", "status": "True"}]), Some(2));
        check(json!([{"type": TYPE, "status": "False"}]), Some(1));
        check(json!([{"type": TYPE, "status": "True"}]), None);
    }
}
