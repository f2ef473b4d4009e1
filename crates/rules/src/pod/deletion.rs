//! How long a pod gets to end when it is deleted (upstream: `podStrategy.CheckGracefulDelete`).

use serde_json::Value;

use crate::object::{integer, text};

/// Seconds: what was asked for, else the spec's; nothing for a pod that no node runs, or that has ended. A negative
/// wish is one second.
pub fn grace_period(pod: &Value, asked: Option<i64>) -> i64 {
    let unscheduled = text(pod, &["spec", "nodeName"]).is_empty();
    let ended = matches!(text(pod, &["status", "phase"]), "Failed" | "Succeeded");
    if unscheduled || ended {
        return 0;
    }
    let wish = asked.or_else(|| integer(pod, &["spec", "terminationGracePeriodSeconds"])).unwrap_or(30);
    if wish < 0 { 1 } else { wish }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_wish_counts_then_the_spec() {
        let pod = json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 5}});
        for (asked, expected) in [(None, 5), (Some(0), 0), (Some(60), 60), (Some(-1), 1)] {
            assert_eq!(grace_period(&pod, asked), expected);
        }
        assert_eq!(grace_period(&json!({"spec": {}}), Some(9)), 0);
    }
}
