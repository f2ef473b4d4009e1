//! Seats and those who wait for them, as data: who goes at once, who waits, who is next when a seat becomes free.
//!
//! **Invariant:** while a seat is free, whoever waits belongs to a flow that has as many seats as one flow may have.

use std::collections::{BTreeMap, VecDeque};

/// The waiting requests of one flow; upstream's `queueLengthLimit`.
const WAITING_PER_FLOW: usize = 50;
/// The waiting requests of all flows. Names of users may be endless.
const WAITING: usize = 1000;

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// What becomes of a request that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It has a seat; [`FairQueue::done`] gives it back.
    Go,
    /// It gets one when [`FairQueue::done`] names this ticket, unless it [leaves](FairQueue::leave) before.
    Wait(Ticket),
    /// Too many wait already.
    Refused,
}

/// The seats of one level.
#[derive(Debug)]
pub struct FairQueue {
    seats: usize,
    taken: usize,
    waiting: usize,
    /// Only those who have a seat or wait for one.
    flows: BTreeMap<String, Flow>,
    tickets: u64,
    grants: u64,
}

#[derive(Debug, Default)]
struct Flow {
    taken: usize,
    waiting: VecDeque<Ticket>,
    /// When it last got a seat, in grants.
    last_grant: u64,
}

impl FairQueue {
    /// That many seats, all free.
    pub fn new(seats: usize) -> Self {
        Self { seats: seats.max(1), taken: 0, waiting: 0, flows: BTreeMap::new(), tickets: 0, grants: 0 }
    }

    /// How many have a seat.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// How many wait for one.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The most seats of one flow: half of all, so that a client that lets its requests last cannot keep others out.
    fn per_flow(&self) -> usize {
        self.seats.div_ceil(2)
    }

