//! A fake engine that keeps everything in memory: for tests, and as the model that real engines are compared with.
//!
//! It is not durable, keeps superseded revisions in plain vectors, and does every call under one lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    Change, Engine, Error, Event, Follower, Interval, KeyValue, LogPage, LogRequest, Op, RangeRequest, RangeResponse,
    Revision, Txn, TxnOutcome,
};

/// The fake's "disk": what stays when an engine on it is closed and another one opened.
#[derive(Debug, Clone)]
pub struct MemoryDisk(Arc<Mutex<Data>>);

/// The fake engine.
pub struct MemoryEngine {
    state: Mutex<State>,
}

struct State {
    disk: MemoryDisk,
    followers: Vec<Arc<dyn Follower>>,
    closed: bool,
}

#[derive(Debug)]
struct Data {
    /// Each key's history since the compaction, oldest first; `None` is a deletion.
    keys: BTreeMap<Bytes, Vec<(Revision, Option<KeyValue>)>>,
    log: Vec<Arc<Event>>,
    current: Revision,
    compacted: Revision,
}

impl Default for MemoryDisk {
    fn default() -> MemoryDisk {
        let data = Data { keys: BTreeMap::new(), log: Vec::new(), current: Revision::EMPTY, compacted: Revision::NONE };
        MemoryDisk(Arc::new(Mutex::new(data)))
    }
}

impl MemoryDisk {
    fn data(&self) -> MutexGuard<'_, Data> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryEngine {
    /// An empty engine of its own.
    #[must_use]
    pub fn new() -> MemoryEngine {
        MemoryEngine::on(MemoryDisk::default())
    }

    /// An engine that goes on where an earlier one on `disk` was closed.
    #[must_use]
    pub fn on(disk: MemoryDisk) -> MemoryEngine {
        MemoryEngine { state: Mutex::new(State { disk, followers: Vec::new(), closed: false }) }
    }

    fn open(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed { Err(Error::Closed) } else { Ok(state) }
    }
}

impl Default for MemoryEngine {
    fn default() -> MemoryEngine {
        MemoryEngine::new()
    }
}

#[async_trait]
impl Engine for MemoryEngine {
    async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error> {
        Ok(self.open()?.disk.data().latest(key).cloned())
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.open()?.disk.data().range(&request)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        txn.check()?;
        let state = self.open()?;
        let (outcome, events) = state.disk.data().apply(&txn);
        if !events.is_empty() {
            state.followers.iter().for_each(|follower| follower.committed(&events));
        }
        Ok(outcome)
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        let state = self.open()?;
        state.disk.data().compact(revision)?;
        state.followers.iter().for_each(|follower| follower.compacted(revision));
        Ok(())
    }

    async fn revision(&self) -> Result<Revision, Error> {
        Ok(self.open()?.disk.data().current)
    }

    async fn log(&self, request: LogRequest) -> Result<LogPage, Error> {
        self.open()?.disk.data().log(&request)
    }

    async fn follow(&self, follower: Arc<dyn Follower>) -> Result<Revision, Error> {
        let mut state = self.open()?;
        state.followers.push(follower);
        let current = state.disk.data().current;
        Ok(current)
    }

    async fn close(&self) -> Result<(), Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        state.followers.drain(..).for_each(|follower| follower.closed());
        Ok(())
    }
}

impl Data {
    fn latest(&self, key: &[u8]) -> Option<&KeyValue> {
        self.keys.get(key)?.last()?.1.as_ref()
    }

    /// Refuses revisions that are compacted or have not happened.
    fn readable(&self, requested: Revision) -> Result<Revision, Error> {
        let (compacted, current) = (self.compacted, self.current);
        if requested < compacted {
            return Err(Error::Compacted { requested, compacted, current });
        }
        if requested > current {
            return Err(Error::FutureRevision { requested, current });
        }
        Ok(requested)
    }

    fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Error> {
        let revision = self.readable(request.at.unwrap_or(self.current))?;
        let mut kvs = self.within(&request.interval, revision);
        let limit = request.limit.unwrap_or(usize::MAX).min(kvs.len());
        let remaining = (kvs.len() - limit) as u64;
        kvs.truncate(limit);
        Ok(RangeResponse { kvs, revision, remaining })
    }

    fn within(&self, interval: &Interval, revision: Revision) -> Vec<KeyValue> {
        let found = self.keys.range(interval.start.clone()..).take_while(|(key, _)| interval.contains(key));
        found.filter_map(|(_, history)| history.iter().rfind(|(written, _)| *written <= revision)?.1.clone()).collect()
    }

    fn apply(&mut self, txn: &Txn) -> (TxnOutcome, Vec<Arc<Event>>) {
        if !txn.compares.iter().all(|compare| compare.expect.holds(self.latest(&compare.key))) {
            let current = txn.compares.iter().map(|compare| self.latest(&compare.key).cloned()).collect();
            return (TxnOutcome::Conflict { current, revision: self.current }, Vec::new());
        }
        let revision = self.current.next();
        let events: Vec<_> = txn.ops.iter().filter_map(|op| self.carry_out(op, revision)).collect();
        if !events.is_empty() {
            self.current = revision;
        }
        self.log.extend(events.iter().cloned());
        (TxnOutcome::Committed { revision: self.current }, events)
    }

    fn carry_out(&mut self, op: &Op, revision: Revision) -> Option<Arc<Event>> {
        let previous = self.latest(op.key()).cloned();
        let (kv, change) = match op {
            Op::Put { key, value } => {
                let kv = KeyValue::written(key.clone(), value.clone(), revision, previous.as_ref());
                (Some(kv.clone()), Change::Put(kv))
            }
            Op::Delete { key } => {
                previous.as_ref()?;
                (None, Change::Delete { key: key.clone(), revision })
            }
        };
        self.keys.entry(op.key().clone()).or_default().push((revision, kv));
        Some(Arc::new(Event::new(change, previous)))
    }

    fn log(&self, request: &LogRequest) -> Result<LogPage, Error> {
        let after = self.readable(request.after)?;
        let newer = &self.log[self.log.partition_point(|event| event.revision() <= after)..];
        let (mut events, mut through) = (Vec::new(), self.current);
        for whole in newer.chunk_by(|a, b| a.revision() == b.revision()) {
            events.extend(whole.iter().filter(|event| request.interval.contains(event.key())).cloned());
            if events.len() >= request.limit {
                through = whole[0].revision();
                break;
            }
        }
        Ok(LogPage { events, through, current: self.current })
    }

    fn compact(&mut self, revision: Revision) -> Result<(), Error> {
        let (compacted, current) = (self.compacted, self.current);
        if revision <= compacted {
            return Err(Error::Compacted { requested: revision, compacted, current });
        }
        self.readable(revision)?;
        self.compacted = revision;
        self.log.retain(|event| event.revision() > revision);
        self.keys.retain(|_, history| {
            let superseded = history.iter().rposition(|(written, _)| *written <= revision).unwrap_or(0);
            history.drain(..superseded);
            let deleted = history.first().is_some_and(|(written, kv)| *written <= revision && kv.is_none());
            history.drain(..usize::from(deleted));
            !history.is_empty()
        });
        Ok(())
    }
}
