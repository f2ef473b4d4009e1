//! The course of one watch. Called only by the stream that [`Watch`] wraps.
//!
//! ```text
//! Behind ──ring reaches back far enough──▶ Live ──cut, closed──▶ Ended
//!   └──────────────compacted, unreadable───────────────────────────▲
//! ```

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;

use futures::StreamExt;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::watched::hub::{Hub, Subscription};
use crate::{Engine, Error, Event, LogRequest, Revision, Watch, WatchError, WatchItem, WatchRequest};

pub(super) struct Watcher {
    source: Source,
    phase: Phase,
    pace: Pace,
}

/// Where history comes from.
struct Source {
    engine: Arc<dyn Engine>,
    hub: Arc<Hub>,
    request: WatchRequest,
    page: usize,
}

enum Phase {
    /// Reading the engine's log, one page at a time; `through` is how far the last page went.
    Behind { waiting: VecDeque<Arc<Event>>, through: Revision },
    /// First what the ring had, then what comes. `after` is where the watch became live.
    Live { waiting: VecDeque<Arc<Event>>, subscription: Subscription, after: Revision },
    /// The one error was delivered.
    Ended,
}

/// When progress is due.
struct Pace {
    wanted: Arc<Notify>,
    due: Option<Instant>,
    pending: bool,
}

/// What a live watch woke up for.
enum Wake {
    News(Result<Arc<Event>, WatchError>),
    Progress,
}

impl Watcher {
    /// Reads enough to know that the history after `after` is there.
    pub(super) async fn start(
        engine: Arc<dyn Engine>,
        hub: Arc<Hub>,
        request: WatchRequest,
        after: Revision,
        page: usize,
    ) -> Result<Watcher, Error> {
        let due = request.progress_every.map(|period| Instant::now() + period);
        let pace = Pace { wanted: Arc::new(Notify::new()), due, pending: false };
        let source = Source { engine, hub, request, page };
        let phase = source.advance(after).await?;
        Ok(Watcher { source, phase, pace })
    }

    pub(super) fn into_watch(self) -> Watch {
        let wanted = self.pace.wanted.clone();
        let items = futures::stream::unfold(self, |mut watcher| async {
            let item = watcher.next().await?;
            Some((item, watcher))
        });
        Watch::new(items.fuse().boxed(), wanted)
    }

    async fn next(&mut self) -> Option<Result<WatchItem, WatchError>> {
        let result = loop {
            match self.step().await {
                Ok(Some(item)) => break Ok(item),
                Ok(None) => {}
                Err(WatchEnd::Silent) => return None,
                Err(WatchEnd::With(error)) => {
                    self.phase = Phase::Ended;
                    break Err(error);
                }
            }
        };
        Some(result)
    }

    /// One move: an item, or a change of phase.
    async fn step(&mut self) -> Result<Option<WatchItem>, WatchEnd> {
        match &mut self.phase {
            Phase::Ended => Err(WatchEnd::Silent),
            Phase::Behind { waiting, through } => {
                if let Some(event) = waiting.pop_front() {
                    return Ok(Some(WatchItem::Event(event)));
                }
                self.phase = self.source.advance(*through).await?;
                Ok(None)
            }
            Phase::Live { waiting, subscription, after } => {
                if let Some(event) = waiting.pop_front() {
                    return Ok(Some(WatchItem::Event(event)));
                }
                if self.pace.pending
                    && let Some(revision) = subscription.progress()
                {
                    self.pace.delivered(&self.source.request);
                    return Ok(Some(WatchItem::Progress(revision.max(*after))));
                }
                match self.pace.wake(subscription).await {
                    Wake::News(event) => Ok(Some(WatchItem::Event(event?))),
                    Wake::Progress => {
                        self.pace.pending = true;
                        Ok(None)
                    }
                }
            }
        }
    }
}

impl Source {
    /// Goes live after `after`, or reads the next page of what happened since.
    async fn advance(&self, after: Revision) -> Result<Phase, Error> {
        if let Some((waiting, subscription)) = self.hub.subscribe(&self.request.interval, after) {
            return Ok(Phase::Live { waiting, subscription, after });
        }
        let request = LogRequest { interval: self.request.interval.clone(), after, limit: self.page };
        let page = self.engine.log(request).await?;
        Ok(Phase::Behind { waiting: page.events.into(), through: page.through })
    }
}

impl Pace {
    async fn wake(&mut self, subscription: &mut Subscription) -> Wake {
        let due = async {
            match self.due {
                Some(due) if !self.pending => sleep_until(due).await,
                _ => pending().await,
            }
        };
        // Cancel-safe: an event is taken only by the branch that returns it; a lost `notified` branch keeps its permit;
        // a deadline is a point in time.
        tokio::select! {
            biased;
            news = subscription.next() => Wake::News(news),
            () = self.wanted.notified() => Wake::Progress,
            () = due => Wake::Progress,
        }
    }

    fn delivered(&mut self, request: &WatchRequest) {
        self.pending = false;
        self.due = request.progress_every.map(|period| Instant::now() + period);
    }
}

/// How a watch stops.
enum WatchEnd {
    With(WatchError),
    Silent,
}

impl From<WatchError> for WatchEnd {
    fn from(error: WatchError) -> WatchEnd {
        WatchEnd::With(error)
    }
}

impl From<Error> for WatchEnd {
    fn from(error: Error) -> WatchEnd {
        WatchEnd::With(error.into())
    }
}
