//! Where an engine's news meet the watches. Its one lock makes "what the ring has" and "who hears what is next" the
//! same moment, which is why no watch has a gap or a repetition. Nothing waits while it is held.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::watched::ring::Ring;
use crate::{Event, Follower, Interval, Revision, WatchError, WatchLimits};

/// The ring and all live watches.
pub(super) struct Hub {
    state: Mutex<State>,
    limits: WatchLimits,
}

struct State {
    ring: Ring,
    /// Watches of the same keys together, so that an event is compared once for all of them.
    live: HashMap<Interval, Vec<Subscriber>>,
    next_id: u64,
    closed: bool,
}

struct Subscriber {
    id: u64,
    /// It has all events up to here; above the ring's head if another API server's write was read before it came here.
    after: Revision,
    queue: mpsc::Sender<Arc<Event>>,
    end: Arc<OnceLock<WatchError>>,
}

/// A watch's end of the hub. Dropping it unsubscribes.
pub(super) struct Subscription {
    hub: Arc<Hub>,
    interval: Interval,
    id: u64,
    queue: mpsc::Receiver<Arc<Event>>,
    end: Arc<OnceLock<WatchError>>,
}

impl Hub {
    pub(super) fn new(limits: WatchLimits) -> Hub {
        let state = State { ring: Ring::new(limits), live: HashMap::new(), next_id: 0, closed: false };
        Hub { state: Mutex::new(state), limits }
    }

    /// Says that the engine tells everything after `revision`. Events may have come already.
    pub(super) fn starts_at(&self, revision: Revision) {
        self.state().ring.starts_at(revision);
    }

    /// The newest revision that was told here.
    pub(super) fn head(&self) -> Revision {
        self.state().ring.head()
    }

    /// Makes a watch live: what the ring has of `interval` after `after`, and all that comes. `None` if the ring does
    /// not reach back that far.
    pub(super) fn subscribe(
        self: &Arc<Hub>,
        interval: &Interval,
        after: Revision,
    ) -> Option<(VecDeque<Arc<Event>>, Subscription)> {
        let mut state = self.state();
        let backlog = state.ring.after(after, interval)?;
        let (sender, queue) = mpsc::channel(self.limits.queue);
        let end = Arc::new(OnceLock::new());
        let id = state.next_id;
        state.next_id += 1;
        if !state.closed {
            let subscriber = Subscriber { id, after, queue: sender, end: end.clone() };
            state.live.entry(interval.clone()).or_default().push(subscriber);
        }
        Some((backlog, Subscription { hub: self.clone(), interval: interval.clone(), id, queue, end }))
    }

    #[cfg(test)]
    pub(super) fn watches(&self) -> usize {
        self.state().live.values().map(Vec::len).sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under this lock leaves plain data behind that is still consistent, so poisoning says nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&mut self, event: &Arc<Event>, limits: WatchLimits) {
        self.ring.push(event.clone());
        for (interval, subscribers) in &mut self.live {
            if interval.contains(event.key()) {
                subscribers.retain(|subscriber| subscriber.offer(event, limits));
            }
        }
    }
}

impl Subscriber {
    /// Whether the watch goes on.
    fn offer(&self, event: &Arc<Event>, limits: WatchLimits) -> bool {
        if event.revision() <= self.after {
            return true;
        }
        match self.queue.try_send(event.clone()) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(_)) => {
                self.end.get_or_init(|| WatchError::Lagged { queue: limits.queue });
                false
            }
        }
    }
}

impl Follower for Hub {
    fn committed(&self, events: &[Arc<Event>]) {
        let mut state = self.state();
        for event in events {
            state.tell(event, self.limits);
        }
    }

    fn compacted(&self, revision: Revision) {
        self.state().ring.forget(revision);
    }

    fn missed(&self, revision: Revision) {
        let mut state = self.state();
        let requested = state.ring.head();
        let end = WatchError::Compacted { requested, compacted: revision, current: revision };
        for subscriber in state.live.drain().flat_map(|(_, subscribers)| subscribers) {
            subscriber.end.get_or_init(|| end.clone());
        }
        state.ring.starts_at(revision);
    }

    fn closed(&self) {
        let mut state = self.state();
        state.closed = true;
        state.live.clear();
    }
}

impl Subscription {
    /// The next event, or why there is none. Cancel-safe, as `mpsc::Receiver::recv` is.
    pub(super) async fn next(&mut self) -> Result<Arc<Event>, WatchError> {
        match self.queue.recv().await {
            Some(event) => Ok(event),
            None => Err(self.end.get().cloned().unwrap_or(WatchError::Closed)),
        }
    }

    /// The revision up to which all was delivered, if nothing waits and the watch was not cut.
    pub(super) fn progress(&self) -> Option<Revision> {
        let state = self.hub.state();
        let drained = self.queue.is_empty() && !self.queue.is_closed();
        drained.then(|| state.ring.head())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        if let Some(subscribers) = state.live.get_mut(&self.interval) {
            subscribers.retain(|subscriber| subscriber.id != self.id);
            if subscribers.is_empty() {
                state.live.remove(&self.interval);
            }
        }
    }
}
