//! Holds requests until they may be answered. Who waits and who is next is decided by [`remora_rules::flow`]; here are the lock around that
//! decision and the wait for it.
//!
//! ```text
//! enter ──▶ has a seat ──▶ answered, or the client has gone: the next one's turn
//!    └────▶ waits ──▶ has a seat
//!             └─────▶ too long (429), or the client has gone: its place is free
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use remora_http::User;
use remora_model::Status;
use remora_rules::flow::{Arrival, FairQueue, Level, Ticket};
use tokio::sync::oneshot;

/// How many requests are answered at one time, of all users but `system:masters`; the sum of kube-apiserver's two limits.
pub const DEFAULT_MAX_IN_FLIGHT: usize = 600;
/// How long a request waits for its turn: a quarter of the time that it may take, as upstream.
const MAX_WAIT: Duration = Duration::from_secs(15);
/// When a client that was refused may come again, in seconds.
const RETRY_AFTER: u32 = 1;

/// What is counted, under upstream's names. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct FlowCounters {
    /// Requests that got a 429.
    pub(crate) rejected: Family<Rejected, Counter>,
    /// Requests that wait.
    pub(crate) waiting: Family<LevelLabels, Gauge>,
    /// Requests that are being answered.
    pub(crate) executing: Family<LevelLabels, Gauge>,
    /// The seats that they take.
    pub(crate) seats: Family<LevelLabels, Gauge>,
}

/// A priority level.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LevelLabels {
    priority_level: &'static str,
}

/// Why requests of a level were refused: `queue-full` or `time-out`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Rejected {
    priority_level: &'static str,
    reason: &'static str,
}

/// Where requests wait.
pub struct Gate {
    levels: [Arc<Room>; 3],
    counters: FlowCounters,
}

/// The seats of one level.
struct Room {
    level: Level,
    queue: Mutex<Queue>,
    waiting: Gauge,
    executing: Gauge,
    seats: Gauge,
}

struct Queue {
    fair: FairQueue,
    /// Whoever waits is told here.
    asleep: HashMap<Ticket, oneshot::Sender<()>>,
}

impl Gate {
    /// A gate with that many seats. No level gets fewer than one.
    pub fn new(max_in_flight: usize) -> Self {
        let counters = FlowCounters::default();
        let levels = Level::LIMITED.map(|level| Arc::new(Room::new(level, max_in_flight, &counters)));
        Self { levels, counters }
    }

    /// What it counts.
    pub fn counters(&self) -> &FlowCounters {
        &self.counters
    }

    /// Waits for as many seats as the request needs. `None` for those who never wait.
    ///
    /// # Errors
    /// 429 if too many wait already, or it takes too long.
    pub async fn enter(&self, user: &User, width: usize) -> Result<Option<Seat>, Status> {
        let level = Level::of(&user.name, &user.groups);
        let Some(room) = self.levels.iter().find(|room| room.level == level) else { return Ok(None) };
        match room.arrive(&user.name, width) {
            Entry::Go(seat) => Ok(Some(seat)),
            // If this is dropped while it waits, so is the seat.
            Entry::Wait(seat, turn) => match tokio::time::timeout(MAX_WAIT, turn).await {
                Ok(_told) => Ok(Some(seat)),
                Err(_too_late) => Err(self.refuse(level, "time-out")),
            },
            Entry::Refused => Err(self.refuse(level, "queue-full")),
        }
    }

    fn refuse(&self, level: Level, reason: &'static str) -> Status {
        self.counters.rejected.get_or_create(&Rejected { priority_level: level.name(), reason }).inc();
        Status::too_many_requests("Too many requests, please try again later.", RETRY_AFTER)
    }
}

enum Entry {
    Go(Seat),
    Wait(Seat, oneshot::Receiver<()>),
    Refused,
}

impl Queue {
    fn done(&mut self, flow: &str, width: usize) {
        let next = self.fair.done(flow, width);
        self.wake(next);
    }

    fn wake(&mut self, next: Vec<Ticket>) {
        for turn in next.iter().filter_map(|ticket| self.asleep.remove(ticket)) {
            // One that goes at this moment has not left yet, for that takes the lock: it will give the seat on.
            let _is_awake = turn.send(());
        }
    }

    /// Whether it was still waiting.
    fn leave(&mut self, flow: &str, ticket: Ticket) -> bool {
        self.asleep.remove(&ticket);
        let Some(next) = self.fair.leave(flow, ticket) else { return false };
        self.wake(next);
        true
    }
}

