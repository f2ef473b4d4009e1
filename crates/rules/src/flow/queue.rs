//! Seats and those who wait for them, as data: who goes at once, who waits, who is next when a seat becomes free.
//!
//! A request may need several seats. **Invariant:** while seats are free, whoever waits belongs to a flow that has as many as it may have, or is next
//! and needs more than are free: nobody overtakes it, else a long list would wait for ever where short requests never end.

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
    executing: usize,
    waiting: usize,
    /// Only those who have a seat or wait for one.
    flows: BTreeMap<String, Flow>,
    tickets: u64,
    grants: u64,
}

#[derive(Debug, Default)]
struct Flow {
    taken: usize,
    waiting: VecDeque<Waiter>,
    /// When it last got a seat, in grants.
    last_grant: u64,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    ticket: Ticket,
    width: usize,
}

impl FairQueue {
    /// That many seats, all free.
    pub fn new(seats: usize) -> Self {
        Self { seats: seats.max(1), taken: 0, executing: 0, waiting: 0, flows: BTreeMap::new(), tickets: 0, grants: 0 }
    }

    /// How many seats are taken.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// How many have all the seats that they need.
    pub fn executing(&self) -> usize {
        self.executing
    }

    /// How many wait for one.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The most seats of one flow: half of all, so that a client that lets its requests last cannot keep others out.
    fn per_flow(&self) -> usize {
        self.seats.div_ceil(2)
    }

    /// The seats of a request that needs so many: one at least, and no more than a flow may have.
    fn fitting(&self, width: usize) -> usize {
        width.clamp(1, self.per_flow())
    }

