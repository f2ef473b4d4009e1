//! How long to wait after failures. Pure, but for the map that counts them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(60);
/// Above this, all counts start anew: names that are never seen again must not pile up.
const MOST_NAMES: usize = 4096;

/// The pause after so many failures in a row (at least one).
pub(crate) fn pause(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(LONGEST)
}

/// Failures in a row, by name.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    counts: Mutex<HashMap<String, u32>>,
}

impl Failures {
    /// Counts one more, and says how long to wait.
    pub(crate) fn failed(&self, name: &str) -> Duration {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MOST_NAMES {
            counts.clear();
        }
        let count = counts.entry(name.to_owned()).or_default();
        *count = count.saturating_add(1);
        pause(*count)
    }

    /// Forgets them.
    pub(crate) fn succeeded(&self, name: &str) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let check = |failures: u32, expected: u64| assert_eq!(pause(failures), Duration::from_millis(expected));
        check(1, 20);
        check(2, 40);
        check(5, 320);
        check(12, 40_960);
        check(13, 60_000);
        check(u32::MAX, 60_000);
    }

    #[test]
    fn a_success_forgets_failures() {
        let failures = Failures::default();
        assert_eq!(
            [failures.failed("a"), failures.failed("a"), failures.failed("b")].map(|p| p.as_millis()),
            [20, 40, 20]
        );
        failures.succeeded("a");
        assert_eq!(failures.failed("a").as_millis(), 20);
    }
}
