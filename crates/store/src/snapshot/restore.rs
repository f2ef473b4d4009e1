//! Filling an engine through its transactions: for engines that number revisions themselves.

use futures::{StreamExt, TryStreamExt, stream};

use super::{Header, SnapshotError};
use crate::{Engine, Error, Expect, Interval, KeyValue, MAX_TXN_OPS, Op, RangeRequest, Revision, Txn};

/// A key that is there while a restore is under way: who opens the engine then must not take what is there for a whole.
pub const RESTORING: &str = "restoring";

/// About how many bytes of keys and values are written at once; below etcd's `--max-request-bytes` with all that goes with them.
const PIECE_BYTES: usize = 1024 * 1024;
/// About what an operation takes on its way to a server besides its key and value: the prefix of the key, and how long all of it is.
const OP_BYTES: usize = 64;
/// How many empty changes are under way at once while a revision is raised.
const RAISING: usize = 128;
/// The most that a revision is raised: each step is a write.
const MOST_RAISED: u64 = 10_000_000;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// How many keys.
    pub entries: u64,
    /// Where the store stands now.
    pub revision: Revision,
}

/// Why a restore is not done. What is there may be half of it.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
    /// The snapshot is not what it should be.
    #[error("the snapshot: {0}")]
    Snapshot(#[from] SnapshotError),
    /// There is something in the store, and it was not said that it may go. Nothing was changed.
    #[error("the store is not empty")]
    NotEmpty,
    /// The store refuses as much at once as one of the pieces is. Nothing was changed.
    #[error("the store does not take {bytes} bytes at once, the largest piece of the snapshot; nothing was changed")]
    TooLarge {
        /// Keys and values of that piece.
        bytes: usize,
    },
    /// The snapshot's revision is too far ahead of the store's.
    #[error(
        "the snapshot is of revision {wanted}, and the store stands at {current}: that is too far to be raised by writing"
    )]
    TooFar {
        /// The snapshot's.
        wanted: Revision,
        /// The store's.
        current: Revision,
    },
}

/// Whether what is in the store may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It is an error.
    Refuse,
    /// It is deleted.
    Replace,
}

/// Makes `engine` hold `entries` and nothing else, at revisions above the snapshot's: every key counts as created anew.
///
/// While it is under way the key [`RESTORING`] is there. `largest` is the [`largest_piece`] of `entries`: an engine that refuses it keeps what it has.
///
/// # Errors
/// [`RestoreError`]. After all but `NotEmpty`, `TooFar` and `TooLarge`, begin again.
pub async fn restore(
    engine: &dyn Engine,
    header: Header,
    largest: Txn,
    entries: impl Iterator<Item = Result<KeyValue, SnapshotError>>,
    existing: Existing,
) -> Result<Restored, RestoreError> {
    let found = engine.range(RangeRequest::new(Interval::all()).limit(1)).await?;
    if existing == Existing::Refuse && !found.kvs.is_empty() {
        return Err(RestoreError::NotEmpty);
    }
    let current = engine.revision().await?;
    if header.revision.0.saturating_sub(current.0) > MOST_RAISED {
        return Err(RestoreError::TooFar { wanted: header.revision, current });
    }
    attempt(engine, largest).await?;
    engine.txn(Txn::default().put(RESTORING, "")).await?;
    clear(engine).await?;
    raise(engine, header.revision).await?;
    let entries = fill(engine, entries).await?;
    engine.txn(Txn::default().delete(RESTORING)).await?;
    Ok(Restored { entries, revision: engine.revision().await? })
}

/// The piece of `entries` that asks most of an engine, to be known before anything is deleted for it.
///
/// # Errors
/// What is wrong with the snapshot.
pub fn largest_piece(entries: impl Iterator<Item = Result<KeyValue, SnapshotError>>) -> Result<Txn, SnapshotError> {
    let size = |piece: &Txn| piece.weight() + piece.ops.len() * OP_BYTES;
    let mut largest = Txn::default();
    for piece in Pieces::of(entries) {
        let piece = piece?;
        if size(&piece) > size(&largest) {
            largest = piece;
        }
    }
    Ok(largest)
}

/// Sends a piece on a condition that cannot hold: an engine looks at the size first.
async fn attempt(engine: &dyn Engine, piece: Txn) -> Result<(), RestoreError> {
    let bytes = piece.weight();
    let never = piece.when(RESTORING, Expect::Absent).when(RESTORING, Expect::Present);
    match engine.txn(never).await {
        Ok(_) => Ok(()),
        Err(Error::TooLarge { .. }) => Err(RestoreError::TooLarge { bytes }),
        Err(error) => Err(error.into()),
    }
}

/// Deletes all but the mark.
async fn clear(engine: &dyn Engine) -> Result<(), Error> {
    let mut rest = Interval::all();
    loop {
        let page = engine.range(RangeRequest::new(rest.clone()).limit(MAX_TXN_OPS)).await?;
        let Some(last) = page.kvs.last() else { return Ok(()) };
        rest = rest.behind(&last.key);
        let others = page.kvs.iter().filter(|kv| kv.key != RESTORING);
        engine.txn(others.fold(Txn::default(), |txn, kv| txn.delete(kv.key.clone()))).await?;
    }
}

/// Writes until the engine stands at `revision`.
async fn raise(engine: &dyn Engine, revision: Revision) -> Result<(), Error> {
    let missing = revision.0.saturating_sub(engine.revision().await?.0);
    let steps = stream::iter(0..missing).map(|_| engine.txn(Txn::default().put(RESTORING, "")));
    steps.buffer_unordered(RAISING).try_for_each(|_| async { Ok(()) }).await
}

async fn fill(
    engine: &dyn Engine,
    entries: impl Iterator<Item = Result<KeyValue, SnapshotError>>,
) -> Result<u64, RestoreError> {
    let mut written = 0;
    for piece in Pieces::of(entries) {
        let piece = piece?;
        written += piece.ops.len() as u64;
        engine.txn(piece).await?;
    }
    Ok(written)
}

/// Entries, as many at once as are written at once.
struct Pieces<I> {
    entries: I,
    /// The first of the next piece.
    waiting: Option<Op>,
}

impl<I: Iterator<Item = Result<KeyValue, SnapshotError>>> Pieces<std::iter::Fuse<I>> {
    fn of(entries: I) -> Self {
        Pieces { entries: entries.fuse(), waiting: None }
    }
}

impl<I: Iterator<Item = Result<KeyValue, SnapshotError>>> Iterator for Pieces<I> {
    type Item = Result<Txn, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut piece = Txn::default();
        piece.ops.extend(self.waiting.take());
        for entry in self.entries.by_ref() {
            let KeyValue { key, value, .. } = match entry {
                Ok(entry) if entry.key == RESTORING => continue,
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            let is_full = piece.ops.len() == MAX_TXN_OPS || piece.weight() + key.len() + value.len() > PIECE_BYTES;
            let put = Op::Put { key, value };
            if is_full && !piece.ops.is_empty() {
                self.waiting = Some(put);
                return Some(Ok(piece));
            }
            piece.ops.push(put);
        }
        (!piece.ops.is_empty()).then_some(Ok(piece))
    }
}
