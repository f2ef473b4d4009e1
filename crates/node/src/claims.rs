//! What the node's pods have of its cpu and memory, and which of them wait for more. A pod's actor says what its pod has, and asks for what it is
//! to have; who waits is woken when something is given back. How much is free, and who comes first, is [`remora_decide::verdict`]'s to say.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use remora_decide::{Claim, Need, Verdict, verdict};
use tokio::sync::mpsc;

use crate::actor::Wake;

/// Of one node.
pub(crate) struct Claims {
    node: Need,
    all: Mutex<All>,
}

#[derive(Default)]
struct All {
    /// By the pod's UID.
    claims: BTreeMap<String, Claim>,
    /// Who asked in vain.
    waiting: BTreeMap<String, mpsc::WeakSender<Wake>>,
}

impl Claims {
    pub(crate) fn new(node: Need) -> Self {
        Self { node, all: Mutex::default() }
    }

    /// Notes what a pod has, and judges what it asks for. What fits is the pod's from here on.
    pub(crate) fn settle(&self, uid: &str, claim: Claim, wakes: &mpsc::WeakSender<Wake>) -> Verdict {
        let mut all = self.lock();
        let before = all.claims.insert(uid.to_owned(), claim.clone()).unwrap_or_default();
        let verdict = verdict(&all.claims, self.node, uid);
        let withdrawn = before.asks.is_some() && before.asks != claim.asks;
        match (&verdict, claim.asks) {
            (Verdict::Deferred(_), _) => drop(all.waiting.insert(uid.to_owned(), wakes.clone())),
            (Verdict::Fits, Some(ask)) => {
                let holds =
                    Need { cpu: claim.holds.cpu.max(ask.need.cpu), memory: claim.holds.memory.max(ask.need.memory) };
                all.grant(uid, Claim { holds, asks: None });
            }
            (Verdict::Infeasible(_), _) => all.grant(uid, Claim { holds: claim.holds, asks: None }),
            (Verdict::Fits, None) => drop(all.waiting.remove(uid)),
        }
        if withdrawn || before.holds.cpu > claim.holds.cpu || before.holds.memory > claim.holds.memory {
            all.wake_others(uid);
        }
        verdict
    }

    /// A pod of this node that has not looked yet: until its actor says what it has, it counts for this much, so that others are not given its part.
    pub(crate) fn expect(&self, uid: &str, holds: Need) {
        self.lock().claims.entry(uid.to_owned()).or_insert(Claim { holds, asks: None });
    }

    /// A pod that has ended has nothing.
    pub(crate) fn leave(&self, uid: &str) {
        let mut all = self.lock();
        all.waiting.remove(uid);
        if all.claims.remove(uid).is_some() {
            all.wake_others(uid);
        }
    }

    /// The maps are whole even if a holder of the lock has panicked: what is noted is noted anew with every look.
    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    /// It has this, and waits for nothing.
    fn grant(&mut self, uid: &str, claim: Claim) {
        self.claims.insert(uid.to_owned(), claim);
        self.waiting.remove(uid);
    }

    fn wake_others(&self, uid: &str) {
        for wakes in self.waiting.iter().filter(|(other, _)| *other != uid).filter_map(|(_, wakes)| wakes.upgrade()) {
            // One whose inbox is full looks again anyway, and one that has ended needs nothing.
            let _ = wakes.try_send(Wake::Time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use remora_decide::Ask;

    fn claim(holds: i64, asks: Option<i64>) -> Claim {
        let need = |cpu| Need { cpu, memory: 0 };
        let ask = |cpu| Ask { need: need(cpu), priority: 0, guaranteed: false, since: Timestamp::UNIX_EPOCH };
        Claim { holds: need(holds), asks: asks.map(ask) }
    }

    #[tokio::test]
    async fn nobody_is_given_the_part_of_one_that_has_not_looked_yet() {
        let claims = Claims::new(Need { cpu: 10, memory: 10 });
        let (sender, mut inbox) = mpsc::channel(4);
        let wakes = sender.downgrade();
        claims.expect("z", Need { cpu: 8, memory: 0 });
        assert!(matches!(claims.settle("a", claim(1, Some(5)), &wakes), Verdict::Deferred(_)));
        // It has less than is written.
        assert_eq!(claims.settle("z", claim(4, None), &wakes), Verdict::Fits);
        assert!(matches!(inbox.try_recv(), Ok(Wake::Time)));
        // What has been said counts.
        claims.expect("z", Need { cpu: 8, memory: 0 });
        assert_eq!(claims.settle("a", claim(1, Some(5)), &wakes), Verdict::Fits);
    }

    #[tokio::test]
    async fn who_waits_is_woken_when_something_is_given_back() {
        let claims = Claims::new(Need { cpu: 10, memory: 10 });
        let (sender, mut inbox) = mpsc::channel(4);
        let wakes = sender.downgrade();
        assert_eq!(claims.settle("a", claim(5, None), &wakes), Verdict::Fits);
        assert!(matches!(claims.settle("b", claim(1, Some(6)), &wakes), Verdict::Deferred(_)));
        assert!(matches!(claims.settle("b", claim(1, Some(11)), &wakes), Verdict::Infeasible(_)));
        assert!(matches!(claims.settle("b", claim(1, Some(6)), &wakes), Verdict::Deferred(_)));
        assert!(inbox.try_recv().is_err(), "nothing was given back");
        assert_eq!(claims.settle("a", claim(4, None), &wakes), Verdict::Fits);
        assert!(matches!(inbox.try_recv(), Ok(Wake::Time)));
        assert_eq!(claims.settle("b", claim(1, Some(6)), &wakes), Verdict::Fits);
        assert!(matches!(claims.settle("a", claim(4, Some(5)), &wakes), Verdict::Deferred(_)), "b has it already");
        claims.leave("b");
        assert!(matches!(inbox.try_recv(), Ok(Wake::Time)));
        assert_eq!(claims.settle("a", claim(4, Some(10)), &wakes), Verdict::Fits);
    }
}
