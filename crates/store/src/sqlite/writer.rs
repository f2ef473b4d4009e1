//! The one thread that writes. It takes all that waits, commits it as one, and only then acknowledges: one sync for
//! many writers.
//!
//! ```text
//! wait ─▶ gather ─▶ decide and insert ─▶ commit (sync) ─▶ note ─▶ publish ─▶ acknowledge ─▶ sweep, checkpoint ─▶ wait
//! ```

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Transaction, TransactionBehavior};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::apply::Batch;
use super::check::Content;
use super::files::{Acked, Files};
use super::live::{self, Live};
use super::rows::{Position, View};
use super::schema::{COMPACTED, Db, Role};
use super::sweep::{Step, Sweep, set_meta};
use super::wal;
use crate::{Error, Event, Follower, Interval, KeyValue, RangeRequest, RangeResponse, Revision, Txn, TxnOutcome};

/// How many requests may wait; more callers wait for a place.
pub(super) const QUEUE: usize = 1024;
/// The most transactions that share a commit, and about the most bytes.
const GROUP: usize = 256;
const GROUP_BYTES: usize = 4 * 1024 * 1024;
/// Frames in the write-ahead log that make a checkpoint worth it (4 MiB).
const CHECKPOINT_FRAMES: u64 = 1000;

pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

pub(super) enum Request {
    Txn(Txn, Reply<TxnOutcome>),
    Compact(Revision, Reply<()>),
    Close(Reply<()>),
}

/// What writer and readers have in common. One lock makes "followers were told" and "readers may see it" the same moment: a
/// watcher that reads at once what it has just heard of finds it, and no reader sees what no watcher was told.
pub(super) struct Shared(Mutex<Published>);

struct Published {
    head: Revision,
    /// As of the head.
    live: Live,
    followers: Vec<Arc<dyn Follower>>,
}

impl Shared {
    pub(super) fn new(current: Revision, live: Live) -> Shared {
        Shared(Mutex::new(Published { head: current, live, followers: Vec::new() }))
    }

    /// The newest revision that followers were told of; waits for one that is being told.
    pub(super) fn published(&self) -> Revision {
        self.lock().head
    }

    /// What a key holds at the newest revision, if that is in memory.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<KeyValue>> {
        self.lock().live.get(key)
    }

    /// An interval as of the newest revision, if that is meant and in memory.
    pub(super) fn range(&self, request: &RangeRequest) -> Option<RangeResponse> {
        let published = self.lock();
        let revision = published.head;
        if request.at.is_some_and(|at| at != revision) {
            return None;
        }
        let (kvs, remaining) = published.live.range(&request.interval, request.limit.unwrap_or(usize::MAX))?;
        Some(RangeResponse { kvs, revision, remaining })
    }

    /// Adds a follower between two publications.
    pub(super) fn follow(&self, follower: Arc<dyn Follower>) -> Revision {
        let mut published = self.lock();
        published.followers.push(follower);
        published.head
    }

    fn lock(&self) -> MutexGuard<'_, Published> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, events: &[Arc<Event>], head: Revision) {
        let mut published = self.lock();
        published.followers.iter().for_each(|follower| follower.committed(events));
        published.head = head;
        let outgrown = published.live.apply(events);
        drop((published, outgrown));
    }

    fn limit(&self) -> usize {
        self.lock().live.limit()
    }

    fn keep(&self, live: Live) {
        self.lock().live = live;
    }

    fn fits_again(&self) -> bool {
        self.lock().live.fits_again()
    }

    fn compacted(&self, revision: Revision) {
        self.lock().followers.iter().for_each(|follower| follower.compacted(revision));
    }

    fn closed(&self) {
        self.lock().followers.drain(..).for_each(|follower| follower.closed());
    }
}

pub(super) struct Writer {
    db: Db,
    acked: Acked,
    shared: Arc<Shared>,
    head: Revision,
    compacted: Revision,
    /// How far sweeps have come to an end; what is between here and `compacted` is still to be deleted.
    swept: Revision,
    sweep: Option<Sweep>,
    wal: PathBuf,
    /// Behind the log's last commit may stand frames of a transaction that failed or was torn. They are cut before more
    /// is written, or some day they would look like a later transaction behind a broken one.
    remains: bool,
    /// Held until the last thread of the store has ended.
    _lock: Arc<File>,
}

