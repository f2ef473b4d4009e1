//! Who is looked at, and when: each key by one look at a time, again if something has happened meanwhile, later if that look has failed or
//! asks for it. The order is [`Turns`], which is pure; [`run`] has the time and the calls.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::per_object::CallError;
use crate::retry;

/// The pause before a moment that is over.
const LEAST: Duration = Duration::from_secs(1);

/// The most looks at one time.
const LOOKS: usize = 8;

/// What a look comes to.
pub(crate) type Looked = Result<Next, CallError>;

/// What follows a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing, unless something happens.
    Done,
    /// Another look, if nothing happens before.
    Later(Duration),
    /// Another look, after pauses that grow, since what this one has read has changed meanwhile.
    Anew,
}

impl Next {
    /// A look at this moment. One that is over is looked at after a pause all the same: whoever names it again and again must not keep us busy.
    pub(crate) fn at(moment: Option<Timestamp>, now: Timestamp) -> Self {
        let Some(moment) = moment else { return Self::Done };
        Self::Later(Duration::try_from(now.duration_until(moment)).ok().filter(|rest| !rest.is_zero()).unwrap_or(LEAST))
    }
}

/// What is to be done about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Effect<K> {
    Look(K),
    /// And then say [`Turns::rested`], with this number.
    Rest(K, Duration, u64),
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Looking {
        again: bool,
    },
    /// After a failure, or a change under our hands: nothing is done before the pause of this number is over.
    Resting(u64),
    /// Nothing is to be done before the pause of this number is over, unless something happens.
    Idle(u64),
}

#[derive(Debug)]
struct Turn {
    state: State,
    failures: u32,
}

/// Whose turn it is. Keys that have nothing to wait for are forgotten.
#[derive(Debug)]
struct Turns<K> {
    turns: HashMap<K, Turn>,
    waiting: std::collections::VecDeque<K>,
    looking: usize,
    pauses: u64,
}

impl<K: Clone + Eq + Hash> Turns<K> {
    fn new() -> Self {
        Self { turns: HashMap::new(), waiting: std::collections::VecDeque::new(), looking: 0, pauses: 0 }
    }

    /// Something has happened to it.
    fn wake(&mut self, key: K) -> Vec<Effect<K>> {
        let turn = self.turns.entry(key.clone()).or_insert(Turn { state: State::Idle(0), failures: 0 });
        match &mut turn.state {
            State::Looking { again } => *again = true,
            State::Waiting | State::Resting(_) => {}
            State::Idle(_) => {
                turn.state = State::Waiting;
                self.waiting.push_back(key);
            }
        }
        self.next()
    }

    /// A look has ended. One that has failed is taken up [anew](Next::Anew).
    fn looked(&mut self, key: K, next: Next) -> Vec<Effect<K>> {
        self.looking -= 1;
        let mut effects = Vec::new();
        let Some(turn) = self.turns.get_mut(&key) else { return self.next() };
        turn.failures = if next == Next::Anew { turn.failures.saturating_add(1) } else { 0 };
        self.pauses += 1;
        let number = self.pauses;
        match (next, turn.state == State::Looking { again: true }) {
            (Next::Anew, _) => {
                turn.state = State::Resting(number);
                effects.push(Effect::Rest(key, retry::pause(turn.failures), number));
            }
            (_, true) => {
                turn.state = State::Waiting;
                self.waiting.push_back(key);
            }
            (Next::Later(pause), false) => {
                turn.state = State::Idle(number);
                effects.push(Effect::Rest(key, pause, number));
            }
            (Next::Done, false) => {
                self.turns.remove(&key);
            }
        }
        effects.extend(self.next());
        effects
    }

    /// A pause is over; nothing happens if another one has begun since.
    fn rested(&mut self, key: &K, number: u64) -> Vec<Effect<K>> {
        if let Some(turn) = self.turns.get_mut(key)
            && (turn.state == State::Resting(number) || turn.state == State::Idle(number))
        {
            turn.state = State::Waiting;
            self.waiting.push_back(key.clone());
        }
        self.next()
    }

