//! A store made from a snapshot, with the revisions that the snapshot has. No store is open meanwhile.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::Connection;

use super::apply::insert;
use super::check::{Found, inspect};
use super::files::Files;
use super::rows::{Position, Row};
use super::schema::{COMPACTED, SWEPT, fill_with, sql_error};
use super::sweep::set_meta;
use crate::snapshot::{RestoreError, Restored, SnapshotError};
use crate::{KeyValue, MAX_TXN_OPS, Revision};

/// Makes a store in `folder` that holds `entries` at their own revisions. It stands at `revision`, and all before is compacted: so nobody who
/// knows a later past is told that nothing has happened since.
///
/// # Errors
/// [`RestoreError`], with no store made; `NotEmpty` if there is one.
pub fn restore(
    folder: &Path,
    revision: Revision,
    entries: impl Iterator<Item = Result<KeyValue, SnapshotError>>,
) -> Result<Restored, RestoreError> {
    let files = Files::of(folder.to_owned());
    let _lock = files.lock()?;
    if inspect(&files)? != Found::Nothing {
        return Err(RestoreError::NotEmpty);
    }
    let mut written = 0;
    files.create(|path| fill_with(path, |conn| rows(conn, path, revision, entries).map(|rows| written = rows)))?;
    Ok(Restored { entries: written, revision })
}

fn rows(
    conn: &Connection,
    path: &Path,
    revision: Revision,
    entries: impl Iterator<Item = Result<KeyValue, SnapshotError>>,
) -> Result<u64, RestoreError> {
    let failed = |source| sql_error("write", path, source);
    let (mut places, mut written) = (Places::default(), 0);
    for entry in entries {
        let kv = entry?;
        let position = places.next(kv.mod_revision)?;
        let (create_revision, version) = (kv.create_revision.0 as i64, kv.version as i64);
        let row = Row { position, key: kv.key, create_revision, version, value: Some(kv.value) };
        insert(conn, &row).map_err(failed)?;
        written += 1;
    }
    for name in [COMPACTED, SWEPT] {
        set_meta(conn, name, revision).map_err(failed)?;
    }
    Ok(written)
}

/// The places within revisions. What place a key had in its transaction is not in a snapshot; none before the compaction is ever told.
#[derive(Default)]
struct Places(HashMap<Revision, usize>);

impl Places {
    fn next(&mut self, revision: Revision) -> Result<Position, SnapshotError> {
        let place = self.0.entry(revision).or_default();
        if *place == MAX_TXN_OPS || revision.0 > i64::MAX as u64 / (2 * MAX_TXN_OPS as u64) {
            return Err(SnapshotError::Damaged(format!(
                "revision {revision} cannot be: it is too large, or changes too much"
            )));
        }
        *place += 1;
        Ok(Position::of(revision, *place - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::SqliteEngine;
    use crate::{Engine, Error, Interval, RangeRequest, Txn};

    fn kv(key: &'static str, create: u64, changed: u64, version: u64) -> Result<KeyValue, SnapshotError> {
        let (create_revision, mod_revision) = (Revision(create), Revision(changed));
        Ok(KeyValue { key: key.into(), value: key.into(), create_revision, mod_revision, version })
    }

    #[tokio::test]
    async fn a_restored_store_has_the_revisions_of_the_snapshot_and_goes_on_behind_them() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("store");
        let entries = || [kv("a", 4, 4, 1), kv("b", 4, 9, 5), kv("c", 4, 4, 1)].into_iter();
        let restored = restore(&place, Revision(12), entries()).unwrap();
        assert_eq!(restored, Restored { entries: 3, revision: Revision(12) });
        assert!(matches!(restore(&place, Revision(12), entries()), Err(RestoreError::NotEmpty)));

        let engine = SqliteEngine::open(&place).await.unwrap();
        let found = engine.range(RangeRequest::new(Interval::all())).await.unwrap();
        assert_eq!(found.kvs, entries().map(Result::unwrap).collect::<Vec<_>>());
        assert_eq!(found.revision, Revision(12));
        let past = engine.range(RangeRequest::new(Interval::all()).at(Revision(11))).await;
        assert!(matches!(past, Err(Error::Compacted { .. })), "{past:?}");
        engine.txn(Txn::update("b", "new", Revision(9))).await.unwrap();
        let b = engine.get(b"b").await.unwrap().unwrap();
        assert_eq!((b.create_revision, b.mod_revision, b.version), (Revision(4), Revision(13), 6));
        engine.close().await.unwrap();
        SqliteEngine::open(&place).await.unwrap().close().await.unwrap();
    }

    #[test]
    fn a_snapshot_that_breaks_off_makes_no_store() {
        let folder = tempfile::tempdir().unwrap();
        let broken = [kv("a", 4, 4, 1), Err(SnapshotError::Damaged("cut".to_owned()))].into_iter();
        assert!(matches!(restore(folder.path(), Revision(4), broken), Err(RestoreError::Snapshot(_))));
        assert!(matches!(restore(folder.path(), Revision(4), std::iter::empty()), Ok(Restored { entries: 0, .. })));
    }
}
