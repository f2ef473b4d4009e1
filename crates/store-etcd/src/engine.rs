//! The engine on a link: requests with bounded waits, and what their answers mean.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use remora_store::{
    Engine, Error, Follower, KeyValue, LogPage, LogRequest, RangeRequest, RangeResponse, Revision, Txn, TxnOutcome,
};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::config::EtcdConfig;
use crate::connection::{Connection, is_lost, is_never_sent, is_token_rejected};
use crate::convert::{Root, from_etcd, revision_of, to_etcd};
use crate::errors::{Refusal, future, refusal};
use crate::link::{Link, Use};
use crate::messages as etcd;
use crate::news::News;
use crate::watching::{self, Answer, Answers, End};

/// How long opening waits for the first connection: an etcd that boots with us needs a moment.
const FIRST: Duration = Duration::from_secs(5);
/// How long a request may take in all.
const ANSWER: Duration = Duration::from_secs(10);
/// How many requests are under way at once; more wait for a place.
const REQUESTS: u32 = 1024;

/// An etcd as the place where a store keeps its keys.
///
/// Others may write to the same prefix: what they do is told to followers as what we do is. [`Engine::close`] ends it in order; dropped, its
/// task and connection end.
pub struct EtcdEngine {
    link: Link,
    news: Arc<News>,
    root: Root,
    places: Semaphore,
}

/// Whether a request may be sent again when its connection was lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// It only reads.
    Always,
    /// It may have been carried out.
    IfNotSent,
}

impl EtcdEngine {
    /// Connects to the first member that answers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if none did within five seconds; it names each member and what was wrong with it.
    pub async fn open(config: EtcdConfig) -> Result<EtcdEngine, Error> {
        EtcdEngine::open_for(config, Use::Serve).await
    }

    /// The same to restore into it, whether or not an earlier restore was finished.
    ///
    /// # Errors
    /// As [`EtcdEngine::open`].
    pub async fn open_to_restore(config: EtcdConfig) -> Result<EtcdEngine, Error> {
        EtcdEngine::open_for(config, Use::Restore).await
    }

    async fn open_for(config: EtcdConfig, purpose: Use) -> Result<EtcdEngine, Error> {
        let root = Root::new(config.address.root.clone());
        let news = Arc::new(News::new());
        let link = Link::start(config, purpose, root.clone(), news.clone());
        link.first(FIRST).await?;
        Ok(EtcdEngine { link, news, root, places: Semaphore::new(REQUESTS as usize) })
    }