    fn next(&mut self) -> Vec<Effect<K>> {
        let mut effects = Vec::new();
        while self.looking < LOOKS
            && let Some(key) = self.waiting.pop_front()
        {
            if let Some(turn) = self.turns.get_mut(&key) {
                turn.state = State::Looking { again: false };
                self.looking += 1;
                effects.push(Effect::Look(key));
            }
        }
        effects
    }
}

/// The pauses under way, one a key: those that nobody waits for any more may be long, and would pile up.
struct Pauses<K> {
    ends: FuturesUnordered<Abortable<BoxFuture<'static, (K, u64)>>>,
    of: HashMap<K, AbortHandle>,
}

impl<K: Clone + Eq + Hash + Send + 'static> Pauses<K> {
    fn new() -> Self {
        Self { ends: FuturesUnordered::new(), of: HashMap::new() }
    }

    fn begin(&mut self, key: K, pause: Duration, number: u64) {
        let (handle, registration) = AbortHandle::new_pair();
        let ended = key.clone();
        let end = tokio::time::sleep(pause).map(move |()| (ended, number)).boxed();
        self.ends.push(Abortable::new(end, registration));
        if let Some(before) = self.of.insert(key, handle) {
            before.abort();
        }
    }

    fn stop(&mut self, key: &K) {
        if let Some(pause) = self.of.remove(key) {
            pause.abort();
        }
    }

    /// The next that is over; none if there is none. Cancel-safe: what is not over stays.
    async fn next(&mut self) -> Option<(K, u64)> {
        loop {
            if let Ok(over) = self.ends.next().await? {
                return Some(over);
            }
        }
    }
}

