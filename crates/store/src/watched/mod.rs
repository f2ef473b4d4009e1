//! One watch cache over any engine: the [`Store`] that the API server uses.
//!
//! - `ring` keeps the recent events, bounded in number and bytes;
//! - `hub` hands each new event to the ring and to the watches that care, under one lock;
//! - `watcher` is the course of one watch: behind, then live, then ended.
//!
//! **Invariant:** an engine's writer never waits for a watcher. Who does not keep up is cut.

mod hub;
mod ring;
#[cfg(test)]
mod tests;
mod watcher;

use std::sync::Arc;

use async_trait::async_trait;

use crate::watched::hub::Hub;
use crate::watched::watcher::Watcher;
use crate::{
    Engine, Error, KeyValue, RangeRequest, RangeResponse, Revision, Store, Txn, TxnOutcome, Watch, WatchRequest,
};

/// How much the watch cache may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchLimits {
    /// The most events in the ring.
    pub events: usize,
    /// The most bytes of keys and values in the ring.
    pub bytes: usize,
    /// The most events that may wait for one watcher.
    pub queue: usize,
    /// About how many events to read at once from the engine's log.
    pub page: usize,
}

impl Default for WatchLimits {
    fn default() -> WatchLimits {
        WatchLimits { events: 8192, bytes: 4 * 1024 * 1024, queue: 1024, page: 256 }
    }
}

/// An engine with a watch cache in front.
pub struct Watched {
    engine: Arc<dyn Engine>,
    hub: Arc<Hub>,
    limits: WatchLimits,
}

/// Puts a watch cache of the default size over `engine`.
pub async fn watched(engine: Arc<dyn Engine>) -> Result<Watched, Error> {
    watched_within(engine, WatchLimits::default()).await
}

/// Puts a watch cache of a given size over `engine`.
pub async fn watched_within(engine: Arc<dyn Engine>, limits: WatchLimits) -> Result<Watched, Error> {
    let hub = Arc::new(Hub::new(limits));
    let since = engine.follow(hub.clone()).await?;
    hub.starts_at(since);
    Ok(Watched { engine, hub, limits })
}

#[async_trait]
impl Store for Watched {
    async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error> {
        self.engine.get(key).await
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.engine.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        self.engine.txn(txn).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.engine.compact(revision).await
    }

    async fn revision(&self) -> Result<Revision, Error> {
        self.engine.revision().await
    }

    async fn watch(&self, request: WatchRequest) -> Result<Watch, Error> {
        let after = self.start_of(&request).await?;
        let watcher = Watcher::start(self.engine.clone(), self.hub.clone(), request, after, self.limits.page).await?;
        Ok(watcher.into_watch())
    }

    async fn close(&self) -> Result<(), Error> {
        self.engine.close().await
    }
}

impl Watched {
    /// The revision after which a watch begins, which must have happened.
    ///
    /// The engine is asked too: it may be ahead of the hub by what another API server has written.
    async fn start_of(&self, request: &WatchRequest) -> Result<Revision, Error> {
        let Some(after) = request.after else { return self.engine.revision().await };
        if after <= self.hub.head() {
            return Ok(after);
        }
        let current = self.engine.revision().await?;
        if after <= current { Ok(after) } else { Err(Error::FutureRevision { requested: after, current }) }
    }
}
