//! The past: ranges at a revision, the log, and what compaction takes away.

use super::{Place, commit, content, contract_checks, delete, put};
use crate::{Engine, Error, Event, Interval, LogRequest, MAX_TXN_OPS, RangeRequest, Revision, Txn};

contract_checks! {
    a_range_at_a_revision_shows_what_was_then,
    the_future_cannot_be_read,
    the_log_tells_what_happened_and_what_was_before,
    log_pages_end_with_whole_revisions_and_make_up_the_whole,
    compaction_keeps_what_is_alive_and_forgets_the_past,
    a_revision_can_be_compacted_once_and_not_in_the_future,
    the_revision_does_not_fall_when_its_last_deletion_is_compacted,
    writing_goes_on_while_a_compaction_is_swept,
}

async fn a_range_at_a_revision_shows_what_was_then(place: Place) {
    let engine = place.engine().await;
    put(&*engine, "a", "1").await;
    put(&*engine, "b", "1").await;
    put(&*engine, "a", "2").await;
    delete(&*engine, "b").await;
    put(&*engine, "b", "3").await;
    let at = async |revision| content(&*engine, Some(Revision(revision))).await;
    assert_eq!(at(1).await, [""; 0]);
    assert_eq!(at(2).await, ["a=1"]);
    assert_eq!(at(3).await, ["a=1", "b=1"]);
    assert_eq!(at(4).await, ["a=2", "b=1"]);
    assert_eq!(at(5).await, ["a=2"]);
    assert_eq!(at(6).await, ["a=2", "b=3"]);
    let past = RangeRequest::new(Interval::all()).at(Revision(3)).limit(1);
    let past = engine.range(past).await.expect("range");
    assert_eq!((past.revision, past.remaining), (Revision(3), 1), "the count is of that revision too");
}

async fn the_future_cannot_be_read(place: Place) {
    let engine = place.engine().await;
    put(&*engine, "a", "1").await;
    for future in [3, u64::MAX] {
        let requested = Revision(future);
        let range = engine.range(RangeRequest::new(Interval::all()).at(requested)).await.err();
        let log = log(&*engine, Interval::all(), requested, 10).await.err();
        for error in [range, log] {
            let Some(Error::FutureRevision { requested: named, current }) = error else { panic!("got {error:?}") };
            assert_eq!((named, current), (requested, Revision(2)));
        }
    }
}

async fn log(engine: &dyn Engine, interval: Interval, after: Revision, limit: usize) -> Result<crate::LogPage, Error> {
    engine.log(LogRequest { interval, after, limit }).await
}

fn described(event: &Event) -> String {
    let value = |kv: Option<&crate::KeyValue>| kv.map(|kv| String::from_utf8_lossy(&kv.value).into_owned());
    let (before, after) = (value(event.previous.as_ref()), value(event.kv()));
    format!("{} {} {before:?} -> {after:?}", event.revision(), String::from_utf8_lossy(event.key()))
}

async fn the_log_tells_what_happened_and_what_was_before(place: Place) {
    let engine = place.engine().await;
    put(&*engine, "a", "1").await;
    put(&*engine, "b", "1").await;
    commit(&*engine, Txn::default().put("a", "2").delete("b")).await;
    put(&*engine, "b", "3").await;
    let page = log(&*engine, Interval::all(), Revision::EMPTY, 100).await.expect("log");
    let expected = [
        "2 a None -> Some(\"1\")",
        "3 b None -> Some(\"1\")",
        "4 a Some(\"1\") -> Some(\"2\")",
        "4 b Some(\"1\") -> None",
        "5 b None -> Some(\"3\")",
    ];
    assert_eq!(page.events.iter().map(|event| described(event)).collect::<Vec<_>>(), expected);
    assert_eq!((page.through, page.current), (Revision(5), Revision(5)));
    let page = log(&*engine, Interval::key("a"), Revision(2), 100).await.expect("log");
    assert_eq!(page.events.iter().map(|event| described(event)).collect::<Vec<_>>(), expected[2..3]);
    assert_eq!(page.through, Revision(5), "nothing else happened to this key");
}

