//! The one task that keeps a connection and the watch on it, for as long as the engine is open.
//!
//! ```text
//! Down ──connected, watch created──▶ Up ──watch or connection broken──▶ Down, the next member
//! ```
//! **Invariant:** while the link is up, all that happens to our keys is told in order. What cannot be told any more is said to be missed.

use std::sync::Arc;
use std::time::Duration;

use remora_store::snapshot::RESTORING;
use remora_store::{Error, Revision};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Streaming;

use crate::config::{Endpoint, EtcdConfig};
use crate::connection::Connection;
use crate::convert::{Root, from_etcd, revision_of};
use crate::errors::chain;
use crate::messages::{RangeRequest, SortOrder, SortTarget, WatchResponse};
use crate::news::{News, Position};
use crate::watching::{self, Answer, Answers, End};

/// How long a member may take to be connected to, and then until there is a watch on it: the first time it looks at all our keys.
const CONNECT: Duration = Duration::from_secs(3);
const PREPARE: Duration = Duration::from_secs(10);
/// How long a request waits for a link that is down: a change of members takes less, an etcd that is gone takes longer.
const UP: Duration = Duration::from_secs(3);
/// The pauses between rounds through all members.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What the link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// What is there has to be whole.
    Serve,
    /// It may be half of what was to be restored.
    Restore,
}

/// Ends its task when dropped.
pub(crate) struct Link {
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

enum State {
    Down(Error),
    Up(Arc<Up>),
}

/// A connection that is in use.
pub(crate) struct Up {
    pub(crate) connection: Connection,
    /// For errors.
    pub(crate) server: String,
    number: u64,
}

impl Link {
    /// Begins to connect.
    pub(crate) fn start(config: EtcdConfig, purpose: Use, root: Root, news: Arc<News>) -> Link {
        let (sender, state) = watch::channel(State::Down(unavailable(&config, "no member was tried yet".to_owned())));
        let keeper = Keeper { config, purpose, root, news, state: sender, number: 0 };
        Link { state, task: tokio::spawn(keeper.run()) }
    }

    /// The connection, or why there is none. With `not`, another one than that.
    pub(crate) async fn up(&self, not: Option<&Up>, deadline: Instant) -> Result<Arc<Up>, Error> {
        self.up_until(not, deadline.min(Instant::now() + UP)).await
    }

    /// Returns when the first connection is there, or why there was none in `patience`.
    pub(crate) async fn first(&self, patience: Duration) -> Result<(), Error> {
        self.up_until(None, Instant::now() + patience).await.map(drop)
    }

    async fn up_until(&self, not: Option<&Up>, deadline: Instant) -> Result<Arc<Up>, Error> {
        let mut state = self.state.clone();
        let not = not.map_or(0, |up| up.number);
        let other = |state: &State| matches!(state, State::Up(up) if up.number > not);
        if timeout_at(deadline, state.wait_for(other)).await.is_ok_and(|waited| waited.is_err()) {
            return Err(Error::Closed);
        }
        match &*self.state.borrow() {
            State::Up(up) if up.number > not => Ok(up.clone()),
            State::Up(up) => {
                Err(Error::Unavailable { server: up.server.clone(), detail: "the connection was lost".to_owned() })
            }
            State::Down(error) => Err(error.clone()),
        }
    }

