//! Who is looked at, and when: each key by one look at a time, again if something has happened meanwhile, later if that look has failed or
//! asks for it. The order is [`Turns`], which is pure; [`run`] has the time and the calls.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::per_object::CallError;
use crate::retry;

/// The most looks at one time.
const LOOKS: usize = 8;

/// What a look comes to: when to look again, if nothing happens before.
pub(crate) type Looked = Result<Option<Duration>, CallError>;

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
    /// After a failure: nothing is done before the pause of this number is over.
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

    /// A look has ended.
    fn looked(&mut self, key: K, failed: bool, later: Option<Duration>) -> Vec<Effect<K>> {
        self.looking -= 1;
        let mut effects = Vec::new();
        let Some(turn) = self.turns.get_mut(&key) else { return self.next() };
        turn.failures = if failed { turn.failures.saturating_add(1) } else { 0 };
        self.pauses += 1;
        let number = self.pauses;
        match (failed, turn.state == State::Looking { again: true }, later) {
            (true, ..) => {
                turn.state = State::Resting(number);
                effects.push(Effect::Rest(key, retry::pause(turn.failures), number));
            }
            (false, true, _) => {
                turn.state = State::Waiting;
                self.waiting.push_back(key);
            }
            (false, false, Some(pause)) => {
                turn.state = State::Idle(number);
                effects.push(Effect::Rest(key, pause, number));
            }
            (false, false, None) => {
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

enum Event<K> {
    Looked(K, Looked),
    Rested(K, u64),
}

/// Looks at whatever `wakes` names, until dropped.
pub(crate) async fn run<K, F>(name: &'static str, mut wakes: UnboundedReceiver<K>, look: impl Fn(K) -> F)
where
    K: Clone + Eq + Hash + Display + Send + 'static,
    F: Future<Output = Looked> + Send + 'static,
{
    let mut turns = Turns::new();
    let mut running: FuturesUnordered<BoxFuture<'static, Event<K>>> = FuturesUnordered::new();
    loop {
        // Both arms are cancel-safe: a message that was not received and a future that was not ready stay where they are.
        let effects = tokio::select! {
            Some(key) = wakes.recv() => turns.wake(key),
            Some(event) = running.next() => match event {
                Event::Rested(key, number) => turns.rested(&key, number),
                Event::Looked(key, Ok(later)) => turns.looked(key, false, later),
                Event::Looked(key, Err(error)) => {
                    let error: &(dyn std::error::Error + Send + Sync + 'static) = &error;
                    tracing::warn!(controller = name, %key, error, "will be tried again");
                    turns.looked(key, true, None)
                }
            },
            else => return,
        };
        for effect in effects {
            running.push(match effect {
                Effect::Look(key) => look(key.clone()).map(|looked| Event::Looked(key, looked)).boxed(),
                Effect::Rest(key, pause, number) => {
                    tokio::time::sleep(pause).map(move |()| Event::Rested(key, number)).boxed()
                }
            });
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
        assert_eq!(turns.looked("a", false, None), [Effect::Look("a")]);
        assert_eq!(turns.looked("a", false, None), []);
        assert_eq!(turns.looked("b", false, None), []);
        assert!(turns.turns.is_empty());
    }

    #[test]
    fn failures_are_followed_by_pauses_that_events_do_not_cut_short() {
        let mut turns = Turns::new();
        turns.wake("a");
        let first = turns.looked("a", true, None);
        assert_eq!(first, [Effect::Rest("a", retry::pause(1), 1)]);
        assert_eq!(turns.wake("a"), []);
        assert_eq!(turns.rested(&"a", 1), [Effect::Look("a")]);
        assert_eq!(turns.looked("a", true, None), [Effect::Rest("a", retry::pause(2), 2)]);
        turns.rested(&"a", 2);
        assert_eq!(turns.looked("a", false, None), []);
        assert!(turns.turns.is_empty());
    }

    #[test]
    fn a_look_that_was_asked_for_comes_sooner_if_something_happens() {
        let mut turns = Turns::new();
        turns.wake("a");
        let later = Some(Duration::from_secs(9));
        assert_eq!(turns.looked("a", false, later), [Effect::Rest("a", Duration::from_secs(9), 1)]);
        assert_eq!(turns.wake("a"), [Effect::Look("a")]);
        // The pause that is over was of an earlier look.
        assert_eq!(turns.rested(&"a", 1), []);
        assert_eq!(turns.looked("a", false, None), []);
    }

    #[test]
    fn no_more_are_looked_at_than_can_be() {
        let mut turns = Turns::new();
        let begun: usize = (0..20).map(|key| turns.wake(key).len()).sum();
        assert_eq!(begun, LOOKS);
        assert_eq!(turns.looked(0, false, None), [Effect::Look(LOOKS)]);
    }
}
