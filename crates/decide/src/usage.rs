//! How fast processor time is used. Usage is a counter: a rate takes two readings. Nobody reads while nobody asks, so the first who asks waits a
//! moment for the second reading; who asks soon after is compared with that one's first.
//!
//! ```text
//! age of the kept reading   0 ──── 0.5 s ──────── 15 s ──────────── 60 s ────▶
//!                             wait   │   compare   │  compare, and   │ too old: read, wait
//!                           for that │             │  keep a new one │
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use remora_model::usage::Rate;

/// Below this, what is measured is how the kernel happened to schedule.
pub const SHORTEST_WINDOW: SignedDuration = SignedDuration::from_millis(500);
/// After so long another reading is kept: rates are about now.
const KEPT_FOR: SignedDuration = SignedDuration::from_secs(15);
/// A rate over more than this says nothing about now.
const LONGEST_WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// One look at all counters of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// When.
    pub at: Timestamp,
    /// By what is counted.
    pub counters: BTreeMap<Counted, Counter>,
}

/// Whose processor time it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    /// The machine's.
    Node,
    /// A pod's, by its UID.
    Pod(String),
    /// A container's, by its id.
    Container(String),
}

/// Processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// When it was read.
    pub at: Timestamp,
    /// Nanoseconds.
    pub total: u64,
}

/// What to do before something is read that shall be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Read, keep that, and wait so long.
    Read(Duration),
    /// Wait so long.
    Wait(Duration),
    /// Nothing; and keep another reading for those who come later.
    Renew,
    /// Nothing.
    Compare,
}

/// What to do, with the reading that is kept.
pub fn before(kept: Option<&Reading>, now: Timestamp) -> Before {
    let Some(kept) = kept else { return Before::Read(SHORTEST_WINDOW.unsigned_abs()) };
    let age = now.duration_since(kept.at);
    // A clock that was set back makes it as useless as age does.
    if age.is_negative() || age > LONGEST_WINDOW {
        Before::Read(SHORTEST_WINDOW.unsigned_abs())
    } else if age < SHORTEST_WINDOW {
        Before::Wait((SHORTEST_WINDOW - age).unsigned_abs())
    } else if age > KEPT_FOR {
        Before::Renew
    } else {
        Before::Compare
    }
}

/// How fast a counter has grown since a reading. What started after that has grown since its start.
pub fn rate(kept: &Reading, of: &Counted, now: Counter, started: Timestamp) -> Option<Rate> {
    let first = match kept.counters.get(of) {
        Some(counter) => *counter,
        None if started > kept.at => Counter { at: started, total: 0 },
        None => return None,
    };
    let window = Duration::try_from(now.at.duration_since(first.at)).ok().filter(|window| !window.is_zero())?;
    let grown = u128::from(now.total.checked_sub(first.total)?);
    let nano_cores = u64::try_from(grown * 1_000_000_000 / window.as_nanos()).ok()?;
    Some(Rate { nano_cores, window })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    fn reading(milliseconds: i64, counters: &[(&str, u64)]) -> Reading {
        let at = at(milliseconds);
        let counters =
            counters.iter().map(|(id, total)| (Counted::Container((*id).to_owned()), Counter { at, total: *total }));
        Reading { at, counters: counters.collect() }
    }

    #[test]
    fn a_reading_is_kept_for_as_long_as_it_says_something() {
        let check = |age: Option<i64>, expected| {
            let kept = age.map(|_| reading(100_000, &[]));
            let now = at(100_000 + age.unwrap_or(0));
            assert_eq!(before(kept.as_ref(), now), expected, "{age:?}");
        };
        let shortest = Duration::from_millis(500);
        check(None, Before::Read(shortest));
        check(Some(0), Before::Wait(shortest));
        check(Some(400), Before::Wait(Duration::from_millis(100)));
        check(Some(500), Before::Compare);
        check(Some(15_000), Before::Compare);
        check(Some(15_001), Before::Renew);
        check(Some(60_000), Before::Renew);
        check(Some(60_001), Before::Read(shortest));
        check(Some(-1), Before::Read(shortest));
    }

    #[test]
    fn rates_are_what_has_grown_in_a_window() {
        let kept = reading(10_000, &[("a", 1_000_000_000), ("reset", 9_000_000_000)]);
        let check = |id: &str, now: i64, total: u64, started: i64, expected: Option<(u64, u64)>| {
            let counter = Counter { at: at(now), total };
            let got = rate(&kept, &Counted::Container(id.to_owned()), counter, at(started));
            let got = got.map(|rate| (rate.nano_cores, rate.window.as_millis() as u64));
            assert_eq!(got, expected, "{id} at {now}");
        };
        // Half a processor for two seconds.
        check("a", 12_000, 2_000_000_000, 0, Some((500_000_000, 2_000)));
        check("a", 12_000, 1_000_000_000, 0, Some((0, 2_000)));
        check("a", 10_000, 1_000_000_000, 0, None);
        check("a", 9_000, 1_000_000_000, 0, None);
        // It began a second ago, after the reading.
        check("new", 12_000, 250_000_000, 11_000, Some((250_000_000, 1_000)));
        // It was there already, and was not seen.
        check("unseen", 12_000, 250_000_000, 9_000, None);
        check("reset", 12_000, 1, 0, None);
    }
}
