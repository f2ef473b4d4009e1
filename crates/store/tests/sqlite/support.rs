//! What the tests of the SQLite engine share: folders as data, and short forms of reads and writes.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use remora_store::sqlite::SqliteEngine;
use remora_store::{Engine, Error, Interval, KeyValue, RangeRequest, Revision, Txn, TxnOutcome};

/// A store's files by name, without the lock and the index that every start makes anew.
pub(crate) type Folder = BTreeMap<String, Vec<u8>>;

pub(crate) const DB: &str = "store.db";
pub(crate) const WAL: &str = "store.db-wal";
pub(crate) const ACKED: &str = "store.acked";

/// All files of a folder that carry data.
pub(crate) fn read(folder: &Path) -> Folder {
    let mut files = Folder::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name != "store.lock" && name != "store.db-shm" {
            files.insert(name, fs::read(path).unwrap());
        }
    }
    files
}

/// Makes `folder` hold exactly these files.
pub(crate) fn write(folder: &Path, files: &Folder) {
    if folder.exists() {
        fs::remove_dir_all(folder).unwrap();
    }
    fs::create_dir(folder).unwrap();
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// What a start on some files led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Opened { revision: u64, kvs: Vec<(String, String)> },
    Refused(String),
}

/// Starts a store on a copy of `files`. If it is refused, nothing may have changed.
pub(crate) async fn start(scratch: &Path, files: &Folder) -> Start {
    write(scratch, files);
    match SqliteEngine::open(scratch).await {
        Ok(engine) => {
            let all = all(&engine).await;
            let revision = engine.revision().await.unwrap().0;
            engine.close().await.unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let kvs = all.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect();
            Start::Opened { revision, kvs }
        }
        Err(error @ Error::Damaged { .. }) => {
            assert!(read(scratch) == *files, "a refused store was changed: {error}");
            assert!(!scratch.join("store.db-shm").exists(), "a refused store got an index file: {error}");
            Start::Refused(error.to_string())
        }
        Err(error) => panic!("neither opened nor damaged: {error:?}"),
    }
}

pub(crate) async fn all(engine: &dyn Engine) -> Vec<KeyValue> {
    engine.range(RangeRequest::new(Interval::all())).await.unwrap().kvs
}

pub(crate) async fn put(engine: &dyn Engine, key: &str, value: &str) -> Result<Revision, Error> {
    match engine.txn(Txn::default().put(key.to_owned(), value.to_owned())).await? {
        TxnOutcome::Committed { revision } => Ok(revision),
        TxnOutcome::Conflict { .. } => panic!("a put without conditions cannot conflict"),
    }
}

pub(crate) async fn open(folder: impl Into<PathBuf>) -> SqliteEngine {
    SqliteEngine::open(folder).await.unwrap()
}