    /// A request of this flow has come.
    pub fn arrive(&mut self, flow: &str) -> Arrival {
        let (taken, waiting) = self.flows.get(flow).map_or((0, 0), |flow| (flow.taken, flow.waiting.len()));
        if self.taken < self.seats && taken < self.per_flow() {
            self.seat(flow);
            return Arrival::Go;
        }
        if self.waiting >= WAITING || waiting >= WAITING_PER_FLOW {
            return Arrival::Refused;
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.flows.entry(flow.to_owned()).or_default().waiting.push_back(ticket);
        self.waiting += 1;
        Arrival::Wait(ticket)
    }

    /// A request of this flow gives its seat back. Who has a seat now, if anybody waited that may have it.
    pub fn done(&mut self, flow: &str) -> Option<Ticket> {
        let state = self.flows.get_mut(flow)?;
        state.taken = state.taken.saturating_sub(1);
        self.taken = self.taken.saturating_sub(1);
        self.forget_if_idle(flow);
        let next = self.next()?;
        let ticket = self.flows.get_mut(&next)?.waiting.pop_front()?;
        self.waiting -= 1;
        self.seat(&next);
        Some(ticket)
    }

    /// A request waits no longer. Whether it did.
    pub fn leave(&mut self, flow: &str, ticket: Ticket) -> bool {
        let Some(state) = self.flows.get_mut(flow) else { return false };
        let Some(at) = state.waiting.iter().position(|&waiting| waiting == ticket) else { return false };
        state.waiting.remove(at);
        self.waiting -= 1;
        self.forget_if_idle(flow);
        true
    }

    fn seat(&mut self, flow: &str) {
        self.grants += 1;
        let state = self.flows.entry(flow.to_owned()).or_default();
        state.taken += 1;
        state.last_grant = self.grants;
        self.taken += 1;
    }

    /// The flow with the fewest seats, and of several the one whose last seat is longest ago.
    fn next(&self) -> Option<String> {
        let limit = self.per_flow();
        let may = self.flows.iter().filter(|(_, flow)| !flow.waiting.is_empty() && flow.taken < limit);
        may.min_by_key(|(_, flow)| (flow.taken, flow.last_grant)).map(|(name, _)| name.clone())
    }

    fn forget_if_idle(&mut self, flow: &str) {
        if self.flows.get(flow).is_some_and(|state| state.taken == 0 && state.waiting.is_empty()) {
            self.flows.remove(flow);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn waits(queue: &mut FairQueue, flow: &str) -> Ticket {
        match queue.arrive(flow) {
            Arrival::Wait(ticket) => ticket,
            other => panic!("{flow} does not wait: {other:?}"),
        }
    }

    #[test]
    fn one_flow_gets_half_of_the_seats_and_others_go_at_once() {
        let mut queue = FairQueue::new(4);
        assert_eq!([queue.arrive("a"), queue.arrive("a")], [Arrival::Go, Arrival::Go]);
        let third = waits(&mut queue, "a");
        assert_eq!([queue.arrive("b"), queue.arrive("c")], [Arrival::Go, Arrival::Go]);
        // The seat of another is not for one that has its half.
        assert_eq!(queue.done("b"), None);
        assert_eq!(queue.done("a"), Some(third));
    }

    #[test]
    fn the_flow_with_the_fewest_seats_is_next_whoever_has_come_first() {
        let mut queue = FairQueue::new(3);
        assert_eq!([queue.arrive("a"), queue.arrive("a"), queue.arrive("b")], [Arrival::Go; 3]);
        let (a, c, b) = (waits(&mut queue, "a"), waits(&mut queue, "c"), waits(&mut queue, "b"));
        assert_eq!(queue.done("a"), Some(c));
        assert_eq!(queue.done("b"), Some(b));
        assert_eq!(queue.done("c"), Some(a));
        assert_eq!((queue.taken(), queue.waiting()), (3, 0));
    }

    #[test]
    fn who_leaves_is_passed_over() {
        let mut queue = FairQueue::new(1);
        assert_eq!(queue.arrive("a"), Arrival::Go);
        let (first, second) = (waits(&mut queue, "b"), waits(&mut queue, "b"));
        assert!(queue.leave("b", first));
        assert!(!queue.leave("b", first));
        assert_eq!(queue.done("a"), Some(second));
        assert!(!queue.leave("b", second));
    }

    #[test]
    fn too_many_who_wait_are_refused() {
        let mut queue = FairQueue::new(1);
        assert_eq!(queue.arrive("a"), Arrival::Go);
        for _ in 0..WAITING_PER_FLOW {
            waits(&mut queue, "b");
        }
        assert_eq!(queue.arrive("b"), Arrival::Refused);
        for user in 0..WAITING - WAITING_PER_FLOW {
            waits(&mut queue, &user.to_string());
        }
        assert_eq!(queue.arrive("new"), Arrival::Refused);
        assert_eq!(queue.waiting(), WAITING);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Arrive(u8),
        Done(u8),
        Leave(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (0..3u8, 0..5u8).prop_map(|(what, flow)| match what {
            0 => Step::Arrive(flow),
            1 => Step::Done(flow),
            _ => Step::Leave(flow),
        });
        prop::collection::vec(step, 0..400)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever happens: seats are never given twice, none stays free for nothing, and in the end nothing is remembered.
        #[test]
        fn seats_are_neither_lost_nor_made(seats in 1..9usize, steps in steps()) {
            let mut queue = FairQueue::new(seats);
            let mut taken: HashMap<u8, usize> = HashMap::new();
            let mut waiting: Vec<(u8, Ticket)> = Vec::new();
            let end = |queue: &mut FairQueue, flow: u8, taken: &mut HashMap<u8, usize>, waiting: &mut Vec<(u8, Ticket)>| {
                *taken.entry(flow).or_default() -= 1;
                if let Some(next) = queue.done(&flow.to_string()) {
                    let at = waiting.iter().position(|&(_, ticket)| ticket == next).unwrap();
                    *taken.entry(waiting.remove(at).0).or_default() += 1;
                }
            };
            for step in steps {
                match step {
                    Step::Arrive(flow) => match queue.arrive(&flow.to_string()) {
                        Arrival::Go => *taken.entry(flow).or_default() += 1,
                        Arrival::Wait(ticket) => waiting.push((flow, ticket)),
                        Arrival::Refused => prop_assert!(waiting.len() >= WAITING_PER_FLOW),
                    },
                    Step::Done(flow) if taken.get(&flow).is_some_and(|&n| n > 0) => {
                        end(&mut queue, flow, &mut taken, &mut waiting);
                    }
                    Step::Leave(flow) => {
                        if let Some(at) = waiting.iter().position(|&(of, _)| of == flow) {
                            let (_, ticket) = waiting.remove(at);
                            prop_assert!(queue.leave(&flow.to_string(), ticket));
                        }
                    }
                    Step::Done(_) => {}
                }
                let all: usize = taken.values().sum();
                let limit = seats.div_ceil(2);
                prop_assert_eq!((queue.taken(), queue.waiting()), (all, waiting.len()));
                prop_assert!(all <= seats && taken.values().all(|&n| n <= limit));
                prop_assert!(all == seats || waiting.iter().all(|(flow, _)| taken.get(flow) == Some(&limit)));
            }
            while let Some(flow) = taken.iter().find(|&(_, &n)| n > 0).map(|(&flow, _)| flow) {
                end(&mut queue, flow, &mut taken, &mut waiting);
            }
            prop_assert!(waiting.is_empty() && queue.flows.is_empty());
        }
    }
}