    /// Sends a request and waits for its answer. `bytes` is its size, for errors.
    async fn ask<A, F>(&self, repeat: Repeat, bytes: usize, send: impl Fn(Connection) -> F) -> Result<A, Refusal>
    where
        F: Future<Output = Result<A, Status>>,
    {
        let deadline = Instant::now() + ANSWER;
        let mut up = self.link.up(None, deadline).await.map_err(Refusal::Other)?;
        loop {
            let Ok(answer) = timeout_at(deadline, send(up.connection.clone())).await else {
                return Err(Refusal::Other(Error::TimedOut { server: up.server.clone(), after: ANSWER }));
            };
            let status = match answer {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            let not_done = is_never_sent(&status) || is_token_rejected(&status);
            let harmless = repeat == Repeat::Always && is_lost(&status);
            if !not_done && !harmless {
                return Err(refusal(&up.server, &status, bytes));
            }
            up = self.link.up(Some(&up), deadline).await.map_err(Refusal::Other)?;
        }
    }

    async fn read(&self, request: etcd::RangeRequest) -> Result<etcd::RangeResponse, Refusal> {
        self.ask(Repeat::Always, 0, |connection| {
            let request = request.clone();
            async move { connection.range(request).await }
        })
        .await
    }

    /// The newest revision, which is part of every answer that was read with the consent of a majority.
    async fn newest(&self) -> Result<Revision, Error> {
        let request = etcd::RangeRequest { key: self.root.key(b""), count_only: true, ..etcd::RangeRequest::default() };
        match self.read(request).await {
            Ok(answer) => Ok(revision_of(answer.header.as_ref())),
            Err(refusal) => Err(self.explained(refusal, Revision::NONE).await),
        }
    }

    /// The error of a request about the revision `requested`.
    async fn explained(&self, refusal: Refusal, requested: Revision) -> Error {
        match refusal {
            Refusal::Other(error) => error,
            Refusal::Future => Box::pin(self.newest()).await.map_or_else(|error| error, |now| future(requested, now)),
            Refusal::Compacted => Box::pin(self.compacted(requested)).await.unwrap_or_else(|error| error),
        }
    }

    /// Finds out up to where history was compacted: etcd says it only to a watch that begins before.
    async fn compacted(&self, requested: Revision) -> Result<Error, Error> {
        let deadline = Instant::now() + ANSWER;
        let up = self.link.up(None, deadline).await?;
        let lost =
            |status: Status| Error::Unavailable { server: up.server.clone(), detail: status.message().to_owned() };
        let search = async {
            let mut stream = up.connection.watch(watching::from(&self.root, Revision::EMPTY)).await.map_err(lost)?;
            while let Some(answer) = stream.message().await.map_err(lost)? {
                if answer.compact_revision > 0 {
                    return Ok(from_etcd(answer.compact_revision));
                }
            }
            Err(Error::Unavailable { server: up.server.clone(), detail: "it ended a watch".to_owned() })
        };
        let timed_out = |_| Error::TimedOut { server: up.server.clone(), after: ANSWER };
        let compacted = timeout_at(deadline, search).await.map_err(timed_out)??;
        let current = self.newest().await?;
        Ok(Error::Compacted { requested, compacted, current })
    }

    async fn place(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Error> {
        self.places.acquire().await.map_err(|_| Error::Closed)
    }

    /// Reads what happened after a revision from a watch of its own, up to the last event that followers were told of.
    async fn history(&self, request: &LogRequest) -> Result<LogPage, Error> {
        let after = request.after;
        let known = self.news.position().ok_or(Error::Closed)?;
        if after < known.missed {
            return Err(Error::Compacted { requested: after, compacted: known.missed, current: known.head });
        }
        if after >= known.last_event {
            let through = known.head.max(after);
            return Ok(LogPage { events: Vec::new(), through, current: through });
        }
        let deadline = Instant::now() + ANSWER;
        let up = self.link.up(None, deadline).await?;
        let page = timeout_at(deadline, self.page(&up.connection, request, known.last_event)).await;
        let mut page = match page.map_err(|_| Error::TimedOut { server: up.server.clone(), after: ANSWER })? {
            Ok(page) => page,
            Err(NoPage::Compacted) => return Err(self.compacted(after).await.unwrap_or_else(|error| error)),
            Err(NoPage::Broken(detail)) => return Err(Error::Unavailable { server: up.server.clone(), detail }),
        };
        if page.through >= known.last_event {
            page.through = page.through.max(known.head);
        }
        page.current = known.head.max(page.through);
        Ok(page)
    }

    async fn page(&self, connection: &Connection, request: &LogRequest, last: Revision) -> Result<LogPage, NoPage> {
        // It begins at `after`, not behind it: so it is refused if `after` itself is compacted.
        let create = watching::from(&self.root, request.after);
        let mut stream = connection.watch(create).await.map_err(|status| broken(&status))?;
        let mut answers = Answers::after(self.root.clone(), request.after);
        let mut page = LogPage { events: Vec::new(), through: request.after, current: last };
        while let Some(answer) = stream.message().await.map_err(|status| broken(&status))? {
            let events = match answers.take(answer) {
                Ok(Answer::Events(events)) => events,
                Ok(Answer::Progress(_)) => continue,
                Err(End::Compacted(_) | End::NoPrevious) => return Err(NoPage::Compacted),
                Err(End::Cancelled(reason)) => return Err(NoPage::Broken(reason)),
            };
            for whole in events.chunk_by(|a, b| a.revision() == b.revision()) {
                let ours = whole.iter().filter(|event| request.interval.contains(event.key()));
                page.events.extend(ours.cloned());
                page.through = whole[0].revision();
                if page.events.len() >= request.limit || page.through >= last {
                    return Ok(page);
                }
            }
        }
        Err(NoPage::Broken("it ended the watch".to_owned()))
    }
}

/// Why a page of the log could not be read.
enum NoPage {
    Compacted,
    Broken(String),
}

fn broken(status: &Status) -> NoPage {
    NoPage::Broken(crate::errors::chain(status))
}

#[async_trait]
impl Engine for EtcdEngine {
    async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error> {
        let _place = self.place().await?;
        let request = etcd::RangeRequest { key: self.root.key(key), ..etcd::RangeRequest::default() };
        match self.read(request).await {
            Ok(mut answer) => Ok(answer.kvs.pop().and_then(|kv| self.root.kv(kv))),
            Err(refusal) => Err(self.explained(refusal, Revision::NONE).await),
        }
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        let _place = self.place().await?;
        let (key, range_end) = self.root.interval(&request.interval);
        let limit = request.limit.map_or(0, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        let asked = etcd::RangeRequest {
            key,
            range_end,
            limit,
            // To etcd, no limit is 0.
            count_only: request.limit == Some(0),
            revision: request.at.map_or(0, to_etcd),
            ..etcd::RangeRequest::default()
        };
        let answer = match self.read(asked).await {
            Ok(answer) => answer,
            Err(refusal) => return Err(self.explained(refusal, request.at.unwrap_or_default()).await),
        };
        let revision = request.at.unwrap_or_else(|| revision_of(answer.header.as_ref()));
        let kvs: Vec<KeyValue> = answer.kvs.into_iter().filter_map(|kv| self.root.kv(kv)).collect();
        let remaining = u64::try_from(answer.count).unwrap_or(0).saturating_sub(kvs.len() as u64);
        Ok(RangeResponse { kvs, revision, remaining })
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        txn.check()?;
        let _place = self.place().await?;
        if txn.compares.is_empty() && txn.ops.is_empty() {
            // etcd answers such a one from what the member has, which may be old.
            return Ok(TxnOutcome::Committed { revision: self.newest().await? });
        }
        let request = self.root.txn(&txn);
        let send = |connection: Connection| {
            let request = request.clone();
            async move { connection.txn(request).await }
        };
        let answer = match self.ask(Repeat::IfNotSent, txn.weight(), send).await {
            Ok(answer) => self.root.outcome(answer),
            Err(refusal) => return Err(self.explained(refusal, Revision::NONE).await),
        };
        if let TxnOutcome::Committed { revision } = &answer.outcome
            && answer.changed
        {
            // It is durable whether or not watchers have heard of it. If the link breaks just now, they will in a moment.
            let told = timeout_at(Instant::now() + ANSWER, self.news.told(*revision)).await;
            if told.is_err() {
                tracing::warn!(%revision, "a write was acknowledged before watchers could be told of it");
            }
        }
        Ok(answer.outcome)
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        let _place = self.place().await?;
        let send = |connection: Connection| async move {
            connection.compact(etcd::CompactionRequest { revision: to_etcd(revision) }).await
        };
        match self.ask(Repeat::IfNotSent, 0, send).await {
            Ok(etcd::CompactionResponse {}) => {
                self.news.compacted(revision);
                Ok(())
            }
            Err(refusal) => Err(self.explained(refusal, revision).await),
        }
    }

    async fn revision(&self) -> Result<Revision, Error> {
        let _place = self.place().await?;
        self.newest().await
    }

    async fn log(&self, request: LogRequest) -> Result<LogPage, Error> {
        let _place = self.place().await?;
        let current = self.newest().await?;
        if request.after > current {
            return Err(future(request.after, current));
        }
        self.history(&request).await
    }

    async fn follow(&self, follower: Arc<dyn Follower>) -> Result<Revision, Error> {
        self.news.follow(follower)
    }

    async fn close(&self) -> Result<(), Error> {
        // Whoever has a place is finished first; an error means that this was closed before.
        if let Ok(_all) = self.places.acquire_many(REQUESTS).await {
            self.places.close();
            self.link.end();
            self.news.closed();
        }
        Ok(())
    }
}