    /// No more connections.
    pub(crate) fn end(&self) {
        self.task.abort();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Keeper {
    config: EtcdConfig,
    purpose: Use,
    root: Root,
    news: Arc<News>,
    state: watch::Sender<State>,
    number: u64,
}

impl Keeper {
    async fn run(mut self) {
        let mut pause = PAUSE.0;
        loop {
            let mut details = Vec::new();
            for endpoint in self.config.address.endpoints.clone() {
                let before = self.number;
                let detail = self.session(&endpoint).await;
                if self.number > before {
                    // It was in use: what others said before that is old.
                    details.clear();
                    pause = PAUSE.0;
                    tracing::warn!(%endpoint, detail, "the link to etcd is broken; the next member is tried");
                }
                details.push(format!("{endpoint}: {detail}"));
                self.state.send_replace(State::Down(unavailable(&self.config, details.join("; "))));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Connects to a member and follows it; returns why that is over.
    async fn session(&mut self, endpoint: &Endpoint) -> String {
        let (connection, mut watching) = match self.open(endpoint).await {
            Ok(opened) => opened,
            Err(detail) => return detail,
        };
        self.number += 1;
        let server = format!("etcd at {endpoint}");
        let up = Up { connection: connection.clone(), server, number: self.number };
        self.state.send_replace(State::Up(Arc::new(up)));
        tracing::debug!(%endpoint, "the link to etcd is up");
        loop {
            let over = tokio::select! {
                // Cancel-safe: what was read of the stream is in `watching`, which outlives this future.
                over = self.follow(&mut watching) => over,
                () = connection.broken() => return "a request was not answered".to_owned(),
            };
            let revision = match over {
                Over::Missed(revision) => revision,
                Over::Broken(detail) => return detail,
            };
            tracing::warn!(%revision, "changes were compacted before they were heard of: watches begin anew");
            self.news.missed(revision);
            match self.watch(&connection, revision).await {
                Ok(again) => watching = again,
                Err(detail) => return detail,
            }
        }
    }

    async fn open(&self, endpoint: &Endpoint) -> Result<(Connection, Watching), String> {
        let late = |waited: Duration| move |_| format!("no answer within {} s", waited.as_secs());
        let opened = timeout(CONNECT, Connection::open(endpoint, &self.config)).await.map_err(late(CONNECT))?;
        let connection = opened.map_err(|error| chain(&error))?;
        let watching = timeout(PREPARE, self.prepare(&connection)).await.map_err(late(PREPARE))??;
        Ok((connection, watching))
    }

    /// Sees whether it is the etcd that we know, and takes up its news where they were left.
    async fn prepare(&self, connection: &Connection) -> Result<Watching, String> {
        if self.purpose == Use::Serve {
            self.refuse_half_restored(connection).await?;
        }
        let after = match self.news.position() {
            Some(position) => {
                let (was, is) = (position.head, self.current(connection).await?);
                if is < was {
                    return Err(format!(
                        "it stands at revision {is}, and was at {was} before: it has lost writes or is another etcd; \
                         restart Remora to go on with it"
                    ));
                }
                was
            }
            None => {
                let newest = self.newest(connection).await?;
                self.news.starts_at(Position::at_event(newest));
                newest
            }
        };
        self.watch(connection, after).await
    }

    async fn refuse_half_restored(&self, connection: &Connection) -> Result<(), String> {
        let request =
            RangeRequest { key: self.root.key(RESTORING.as_bytes()), count_only: true, ..RangeRequest::default() };
        match connection.range(request).await.map_err(|status| chain(&status))?.count {
            0 => Ok(()),
            _ => Err("a restore into it was not finished: run `remora store restore --force` again".to_owned()),
        }
    }

    async fn current(&self, connection: &Connection) -> Result<Revision, String> {
        let request = RangeRequest { key: self.root.key(b""), count_only: true, ..RangeRequest::default() };
        let answer = connection.range(request).await.map_err(|status| chain(&status))?;
        Ok(revision_of(answer.header.as_ref()))
    }

    /// The newest revision that a key of ours is at: an event from which on a watch delivers all.
    async fn newest(&self, connection: &Connection) -> Result<Revision, String> {
        let (key, range_end) = self.root.interval(&remora_store::Interval::all());
        let request = RangeRequest {
            key,
            range_end,
            limit: 1,
            keys_only: true,
            sort_order: SortOrder::Descend as i32,
            sort_target: SortTarget::Mod as i32,
            ..RangeRequest::default()
        };
        let found = connection.range(request).await.map_err(|status| chain(&status))?;
        Ok(from_etcd(found.kvs.first().map_or(0, |kv| kv.mod_revision)).max(Revision::EMPTY))
    }

    async fn watch(&self, connection: &Connection, after: Revision) -> Result<Watching, String> {
        let create = watching::from(&self.root, after.next());
        let mut stream = connection.watch(create).await.map_err(|status| chain(&status))?;
        let mut answers = Answers::after(self.root.clone(), after);
        // The first answer tells of the creation.
        let first = stream.message().await.map_err(|status| chain(&status))?.ok_or("it ended the watch")?;
        match answers.take(first) {
            Ok(_) => Ok(Watching { stream, answers }),
            Err(end) => Err(format!("it refused the watch: {end:?}")),
        }
    }

    async fn follow(&self, watching: &mut Watching) -> Over {
        loop {
            let answer = match watching.stream.message().await {
                Ok(Some(answer)) => answer,
                Ok(None) => return Over::Broken("it ended the watch".to_owned()),
                Err(status) => return Over::Broken(chain(&status)),
            };
            let newest = revision_of(answer.header.as_ref());
            match watching.answers.take(answer) {
                Ok(Answer::Events(events)) => self.news.committed(&events),
                Ok(Answer::Progress(revision)) => self.news.progress(revision),
                Err(End::Compacted(revision)) => return Over::Missed(revision),
                Err(End::NoPrevious) => return Over::Missed(newest),
                Err(End::Cancelled(reason)) => return Over::Broken(reason),
            }
        }
    }
}

struct Watching {
    stream: Streaming<WatchResponse>,
    answers: Answers,
}

/// Why a watch is not followed any more.
enum Over {
    /// Changes up to this revision cannot be had any more.
    Missed(Revision),
    Broken(String),
}

fn unavailable(config: &EtcdConfig, detail: String) -> Error {
    let members: Vec<String> = config.address.endpoints.iter().map(ToString::to_string).collect();
    Error::Unavailable { server: format!("etcd at {}", members.join(", ")), detail }
}
