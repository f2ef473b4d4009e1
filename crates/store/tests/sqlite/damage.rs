//! Damage other than a torn tail: always refused, never touched; or so small that nothing is lost by it.

use std::os::unix::fs::PermissionsExt;

use crate::support::{ACKED, DB, Folder, Start, WAL, all, open, put, read, start};
use remora_store::sqlite::SqliteEngine;
use remora_store::{Engine, Error, Revision};

/// A closed store: everything is in the database, and there is no log.
async fn closed_store() -> (tempfile::TempDir, Folder, Start) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let engine = open(&path).await;
    for number in 0..40 {
        put(&engine, &format!("key/{}", number % 12), &"v".repeat(100 * (number % 30))).await.unwrap();
    }
    engine.compact(Revision(20)).await.unwrap();
    engine.close().await.unwrap();
    let files = read(&path);
    let whole = start(&folder.path().join("whole"), &files).await;
    assert!(matches!(whole, Start::Opened { revision: 41, .. }));
    (folder, files, whole)
}

fn names(files: &Folder) -> Vec<&str> {
    files.keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_changed_bit_in_the_database_is_refused_or_harmless() {
    let (folder, files, whole) = closed_store().await;
    assert_eq!(names(&files), [ACKED, DB], "closing leaves no log behind");
    let mut refused = 0;
    let offsets = (0..100).chain((100..files[DB].len()).step_by(97));
    for offset in offsets {
        let mut changed = files.clone();
        changed.get_mut(DB).unwrap()[offset] ^= 1 << (offset % 8);
        match start(&folder.path().join("scratch"), &changed).await {
            Start::Refused(_) => refused += 1,
            opened => assert!(opened == whole, "byte {offset} changed what is read: {opened:?}"),
        }
    }
    assert!(refused > 200, "only {refused} were refused");
}

#[tokio::test]
async fn a_database_cut_short_is_refused() {
    let (folder, files, _) = closed_store().await;
    for length in [0, 1, 99, 100, 4095, 4096, 8192, files[DB].len() - 4096, files[DB].len() - 1] {
        let mut cut = files.clone();
        cut.get_mut(DB).unwrap().truncate(length);
        let started = start(&folder.path().join("scratch"), &cut).await;
        assert!(matches!(started, Start::Refused(_)), "cut at {length}: {started:?}");
    }
}

/// Refuses with a sentence that contains `reason`, after `change` to a closed store.
async fn refused(change: impl FnOnce(&mut Folder), reason: &str) {
    let (folder, mut files, _) = closed_store().await;
    change(&mut files);
    match start(&folder.path().join("scratch"), &files).await {
        Start::Refused(why) => assert!(why.contains(reason), "{why:?} lacks {reason:?}"),
        opened => panic!("{reason}: {opened:?}"),
    }
}

/// Refuses after someone has changed the tables with SQLite.
async fn refused_after(sql: &str, reason: &str) {
    let scratch = tempfile::tempdir().unwrap();
    let change = |files: &mut Folder| {
        crate::support::write(&scratch.path().join("edit"), files);
        let path = scratch.path().join("edit").join(DB);
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.execute_batch(sql).unwrap();
        conn.close().unwrap();
        files.insert(DB.to_owned(), std::fs::read(&path).unwrap());
    };
    refused(change, reason).await;
}

#[tokio::test]
async fn what_is_missing_or_foreign_is_named() {
    refused(|files| drop(files.remove(DB)), "store.db is damaged: it is missing, though writes up to revision 41")
        .await;
    let only_log = |files: &mut Folder| {
        *files = Folder::from([(WAL.to_owned(), vec![1; 100])]);
    };
    refused(only_log, "it is missing, though its write-ahead log is there").await;
    refused(|files| drop(files.insert(DB.to_owned(), vec![b'x'; 8192])), "does not begin with SQLite's header").await;
    refused(|files| files.get_mut(DB).unwrap()[63] = 9, "it has format 9, and this program knows format 1 only").await;
    refused(|files| files.get_mut(DB).unwrap()[68..72].fill(0), "it belongs to another application").await;
    refused(|files| files.get_mut(ACKED).unwrap()[0] ^= 1, "store.acked is damaged").await;
    refused(|files| drop(files.insert(WAL.to_owned(), vec![1; 5000])), "not a write-ahead log's magic number").await;
}

#[tokio::test]
async fn an_inconsistent_history_is_named() {
    let gap = "DELETE FROM log WHERE position / 128 = 30";
    refused_after(gap, "revision 30 is missing before 31").await;
    refused_after("UPDATE log SET value = x'00' WHERE position / 128 = 30", "the checksum of b\"key/").await;
    refused_after("UPDATE log SET position = 41 * 128 + 1 WHERE position / 128 = 41", "the checksum of").await;
    refused_after("UPDATE meta SET value = 40 WHERE name = 'compacted'", "the checksum of the number").await;
    refused_after("DELETE FROM meta WHERE name = 'swept'", "the number \"swept\" is missing").await;
    refused_after("DELETE FROM log WHERE position / 128 = 41", "acknowledged, but what can be read ends at 40").await;
    refused_after("DROP INDEX log_by_key", "its tables are not those of a store").await;
}

#[tokio::test]
async fn a_lost_note_is_made_anew() {
    let (folder, mut files, whole) = closed_store().await;
    for note in [None, Some(Vec::new()), Some(vec![0; 16])] {
        files.remove(ACKED);
        files.extend(note.map(|note| (ACKED.to_owned(), note)));
        assert_eq!(start(&folder.path().join("scratch"), &files).await, whole);
    }
}

#[tokio::test]
async fn a_second_opener_is_refused_and_the_first_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).await;
    put(&first, "k", "v").await.unwrap();
    let second = SqliteEngine::open(folder.path()).await.err();
    assert!(matches!(second, Some(Error::InUse { .. })), "{second:?}");
    put(&first, "k", "w").await.unwrap();
    first.close().await.unwrap();
    let third = open(folder.path()).await;
    assert_eq!(all(&third).await[0].value, "w");
}

