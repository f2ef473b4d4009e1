//! Filling an engine through its transactions: for engines that number revisions themselves.

use futures::{StreamExt, TryStreamExt, stream};

use super::{Header, SnapshotError};
use crate::{Engine, Error, Interval, KeyValue, MAX_TXN_OPS, Op, RangeRequest, Revision, Txn};

/// A key that is there while a restore is under way: who opens the engine then must not take what is there for a whole.
pub const RESTORING: &str = "restoring";

/// About how many bytes of keys and values are written at once; below etcd's `--max-request-bytes` with all that goes with them.
const BATCH_BYTES: usize = 1024 * 1024;
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
/// While it is under way the key [`RESTORING`] is there.
///
/// # Errors
/// [`RestoreError`]. After all but `NotEmpty` and `TooFar`, begin again.
pub async fn restore(
    engine: &dyn Engine,
    header: Header,
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
    engine.txn(Txn::default().put(RESTORING, "")).await?;
    clear(engine).await?;
    raise(engine, header.revision).await?;
    let entries = fill(engine, entries).await?;
    engine.txn(Txn::default().delete(RESTORING)).await?;
    Ok(Restored { entries, revision: engine.revision().await? })
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
    let (mut written, mut batch) = (0, Txn::default());
    for entry in entries {
        let KeyValue { key, value, .. } = entry?;
        if key == RESTORING {
            continue;
        }
        let is_full = batch.ops.len() == MAX_TXN_OPS || batch.weight() + key.len() + value.len() > BATCH_BYTES;
        if is_full && !batch.ops.is_empty() {
            engine.txn(std::mem::take(&mut batch)).await?;
        }
        batch.ops.push(Op::Put { key, value });
        written += 1;
    }
    if !batch.ops.is_empty() {
        engine.txn(batch).await?;
    }
    Ok(written)
}
