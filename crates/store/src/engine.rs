//! The seam between the watch cache and a place that keeps revisions. Engines do log and range only; watchers live in
//! [`crate::watched`]. Implemented by `sqlite`, `memory` and crate `store-etcd`; held to `contract`.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{Error, Event, Interval, KeyValue, RangeRequest, RangeResponse, Revision, Txn, TxnOutcome};

/// Keeps keys under revisions.
///
/// Every write acknowledged to any caller is seen by every read that starts afterwards.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// What `key` holds now.
    async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error>;

    /// An interval as of one revision. [`Error::Compacted`] below the compaction, [`Error::FutureRevision`] above now.
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error>;

    /// Carries out `txn` at the next revision if its comparisons hold. It returns when the outcome is durable; an
    /// error other than [`Error::Full`], [`Error::TooLarge`] and [`Error::Invalid`] leaves open whether it happened.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error>;

    /// Forgets what only revisions before `revision` can see. Compacting the same or less again is
    /// [`Error::Compacted`], as in etcd.
    async fn compact(&self, revision: Revision) -> Result<(), Error>;

    /// The newest revision. Never less than any revision that another call has returned.
    async fn revision(&self) -> Result<Revision, Error>;

    /// What happened after a revision, oldest first. [`Error::Compacted`] if `after` is below the compaction,
    /// [`Error::FutureRevision`] if it has not happened.
    async fn log(&self, request: LogRequest) -> Result<LogPage, Error>;

    /// From the returned revision on, `follower` is told everything, in order, without gap or repetition.
    async fn follow(&self, follower: Arc<dyn Follower>) -> Result<Revision, Error>;

    /// Ends the engine: everything acknowledged is on disk, files and locks are released, followers are told. Any
    /// later call answers [`Error::Closed`]; closing again is fine.
    async fn close(&self) -> Result<(), Error>;
}

/// Who wants to be told by an engine.
///
/// Called by the engine between making a write durable and acknowledging it, so: never wait, never call the engine.
pub trait Follower: Send + Sync {
    /// One or more transactions, whole, in order.
    fn committed(&self, events: &[Arc<Event>]);
    /// History before `revision` is gone.
    fn compacted(&self, revision: Revision);
    /// What happened up to and with `revision` was missed and cannot be had any more: whoever has followed must read again. Only an engine whose
    /// news come over a network ever says so.
    fn missed(&self, revision: Revision);
    /// There will be no more.
    fn closed(&self);
}

/// What to read of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRequest {
    /// Changes of these keys.
    pub interval: Interval,
    /// Changes younger than this.
    pub after: Revision,
    /// About how many events: a page ends with a whole revision, so that it may hold up to [`crate::MAX_TXN_OPS`] more.
    pub limit: usize,
}

/// A piece of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogPage {
    /// What happened, oldest first.
    pub events: Vec<Arc<Event>>,
    /// Nothing else happened to the interval up to and with this revision. The next page is after it.
    pub through: Revision,
    /// The newest revision of the log when this page was read; `through == current` means that there is no next page. Where others write to
    /// the same place, [`Engine::revision`] may be ahead of it: what they wrote last is told to followers when it arrives.
    pub current: Revision,
}