    /// A request of this flow has come, which needs so many seats.
    pub fn arrive(&mut self, flow: &str, width: usize) -> Arrival {
        let width = self.fitting(width);
        let (taken, waiting) = self.flows.get(flow).map_or((0, 0), |flow| (flow.taken, flow.waiting.len()));
        let fits = self.taken + width <= self.seats && taken + width <= self.per_flow();
        if fits && waiting == 0 && (self.waiting == 0 || self.next().is_none()) {
            self.seat(flow, width);
            return Arrival::Go;
        }
        if self.waiting >= WAITING || waiting >= WAITING_PER_FLOW {
            return Arrival::Refused;
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.flows.entry(flow.to_owned()).or_default().waiting.push_back(Waiter { ticket, width });
        self.waiting += 1;
        Arrival::Wait(ticket)
    }

    /// A request of this flow gives back as many seats as it needed. Who has theirs now.
    pub fn done(&mut self, flow: &str, width: usize) -> Vec<Ticket> {
        let width = self.fitting(width);
        let Some(state) = self.flows.get_mut(flow) else { return Vec::new() };
        state.taken = state.taken.saturating_sub(width);
        self.taken = self.taken.saturating_sub(width);
        self.executing = self.executing.saturating_sub(1);
        self.forget_if_idle(flow);
        self.go_on()
    }

    /// A request waits no longer: who has seats now, since it does not stand in their way. None if it did not wait.
    pub fn leave(&mut self, flow: &str, ticket: Ticket) -> Option<Vec<Ticket>> {
        let state = self.flows.get_mut(flow)?;
        let at = state.waiting.iter().position(|waiter| waiter.ticket == ticket)?;
        state.waiting.remove(at);
        self.waiting -= 1;
        self.forget_if_idle(flow);
        Some(self.go_on())
    }

    /// Gives free seats to those who are next.
    fn go_on(&mut self) -> Vec<Ticket> {
        let mut told = Vec::new();
        while let Some(name) = self.next()
            && let Some(state) = self.flows.get_mut(&name)
            && let Some(waiter) = state.waiting.front().copied()
            && self.taken + waiter.width <= self.seats
        {
            state.waiting.pop_front();
            self.waiting -= 1;
            self.seat(&name, waiter.width);
            told.push(waiter.ticket);
        }
        told
    }

    fn seat(&mut self, flow: &str, width: usize) {
        self.grants += 1;
        let state = self.flows.entry(flow.to_owned()).or_default();
        state.taken += width;
        state.last_grant = self.grants;
        self.taken += width;
        self.executing += 1;
    }

    /// Of the flows that may have what their first one needs, that with the fewest seats, and of several the one whose last seat is longest ago.
    fn next(&self) -> Option<String> {
        let limit = self.per_flow();
        let needs = |flow: &Flow| flow.waiting.front().map(|waiter| flow.taken + waiter.width);
        let may = self.flows.iter().filter(|(_, flow)| needs(flow).is_some_and(|all| all <= limit));
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
    use proptest::prelude::*;

    use super::*;

    fn waits(queue: &mut FairQueue, flow: &str) -> Ticket {
        match queue.arrive(flow, 1) {
            Arrival::Wait(ticket) => ticket,
            other => panic!("{flow} does not wait: {other:?}"),
        }
    }

    #[test]
    fn one_flow_gets_half_of_the_seats_and_others_go_at_once() {
        let mut queue = FairQueue::new(4);
        assert_eq!([queue.arrive("a", 1), queue.arrive("a", 1)], [Arrival::Go, Arrival::Go]);
        let third = waits(&mut queue, "a");
        assert_eq!([queue.arrive("b", 1), queue.arrive("c", 1)], [Arrival::Go, Arrival::Go]);
        // The seat of another is not for one that has its half.
        assert_eq!(queue.done("b", 1), []);
        assert_eq!(queue.done("a", 1), [third]);
    }

    #[test]
    fn the_flow_with_the_fewest_seats_is_next_whoever_has_come_first() {
        let mut queue = FairQueue::new(3);
        assert_eq!([queue.arrive("a", 1), queue.arrive("a", 1), queue.arrive("b", 1)], [Arrival::Go; 3]);
        let (a, c, b) = (waits(&mut queue, "a"), waits(&mut queue, "c"), waits(&mut queue, "b"));
        assert_eq!(queue.done("a", 1), [c]);
        assert_eq!(queue.done("b", 1), [b]);
        assert_eq!(queue.done("c", 1), [a]);
        assert_eq!((queue.taken(), queue.waiting()), (3, 0));
    }

    #[test]
    fn who_leaves_is_passed_over() {
        let mut queue = FairQueue::new(1);
        assert_eq!(queue.arrive("a", 1), Arrival::Go);
        let (first, second) = (waits(&mut queue, "b"), waits(&mut queue, "b"));
        assert_eq!(queue.leave("b", first), Some(Vec::new()));
        assert_eq!(queue.leave("b", first), None);
        assert_eq!(queue.done("a", 1), [second]);
        assert_eq!(queue.leave("b", second), None);
    }

    #[test]
    fn too_many_who_wait_are_refused() {
        let mut queue = FairQueue::new(1);
        assert_eq!(queue.arrive("a", 1), Arrival::Go);
        for _ in 0..WAITING_PER_FLOW {
            waits(&mut queue, "b");
        }
        assert_eq!(queue.arrive("b", 1), Arrival::Refused);
        for user in 0..WAITING - WAITING_PER_FLOW {
            waits(&mut queue, &user.to_string());
        }
        assert_eq!(queue.arrive("new", 1), Arrival::Refused);
        assert_eq!(queue.waiting(), WAITING);
    }

    #[test]
    fn who_needs_several_seats_waits_for_all_of_them_and_is_not_overtaken() {
        let mut queue = FairQueue::new(4);
        assert_eq!([queue.arrive("a", 1), queue.arrive("b", 2)], [Arrival::Go; 2]);
        let Arrival::Wait(wide) = queue.arrive("c", 9) else { panic!("one seat is free, it needs two") };
        let narrow = waits(&mut queue, "d");
        assert_eq!((queue.taken(), queue.executing(), queue.waiting()), (3, 2, 2));
        assert_eq!(queue.done("a", 1), [wide]);
        assert_eq!(queue.done("b", 2), [narrow]);
        assert_eq!(queue.done("c", 9), []);
        assert_eq!((queue.taken(), queue.executing()), (1, 1));
    }

    #[test]
    fn who_leaves_stands_in_nobodys_way() {
        let mut queue = FairQueue::new(4);
        assert_eq!([queue.arrive("a", 2), queue.arrive("b", 1)], [Arrival::Go; 2]);
        let Arrival::Wait(wide) = queue.arrive("c", 2) else { panic!("one seat is free, it needs two") };
        let narrow = waits(&mut queue, "d");
        assert_eq!(queue.leave("c", wide), Some(vec![narrow]));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Arrive(u8, usize),
        Done(u8),
        Leave(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (0..3u8, 0..5u8, 0..5usize).prop_map(|(what, flow, width)| match what {
            0 => Step::Arrive(flow, width),
            1 => Step::Done(flow),
            _ => Step::Leave(flow),
        });
        prop::collection::vec(step, 0..400)
    }

    /// Who has seats and who waits, as a list each, with how many each needs.
    #[derive(Debug, Default)]
    struct World {
        seated: Vec<(u8, usize)>,
        waiting: Vec<(u8, Ticket, usize)>,
    }

    impl World {
        fn told(&mut self, tickets: Vec<Ticket>) {
            for ticket in tickets {
                let at = self.waiting.iter().position(|(_, waiting, _)| *waiting == ticket).unwrap();
                let (flow, _, width) = self.waiting.remove(at);
                self.seated.push((flow, width));
            }
        }

        fn end(&mut self, queue: &mut FairQueue, at: usize) {
            let (flow, width) = self.seated.remove(at);
            self.told(queue.done(&flow.to_string(), width));
        }

        fn taken(&self, flow: u8) -> usize {
            self.seated.iter().filter(|(of, _)| *of == flow).map(|(_, width)| width).sum()
        }

        /// What the first of each flow that may have seats needs.
        fn next(&self, limit: usize) -> Vec<usize> {
            let mut seen = Vec::new();
            let firsts = self.waiting.iter().filter(|(flow, ..)| {
                let is_first = !seen.contains(flow);
                seen.push(*flow);
                is_first
            });
            firsts.filter(|(flow, _, width)| self.taken(*flow) + width <= limit).map(|(.., width)| *width).collect()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever happens: seats are never given twice, none stays free for nothing, and in the end nothing is remembered.
        #[test]
        fn seats_are_neither_lost_nor_made(seats in 1..9usize, steps in steps()) {
            let mut queue = FairQueue::new(seats);
            let mut world = World::default();
            let limit = seats.div_ceil(2);
            for step in steps {
                match step {
                    Step::Arrive(flow, width) => {
                        let fitting = width.clamp(1, limit);
                        match queue.arrive(&flow.to_string(), width) {
                            Arrival::Go => world.seated.push((flow, fitting)),
                            Arrival::Wait(ticket) => world.waiting.push((flow, ticket, fitting)),
                            Arrival::Refused => prop_assert!(world.waiting.len() >= WAITING_PER_FLOW),
                        }
                    }
                    Step::Done(flow) => {
                        if let Some(at) = world.seated.iter().position(|(of, _)| *of == flow) {
                            world.end(&mut queue, at);
                        }
                    }
                    Step::Leave(flow) => {
                        if let Some(at) = world.waiting.iter().position(|(of, ..)| *of == flow) {
                            let (_, ticket, _) = world.waiting.remove(at);
                            let told = queue.leave(&flow.to_string(), ticket);
                            prop_assert!(told.is_some());
                            world.told(told.unwrap_or_default());
                        }
                    }
                }
                let all: usize = world.seated.iter().map(|(_, width)| width).sum();
                prop_assert_eq!((queue.taken(), queue.executing(), queue.waiting()), (all, world.seated.len(), world.waiting.len()));
                prop_assert!(all <= seats && (0..5).all(|flow| world.taken(flow) <= limit));
                let next = world.next(limit);
                prop_assert!(next.is_empty() || next.iter().any(|width| all + width > seats), "{:?}", world);
            }
            while !world.seated.is_empty() {
                world.end(&mut queue, 0);
            }
            prop_assert!(world.waiting.is_empty() && queue.flows.is_empty());
        }
    }
}