/// A group that is on the disk.
struct Written {
    outcomes: Vec<TxnOutcome>,
    events: Vec<Arc<Event>>,
    head: Revision,
}

impl Writer {
    pub(super) fn open(
        files: &Files,
        shared: Arc<Shared>,
        content: &Content,
        lock: Arc<File>,
    ) -> Result<Writer, Error> {
        Ok(Writer {
            db: Db::open(files, Role::Writer)?,
            acked: Acked::open(files)?,
            shared,
            head: content.current,
            compacted: content.compacted,
            swept: content.swept,
            sweep: Sweep::pending(content.swept, content.compacted),
            wal: files.wal.clone(),
            remains: content.torn,
            _lock: lock,
        })
    }

    /// Serves until it is closed or nobody can ask any more.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut next = self.wait(&mut queue);
        let mut close = None;
        while let Some(request) = next {
            next = match request {
                Request::Txn(txn, reply) => self.group(txn, reply, &mut queue),
                Request::Compact(revision, reply) => {
                    // Nobody listens if the caller has gone away; so it is below.
                    let _ = reply.send(self.compact(revision));
                    None
                }
                Request::Close(reply) => {
                    close = Some(reply);
                    break;
                }
            };
            if next.is_none() {
                next = self.wait(&mut queue);
            }
        }
        queue.close();
        self.shared.closed();
        let done = self.checkpoint("TRUNCATE");
        drop(self);
        if let Some(reply) = close {
            let _ = reply.send(done);
        }
    }

    /// The next request; sweeps while there is none.
    fn wait(&mut self, queue: &mut mpsc::Receiver<Request>) -> Option<Request> {
        while self.sweep.is_some() {
            match queue.try_recv() {
                Ok(request) => return Some(request),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => self.tidy(),
            }
        }
        queue.blocking_recv()
    }

    /// Commits a transaction with all others that wait. Returns the first request that is something else.
    fn group(&mut self, txn: Txn, reply: Reply<TxnOutcome>, queue: &mut mpsc::Receiver<Request>) -> Option<Request> {
        let (mut txns, mut replies, mut other) = (vec![txn], vec![reply], None);
        let mut weight = txns[0].weight();
        while txns.len() < GROUP && weight < GROUP_BYTES && other.is_none() {
            match queue.try_recv() {
                Ok(Request::Txn(txn, reply)) => {
                    weight += txn.weight();
                    txns.push(txn);
                    replies.push(reply);
                }
                Ok(request) => other = Some(request),
                Err(_) => break,
            }
        }
        match self.commit(&txns) {
            Ok(outcomes) => {
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    let _ = reply.send(Ok(outcome));
                }
            }
            Err(error) => {
                for reply in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
        self.tidy();
        other
    }

    /// Makes a group durable and tells the followers. On an error nothing of it has happened.
    fn commit(&mut self, txns: &[Txn]) -> Result<Vec<TxnOutcome>, Error> {
        self.clear_remains()?;
        let written = self.write(txns);
        self.remains = written.is_err();
        let written = written?;
        if !written.events.is_empty() {
            self.head = written.head;
            self.note();
            self.shared.publish(&written.events, self.head);
        }
        Ok(written.outcomes)
    }

    fn write(&self, txns: &[Txn]) -> Result<Written, Error> {
        let failed = self.db.failed("write");
        let tx = Transaction::new_unchecked(&self.db.conn, TransactionBehavior::Immediate).map_err(&failed)?;
        let mut batch = Batch::new(View { conn: &tx, path: &self.db.path }, self.head);
        let outcomes = txns.iter().map(|txn| batch.apply(txn)).collect::<Result<Vec<_>, _>>()?;
        let (head, events) = (batch.head, batch.events);
        tx.commit().map_err(&failed)?;
        Ok(Written { outcomes, events, head })
    }

    /// Notes the newest revision. The writes are durable without it, so that its failure does not fail them.
    fn note(&self) {
        if let Err(error) = self.acked.write(self.head) {
            tracing::warn!(
                error = chain(&error),
                revision = self.head.0,
                "cannot note the newest acknowledged revision"
            );
        }
    }

    fn compact(&mut self, revision: Revision) -> Result<(), Error> {
        let (compacted, current) = (self.compacted, self.head);
        if revision <= compacted {
            return Err(Error::Compacted { requested: revision, compacted, current });
        }
        if revision > current {
            return Err(Error::FutureRevision { requested: revision, current });
        }
        self.clear_remains()?;
        let done = self.set_compacted(revision);
        self.remains = done.is_err();
        done?;
        self.sweep = self.sweep.take().map(|sweep| sweep.extend(revision)).or(Sweep::pending(self.swept, revision));
        self.compacted = revision;
        self.shared.compacted(revision);
        Ok(())
    }

    fn set_compacted(&self, revision: Revision) -> Result<(), Error> {
        let failed = self.db.failed("compact");
        let tx = Transaction::new_unchecked(&self.db.conn, TransactionBehavior::Immediate).map_err(&failed)?;
        set_meta(&tx, COMPACTED, revision).map_err(&failed)?;
        tx.commit().map_err(&failed)
    }

    /// Reads what all keys hold, unless that is too much. Nobody else writes, so that it is as of what is published.
    pub(super) fn load_live(&self) -> Result<(), Error> {
        let view = View { conn: &self.db.conn, path: &self.db.path };
        let (behind, limit) = (Position::behind(self.head), self.shared.limit());
        self.shared.keep(match view.weight(behind, live::OVERHEAD)? {
            weight if weight > limit => Live::unknown(limit, weight),
            _ => Live::of(limit, view.keys(&Interval::all(), behind, usize::MAX)?.0),
        });
        Ok(())
    }

    /// What can wait until the callers have their answers.
    fn tidy(&mut self) {
        self.sweep();
        if self.shared.fits_again()
            && let Err(error) = self.load_live()
        {
            tracing::warn!(error = chain(&error), "cannot read the store into memory; its reads go to the disk");
        }
        let done = match self.frames() {
            Ok(frames) if frames > CHECKPOINT_FRAMES => self.checkpoint("PASSIVE"),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            // Nothing is lost: the log holds what the checkpoint did not move, and the next one tries again.
            tracing::warn!(error = chain(&error), "cannot checkpoint the store");
        }
    }

    /// One step of the sweep. If it fails it rests until the next compaction or start: nobody waits for it.
    fn sweep(&mut self) {
        let Some(mut sweep) = self.sweep.take() else { return };
        let stepped = self.clear_remains().and_then(|()| sweep.step(&self.db));
        self.remains = stepped.is_err();
        match stepped {
            Ok(Step::More) => self.sweep = Some(sweep),
            Ok(Step::Done) => self.swept = self.compacted,
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "cannot delete what was compacted; trying again after the next compaction"
                );
            }
        }
    }

    /// Cuts the log behind its last commit. SQLite reads nothing there and would write over it; unlike a checkpoint
    /// this needs no room.
    fn clear_remains(&mut self) -> Result<(), Error> {
        if self.remains {
            let end = wal::length(self.frames()?);
            File::options()
                .write(true)
                .open(&self.wal)
                .and_then(|log| log.set_len(end).and_then(|()| log.sync_all()))
                .map_err(|source| Error::io("cut", &self.wal, source))?;
            self.remains = false;
        }
        Ok(())
    }

    /// How many frames of the log are committed.
    fn frames(&self) -> Result<u64, Error> {
        let frames = self.db.conn.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get::<_, i64>(1));
        frames.map(|frames| frames.max(0) as u64).map_err(self.db.failed("look at the log of"))
    }

    /// Moves the log's content into the database: all that is possible at once (`PASSIVE`), or all, and begins the log
    /// anew (`TRUNCATE`), for which it waits until no reader is in it.
    fn checkpoint(&self, mode: &'static str) -> Result<(), Error> {
        let failed = self.db.failed("checkpoint");
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        let busy: bool = self.db.conn.query_row(&sql, [], |row| row.get(0)).map_err(&failed)?;
        if busy && mode != "PASSIVE" {
            let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
            return Err(failed(rusqlite::Error::SqliteFailure(busy, None)));
        }
        Ok(())
    }
}

/// For the log, which prints what is behind an error too.
fn chain(error: &Error) -> &(dyn std::error::Error + 'static) {
    error
}
