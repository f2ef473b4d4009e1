//! The watch cache on the fake engine: what only its limits bring out. The rest is in the contract.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};

use super::{WatchLimits, Watched, watched_within};
use crate::memory::MemoryEngine;
use crate::{Error, Follower, Interval, Revision, Store, Txn, Watch, WatchError, WatchItem, WatchRequest};

async fn store(limits: WatchLimits) -> Watched {
    watched_within(Arc::new(MemoryEngine::new()), limits).await.unwrap()
}

async fn write(store: &Watched, count: usize) {
    for _ in 0..count {
        store.txn(Txn::default().put("a/k", "v")).await.unwrap();
    }
}

async fn watch(store: &Watched, after: u64) -> Watch {
    store.watch(WatchRequest::new(Interval::prefix("a/")).after(Revision(after))).await.unwrap()
}

/// What is ready now: revisions, `=n` for progress, and the error.
fn ready(watch: &mut Watch) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(Some(item)) = watch.next().now_or_never() {
        seen.push(match item {
            Ok(WatchItem::Event(event)) => event.revision().to_string(),
            Ok(WatchItem::Progress(revision)) => format!("={revision}"),
            Err(WatchError::Lagged { .. }) => "lagged".to_owned(),
            Err(error) => format!("{error}"),
        });
    }
    seen
}

#[tokio::test]
async fn a_slow_watch_is_cut_after_its_queue_and_others_go_on() {
    let store = store(WatchLimits { queue: 2, ..WatchLimits::default() }).await;
    let (mut slow, mut quick) = (watch(&store, 1).await, watch(&store, 1).await);
    write(&store, 2).await;
    assert_eq!(ready(&mut quick), ["2", "3"]);
    write(&store, 2).await;
    assert_eq!(ready(&mut quick), ["4", "5"]);
    assert_eq!(ready(&mut slow), ["2", "3", "lagged"]);
    assert!(slow.next().await.is_none(), "nothing comes after the error");
}

#[tokio::test]
async fn history_that_the_ring_has_lost_comes_from_the_log() {
    let store = store(WatchLimits { events: 3, page: 2, ..WatchLimits::default() }).await;
    write(&store, 9).await;
    let mut watch = watch(&store, 1).await;
    watch.request_progress();
    assert_eq!(ready(&mut watch), ["2", "3", "4", "5", "6", "7", "8", "9", "10", "=10"]);
    write(&store, 1).await;
    assert_eq!(ready(&mut watch), ["11"]);
}

#[tokio::test]
async fn a_watch_that_is_still_behind_ends_when_its_history_is_compacted() {
    let store = store(WatchLimits { events: 1, page: 2, ..WatchLimits::default() }).await;
    write(&store, 9).await;
    let mut watch = watch(&store, 1).await;
    store.compact(Revision(8)).await.unwrap();
    let seen = ready(&mut watch);
    assert_eq!(seen[..2], ["2", "3"]);
    assert_eq!(seen[2], "the watch is at revision 3, which was compacted away: history starts at 8");
    let error = store.watch(WatchRequest::new(Interval::all()).after(Revision(7))).await.err();
    assert!(matches!(error, Some(Error::Compacted { .. })), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn progress_comes_at_its_interval_and_never_before_what_it_covers() {
    let store = store(WatchLimits::default()).await;
    let request = WatchRequest::new(Interval::prefix("b/")).progress_every(Duration::from_secs(60));
    let mut watch = store.watch(request).await.unwrap();
    write(&store, 3).await;
    assert_eq!(ready(&mut watch), [""; 0]);
    assert_eq!(watch.next().await.unwrap().unwrap(), WatchItem::Progress(Revision(4)));
    store.txn(Txn::create("b/k", "v")).await.unwrap();
    watch.request_progress();
    assert_eq!(ready(&mut watch), ["5", "=5"]);
}

#[tokio::test]
async fn closing_the_store_ends_its_watches() {
    let store = store(WatchLimits::default()).await;
    let mut watch = watch(&store, 1).await;
    write(&store, 1).await;
    store.close().await.unwrap();
    assert_eq!(ready(&mut watch), ["2", "the store is closed"]);
    assert!(matches!(store.get(b"a").await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_dropped_watch_leaves_nothing_in_the_hub() {
    let store = store(WatchLimits::default()).await;
    drop(watch(&store, 1).await);
    assert_eq!(store.hub.watches(), 0);
}

#[tokio::test]
async fn what_an_engine_has_missed_ends_watches_and_later_ones_begin_behind_it() {
    let store = store(WatchLimits::default()).await;
    write(&store, 2).await;
    let mut watch = watch(&store, 2).await;
    store.hub.missed(Revision(9));
    let seen = ready(&mut watch);
    assert_eq!(seen, ["3", "the watch is at revision 3, which was compacted away: history starts at 9"]);
    assert_eq!(store.hub.watches(), 0);
    assert_eq!(store.hub.head(), Revision(9));
    assert!(store.hub.subscribe(&Interval::all(), Revision(8)).is_none(), "the ring does not reach back behind it");
}
