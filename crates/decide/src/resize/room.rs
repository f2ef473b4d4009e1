//! Whether a node has room for what a pod asks for. Several may ask at once: the more important is heard first, and what it will get is not
//! given to another.
//!
//! Sources: kubernetes `pkg/kubelet/allocation/allocation_manager.go` (`canResizePod`, `sortPendingResizes`),
//! `pkg/kubelet/lifecycle/predicate.go`.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;

/// What a pod needs, or a node has: cpu in thousandths, memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// CPU.
    pub cpu: i64,
    /// Memory.
    pub memory: i64,
}

/// What a pod has on a node, and what it would like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// What is allocated to it.
    pub holds: Need,
    /// What it asks for instead.
    pub asks: Option<Ask>,
}

/// What a pod asks for, and how urgent that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// All of it, not what comes on top.
    pub need: Need,
    /// The pod's priority.
    pub priority: i32,
    /// Its class is Guaranteed.
    pub guaranteed: bool,
    /// Since when it waits.
    pub since: Timestamp,
}

/// What comes of an ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may have it.
    Fits,
    /// Not now.
    Deferred(String),
    /// Never, on this node.
    Infeasible(String),
}

impl Claim {
    /// What it asks for is more than it has.
    fn grows(&self) -> Option<&Ask> {
        self.asks.as_ref().filter(|ask| ask.need.cpu > self.holds.cpu || ask.need.memory > self.holds.memory)
    }
}

/// Judges what a pod asks for. What adds nothing always fits.
pub fn verdict(claims: &BTreeMap<String, Claim>, node: Need, uid: &str) -> Verdict {
    let Some(ask) = claims.get(uid).and_then(|claim| claim.asks.as_ref()) else { return Verdict::Fits };
    if let Some(why) = beyond(ask.need, node) {
        return Verdict::Infeasible(why);
    }
    let mut held: BTreeMap<&str, Need> = claims.iter().map(|(uid, claim)| (uid.as_str(), claim.holds)).collect();
    let mut asking: Vec<(&str, &Ask)> =
        claims.iter().filter_map(|(uid, claim)| Some((uid.as_str(), claim.grows()?))).collect();
    asking.sort_by_key(|(uid, ask)| (Reverse(ask.priority), Reverse(ask.guaranteed), ask.since, *uid));
    for (other, ask) in asking {
        let lacks = lack(&held, node, other, ask.need);
        if other == uid {
            return lacks.map_or(Verdict::Fits, Verdict::Deferred);
        }
        if lacks.is_none() {
            held.insert(other, ask.need);
        }
    }
    Verdict::Fits
}

fn beyond(need: Need, node: Need) -> Option<String> {
    let words = |what, asked, has| {
        Some(format!("Node didn't have enough capacity: {what}, requested: {asked}, capacity: {has}"))
    };
    match need {
        Need { memory, .. } if memory > node.memory => words("memory", memory, node.memory),
        Need { cpu, .. } if cpu > node.cpu => words("cpu", cpu, node.cpu),
        _ => None,
    }
}

/// What a node lacks for a pod to have all this beside the others.
fn lack(held: &BTreeMap<&str, Need>, node: Need, uid: &str, need: Need) -> Option<String> {
    let used = |of: fn(&Need) -> i64| held.iter().filter(|(other, _)| **other != uid).map(|(_, need)| of(need)).sum();
    let words = |what, asked: i64, used: i64, has: i64| {
        let lacks = asked > 0 && asked > has - used;
        lacks.then(|| {
            format!("Node didn't have enough resource: {what}, requested: {asked}, used: {used}, capacity: {has}")
        })
    };
    let cpu = words("cpu", need.cpu, used(|need| need.cpu), node.cpu);
    cpu.or_else(|| words("memory", need.memory, used(|need| need.memory), node.memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: Need = Need { cpu: 4000, memory: 1000 };

    /// Claims in words: `a has 500/100`, `b has 500/100 asks 900/100 with 7`; cpu/memory, and the priority.
    fn check(claims: &[&str], uid: &str, expected: Verdict) {
        let need = |text: &str| {
            let (cpu, memory) = text.split_once('/').unwrap();
            Need { cpu: cpu.parse().unwrap(), memory: memory.parse().unwrap() }
        };
        let claim = |(at, text): (usize, &&str)| {
            let words: Vec<&str> = text.split(' ').collect();
            let after = |word: &str| words.iter().position(|w| *w == word).map(|at| words[at + 1]);
            let asks = after("asks").map(|asked| Ask {
                need: need(asked),
                priority: after("with").map_or(0, |text| text.parse().unwrap()),
                guaranteed: false,
                since: Timestamp::from_second(at as i64).unwrap(),
            });
            (words[0].to_owned(), Claim { holds: need(after("has").unwrap()), asks })
        };
        let all = claims.iter().enumerate().map(claim).collect();
        assert_eq!(verdict(&all, NODE, uid), expected, "{uid} of {claims:?}");
    }

    fn deferred(words: &str) -> Verdict {
        Verdict::Deferred(format!("Node didn't have enough resource: {words}"))
    }

    fn infeasible(words: &str) -> Verdict {
        Verdict::Infeasible(format!("Node didn't have enough capacity: {words}"))
    }

    #[test]
    fn what_fits_is_given_what_does_not_waits_and_what_never_will_is_refused() {
        check(&["a has 500/100 asks 4000/1000"], "a", Verdict::Fits);
        check(&["a has 500/100 asks 4001/1000"], "a", infeasible("cpu, requested: 4001, capacity: 4000"));
        check(&["a has 500/100 asks 4001/1001"], "a", infeasible("memory, requested: 1001, capacity: 1000"));
        let both = ["a has 500/100 asks 3000/100", "b has 1500/100"];
        check(&both, "a", deferred("cpu, requested: 3000, used: 1500, capacity: 4000"));
        check(
            &["a has 0/100 asks 0/950", "b has 0/100"],
            "a",
            deferred("memory, requested: 950, used: 100, capacity: 1000"),
        );
    }

    #[test]
    fn what_adds_nothing_fits_even_where_there_is_no_room() {
        check(&["a has 500/100 asks 400/100", "b has 4000/1000"], "a", Verdict::Fits);
        check(&["a has 500/100", "b has 4000/1000"], "a", Verdict::Fits);
    }

    #[test]
    fn of_several_the_more_important_is_first_then_the_one_that_waits_longest() {
        let older = ["a has 1000/0 asks 3000/0", "b has 1000/0 asks 3000/0"];
        check(&older, "a", Verdict::Fits);
        check(&older, "b", deferred("cpu, requested: 3000, used: 3000, capacity: 4000"));
        let important = ["a has 1000/0 asks 3000/0", "b has 1000/0 asks 3000/0 with 5"];
        check(&important, "a", deferred("cpu, requested: 3000, used: 3000, capacity: 4000"));
        check(&important, "b", Verdict::Fits);
        // One that cannot be helped now holds nobody up.
        let too_large = ["a has 1000/0 asks 2000/0", "b has 1000/0 asks 3500/0 with 5"];
        check(&too_large, "a", Verdict::Fits);
    }
}
