//! The engine under the watch cache: nothing missed, nothing repeated.

use std::sync::Arc;

use futures::{FutureExt, StreamExt};

use super::{Place, commit, contract_checks, put};
use crate::{
    Error, Interval, RangeRequest, Revision, Store, Txn, Watch, WatchError, WatchItem, WatchLimits, WatchRequest,
    watched, watched_within,
};

contract_checks! {
    a_watch_tells_history_and_then_what_happens,
    a_watch_from_a_range_has_no_gap_and_no_repetition_under_load,
    a_watch_older_than_the_ring_reads_the_log_and_then_goes_on,
    a_watch_older_than_the_compaction_is_refused,
    a_watch_in_the_future_is_refused,
    a_write_is_in_every_watch_before_it_is_acknowledged,
    what_a_watch_has_told_can_be_read_at_once,
    a_watcher_that_lags_is_cut_and_the_writer_does_not_wait,
    watchers_share_the_bytes_of_an_event,
    closing_ends_watches,
}

/// The next `count` events as `revision key`.
async fn events(watch: &mut Watch, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < count {
        match watch.next().await.expect("the watch goes on").expect("the watch is not cut") {
            WatchItem::Event(event) => {
                seen.push(format!("{} {}", event.revision(), String::from_utf8_lossy(event.key())));
            }
            WatchItem::Progress(_) => {}
        }
    }
    seen
}

async fn a_watch_tells_history_and_then_what_happens(place: Place) {
    let engine = place.engine().await;
    put(&*engine, "a/1", "v").await;
    let store = watched(engine.clone()).await.expect("watched");
    put(&*engine, "a/2", "v").await;
    put(&*engine, "b/1", "v").await;
    let mut all = store.watch(WatchRequest::new(Interval::prefix("a/")).after(Revision(1))).await.expect("watch");
    let mut some = store.watch(WatchRequest::new(Interval::prefix("a/")).after(Revision(2))).await.expect("watch");
    let mut new = store.watch(WatchRequest::new(Interval::prefix("a/"))).await.expect("watch");
    commit(&*engine, Txn::default().delete("a/1").put("b/2", "v").put("a/3", "v")).await;
    assert_eq!(events(&mut all, 4).await, ["2 a/1", "3 a/2", "5 a/1", "5 a/3"]);
    assert_eq!(events(&mut some, 3).await, ["3 a/2", "5 a/1", "5 a/3"]);
    assert_eq!(events(&mut new, 2).await, ["5 a/1", "5 a/3"]);
}

