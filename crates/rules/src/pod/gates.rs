//! Fields behind feature gates that v1.34 has off by default: dropped silently from what is written, unless the stored
//! object has them already. One table.

use serde_json::Value;

use crate::object::{items_mut, remove};

/// Fields of every container of a list.
const OF_CONTAINERS: [(&str, &[&str]); 3] = [
    ("containers", &["restartPolicyRules"]),
    ("initContainers", &["restartPolicyRules"]),
    // Restart rules of single containers (KEP-5307) would come to ephemeral ones too: until then they have no policy.
    ("ephemeralContainers", &["restartPolicy", "restartPolicyRules"]),
];
/// Fields of the spec.
const OF_SPEC: [&str; 1] = ["hostnameOverride"];

/// Drops what is switched off from a pod's spec.
pub fn drop_disabled(pod: &mut Value) {
    let Some(spec) = pod.get_mut("spec") else { return };
    for field in OF_SPEC {
        remove(spec, field);
    }
    for (list, fields) in OF_CONTAINERS {
        for container in items_mut(spec, list) {
            for field in fields {
                remove(container, field);
            }
            // Container stop signals (KEP-4960).
            if let Some(lifecycle) = container.get_mut("lifecycle") {
                remove(lifecycle, "stopSignal");
            }
        }
    }
}