impl Room {
    fn new(level: Level, max_in_flight: usize, counters: &FlowCounters) -> Self {
        let labels = LevelLabels { priority_level: level.name() };
        let queue = Queue { fair: FairQueue::new(level.seats(max_in_flight)), asleep: HashMap::new() };
        Self {
            level,
            queue: Mutex::new(queue),
            waiting: counters.waiting.get_or_create_owned(&labels),
            executing: counters.executing.get_or_create_owned(&labels),
            seats: counters.seats.get_or_create_owned(&labels),
        }
    }

    /// Nothing that holds the lock can panic halfway.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrive(self: &Arc<Self>, flow: &str, width: usize) -> Entry {
        let mut queue = self.lock();
        let seat = |ticket| Seat { room: Arc::clone(self), flow: flow.to_owned(), width, ticket };
        let entry = match queue.fair.arrive(flow, width) {
            Arrival::Go => Entry::Go(seat(None)),
            Arrival::Wait(ticket) => {
                let (tell, turn) = oneshot::channel();
                queue.asleep.insert(ticket, tell);
                Entry::Wait(seat(Some(ticket)), turn)
            }
            Arrival::Refused => Entry::Refused,
        };
        self.count(&queue);
        entry
    }

    fn count(&self, queue: &Queue) {
        let as_gauge = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.waiting.set(as_gauge(queue.fair.waiting()));
        self.executing.set(as_gauge(queue.fair.executing()));
        self.seats.set(as_gauge(queue.fair.taken()));
    }
}

/// A place in a queue, or the right to be answered. Dropped, it goes to others.
pub struct Seat {
    room: Arc<Room>,
    flow: String,
    width: usize,
    /// Of one that has waited.
    ticket: Option<Ticket>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut queue = self.room.lock();
        let waited_in_vain = self.ticket.is_some_and(|ticket| queue.leave(&self.flow, ticket));
        if !waited_in_vain {
            queue.done(&self.flow, self.width);
        }
        self.room.count(&queue);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn user(name: &str) -> User {
        User::new(name, ["system:authenticated"])
    }

    /// Two seats for each level.
    fn gate() -> Gate {
        Gate::new(8).levels_of(2)
    }

    impl Gate {
        fn levels_of(self, seats: usize) -> Self {
            for room in &self.levels {
                room.lock().fair = FairQueue::new(seats);
            }
            self
        }

        fn now(&self) -> (usize, usize) {
            let queue = self.levels[2].lock();
            (queue.fair.taken(), queue.fair.waiting())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_goes_when_a_seat_is_free() {
        let gate = gate();
        let first = gate.enter(&user("a"), 1).await.unwrap().unwrap();
        let jane = user("a");
        let mut second = Box::pin(gate.enter(&jane, 1));
        assert!(second.as_mut().now_or_never().is_none());
        // Another user's seat is free, and the system and the admin have theirs anyway.
        let other = gate.enter(&user("b"), 1).await.unwrap();
        assert!(gate.enter(&User::new("admin", ["system:masters"]), 1).await.unwrap().is_none());
        assert!(gate.enter(&User::new("system:node:n", ["system:nodes"]), 1).await.unwrap().is_some());
        assert_eq!(gate.now(), (2, 1));
        drop(first);
        let second = second.await.unwrap();
        drop((second, other));
        assert_eq!(gate.now(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_seat_that_a_client_does_not_wait_for_is_not_lost() {
        let gate = gate();
        let seat = gate.enter(&user("a"), 1).await.unwrap();
        let jane = user("a");
        let (mut gone, mut told) = (Box::pin(gate.enter(&jane, 1)), Box::pin(gate.enter(&jane, 1)));
        assert!(gone.as_mut().now_or_never().is_none() && told.as_mut().now_or_never().is_none());
        drop(gone);
        assert_eq!(gate.now(), (1, 1));
        // It has got the seat, and has gone before it knew.
        drop(seat);
        assert_eq!(gate.now(), (1, 0));
        drop(told);
        assert_eq!(gate.now(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_has_an_end_and_says_when_to_come_again() {
        let gate = gate();
        let _seat = gate.enter(&user("a"), 1).await.unwrap();
        let begun = tokio::time::Instant::now();
        let Err(refused) = gate.enter(&user("a"), 1).await else { panic!("there is no seat") };
        assert_eq!(begun.elapsed(), MAX_WAIT);
        assert_eq!((refused.code, refused.reason.as_str()), (429, "TooManyRequests"));
        assert_eq!(refused.details.unwrap().retry_after_seconds, RETRY_AFTER);
        assert_eq!(gate.now(), (1, 0));
    }
}
