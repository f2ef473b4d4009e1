//! Opening, closing and opening again.

use super::{Place, content, contract_checks, delete, put};
use crate::{Engine, Error, Interval, LogRequest, RangeRequest, Revision, Txn};

contract_checks! {
    reopening_keeps_everything,
    reopening_keeps_the_compaction,
    a_closed_engine_refuses_everything,
    writes_that_wait_when_it_is_closed_are_done_or_refused,
}

async fn reopening_keeps_everything(place: Place) {
    let engine = place.engine().await;
    for number in 0..99 {
        put(&*engine, &format!("k/{}", number % 30), &number.to_string()).await;
    }
    delete(&*engine, "k/7").await;
    put(&*engine, "k/8", "last").await;
    let (range, log) = everything(&*engine).await;
    engine.close().await.expect("close");
    for _ in 0..2 {
        let engine = place.engine().await;
        assert_eq!(everything(&*engine).await, (range.clone(), log.clone()));
        assert_eq!(engine.revision().await.expect("revision"), Revision(102));
        engine.close().await.expect("close");
    }
    let engine = place.engine().await;
    assert_eq!(put(&*engine, "k", "v").await, Revision(103));
}

async fn everything(engine: &dyn Engine) -> (Vec<crate::KeyValue>, Vec<std::sync::Arc<crate::Event>>) {
    let range = engine.range(RangeRequest::new(Interval::all())).await.expect("range");
    let log = LogRequest { interval: Interval::all(), after: Revision::EMPTY, limit: 1000 };
    (range.kvs, engine.log(log).await.expect("log").events)
}

async fn reopening_keeps_the_compaction(place: Place) {
    let engine = place.engine().await;
    for number in 0..300 {
        put(&*engine, "k", &number.to_string()).await;
    }
    engine.compact(Revision(200)).await.expect("compact");
    engine.close().await.expect("close");
    let engine = place.engine().await;
    let past = engine.range(RangeRequest::new(Interval::all()).at(Revision(199))).await;
    assert!(matches!(past, Err(Error::Compacted { .. })), "{past:?}");
    assert_eq!(content(&*engine, Some(Revision(200))).await, ["k=198"]);
    assert_eq!(content(&*engine, None).await, ["k=299"]);
}

async fn a_closed_engine_refuses_everything(place: Place) {
    let engine = place.engine().await;
    put(&*engine, "k", "v").await;
    engine.close().await.expect("close");
    engine.close().await.expect("closing again is fine");
    let log = LogRequest { interval: Interval::all(), after: Revision::EMPTY, limit: 1 };
    let errors = [
        engine.get(b"k").await.err(),
        engine.range(RangeRequest::new(Interval::all())).await.err(),
        engine.txn(Txn::create("l", "v")).await.err(),
        engine.compact(Revision(2)).await.err(),
        engine.revision().await.err(),
        engine.log(log).await.err(),
    ];
    assert!(errors.iter().all(|error| matches!(error, Some(Error::Closed))), "{errors:?}");
}

async fn writes_that_wait_when_it_is_closed_are_done_or_refused(place: Place) {
    let engine = place.engine().await;
    let writes = (0..64).map(|number| {
        let engine = engine.clone();
        tokio::spawn(async move { (number, engine.txn(Txn::create(format!("k/{number:02}"), "v")).await) })
    });
    let writes: Vec<_> = writes.collect();
    engine.close().await.expect("close");
    let outcomes = futures::future::try_join_all(writes).await.expect("no writer panics");
    let engine = place.engine().await;
    let there = content(&*engine, None).await;
    for (number, outcome) in outcomes {
        let key = format!("k/{number:02}=v");
        match outcome {
            Ok(_) => assert!(there.contains(&key), "{key} was acknowledged"),
            Err(Error::Closed) => assert!(!there.contains(&key), "{key} was refused"),
            Err(error) => panic!("{key}: {error}"),
        }
    }
}
