//! What is known of the log, and who is told: the state that the link's watch moves on and everybody else reads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use remora_store::{Error, Event, Follower, Revision};
use tokio::sync::watch;

/// How far followers have been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// Everything up to here.
    pub(crate) head: Revision,
    /// The last of it that changed a key of ours. A watch that begins earlier is certain to deliver it: so one knows when it has caught up.
    pub(crate) last_event: Revision,
    /// What happened up to here is not told any more, also where etcd still could: followers were told that it is missed. It need not be an
    /// event: in an etcd that is shared, others write too, and no watch ever delivers that.
    pub(crate) missed: Revision,
}

impl Position {
    /// Told up to an event, and nothing missed.
    pub(crate) fn at_event(revision: Revision) -> Position {
        Position { head: revision, last_event: revision, missed: Revision::NONE }
    }

    /// The same, and told up to a later event.
    fn then(self, event: Revision) -> Position {
        Position { head: event, last_event: event, ..self }
    }
}

pub(crate) struct News {
    state: Mutex<State>,
    head: watch::Sender<Revision>,
}

struct State {
    followers: Vec<Arc<dyn Follower>>,
    position: Option<Position>,
    closed: bool,
}

impl News {
    pub(crate) fn new() -> News {
        let state = State { followers: Vec::new(), position: None, closed: false };
        News { state: Mutex::new(state), head: watch::Sender::new(Revision::NONE) }
    }

    /// `None` before the first connection.
    pub(crate) fn position(&self) -> Option<Position> {
        self.state().position
    }

    /// Tells `follower` everything from the returned revision on.
    pub(crate) fn follow(&self, follower: Arc<dyn Follower>) -> Result<Revision, Error> {
        let mut state = self.state();
        if state.closed {
            return Err(Error::Closed);
        }
        state.followers.push(follower);
        Ok(state.position.map_or(Revision::EMPTY, |position| position.head))
    }

    /// Where the first watch begins.
    pub(crate) fn starts_at(&self, position: Position) {
        self.state().position = Some(position);
        self.head.send_replace(position.head);
    }

    pub(crate) fn committed(&self, events: &[Arc<Event>]) {
        let Some(last) = events.last().map(|event| event.revision()) else { return };
        let mut state = self.state();
        state.position = Some(state.position.map_or(Position::at_event(last), |position| position.then(last)));
        state.followers.iter().for_each(|follower| follower.committed(events));
        drop(state);
        self.head.send_replace(last);
    }

    pub(crate) fn progress(&self, revision: Revision) {
        let mut state = self.state();
        if let Some(position) = &mut state.position
            && position.head < revision
        {
            position.head = revision;
        }
    }

    /// What happened up to `revision` cannot be told any more.
    pub(crate) fn missed(&self, revision: Revision) {
        let mut state = self.state();
        state.position = Some(Position { missed: revision, ..Position::at_event(revision) });
        state.followers.iter().for_each(|follower| follower.missed(revision));
        drop(state);
        self.head.send_replace(revision);
    }

    pub(crate) fn compacted(&self, revision: Revision) {
        self.state().followers.iter().for_each(|follower| follower.compacted(revision));
    }

    pub(crate) fn closed(&self) {
        let mut state = self.state();
        state.closed = true;
        state.followers.drain(..).for_each(|follower| follower.closed());
    }

    /// Returns when followers have been told of `revision`.
    pub(crate) async fn told(&self, revision: Revision) {
        let mut head = self.head.subscribe();
        // The sender lives as long as `self`: this cannot fail.
        let _told = head.wait_for(|head| *head >= revision).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under this lock leaves plain data behind that is still consistent, so poisoning says nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
