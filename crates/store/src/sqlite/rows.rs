//! The rows of `store.db`: how they are numbered, sealed and read. Queries only; `apply` and `sweep` write.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, params};

use super::schema::{COMPACTED, damaged, sql_error};
use crate::{Change, Error, Event, Interval, KeyValue, MAX_KEY_BYTES, MAX_TXN_OPS, Revision};

/// A row's place in the log: its revision, and its number within the transaction in the lowest bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position(pub(super) i64);

const PER_REVISION: u64 = MAX_TXN_OPS as u64;

impl Position {
    /// Of operation `number` at `revision`.
    pub(super) fn of(revision: Revision, number: usize) -> Position {
        Position((revision.0 * PER_REVISION + number as u64) as i64)
    }

    /// Behind every row of `revision`.
    pub(super) fn behind(revision: Revision) -> Position {
        Position::of(revision.next(), 0)
    }

    pub(super) fn revision(self) -> Revision {
        Revision(self.0 as u64 / PER_REVISION)
    }
}

impl ToSql for Position {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for Position {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Position> {
        i64::column_result(value).map(Position)
    }
}

/// One change of one key, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) position: Position,
    pub(super) key: Bytes,
    /// 0 for a deletion, and so is `version`.
    pub(super) create_revision: i64,
    pub(super) version: i64,
    /// `None` for a deletion.
    pub(super) value: Option<Bytes>,
}

impl Row {
    /// What the key holds since this row.
    pub(super) fn kv(self) -> Option<KeyValue> {
        Some(KeyValue {
            value: self.value?,
            create_revision: Revision(self.create_revision as u64),
            mod_revision: self.position.revision(),
            version: self.version as u64,
            key: self.key,
        })
    }

    fn change(self) -> Change {
        let (key, revision) = (self.key.clone(), self.position.revision());
        self.kv().map_or(Change::Delete { key, revision }, Change::Put)
    }

    /// Binds all of the row together, so that no part of it can change unnoticed.
    pub(super) fn checksum(&self) -> i64 {
        let mut sum = crc32fast::Hasher::new();
        for number in [self.position.0, self.create_revision, self.version, self.key.len() as i64] {
            sum.update(&number.to_le_bytes());
        }
        sum.update(&[u8::from(self.value.is_none())]);
        sum.update(&self.key);
        sum.update(self.value.as_deref().unwrap_or_default());
        i64::from(sum.finalize())
    }

    /// Reads the seven columns from `first` on; `None` if an outer join found nothing.
    fn read(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Option<Sealed>> {
        let Some(position) = row.get(first)? else { return Ok(None) };
        let blob = |column: usize| -> rusqlite::Result<Option<Bytes>> {
            Ok(row.get_ref(column)?.as_blob_or_null()?.map(Bytes::copy_from_slice))
        };
        let read = Row {
            position,
            key: blob(first + 1)?.unwrap_or_default(),
            create_revision: row.get(first + 2)?,
            version: row.get(first + 3)?,
            value: blob(first + 4)?,
        };
        Ok(Some(Sealed { row: read, tombstone: row.get(first + 5)?, checksum: row.get(first + 6)? }))
    }
}

/// The columns that [`Row::read`] expects.
macro_rules! columns {
    ($t:literal) => {
        concat!(
            $t,
            ".position, ",
            $t,
            ".key, ",
            $t,
            ".create_revision, ",
            $t,
            ".version, ",
            $t,
            ".value, ",
            $t,
            ".tombstone, ",
            $t,
            ".checksum"
        )
    };
}

/// A row whose checksum was not looked at yet.
struct Sealed {
    row: Row,
    tombstone: bool,
    checksum: i64,
}

impl Sealed {
    fn open(self, path: &Path) -> Result<Row, Error> {
        if self.checksum == self.row.checksum() && self.tombstone == self.row.value.is_none() {
            return Ok(self.row);
        }
        let (revision, key) = (self.row.position.revision(), &self.row.key);
        Err(damaged(path.to_owned(), format!("the checksum of {key:?} at revision {revision} is wrong")))
    }
}

/// The checksum of a number in `meta`.
pub(super) fn meta_checksum(name: &str, value: i64) -> i64 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(name.as_bytes());
    sum.update(&value.to_le_bytes());
    i64::from(sum.finalize())
}

/// Reads within one snapshot of the database. `path` is for errors.
pub(super) struct View<'a> {
    pub(super) conn: &'a Connection,
    pub(super) path: &'a Path,
}

