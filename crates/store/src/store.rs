//! What the API server holds: an [`Engine`](crate::Engine)'s reads and writes, and watches.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures::Stream;
use futures::stream::BoxStream;
use tokio::sync::Notify;

use crate::{Error, Event, Interval, KeyValue, RangeRequest, RangeResponse, Revision, Txn, TxnOutcome};

/// Keys under revisions that can be watched. Use it as `Arc<dyn Store>`.
///
/// The methods that it shares with [`Engine`](crate::Engine) mean the same here.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// What `key` holds now.
    async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error>;

    /// An interval as of one revision, and that revision, from which a watch can go on.
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error>;

    /// Carries out `txn` if its comparisons hold; returns when the outcome is durable. Watchers were told by then.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error>;

    /// Forgets what only revisions before `revision` can see.
    async fn compact(&self, revision: Revision) -> Result<(), Error>;

    /// The newest revision.
    async fn revision(&self) -> Result<Revision, Error>;

    /// What happens to an interval after a revision: first what has already happened, then what will, with no gap and
    /// no repetition. [`Error::Compacted`] if that history is gone, [`Error::FutureRevision`] if it has not happened.
    async fn watch(&self, request: WatchRequest) -> Result<Watch, Error>;

    /// Ends the store: watches end, files and locks are released, and any later call answers [`Error::Closed`].
    async fn close(&self) -> Result<(), Error>;
}

/// What to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRequest {
    /// Which keys.
    pub interval: Interval,
    /// Changes younger than this; `None` for those after the call.
    pub after: Option<Revision>,
    /// How often [`WatchItem::Progress`] is wanted while nothing else happens; `None` for never.
    pub progress_every: Option<Duration>,
}

impl WatchRequest {
    /// Changes of `interval` from now on.
    #[must_use]
    pub fn new(interval: Interval) -> WatchRequest {
        WatchRequest { interval, after: None, progress_every: None }
    }

    /// The same, from after `revision` on.
    #[must_use]
    pub fn after(self, revision: Revision) -> WatchRequest {
        WatchRequest { after: Some(revision), ..self }
    }

    /// The same, with progress at this interval.
    #[must_use]
    pub fn progress_every(self, period: Duration) -> WatchRequest {
        WatchRequest { progress_every: Some(period), ..self }
    }
}

/// What a watch delivers.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchItem {
    /// A change. Events of one transaction come one after the other.
    Event(Arc<Event>),
    /// Everything up to and with this revision was delivered: a new watch may start after it.
    Progress(Revision),
}

/// Why a watch ended. It delivers nothing after this.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WatchError {
    /// The reader was too slow and was cut, so that it delays nobody. Watch again after the last delivered revision.
    #[error("the watch was too slow: more than {queue} events were waiting")]
    Lagged {
        /// How many events may wait.
        queue: usize,
    },
    /// The history still to be delivered is gone. Read again and watch from there.
    #[error("the watch is at revision {requested}, which was compacted away: history starts at {compacted}")]
    Compacted {
        /// Where the watch was.
        requested: Revision,
        /// The oldest revision that can still be watched from.
        compacted: Revision,
        /// The newest revision.
        current: Revision,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The history could not be read.
    #[error("cannot read the store's history")]
    Log(#[source] Error),
}

impl From<Error> for WatchError {
    fn from(error: Error) -> WatchError {
        match error {
            Error::Compacted { requested, compacted, current } => {
                WatchError::Compacted { requested, compacted, current }
            }
            Error::Closed => WatchError::Closed,
            other => WatchError::Log(other),
        }
    }
}

/// A running watch. It ends when it is dropped, or itself with one error as its last item.
pub struct Watch {
    items: BoxStream<'static, Result<WatchItem, WatchError>>,
    wanted: Arc<Notify>,
}

impl Watch {
    /// For implementors of [`Store`]: `wanted` is notified by [`Watch::request_progress`].
    #[must_use]
    pub fn new(items: BoxStream<'static, Result<WatchItem, WatchError>>, wanted: Arc<Notify>) -> Watch {
        Watch { items, wanted }
    }

    /// Asks for one [`WatchItem::Progress`], which comes as soon as all that has happened was delivered.
    pub fn request_progress(&self) {
        self.wanted.notify_one();
    }
}

impl Stream for Watch {
    type Item = Result<WatchItem, WatchError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.items.as_mut().poll_next(cx)
    }
}
