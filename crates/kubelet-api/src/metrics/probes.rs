//! `/metrics/probes`. Source: kubernetes `pkg/kubelet/prober/prober_manager.go`.

use super::{Exposition, Kind};
use crate::agent::ProbeCount;

const NAME: &str = "prober_probe_total";

/// The text.
pub(crate) fn text(counts: &[ProbeCount]) -> String {
    let mut text = Exposition::default();
    let help = "[BETA] Cumulative number of a liveness, readiness or startup probe for a container by result.";
    text.family(NAME, Kind::Counter, help);
    for count in counts {
        let results = [("successful", count.successful), ("failed", count.failed)];
        for (result, number) in results.into_iter().filter(|(_, number)| *number > 0) {
            let labels = [
                ("container", count.container.as_str()),
                ("namespace", &count.namespace),
                ("pod", &count.pod),
                ("pod_uid", &count.uid),
                ("probe_type", count.kind),
                ("result", result),
            ];
            text.sample(NAME, &labels, number, None);
        }
    }
    text.finish()
}
