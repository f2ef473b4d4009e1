//! Who waits for what: the pods without a node and the nodes, as the watches tell of them, and what is under way. Pure:
//! [`Queue::step`] takes what happened and gives what is to be done.
//!
//! ```text
//!            decide                      Settled
//! idle ─────────────────▶ calling ─────────────────▶ settled (until it is gone, listed anew, or another takes its name)
//!  ▲  ▲   Told             │    │ Failed
//!  │  └────────────────────┘    ▼
//!  └────────── Rested ──────── resting
//! ```
//!
//! **Invariant:** for a pod there is never more than one effect under way.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};

use super::placement::{Decision, NodeView, decide};
use super::report;
use crate::retry;

/// A pod's place in the API.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PodKey {
    namespace: String,
    name: String,
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl From<&Pod> for PodKey {
    fn from(pod: &Pod) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self { namespace: text(&pod.metadata.namespace), name: text(&pod.metadata.name) }
    }
}

/// What a watch says.
#[derive(Debug)]
pub(super) enum Seen<K> {
    /// From here on, all objects follow.
    ListBegins,
    /// It is there, like this.
    Is(K),
    /// What did not follow is not there.
    ListEnds,
    /// It is not there any more.
    IsGone(K),
}

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    Pod(Box<Seen<Pod>>),
    Node(Box<Seen<Node>>),
    /// A call has ended.
    Done(PodKey, Outcome),
    /// A pause is over.
    Rested(PodKey),
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The pod needs us no more.
    Settled,
    /// Its user knows why it has no node.
    Told,
    /// Try again.
    Failed,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    Bind { key: PodKey, pod: Arc<Pod>, node: String },
    Refuse { key: PodKey, pod: Arc<Pod>, why: String },
    Rest { key: PodKey, pause: Duration },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// `again`: something has changed since it was decided.
    Calling {
        again: bool,
    },
    Resting,
    Settled,
}

#[derive(Debug)]
struct Waiting {
    pod: Arc<Pod>,
    state: State,
    failures: u32,
    /// Seen since the list began.
    listed: bool,
}

/// The scheduler's memory.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pods: HashMap<PodKey, Waiting>,
    nodes: BTreeMap<String, NodeView>,
    /// Whether all nodes were seen once: before, nothing is decided.
    nodes_known: bool,
    /// Nodes seen since their list began.
    nodes_listed: HashSet<String>,
}

impl Queue {
    /// Takes what happened, gives what is to be done now.
    pub(super) fn step(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Pod(seen) => self.pod(*seen).into_iter().collect(),
            Event::Node(seen) => {
                if self.node(*seen) {
                    self.consider_all()
                } else {
                    Vec::new()
                }
            }
            Event::Done(key, outcome) => self.done(key, outcome).into_iter().collect(),
            Event::Rested(key) => self.idle(&key, true).into_iter().collect(),
        }
    }

    fn pod(&mut self, seen: Seen<Pod>) -> Option<Effect> {
        match seen {
            Seen::ListBegins => self.pods.values_mut().for_each(Waiting::unlist),
            Seen::ListEnds => self.pods.retain(|_, waiting| waiting.listed || waiting.is_busy()),
            Seen::IsGone(pod) => self.forget(&PodKey::from(&pod)),
            Seen::Is(pod) => {
                let key = PodKey::from(&pod);
                self.remember(&key, pod);
                return self.consider(&key);
            }
        }
        None
    }

    fn remember(&mut self, key: &PodKey, pod: Pod) {
        let pod = Arc::new(pod);
        let new = || Waiting { pod: Arc::clone(&pod), state: State::Idle, failures: 0, listed: true };
        let waiting = self.pods.entry(key.clone()).or_insert_with(new);
        if waiting.pod.metadata.uid != pod.metadata.uid && waiting.state == State::Settled {
            waiting.state = State::Idle;
        }
        waiting.pod = pod;
        waiting.listed = true;
    }

    /// A pod with a call under way is forgotten when that has ended, so that a new one of its name waits for it.
    fn forget(&mut self, key: &PodKey) {
        if let Some(waiting) = self.pods.get_mut(key) {
            waiting.listed = false;
            if !waiting.is_busy() {
                self.pods.remove(key);
            }
        }
    }

    /// Whether anything has changed that counts.
    fn node(&mut self, seen: Seen<Node>) -> bool {
        match seen {
            Seen::ListBegins => {
                self.nodes_listed.clear();
                false
            }
            Seen::ListEnds => {
                let (before, listed) = (self.nodes.len(), std::mem::take(&mut self.nodes_listed));
                self.nodes.retain(|name, _| listed.contains(name));
                !std::mem::replace(&mut self.nodes_known, true) || self.nodes.len() != before
            }
            Seen::Is(node) => {
                let name = node.metadata.name.clone().unwrap_or_default();
                self.nodes_listed.insert(name.clone());
                let view = NodeView::from(node);
                self.nodes.insert(name, view.clone()) != Some(view)
            }
            Seen::IsGone(node) => self.nodes.remove(&node.metadata.name.unwrap_or_default()).is_some(),
        }
    }

    fn done(&mut self, key: PodKey, outcome: Outcome) -> Option<Effect> {
        let waiting = self.pods.get_mut(&key)?;
        let again = waiting.state == State::Calling { again: true };
        if outcome == Outcome::Failed {
            waiting.failures = waiting.failures.saturating_add(1);
            waiting.state = State::Resting;
            return Some(Effect::Rest { pause: retry::pause(waiting.failures), key });
        }
        waiting.failures = 0;
        if outcome == Outcome::Settled && !again && waiting.listed {
            waiting.state = State::Settled;
            return None;
        }
        self.idle(&key, again)
    }

    /// Nothing is under way for this pod any more.
    fn idle(&mut self, key: &PodKey, again: bool) -> Option<Effect> {
        let waiting = self.pods.get_mut(key)?;
        waiting.state = State::Idle;
        if !waiting.listed {
            self.pods.remove(key);
            return None;
        }
        if again { self.consider(key) } else { None }
    }

    fn consider_all(&mut self) -> Vec<Effect> {
        let keys: Vec<PodKey> = self.pods.keys().cloned().collect();
        keys.iter().filter_map(|key| self.consider(key)).collect()
    }

    fn consider(&mut self, key: &PodKey) -> Option<Effect> {
        let waiting = self.pods.get_mut(key)?;
        match &mut waiting.state {
            State::Idle if self.nodes_known => {}
            State::Calling { again } => {
                *again = true;
                return None;
            }
            State::Idle | State::Resting | State::Settled => return None,
        }
        let (key, pod) = (key.clone(), Arc::clone(&waiting.pod));
        let effect = match decide(&pod, &self.nodes) {
            Decision::Nothing => return None,
            Decision::Refuse(why) if report::is_told(&pod, &why) => return None,
            Decision::Refuse(why) => Effect::Refuse { key, pod, why },
            Decision::Bind(node) => Effect::Bind { key, pod, node },
        };
        waiting.state = State::Calling { again: false };
        Some(effect)
    }
}

impl Waiting {
    /// What is listed anew needs us after all, even if we thought otherwise.
    fn unlist(&mut self) {
        self.listed = false;
        if self.state == State::Settled {
            self.state = State::Idle;
        }
    }

    fn is_busy(&self) -> bool {
        matches!(self.state, State::Calling { .. } | State::Resting)
    }
}

#[cfg(test)]
mod tests;