async fn a_watch_from_a_range_has_no_gap_and_no_repetition_under_load(place: Place) {
    let engine = place.engine().await;
    let limits = WatchLimits { events: 32, page: 8, queue: 4096, ..WatchLimits::default() };
    let store = Arc::new(watched_within(engine.clone(), limits).await.expect("watched"));
    let writers = (0..4).map(|number| {
        let engine = engine.clone();
        tokio::spawn(async move {
            for _ in 0..100 {
                put(&*engine, &format!("k/{number}"), "v").await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let watchers = (0..8).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let start = match number {
                0 => Revision::EMPTY,
                _ => store.range(RangeRequest::new(Interval::all())).await.expect("range").revision,
            };
            let mut watch = store.watch(WatchRequest::new(Interval::all()).after(start)).await.expect("watch");
            for expected in start.0 + 1..=401 {
                let item = watch.next().await.expect("the watch goes on").expect("the watch is not cut");
                let WatchItem::Event(event) = item else { panic!("got {item:?}") };
                assert_eq!(event.revision(), Revision(expected));
            }
        })
    });
    futures::future::try_join_all(watchers.chain(writers)).await.expect("nobody fails");
}

async fn a_watch_older_than_the_ring_reads_the_log_and_then_goes_on(place: Place) {
    let engine = place.engine().await;
    let limits = WatchLimits { events: 4, page: 3, ..WatchLimits::default() };
    let store = watched_within(engine.clone(), limits).await.expect("watched");
    for number in 0..20 {
        put(&*engine, &format!("k/{}", number % 2), "v").await;
    }
    let mut watch = store.watch(WatchRequest::new(Interval::key("k/0")).after(Revision(1))).await.expect("watch");
    put(&*engine, "k/0", "v").await;
    let expected: Vec<_> = (2..=22).step_by(2).map(|revision| format!("{revision} k/0")).collect();
    assert_eq!(events(&mut watch, 11).await, expected);
}

async fn a_watch_older_than_the_compaction_is_refused(place: Place) {
    let engine = place.engine().await;
    let store = watched(engine.clone()).await.expect("watched");
    for _ in 0..5 {
        put(&*engine, "k", "v").await;
    }
    store.compact(Revision(4)).await.expect("compact");
    let refused = store.watch(WatchRequest::new(Interval::all()).after(Revision(3))).await.err();
    let Some(Error::Compacted { requested, compacted, current }) = refused else { panic!("got {refused:?}") };
    assert_eq!((requested, compacted, current), (Revision(3), Revision(4), Revision(6)));
    let mut watch = store.watch(WatchRequest::new(Interval::all()).after(Revision(4))).await.expect("watch");
    assert_eq!(events(&mut watch, 2).await, ["5 k", "6 k"]);
}

async fn a_watch_in_the_future_is_refused(place: Place) {
    let store = watched(place.engine().await).await.expect("watched");
    let refused = store.watch(WatchRequest::new(Interval::all()).after(Revision(2))).await.err();
    assert!(matches!(refused, Some(Error::FutureRevision { .. })), "{refused:?}");
}

async fn a_write_is_in_every_watch_before_it_is_acknowledged(place: Place) {
    let engine = place.engine().await;
    let store = watched(engine.clone()).await.expect("watched");
    let mut watch = store.watch(WatchRequest::new(Interval::all())).await.expect("watch");
    for revision in 2..50 {
        put(&*engine, "k", "v").await;
        let item = watch.next().now_or_never().expect("it is there").expect("the watch goes on").expect("no error");
        let WatchItem::Event(event) = item else { panic!("got {item:?}") };
        assert_eq!(event.revision(), Revision(revision));
    }
}

/// The scheduler reads each pod that it has just heard of: one that was "not found" stayed without a node for ever.
async fn what_a_watch_has_told_can_be_read_at_once(place: Place) {
    const WRITES: usize = 500;
    let engine = place.engine().await;
    let store = Arc::new(watched(engine.clone()).await.expect("watched"));
    let mut watch = store.watch(WatchRequest::new(Interval::prefix("a/"))).await.expect("watch");
    let writer = tokio::spawn(async move {
        for i in 0..WRITES {
            put(&*engine, &format!("a/{i}"), "v").await;
        }
    });
    let mut unreadable = Vec::new();
    for _ in 0..WRITES {
        let Some(Ok(WatchItem::Event(event))) = watch.next().await else { panic!("the watch goes on") };
        let found = store.get(event.key()).await.expect("get");
        if found.is_none_or(|kv| kv.mod_revision < event.revision()) {
            unreadable.push(event.revision());
        }
    }
    writer.await.expect("the writer ends");
    assert_eq!(unreadable, [], "told, but not to be read");
}

async fn a_watcher_that_lags_is_cut_and_the_writer_does_not_wait(place: Place) {
    let engine = place.engine().await;
    let limits = WatchLimits { queue: 8, ..WatchLimits::default() };
    let store = watched_within(engine.clone(), limits).await.expect("watched");
    let mut slow = store.watch(WatchRequest::new(Interval::all())).await.expect("watch");
    for _ in 0..50 {
        put(&*engine, "k", "v").await;
    }
    let expected: Vec<_> = (2..=9).map(|revision| format!("{revision} k")).collect();
    assert_eq!(events(&mut slow, 8).await, expected, "what was queued is still delivered");
    let end = slow.next().await.expect("the reason");
    assert!(matches!(end, Err(WatchError::Lagged { queue: 8 })), "{end:?}");
    let mut again = store.watch(WatchRequest::new(Interval::all()).after(Revision(9))).await.expect("watch");
    assert_eq!(events(&mut again, 1).await, ["10 k"]);
}

async fn watchers_share_the_bytes_of_an_event(place: Place) {
    let engine = place.engine().await;
    let store = watched(engine.clone()).await.expect("watched");
    let mut watches = Vec::new();
    for _ in 0..3 {
        watches.push(store.watch(WatchRequest::new(Interval::all())).await.expect("watch"));
    }
    put(&*engine, "k", "v").await;
    let mut seen = Vec::new();
    for watch in &mut watches {
        let item = watch.next().await.expect("the watch goes on").expect("no error");
        let WatchItem::Event(event) = item else { panic!("got {item:?}") };
        seen.push(event);
    }
    assert!(seen.iter().all(|event| Arc::ptr_eq(event, &seen[0])));
}

async fn closing_ends_watches(place: Place) {
    let store = watched(place.engine().await).await.expect("watched");
    let mut watch = store.watch(WatchRequest::new(Interval::all())).await.expect("watch");
    store.close().await.expect("close");
    let end = watch.next().await;
    assert!(matches!(end, Some(Err(WatchError::Closed))), "{end:?}");
    assert!(watch.next().await.is_none());
}
