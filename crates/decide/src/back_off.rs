//! Waiting longer after each failure: 10 s, doubled up to 5 min, forgotten after 10 quiet minutes.
//!
//! Source: kubernetes `pkg/kubelet/kubelet.go` (MaxCrashLoopBackOff, imageBackOffPeriod) and client-go's `flowcontrol.Backoff`.

use jiff::{SignedDuration, Timestamp};

const FIRST: SignedDuration = SignedDuration::from_secs(10);
const LONGEST: SignedDuration = SignedDuration::from_secs(300);
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_secs(600);

/// How long to wait after the next failure, and when that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    /// The wait.
    pub delay: SignedDuration,
    /// When the last try was made.
    pub since: Timestamp,
}

impl BackOff {
    /// What follows a try at `now`, after a failure at `failed`, given what was before.
    pub fn after(before: Option<Self>, failed: Timestamp, now: Timestamp) -> Self {
        let delay = match before {
            Some(b) if !b.forgotten(failed) => (b.delay * 2).min(LONGEST),
            _ => FIRST,
        };
        Self { delay, since: now }
    }

    /// What a container that was restarted so often would have; for containers met after a restart of the node agent.
    pub fn of_restart_count(restarts: u32, started: Timestamp) -> Option<Self> {
        let doublings = restarts.checked_sub(1)?.min(5);
        Some(Self { delay: (FIRST * (1 << doublings)).min(LONGEST), since: started })
    }

    /// From when on another try may be made, after a failure at `failed`.
    pub fn until(&self, failed: Timestamp) -> Timestamp {
        if self.forgotten(failed) { failed } else { failed.saturating_add(self.delay).unwrap_or(Timestamp::MAX) }
    }

    fn forgotten(&self, failed: Timestamp) -> bool {
        failed.duration_since(self.since) > FORGOTTEN_AFTER
    }
}

/// A duration as Go prints it, in whole seconds: `10s`, `1m20s`, `5m0s`.
pub fn go_duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_crashing_container_waits_10_s_then_twice_as_long_up_to_5_min() {
        let mut now = 1000;
        let mut back_off = None;
        let mut waits = Vec::new();
        for _ in 0..8 {
            let until = back_off.map_or(at(now), |b: BackOff| b.until(at(now)));
            waits.push(until.as_second() - now);
            back_off = Some(BackOff::after(back_off, at(now), until));
            now = until.as_second() + 1;
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn ten_minutes_of_running_are_forgiveness() {
        let long = BackOff { delay: LONGEST, since: at(0) };
        assert_eq!(long.until(at(601)), at(601));
        assert_eq!(BackOff::after(Some(long), at(601), at(601)).delay, FIRST);
    }

    #[test]
    fn durations_read_as_go_prints_them() {
        for (seconds, expected) in [(10, "10s"), (80, "1m20s"), (300, "5m0s"), (3600, "1h0m0s")] {
            assert_eq!(go_duration(SignedDuration::from_secs(seconds)), expected);
        }
    }
}
