//! What is looked at before a store is opened. It changes nothing: a damaged store stays as it was found.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read};

use super::files::{Acked, Files};
use super::rows::{Row, View};
use super::schema::{
    APPLICATION_ID, Db, FORMAT, KEY_INDEX, LOG_TABLE, META_TABLE, PAGE_SIZE, SWEPT, check_error, damaged,
};
use super::wal::{Verdict, judge};
use crate::{Error, Revision};

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No store yet.
    Nothing,
    /// A store that may be opened.
    Store(Content),
}

/// Where a sound store stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) current: Revision,
    pub(super) compacted: Revision,
    pub(super) swept: Revision,
    /// Whether the write-ahead log ends with a piece of a transaction, to be cut.
    pub(super) torn: bool,
}

/// Checks all files. The caller holds the folder's lock.
pub(super) fn inspect(files: &Files) -> Result<Found, Error> {
    let acked = Acked::read(files)?;
    let wal = length(&files.wal)?;
    if length(&files.db)?.is_none() {
        return nothing_there(files, acked, wal);
    }
    header(files)?;
    let torn = match log(files)? {
        Verdict::Sound => false,
        Verdict::Torn => true,
        Verdict::Damaged(detail) => return Err(damaged(files.wal.clone(), detail)),
    };
    let content = tables(files, torn);
    if wal.is_none() {
        remove_empty_log(files)?;
    }
    let content = content?;
    nothing_lost(files, acked, content.current)?;
    Ok(Found::Store(content))
}

fn nothing_there(files: &Files, acked: Option<Revision>, wal: Option<u64>) -> Result<Found, Error> {
    let left = match (acked, wal) {
        (Some(revision), _) => format!("it is missing, though writes up to revision {revision} were acknowledged"),
        (None, Some(1..)) => "it is missing, though its write-ahead log is there".to_owned(),
        (None, _) => return Ok(Found::Nothing),
    };
    Err(damaged(files.db.clone(), left))
}

/// The parts of the file's first page that SQLite would take on trust.
fn header(files: &Files) -> Result<(), Error> {
    let mut header = Vec::new();
    File::open(&files.db)
        .and_then(|file| file.take(100).read_to_end(&mut header))
        .map_err(|source| Error::io("read", &files.db, source))?;
    let wrong = |detail: String| Err(damaged(files.db.clone(), detail));
    if header.len() < 100 || header[..16] != *b"SQLite format 3\0" {
        return wrong("it does not begin with SQLite's header".to_owned());
    }
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let page_size = u32::from(u16::from_be_bytes([header[16], header[17]]));
    // Bytes 18 and 19 say that there is a write-ahead log. Without them SQLite would not look for one.
    if page_size != PAGE_SIZE || header[18..20] != [2, 2] {
        return wrong(format!("its header names pages of {page_size} bytes and journal {:?}", &header[18..20]));
    }
    match (number(68), number(60)) {
        (APPLICATION_ID, FORMAT) => Ok(()),
        (APPLICATION_ID, other) => wrong(format!("it has format {other}, and this program knows format {FORMAT} only")),
        (other, _) => wrong(format!("it belongs to another application ({other:#010x})")),
    }
}

fn log(files: &Files) -> Result<Verdict, Error> {
    let verdict = match File::open(&files.wal) {
        Ok(wal) => judge(BufReader::new(wal)),
        Err(source) if source.kind() == ErrorKind::NotFound => Ok(Verdict::Sound),
        Err(source) => Err(source),
    };
    verdict.map_err(|source| Error::io("read", &files.wal, source))
}

/// The database with its log, as SQLite sees them together.
fn tables(files: &Files, torn: bool) -> Result<Content, Error> {
    let db = Db::open_untouched(files)?;
    structure(&db)?;
    let view = View { conn: &db.conn, path: &db.path };
    let (compacted, swept) = (view.compacted()?, view.meta(SWEPT)?);
    let mut history = History { last: compacted.max(Revision::EMPTY), compacted, db: &db };
    view.each_row(|row| history.row(row))?;
    Ok(Content { current: history.last, compacted, swept, torn })
}

/// SQLite's own check, and that the tables are ours.
fn structure(db: &Db) -> Result<(), Error> {
    let ours = [LOG_TABLE, KEY_INDEX, META_TABLE];
    let broken = |source| check_error(&db.path, source);
    let fault: String = db.conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(broken)?;
    if fault != "ok" {
        return Err(damaged(db.path.clone(), fault));
    }
    let mut tables = db.conn.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").map_err(broken)?;
    let found: Vec<String> = tables.query_map([], |row| row.get(0)).and_then(|rows| rows.collect()).map_err(broken)?;
    let known = found.len() == ours.len() && ours.iter().all(|table| found.iter().any(|sql| sql == table));
    if known { Ok(()) } else { Err(damaged(db.path.clone(), "its tables are not those of a store".to_owned())) }
}

/// That no revision after the compaction is missing. Before it, compaction may have left any gap.
struct History<'a> {
    last: Revision,
    compacted: Revision,
    db: &'a Db,
}

impl History<'_> {
    fn row(&mut self, row: &Row) -> Result<(), Error> {
        let revision = row.position.revision();
        if revision <= self.compacted || revision == self.last {
            return Ok(());
        }
        if revision != self.last.next() {
            let (missing, before) = (self.last.next(), revision);
            return Err(damaged(self.db.path.clone(), format!("revision {missing} is missing before {before}")));
        }
        self.last = revision;
        Ok(())
    }
}

fn nothing_lost(files: &Files, acked: Option<Revision>, current: Revision) -> Result<(), Error> {
    match acked {
        Some(revision) if revision > current => Err(Error::Damaged {
            path: files.wal.clone(),
            detail: format!(
                "writes up to revision {revision} were acknowledged, but what can be read ends at {current}"
            ),
            hint: format!(
                "Restore the folder from a backup, or remove {} to go on without the lost writes.",
                files.acked.display()
            ),
        }),
        _ => Ok(()),
    }
}

/// SQLite makes an empty log beside a database that has none, even to read it.
fn remove_empty_log(files: &Files) -> Result<(), Error> {
    match length(&files.wal)? {
        Some(0) => fs::remove_file(&files.wal).map_err(|source| Error::io("remove", &files.wal, source)),
        _ => Ok(()),
    }
}

fn length(path: &std::path::Path) -> Result<Option<u64>, Error> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(source) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io("look at", path, source)),
    }
}