impl View<'_> {
    /// A number of `meta`.
    pub(super) fn meta(&self, name: &str) -> Result<Revision, Error> {
        let sql = "SELECT value, checksum FROM meta WHERE name = ?1";
        let found: Option<(i64, i64)> = self
            .conn
            .prepare_cached(sql)
            .and_then(|mut meta| meta.query_row([name], |row| Ok((row.get(0)?, row.get(1)?))).optional())
            .map_err(self.failed())?;
        match found {
            Some((value, checksum)) if checksum == meta_checksum(name, value) => Ok(Revision(value as u64)),
            Some(_) => Err(damaged(self.path.to_owned(), format!("the checksum of the number {name:?} is wrong"))),
            None => Err(damaged(self.path.to_owned(), format!("the number {name:?} is missing"))),
        }
    }

    pub(super) fn compacted(&self) -> Result<Revision, Error> {
        self.meta(COMPACTED)
    }

    /// The newest row of `key` before `behind`.
    pub(super) fn latest(&self, key: &[u8], behind: Position) -> Result<Option<Row>, Error> {
        let sql = concat!(
            "SELECT ",
            columns!("l"),
            " FROM log AS l WHERE l.key = ?1 AND l.position < ?2 ORDER BY l.position DESC LIMIT 1"
        );
        let found = self
            .conn
            .prepare_cached(sql)
            .and_then(|mut latest| latest.query_row(params![key, behind], |row| Row::read(row, 0)).optional())
            .map_err(self.failed())?;
        found.flatten().map(|sealed| sealed.open(self.path)).transpose()
    }

    /// The first `limit` keys of `interval` that exist before `behind`, in byte order, and how many more there are.
    pub(super) fn keys(
        &self,
        interval: &Interval,
        behind: Position,
        limit: usize,
    ) -> Result<(Vec<KeyValue>, u64), Error> {
        // Two statements, because joined into one SQLite sorts all values before it gives the first. This one walks the
        // index only, and takes `tombstone` from the row that has the maximum.
        let newest = "SELECT max(position), tombstone FROM log WHERE key >= ?1 AND key < ?2 AND position < ?3 \
                      GROUP BY key ORDER BY key";
        let mut newest = self.conn.prepare_cached(newest).map_err(self.failed())?;
        let mut newest = newest.query(params![&interval.start[..], end(interval), behind]).map_err(self.failed())?;
        let (mut kvs, mut remaining) = (Vec::new(), 0);
        while let Some(row) = newest.next().map_err(self.failed())? {
            if row.get(1).map_err(self.failed())? {
                continue;
            }
            if kvs.len() < limit {
                kvs.extend(self.at(row.get(0).map_err(self.failed())?)?.kv());
            } else {
                remaining += 1;
            }
        }
        Ok((kvs, remaining))
    }

    /// How many bytes all keys that exist before `behind` hold, each with `overhead`.
    pub(super) fn weight(&self, behind: Position, overhead: u8) -> Result<usize, Error> {
        let sql = "SELECT coalesce(sum(length(key) + length(value) + ?2), 0) FROM log WHERE value IS NOT NULL AND position < ?1 \
                   AND position IN (SELECT max(position) FROM log WHERE position < ?1 GROUP BY key)";
        let weight = self
            .conn
            .prepare_cached(sql)
            .and_then(|mut all| all.query_row(params![behind, overhead], |row| row.get::<_, i64>(0)));
        Ok(usize::try_from(weight.map_err(self.failed())?).unwrap_or(usize::MAX))
    }

    /// The row at a position that the index has named.
    fn at(&self, position: Position) -> Result<Row, Error> {
        let sql = concat!("SELECT ", columns!("l"), " FROM log AS l WHERE l.position = ?1");
        let found = self
            .conn
            .prepare_cached(sql)
            .and_then(|mut at| at.query_row([position], |row| Row::read(row, 0)).optional())
            .map_err(self.failed())?;
        let missing = || damaged(self.path.to_owned(), format!("row {} is in the index only", position.0));
        found.flatten().ok_or_else(missing)?.open(self.path)
    }

    /// The first `limit` changes of `interval` in `from <= position < behind`, with what the key held before.
    pub(super) fn changes(
        &self,
        interval: &Interval,
        (from, behind): (Position, Position),
        limit: usize,
    ) -> Result<Vec<Arc<Event>>, Error> {
        // `+` keeps SQLite from walking the index by key and sorting all that it finds.
        let sql = concat!(
            "SELECT ",
            columns!("l"),
            ", ",
            columns!("p"),
            " FROM log AS l LEFT JOIN log AS p ON p.position = ",
            "(SELECT max(b.position) FROM log AS b WHERE b.key = l.key AND b.position < l.position) ",
            "WHERE l.position >= ?1 AND l.position < ?2 AND +l.key >= ?3 AND +l.key < ?4 ORDER BY l.position LIMIT ?5"
        );
        let mut statement = self.conn.prepare_cached(sql).map_err(self.failed())?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows =
            statement.query(params![from, behind, &interval.start[..], end(interval), limit]).map_err(self.failed())?;
        let mut events = Vec::new();
        while let Some(row) = rows.next().map_err(self.failed())? {
            let (new, old) = (Row::read(row, 0), Row::read(row, 7));
            let open = |sealed: Option<Sealed>| sealed.map(|sealed| sealed.open(self.path)).transpose();
            let (new, old) = (open(new.map_err(self.failed())?)?, open(old.map_err(self.failed())?)?);
            events.extend(new.map(|new| Arc::new(Event::new(new.change(), old.and_then(Row::kv)))));
        }
        Ok(events)
    }

    /// Looks at every row in order of position, and stops at the first that is broken.
    pub(super) fn each_row(&self, mut look: impl FnMut(&Row) -> Result<(), Error>) -> Result<(), Error> {
        let sql = concat!("SELECT ", columns!("l"), " FROM log AS l ORDER BY l.position");
        let mut statement = self.conn.prepare(sql).map_err(self.failed())?;
        let mut rows = statement.query([]).map_err(self.failed())?;
        while let Some(row) = rows.next().map_err(self.failed())? {
            if let Some(sealed) = Row::read(row, 0).map_err(self.failed())? {
                look(&sealed.open(self.path)?)?;
            }
        }
        Ok(())
    }

    fn failed(&self) -> impl Fn(rusqlite::Error) -> Error + '_ {
        |source| sql_error("read", self.path, source)
    }
}

/// The first key behind `interval`; one that is longer than any key may be if the interval has no end.
fn end(interval: &Interval) -> &[u8] {
    const BEHIND_ALL: [u8; MAX_KEY_BYTES + 1] = [0xff; MAX_KEY_BYTES + 1];
    interval.end.as_deref().unwrap_or(&BEHIND_ALL)
}