/// Looks at whatever `wakes` names, until dropped.
pub(crate) async fn run<K, F>(name: &'static str, mut wakes: UnboundedReceiver<K>, look: impl Fn(K) -> F)
where
    K: Clone + Eq + Hash + Display + Send + 'static,
    F: Future<Output = Looked> + Send + 'static,
{
    let mut turns = Turns::new();
    let mut looks: FuturesUnordered<BoxFuture<'static, (K, Looked)>> = FuturesUnordered::new();
    let mut pauses = Pauses::new();
    loop {
        // All arms are cancel-safe: a message that was not received and a future that was not ready stay where they are.
        let effects = tokio::select! {
            Some(key) = wakes.recv() => turns.wake(key),
            Some((key, number)) = pauses.next() => turns.rested(&key, number),
            Some((key, looked)) = looks.next() => {
                let next = told(name, &key, looked);
                turns.looked(key, next)
            }
            else => return,
        };
        for effect in effects {
            match effect {
                Effect::Look(key) => {
                    pauses.stop(&key);
                    looks.push(look(key.clone()).map(|looked| (key, looked)).boxed());
                }
                Effect::Rest(key, pause, number) => pauses.begin(key, pause, number),
            }
        }
    }
}

/// What follows a look; why it is to be repeated is told.
fn told(name: &'static str, key: &impl Display, looked: Looked) -> Next {
    match looked {
        Ok(next) => {
            if next == Next::Anew {
                tracing::debug!(controller = name, %key, "has changed meanwhile, will be looked at anew");
            }
            next
        }
        Err(error) => {
            let error: &(dyn std::error::Error + Send + Sync + 'static) = &error;
            tracing::warn!(controller = name, %key, error, "will be tried again");
            Next::Anew
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_looked_at_once_at_a_time() {
        let mut turns = Turns::new();
        assert_eq!(turns.wake("a"), [Effect::Look("a")]);
        assert_eq!(turns.wake("a"), []);
        assert_eq!(turns.wake("b"), [Effect::Look("b")]);
        assert_eq!(turns.looked("a", Next::Done), [Effect::Look("a")]);
        assert_eq!(turns.looked("a", Next::Done), []);
        assert_eq!(turns.looked("b", Next::Done), []);
        assert!(turns.turns.is_empty());
    }

    #[test]
    fn failures_are_followed_by_pauses_that_events_do_not_cut_short() {
        let mut turns = Turns::new();
        turns.wake("a");
        let first = turns.looked("a", Next::Anew);
        assert_eq!(first, [Effect::Rest("a", retry::pause(1), 1)]);
        assert_eq!(turns.wake("a"), []);
        assert_eq!(turns.rested(&"a", 1), [Effect::Look("a")]);
        assert_eq!(turns.looked("a", Next::Anew), [Effect::Rest("a", retry::pause(2), 2)]);
        turns.rested(&"a", 2);
        assert_eq!(turns.looked("a", Next::Done), []);
        assert!(turns.turns.is_empty());
    }

    #[test]
    fn a_look_that_was_asked_for_comes_sooner_if_something_happens() {
        let mut turns = Turns::new();
        turns.wake("a");
        let later = Next::Later(Duration::from_secs(9));
        assert_eq!(turns.looked("a", later), [Effect::Rest("a", Duration::from_secs(9), 1)]);
        assert_eq!(turns.wake("a"), [Effect::Look("a")]);
        // The pause that is over was of an earlier look.
        assert_eq!(turns.rested(&"a", 1), []);
        assert_eq!(turns.looked("a", Next::Done), []);
    }

    #[test]
    fn what_changes_again_and_again_is_looked_at_more_and_more_seldom() {
        let mut turns = Turns::new();
        turns.wake("a");
        for number in 1..=10 {
            let rests = turns.looked("a", Next::Anew);
            assert_eq!(rests, [Effect::Rest("a", retry::pause(u32::try_from(number).unwrap()), number)]);
            assert_eq!(turns.wake("a"), []);
            turns.rested(&"a", number);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_nobody_waits_for_is_forgotten() {
        let mut pauses = Pauses::new();
        for number in 0..100 {
            pauses.begin("a", Duration::from_secs(u64::from(u32::MAX)), number);
            pauses.stop(&"a");
        }
        for number in 100..200 {
            pauses.begin("b", Duration::from_secs(9), number);
        }
        assert_eq!(pauses.next().await, Some(("b", 199)));
        pauses.stop(&"b");
        assert_eq!((pauses.ends.len(), pauses.of.len()), (0, 0));
        assert_eq!(pauses.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_looked_at_when_it_asks_for_it_and_when_something_happens() {
        let (wakes, woken) = tokio::sync::mpsc::unbounded_channel();
        let (looks, mut looked) = tokio::sync::mpsc::unbounded_channel();
        wakes.send("a").unwrap();
        let look = move |key| {
            let told = looks.send(key);
            async move { told.map(|()| Next::Later(Duration::from_secs(9))).map_err(|_| unreachable!()) }
        };
        let running = tokio::spawn(run("test", woken, look));
        let began = tokio::time::Instant::now();
        assert_eq!((looked.recv().await, began.elapsed().as_secs()), (Some("a"), 0));
        tokio::time::advance(Duration::from_secs(5)).await;
        wakes.send("a").unwrap();
        assert_eq!((looked.recv().await, began.elapsed().as_secs()), (Some("a"), 5));
        assert_eq!((looked.recv().await, began.elapsed().as_secs()), (Some("a"), 14));
        running.abort();
    }

    #[test]
    fn a_moment_that_is_over_is_no_reason_to_hurry() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(Next::at(None, now), Next::Done);
        for (moment, millis) in
            [("2026-01-02T03:04:05.2Z", 200), ("2026-01-02T03:04:05Z", 1000), ("2025-01-01T00:00:00Z", 1000)]
        {
            assert_eq!(Next::at(Some(moment.parse().unwrap()), now), Next::Later(Duration::from_millis(millis)));
        }
    }

    #[test]
    fn no_more_are_looked_at_than_can_be() {
        let mut turns = Turns::new();
        let begun: usize = (0..20).map(|key| turns.wake(key).len()).sum();
        assert_eq!(begun, LOOKS);
        assert_eq!(turns.looked(0, Next::Done), [Effect::Look(LOOKS)]);
    }
}
