//! The shape of `store.db` and how it is opened. Everything that knows a `PRAGMA` or a `CREATE` is here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use super::files::Files;
use super::rows::meta_checksum;
use crate::Error;

/// Bytes in a page, part of the file format.
pub(super) const PAGE_SIZE: u32 = 4096;
/// "Remo": `PRAGMA application_id`.
pub(super) const APPLICATION_ID: u32 = 0x5265_6d6f;
/// `PRAGMA user_version`: the version of the tables below.
pub(super) const FORMAT: u32 = 1;

/// One row for each change of a key; a deletion has no value. `position` orders them: see `rows::Position`.
pub(super) const LOG_TABLE: &str = "CREATE TABLE log (position INTEGER PRIMARY KEY, key BLOB NOT NULL, \
     create_revision INTEGER NOT NULL, version INTEGER NOT NULL, tombstone INTEGER NOT NULL, value BLOB, \
     checksum INTEGER NOT NULL) STRICT";
/// Answers "the newest change of each key" without touching the table.
pub(super) const KEY_INDEX: &str = "CREATE UNIQUE INDEX log_by_key ON log (key, position, tombstone)";
/// Single numbers: `compacted` and `swept`.
pub(super) const META_TABLE: &str = "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL, checksum INTEGER NOT NULL) STRICT, WITHOUT ROWID";

/// History before this revision cannot be asked for.
pub(super) const COMPACTED: &str = "compacted";
/// Up to this revision, what compaction made superfluous was deleted.
pub(super) const SWEPT: &str = "swept";

/// A connection and the path to name in errors.
pub(super) struct Db {
    pub(super) conn: Connection,
    pub(super) path: PathBuf,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Writer,
    Reader,
}

impl Db {
    /// Opens a store that was checked.
    pub(super) fn open(files: &Files, role: Role) -> Result<Db, Error> {
        let access = match role {
            Role::Writer => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Role::Reader => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
        let conn = Connection::open_with_flags(&files.db, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|source| sql_error("open", &files.db, source))?;
        let db = Db { conn, path: files.db.clone() };
        let cache_kib = if role == Role::Writer { 2048 } else { 1024 };
        // FULL: a commit returns only after its log was synced. Checkpoints are the writer's own doing, after it has
        // acknowledged. The page caches are small because the daemon's memory is; the kernel caches the file as well.
        db.batch(&format!(
            "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit=8388608; \
             PRAGMA cache_size=-{cache_kib}; PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY"
        ))?;
        Ok(db)
    }

    /// Opens a store to look at it without changing a byte: no lock, no index file, no checkpoint.
    ///
    /// `unix-none` and exclusive mode keep SQLite's index of the log in this process's memory. The caller holds the
    /// folder's lock, so that nobody writes meanwhile.
    pub(super) fn open_untouched(files: &Files) -> Result<Db, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags_and_vfs(&files.db, flags, c"unix-none")
            .map_err(|source| check_error(&files.db, source))?;
        let settings = "PRAGMA locking_mode=EXCLUSIVE; PRAGMA mmap_size=0; PRAGMA cache_size=-2048";
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .and_then(|_| conn.execute_batch(settings))
            .map_err(|source| check_error(&files.db, source))?;
        Ok(Db { conn, path: files.db.clone() })
    }

    /// Runs statements that give no rows.
    pub(super) fn batch(&self, sql: &str) -> Result<(), Error> {
        self.conn.execute_batch(sql).map_err(self.failed("write"))
    }

    /// What turns SQLite's errors into ours.
    pub(super) fn failed(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> Error + '_ {
        move |source| sql_error(action, &self.path, source)
    }
}

/// Fills an empty file with an empty store.
pub(super) fn fill(path: &Path) -> Result<(), Error> {
    fill_with(path, |_| Ok(()))
}

/// Fills an empty file with a store that holds what `rows` writes.
pub(super) fn fill_with<E: From<Error>>(path: &Path, rows: impl FnOnce(&Connection) -> Result<(), E>) -> Result<(), E> {
    let failed = |source| E::from(sql_error("create", path, source));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(failed)?;
    let zero = |name| format!("INSERT INTO meta VALUES ('{name}', 0, {})", meta_checksum(name, 0));
    // The caller syncs the file before it gets its name, so that SQLite need not. WAL comes last: it is the only mode
    // that stays written in the file.
    let sql = format!(
        "PRAGMA page_size={PAGE_SIZE}; PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=MEMORY; \
         PRAGMA synchronous=OFF; PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={FORMAT}; \
         BEGIN; {LOG_TABLE}; {KEY_INDEX}; {META_TABLE}; {}; {}",
        zero(COMPACTED),
        zero(SWEPT),
    );
    conn.execute_batch(&sql).map_err(failed)?;
    rows(&conn)?;
    conn.execute_batch("COMMIT; PRAGMA journal_mode=WAL").map_err(failed)?;
    conn.flush_prepared_statement_cache();
    conn.close().map_err(|(_, source)| failed(source))
}

/// Says of a failed statement what it means for the store.
pub(super) fn sql_error(action: &'static str, path: &Path, source: rusqlite::Error) -> Error {
    use rusqlite::Error as Sql;
    let path = path.to_owned();
    match (&source, source.sqlite_error_code(), source.sqlite_error().map(|error| error.extended_code)) {
        // The index of the log could not grow: that is a full disk too.
        (_, Some(ErrorCode::DiskFull), _) | (_, _, Some(ffi::SQLITE_IOERR_SHMSIZE)) => Error::Full { path },
        (_, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase), _)
        | (Sql::InvalidColumnType(..) | Sql::FromSqlConversionFailure(..), ..) => damaged(path, source.to_string()),
        _ => Error::Io { action, path, source: Arc::new(source) },
    }
}

/// The same while a store is checked, when a statement that makes no sense is the file's fault.
pub(super) fn check_error(path: &Path, source: rusqlite::Error) -> Error {
    match source.sqlite_error_code() {
        Some(ErrorCode::Unknown) => damaged(path.to_owned(), source.to_string()),
        _ => sql_error("check", path, source),
    }
}

/// The error for a file that is not what it should be.
pub(super) fn damaged(path: PathBuf, detail: String) -> Error {
    let hint = "Restore the folder from a backup, or move it away to start with an empty store.".to_owned();
    Error::Damaged { path, detail, hint }
}
