//! The durable engine: SQLite in one folder, one writing thread with group commit, a few reading threads.
//!
//! - `files`, `schema`, `rows`: what is on the disk;
//! - `wal`, `check`: what is looked at before a store is opened;
//! - `writer` with `apply` and `sweep`, `readers`: the threads of an open store;
//! - `live`: what all keys hold now, for reads that need no thread;
//! - `restore`: a store made from a snapshot.
//!
//! **Invariants:** a write is acknowledged only when it is synced; a damaged store is refused and not touched; a
//! folder is open once.

mod apply;
mod check;
mod files;
mod live;
mod readers;
mod restore;
mod rows;
mod schema;
mod sweep;
mod wal;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

pub use restore::restore;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use crate::sqlite::check::{Content, Found};
use crate::sqlite::files::Files;
use crate::sqlite::live::Live;
use crate::sqlite::readers::Readers;
use crate::sqlite::writer::{QUEUE, Reply, Request, Shared, Writer};
use crate::{
    Engine, Error, Follower, KeyValue, LogPage, LogRequest, RangeRequest, RangeResponse, Revision, Txn, TxnOutcome,
};

/// An open store in a folder.
///
/// [`Engine::close`] ends it in order. If it is dropped instead, its threads end on their own a moment later, and until
/// then the folder stays locked.
pub struct SqliteEngine {
    writer: mpsc::Sender<Request>,
    readers: Readers,
    shared: Arc<Shared>,
}

impl SqliteEngine {
    /// Opens the store in `folder`, or makes an empty one there.
    ///
    /// A torn end of the write-ahead log, which a crash may leave, is cut. Fails with [`Error::Damaged`] if anything
    /// else is wrong, without changing a file; with [`Error::InUse`] if the store is open elsewhere; with
    /// [`Error::Full`] if there is no room even to begin.
    pub async fn open(folder: impl Into<PathBuf>) -> Result<SqliteEngine, Error> {
        SqliteEngine::open_within(folder, live::LIMIT).await
    }

    /// The same, with as many bytes of what all keys hold kept in memory: a store that is larger is read from the disk.
    pub async fn open_within(folder: impl Into<PathBuf>, live: usize) -> Result<SqliteEngine, Error> {
        let files = Files::of(folder.into());
        let (opened, engine) = oneshot::channel();
        let path = files.folder.clone();
        // The thread that opens the store becomes its writer.
        let work = move || match start(&files, live) {
            Ok((engine, writer, queue)) => {
                // If the caller has gone away the engine is dropped here, and the writer ends at once.
                drop(opened.send(Ok(engine)));
                writer.run(queue);
            }
            Err(error) => drop(opened.send(Err(error))),
        };
        let thread = thread::Builder::new().name("store-writer".to_owned());
        thread.spawn(work).map_err(|source| Error::io("start a thread for", &path, source))?;
        engine.await.map_err(|_| Error::Closed)?
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.writer.send(request(reply)).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.writer.is_closed() { Err(Error::Closed) } else { Ok(()) }
    }
}

type Started = (SqliteEngine, Writer, mpsc::Receiver<Request>);

fn start(files: &Files, live: usize) -> Result<Started, Error> {
    let lock = Arc::new(files.lock()?);
    let content = match check::inspect(files)? {
        Found::Store(content) => content,
        Found::Nothing => {
            files.create(schema::fill)?;
            Content { current: Revision::EMPTY, compacted: Revision::NONE, swept: Revision::NONE, torn: false }
        }
    };
    let shared = Arc::new(Shared::new(content.current, Live::unknown(live, 0)));
    let writer = Writer::open(files, shared.clone(), &content, lock.clone())?;
    writer.load_live()?;
    let readers = Readers::start(files, &shared, &lock)?;
    let (sender, queue) = mpsc::channel(QUEUE);
    Ok((SqliteEngine { writer: sender, readers, shared }, writer, queue))
}

#[async_trait]
impl Engine for SqliteEngine {
    async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error> {
        self.check_open()?;
        if let Some(found) = self.shared.get(key) {
            return Ok(found);
        }
        let key = key.to_vec();
        self.readers.read(move |reader| reader.get(&key)).await
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.check_open()?;
        if let Some(found) = self.shared.range(&request) {
            return Ok(found);
        }
        self.readers.read(move |reader| reader.range(&request)).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        txn.check()?;
        self.ask(|reply| Request::Txn(txn, reply)).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.ask(|reply| Request::Compact(revision, reply)).await
    }

    async fn revision(&self) -> Result<Revision, Error> {
        self.check_open()?;
        Ok(self.shared.published())
    }

    async fn log(&self, request: LogRequest) -> Result<LogPage, Error> {
        self.check_open()?;
        self.readers.read(move |reader| reader.log(&request)).await
    }

    async fn follow(&self, follower: Arc<dyn Follower>) -> Result<Revision, Error> {
        self.check_open()?;
        Ok(self.shared.follow(follower))
    }

    async fn close(&self) -> Result<(), Error> {
        // The readers first: the writer is to be the last to let go of the files, and then cleans up.
        self.readers.stop().await;
        match self.ask(Request::Close).await {
            Err(Error::Closed) => Ok(()),
            done => done,
        }
    }
}