#[tokio::test]
async fn nobody_else_can_read_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/store");
    let engine = open(&path).await;
    put(&engine, "k", "v").await.unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&path).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(names, [ACKED, DB, "store.db-shm", WAL, "store.lock"]);
}

#[tokio::test]
async fn a_crash_while_a_store_was_made_leaves_room_for_the_next_try() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["store.db.new", "store.db.new-journal", "store.db.new-wal"] {
        std::fs::write(folder.path().join(name), b"half").unwrap();
    }
    let engine = open(folder.path()).await;
    assert_eq!(engine.revision().await.unwrap(), Revision::EMPTY);
    engine.close().await.unwrap();
    assert_eq!(names(&read(folder.path())), [ACKED, DB]);
}

#[tokio::test]
async fn a_sweep_that_a_crash_cut_short_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(folder.path()).await;
    for number in 0..300 {
        put(&engine, "k", &number.to_string()).await.unwrap();
    }
    engine.close().await.unwrap();
    // As if the compaction had been committed, and nothing deleted yet.
    let sum = crc32fast::hash(&[b"compacted".to_vec(), 200i64.to_le_bytes().to_vec()].concat());
    let conn = rusqlite::Connection::open(folder.path().join(DB)).unwrap();
    conn.execute("UPDATE meta SET value = 200, checksum = ?1 WHERE name = 'compacted'", [sum]).unwrap();
    conn.close().unwrap();
    let engine = open(folder.path()).await;
    // Each write makes room for a step of the sweep.
    for _ in 0..10 {
        put(&engine, "l", "v").await.unwrap();
    }
    engine.close().await.unwrap();
    let conn = rusqlite::Connection::open(folder.path().join(DB)).unwrap();
    let count = |sql| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM log WHERE key = x'6b'"), 1 + 101);
    assert_eq!(count("SELECT value FROM meta WHERE name = 'swept'"), 200);
}
