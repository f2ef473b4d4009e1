//! Threads that read, so that no async caller waits for the disk on an executor's thread.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::files::Files;
use super::rows::{Position, Row, View};
use super::schema::{Db, Role, sql_error};
use super::writer::Shared;
use crate::{Error, KeyValue, LogPage, LogRequest, MAX_TXN_OPS, RangeRequest, RangeResponse, Revision};

const THREADS: usize = 2;
/// How many reads may wait; more callers wait for a place.
const QUEUE: usize = 256;

type Job = Box<dyn FnOnce(&Reader) + Send>;

enum Request {
    Read(Job),
    Stop,
}

/// The reading side of an open store.
pub(super) struct Readers {
    queue: mpsc::Sender<Request>,
    ends: Mutex<Vec<oneshot::Receiver<()>>>,
}

impl Readers {
    /// Opens one connection for each thread. `keep` is held until the last thread has ended.
    pub(super) fn start(files: &Files, shared: &Arc<Shared>, keep: &Arc<std::fs::File>) -> Result<Readers, Error> {
        let (queue, requests) = mpsc::channel(QUEUE);
        let requests = Arc::new(Mutex::new(requests));
        let mut ends = Vec::new();
        for number in 0..THREADS {
            let (ended, end) = oneshot::channel();
            let reader = Reader { db: Db::open(files, Role::Reader)?, shared: shared.clone() };
            let (requests, keep) = (requests.clone(), keep.clone());
            let work = move || {
                serve(&reader, &requests);
                drop((reader, requests, keep));
                // Nobody listens if the engine was dropped without being closed.
                let _ = ended.send(());
            };
            let thread = thread::Builder::new().name(format!("store-reader-{number}"));
            thread.spawn(work).map_err(|source| Error::io("start a thread for", &files.db, source))?;
            ends.push(end);
        }
        Ok(Readers { queue, ends: Mutex::new(ends) })
    }

    /// Runs `read` on one of the threads.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        // Nobody listens if the caller has gone away.
        let job: Job = Box::new(move |reader| drop(reply.send(read(reader))));
        self.queue.send(Request::Read(job)).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Ends all threads, after what they were asked before.
    pub(super) async fn stop(&self) {
        let ends = std::mem::take(&mut *self.ends.lock().unwrap_or_else(PoisonError::into_inner));
        // Any thread may take any of these, so all are sent before an end is waited for. An error means that all threads
        // have ended already, which is what is wanted.
        for _ in &ends {
            let _ = self.queue.send(Request::Stop).await;
        }
        futures::future::join_all(ends).await;
    }
}

fn serve(reader: &Reader, requests: &Mutex<mpsc::Receiver<Request>>) {
    loop {
        // One thread waits in the channel and the others for the lock; whoever gets a job lets the next one in.
        let next = requests.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        match next {
            Some(Request::Read(job)) => job(reader),
            Some(Request::Stop) | None => return,
        }
    }
}

/// One thread's connection.
pub(super) struct Reader {
    db: Db,
    shared: Arc<Shared>,
}

/// A snapshot, and the bounds of what may be asked of it.
struct Snapshot<'a> {
    view: View<'a>,
    current: Revision,
    compacted: Revision,
}

impl Reader {
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error> {
        self.snapshot(|snapshot| {
            let row = snapshot.view.latest(key, Position::behind(snapshot.current))?;
            Ok(row.and_then(Row::kv))
        })
    }

    pub(super) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Error> {
        self.snapshot(|snapshot| {
            let revision = snapshot.readable(request.at.unwrap_or(snapshot.current))?;
            let limit = request.limit.unwrap_or(usize::MAX);
            let (kvs, remaining) = snapshot.view.keys(&request.interval, Position::behind(revision), limit)?;
            Ok(RangeResponse { kvs, revision, remaining })
        })
    }

    pub(super) fn log(&self, request: &LogRequest) -> Result<LogPage, Error> {
        self.snapshot(|snapshot| {
            let (after, current) = (snapshot.readable(request.after)?, snapshot.current);
            let span = (Position::behind(after), Position::behind(current));
            // So many rows hold at least one whole revision, whatever the limit.
            let limit = request.limit.saturating_add(MAX_TXN_OPS);
            let mut events = snapshot.view.changes(&request.interval, span, limit)?;
            let mut through = current;
            if events.len() == limit
                && let Some(last) = events.last().map(|event| event.revision())
            {
                // The last revision may go on behind the limit.
                events.truncate(events.partition_point(|event| event.revision() < last));
                through = Revision(last.0 - 1);
            }
            Ok(LogPage { events, through, current })
        })
    }

    /// Reads in one snapshot, as of the newest revision that was published before it.
    ///
    /// A revision that is committed but not yet published is not shown, so that no caller ever holds a revision that
    /// the watch cache has not heard of.
    fn snapshot<T>(&self, read: impl Fn(&Snapshot<'_>) -> Result<T, Error>) -> Result<T, Error> {
        loop {
            let current = self.shared.published();
            let failed = |source| sql_error("read", &self.db.path, source);
            let tx = self.db.conn.unchecked_transaction().map_err(failed)?;
            let view = View { conn: &tx, path: &self.db.path };
            let compacted = view.compacted()?;
            // Published and compacted in the moment before the snapshot was taken: look again.
            if compacted <= current {
                return read(&Snapshot { view, current, compacted });
            }
        }
    }
}

impl Snapshot<'_> {
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
}
