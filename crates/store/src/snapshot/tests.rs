//! Snapshots of the fake: the format, what is refused, and filling an engine.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;

use super::*;
use crate::memory::MemoryEngine;
use crate::snapshot::restore::Existing;
use crate::{
    Engine, Follower, KeyValue, LogPage, LogRequest, MAX_VALUE_BYTES, RangeResponse, Revision, Txn, TxnOutcome, watched,
};

async fn put(engine: &dyn Engine, key: &str, value: impl Into<Bytes>) {
    engine.txn(Txn::default().put(key.to_owned(), value)).await.unwrap();
}

/// More than a page, with deletions, several versions and the largest value.
async fn full() -> Arc<MemoryEngine> {
    let engine = Arc::new(MemoryEngine::new());
    for number in 0..700 {
        put(&*engine, &format!("k/{:03}", number % 600), number.to_string()).await;
    }
    put(&*engine, "large", vec![7; MAX_VALUE_BYTES]).await;
    engine.txn(Txn::default().delete("k/007").put("k/008", "8")).await.unwrap();
    engine
}

async fn snapshot(engine: Arc<MemoryEngine>) -> Vec<u8> {
    let pieces: Vec<Bytes> = take(Arc::new(watched(engine).await.unwrap())).try_collect().await.unwrap();
    pieces.concat()
}

async fn content(engine: &dyn Engine) -> Vec<KeyValue> {
    engine.range(RangeRequest::new(Interval::all())).await.unwrap().kvs
}

#[tokio::test]
async fn a_snapshot_holds_every_key_with_its_revisions() {
    let engine = full().await;
    let bytes = snapshot(engine.clone()).await;
    let reader = Reader::begin(&bytes[..]).unwrap();
    assert_eq!(reader.header().revision, engine.revision().await.unwrap());
    let read: Vec<KeyValue> = reader.map(Result::unwrap).collect();
    assert_eq!(read, content(&*engine).await);
    assert_eq!(Reader::begin(&bytes[..]).unwrap().verify().unwrap().1, read.len() as u64);
}

#[tokio::test]
async fn a_snapshot_is_of_one_revision_while_writing_goes_on() {
    let engine = full().await;
    let before = content(&*engine).await;
    let store: Arc<dyn Store> = Arc::new(watched(engine.clone()).await.unwrap());
    let mut taking = Box::pin(take(store));
    let mut bytes = taking.try_next().await.unwrap().unwrap().to_vec();
    put(&*engine, "k/599", "later").await;
    engine.txn(Txn::default().delete("k/300")).await.unwrap();
    while let Some(piece) = taking.try_next().await.unwrap() {
        bytes.extend(piece);
    }
    let read: Vec<KeyValue> = Reader::begin(&bytes[..]).unwrap().map(Result::unwrap).collect();
    assert_eq!(read, before);
}

#[tokio::test]
async fn an_empty_store_has_a_snapshot_too() {
    let bytes = snapshot(Arc::new(MemoryEngine::new())).await;
    assert_eq!(Reader::begin(&bytes[..]).unwrap().verify().unwrap(), (Header { revision: Revision(1) }, 0));
}

fn verify(bytes: &[u8]) -> Result<(Header, u64), SnapshotError> {
    Reader::begin(bytes)?.verify()
}

#[tokio::test]
async fn whatever_is_changed_or_cut_is_noticed() {
    let engine = Arc::new(MemoryEngine::new());
    put(&*engine, "a", "1").await;
    put(&*engine, "b", "2").await;
    let bytes = snapshot(engine).await;
    for end in 0..bytes.len() {
        assert!(verify(&bytes[..end]).is_err(), "cut at {end}");
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            assert!(verify(&changed).is_err(), "bit {bit} of byte {at}");
        }
    }
    assert!(verify(&[&bytes[..], b"x"].concat()).is_err(), "something follows");
    assert!(matches!(verify(b"remora-store-snapshot 2\n"), Err(SnapshotError::Version(version)) if version == "2"));
    assert!(matches!(verify(b"SQLite format 3\0"), Err(SnapshotError::Foreign)));
    let endless = [&bytes[..24], &[0xff; 64]].concat();
    assert!(verify(&endless).unwrap_err().to_string().contains("too long"));
}

#[tokio::test]
async fn a_restored_engine_holds_the_same_above_the_same_revision() {
    let from = full().await;
    let (bytes, old) = (snapshot(from.clone()).await, from.revision().await.unwrap());
    let to = MemoryEngine::new();
    put(&to, "gone", "").await;
    let restored = |existing| {
        let reader = Reader::begin(&bytes[..]).unwrap();
        let largest = largest_piece(Reader::begin(&bytes[..]).unwrap()).unwrap();
        restore(&to, reader.header(), largest, reader, existing)
    };
    assert!(matches!(restored(Existing::Refuse).await, Err(RestoreError::NotEmpty)));
    assert_eq!(content(&to).await.len(), 1, "nothing was changed");

    let done = restored(Existing::Replace).await.unwrap();
    let pairs = |kvs: Vec<KeyValue>| kvs.into_iter().map(|kv| (kv.key, kv.value)).collect::<Vec<_>>();
    let found = content(&to).await;
    assert!(found.iter().all(|kv| kv.mod_revision > old), "no version of an object goes back");
    assert_eq!((done.entries, done.revision), (found.len() as u64, to.revision().await.unwrap()));
    assert_eq!(pairs(found), pairs(content(&*from).await));
}

/// An engine that takes less at once than others, as an etcd with a small `--max-request-bytes`.
struct Narrow {
    engine: MemoryEngine,
    limit: usize,
}

#[async_trait]
impl Engine for Narrow {
    async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, Error> {
        self.engine.get(key).await
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.engine.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        let (size, limit) = (txn.weight(), self.limit);
        if size > limit {
            return Err(Error::TooLarge { what: "a request (bytes)", size, limit });
        }
        self.engine.txn(txn).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.engine.compact(revision).await
    }

    async fn revision(&self) -> Result<Revision, Error> {
        self.engine.revision().await
    }

    async fn log(&self, request: LogRequest) -> Result<LogPage, Error> {
        self.engine.log(request).await
    }

    async fn follow(&self, follower: Arc<dyn Follower>) -> Result<Revision, Error> {
        self.engine.follow(follower).await
    }

    async fn close(&self) -> Result<(), Error> {
        self.engine.close().await
    }
}

#[tokio::test]
async fn what_does_not_fit_costs_nothing() {
    let bytes = snapshot(full().await).await;
    let reader = || Reader::begin(&bytes[..]).unwrap();
    let largest = largest_piece(reader()).unwrap();
    assert_eq!(largest.weight(), "large".len() + MAX_VALUE_BYTES);
    for missing in [1, 0] {
        let to = Narrow { engine: MemoryEngine::new(), limit: largest.weight() - missing };
        put(&to, "kept", "").await;
        let before = (content(&to).await, to.revision().await.unwrap());
        let restored = restore(&to, reader().header(), largest.clone(), reader(), Existing::Replace).await;
        if missing == 0 {
            assert_eq!(restored.unwrap().entries, content(&to).await.len() as u64);
            continue;
        }
        assert!(matches!(restored, Err(RestoreError::TooLarge { bytes }) if bytes == largest.weight()), "{restored:?}");
        assert_eq!((content(&to).await, to.revision().await.unwrap()), before);
    }
}
