//! The recent events, oldest first: what lets most watches start without touching the engine. Pure data; the hub owns
//! and locks it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::{Event, Interval, Revision, WatchLimits};

/// Every event with `floor < revision <= head`, as far as the limits allow.
pub(super) struct Ring {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    floor: Revision,
    head: Revision,
    limits: WatchLimits,
}

impl Ring {
    pub(super) fn new(limits: WatchLimits) -> Ring {
        Ring { events: VecDeque::new(), bytes: 0, floor: Revision::NONE, head: Revision::NONE, limits }
    }

    /// The newest revision that the ring has seen.
    pub(super) fn head(&self) -> Revision {
        self.head
    }

    /// Says that nothing up to `revision` is here, and that nothing is missing after it.
    pub(super) fn starts_at(&mut self, revision: Revision) {
        self.head = self.head.max(revision);
        self.forget(revision);
    }

    pub(super) fn push(&mut self, event: Arc<Event>) {
        self.head = event.revision();
        self.bytes += event.weight();
        self.events.push_back(event);
        while self.events.len() > self.limits.events || self.bytes > self.limits.bytes {
            let Some(oldest) = self.events.front() else { break };
            self.forget(oldest.revision());
        }
    }

    /// Drops all events up to and with `revision`: always whole revisions, so that `floor` stays exact.
    pub(super) fn forget(&mut self, revision: Revision) {
        self.floor = self.floor.max(revision);
        let kept = self.events.partition_point(|event| event.revision() <= revision);
        self.bytes -= self.events.drain(..kept).map(|event| event.weight()).sum::<usize>();
    }

    /// All events of `interval` after `revision`, or `None` if the ring does not reach back that far.
    pub(super) fn after(&self, revision: Revision, interval: &Interval) -> Option<VecDeque<Arc<Event>>> {
        if revision < self.floor {
            return None;
        }
        let first = self.events.partition_point(|event| event.revision() <= revision);
        Some(self.events.range(first..).filter(|event| interval.contains(event.key())).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Change;

    fn event(key: &'static str, revision: u64) -> Arc<Event> {
        Arc::new(Event::new(Change::Delete { key: key.into(), revision: Revision(revision) }, None))
    }

    fn ring(events: usize, bytes: usize) -> Ring {
        let mut ring = Ring::new(WatchLimits { events, bytes, ..WatchLimits::default() });
        ring.starts_at(Revision(1));
        ring
    }

    fn revisions(ring: &Ring, after: u64) -> Option<Vec<u64>> {
        let found = ring.after(Revision(after), &Interval::prefix("a"))?;
        Some(found.iter().map(|event| event.revision().0).collect())
    }

    #[test]
    fn a_ring_knows_how_far_back_it_reaches() {
        let mut ring = ring(3, 1000);
        assert_eq!(revisions(&ring, 0), None);
        assert_eq!(revisions(&ring, 1), Some(vec![]));
        for (key, revision) in [("a", 2), ("b", 3), ("a", 4)] {
            ring.push(event(key, revision));
        }
        assert_eq!(revisions(&ring, 1), Some(vec![2, 4]));
        ring.push(event("a", 5));
        assert_eq!(revisions(&ring, 1), None);
        assert_eq!(revisions(&ring, 2), Some(vec![4, 5]));
        assert_eq!(ring.head(), Revision(5));
    }

    #[test]
    fn a_transaction_leaves_the_ring_as_a_whole() {
        let mut ring = ring(3, 1000);
        for (key, revision) in [("a", 2), ("a1", 2), ("a2", 2), ("a", 3)] {
            ring.push(event(key, revision));
        }
        assert_eq!(revisions(&ring, 1), None);
        assert_eq!(revisions(&ring, 2), Some(vec![3]));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut ring = ring(100, 10);
        for revision in 2..=13 {
            ring.push(event("a", revision));
        }
        assert_eq!(revisions(&ring, 2), None);
        assert_eq!(revisions(&ring, 3), Some((4..=13).collect()));
        ring.push(event("a-key-that-is-longer-than-the-ring", 14));
        assert_eq!(revisions(&ring, 13), None);
        assert_eq!(revisions(&ring, 14), Some(vec![]));
    }
}
