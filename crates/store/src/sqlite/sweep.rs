//! Deletes what a compaction made superfluous, a little at a time, so that writers hardly wait. Stepped by the writer
//! when it is idle, and once after each group when it is not. What a crash leaves undone is resumed at the next start.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::rows::{Position, meta_checksum};
use super::schema::{Db, SWEPT};
use crate::{Error, Revision};

/// How many changes one step looks at.
const ROWS_PER_STEP: i64 = 128;
/// Free pages that are kept for the next writes (8 MiB); what is above is given back to the file system.
const FREE_PAGES_KEPT: i64 = 2048;
const FREE_PAGES_PER_STEP: i64 = 256;

/// A sweep under way: each change up to `upto` deletes the earlier rows of its key, and itself if it is a deletion.
///
/// It walks upwards, so that a crash never brings a deleted key back: its values go no later than its deletion.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sweep {
    cursor: Position,
    upto: Revision,
}

/// Whether there is more to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    More,
    Done,
}

impl Sweep {
    /// What is left between what was swept and what was compacted.
    pub(super) fn pending(swept: Revision, compacted: Revision) -> Option<Sweep> {
        (swept < compacted).then(|| Sweep { cursor: Position::behind(swept), upto: compacted })
    }

    /// The same sweep with a later end.
    pub(super) fn extend(self, compacted: Revision) -> Sweep {
        Sweep { upto: compacted, ..self }
    }

    pub(super) fn step(&mut self, db: &Db) -> Result<Step, Error> {
        let failed = db.failed("compact");
        if self.cursor < Position::behind(self.upto) {
            let tx = Transaction::new_unchecked(&db.conn, TransactionBehavior::Immediate).map_err(&failed)?;
            let cursor = self.rows(&tx).map_err(&failed)?;
            tx.commit().map_err(&failed)?;
            self.cursor = cursor;
            return Ok(Step::More);
        }
        let free: i64 = db.conn.query_row("PRAGMA freelist_count", [], |row| row.get(0)).map_err(&failed)?;
        if free <= FREE_PAGES_KEPT {
            return Ok(Step::Done);
        }
        let some = FREE_PAGES_PER_STEP.min(free - FREE_PAGES_KEPT);
        db.batch(&format!("PRAGMA incremental_vacuum({some})"))?;
        Ok(Step::More)
    }

    /// Sweeps the next rows and returns where to go on.
    fn rows(&self, tx: &Transaction<'_>) -> rusqlite::Result<Position> {
        let end = Position::behind(self.upto);
        let mut changes = tx.prepare_cached(
            "SELECT position, key, tombstone FROM log WHERE position >= ?1 AND position < ?2 ORDER BY position LIMIT ?3",
        )?;
        let found: Vec<(Position, Vec<u8>, bool)> = changes
            .query_map(params![self.cursor, end, ROWS_PER_STEP], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let mut superseded = tx.prepare_cached("DELETE FROM log WHERE key = ?1 AND position < ?2")?;
        for (position, key, tombstone) in &found {
            superseded.execute(params![key, position.0 + i64::from(*tombstone)])?;
        }
        if let Some((last, ..)) = found.last() {
            return Ok(Position(last.0 + 1));
        }
        set_meta(tx, SWEPT, self.upto)?;
        Ok(end)
    }
}

/// Writes a number of `meta`.
pub(super) fn set_meta(conn: &Connection, name: &str, revision: Revision) -> rusqlite::Result<()> {
    let value = revision.0 as i64;
    conn.prepare_cached("UPDATE meta SET value = ?2, checksum = ?3 WHERE name = ?1")?.execute(params![
        name,
        value,
        meta_checksum(name, value)
    ])?;
    Ok(())
}