async fn log_pages_end_with_whole_revisions_and_make_up_the_whole(place: Place) {
    let engine = place.engine().await;
    for number in 0..400 {
        let txn = Txn::default().put(format!("p/{number}"), "v").put(format!("q/{number}"), "v");
        commit(&*engine, txn).await;
    }
    let large = (0..MAX_TXN_OPS).fold(Txn::default(), |txn, number| txn.put(format!("p/large/{number}"), "v"));
    commit(&*engine, large).await;
    let (mut after, mut revisions) = (Revision::EMPTY, Vec::new());
    loop {
        let page = log(&*engine, Interval::prefix("p/"), after, 7).await.expect("log");
        assert!(page.through > after, "every page gets further");
        assert!(page.events.len() <= 7 + MAX_TXN_OPS, "a page is bounded");
        assert!(page.events.iter().all(|event| event.revision() > after && event.revision() <= page.through));
        revisions.extend(page.events.iter().map(|event| event.revision().0));
        after = page.through;
        if page.through == page.current {
            break;
        }
    }
    let expected: Vec<u64> = (2..402).chain(std::iter::repeat_n(402, MAX_TXN_OPS)).collect();
    assert_eq!(revisions, expected);
}

async fn compaction_keeps_what_is_alive_and_forgets_the_past(place: Place) {
    let engine = place.engine().await;
    put(&*engine, "kept", "old").await;
    put(&*engine, "a", "1").await;
    put(&*engine, "a", "2").await;
    put(&*engine, "gone", "v").await;
    delete(&*engine, "gone").await;
    put(&*engine, "a", "3").await;
    put(&*engine, "a", "4").await;
    engine.compact(Revision(7)).await.expect("compact");
    for requested in [Revision(1), Revision(6)] {
        let range = engine.range(RangeRequest::new(Interval::all()).at(requested)).await.err();
        let log = log(&*engine, Interval::all(), requested, 10).await.err();
        for error in [range, log] {
            let Some(Error::Compacted { requested: named, compacted, current }) = error else {
                panic!("got {error:?}")
            };
            assert_eq!((named, compacted, current), (requested, Revision(7), Revision(8)));
        }
    }
    assert_eq!(content(&*engine, Some(Revision(7))).await, ["a=3", "kept=old"]);
    assert_eq!(content(&*engine, None).await, ["a=4", "kept=old"]);
    let page = log(&*engine, Interval::all(), Revision(7), 10).await.expect("log");
    assert_eq!(described(&page.events[0]), "8 a Some(\"3\") -> Some(\"4\")", "what was before survives");
    let kept = engine.get(b"kept").await.expect("get").expect("the key");
    assert_eq!((kept.create_revision, kept.version), (Revision(2), 1));
}

async fn a_revision_can_be_compacted_once_and_not_in_the_future(place: Place) {
    let engine = place.engine().await;
    for _ in 0..4 {
        put(&*engine, "k", "v").await;
    }
    let future = engine.compact(Revision(6)).await;
    assert!(matches!(future, Err(Error::FutureRevision { .. })), "{future:?}");
    engine.compact(Revision(4)).await.expect("compact");
    for again in [4, 2] {
        let again = engine.compact(Revision(again)).await;
        assert!(matches!(again, Err(Error::Compacted { .. })), "{again:?}");
    }
    engine.compact(Revision(5)).await.expect("compact");
}

async fn the_revision_does_not_fall_when_its_last_deletion_is_compacted(place: Place) {
    let engine = place.engine().await;
    put(&*engine, "k", "v").await;
    let last = delete(&*engine, "k").await;
    engine.compact(last).await.expect("compact");
    engine.close().await.expect("close");
    let engine = place.engine().await;
    assert_eq!(engine.revision().await.expect("revision"), last);
    assert_eq!(put(&*engine, "k", "v").await, last.next());
    assert_eq!(engine.get(b"k").await.expect("get").expect("the key").version, 1);
}

async fn writing_goes_on_while_a_compaction_is_swept(place: Place) {
    let engine = place.engine().await;
    for round in 0..3 {
        for number in 0..500 {
            put(&*engine, &format!("k/{}", number % 50), "v").await;
        }
        let current = engine.revision().await.expect("revision");
        engine.compact(current).await.expect("compact");
        put(&*engine, "between", &round.to_string()).await;
        let kv = engine.get(b"k/49").await.expect("get").expect("the key");
        assert_eq!(kv.version, 10 * (round + 1));
    }
    engine.close().await.expect("close");
    let engine = place.engine().await;
    assert_eq!(content(&*engine, None).await.len(), 51);
    assert_eq!(engine.revision().await.expect("revision"), Revision(1504));
}
