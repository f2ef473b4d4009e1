//! What a transaction does to keys, and what reads say of them now.

use std::collections::BTreeSet;

use super::{Place, commit, content, contract_checks, delete, put, text};
use crate::{Error, Expect, Interval, KeyValue, MAX_VALUE_BYTES, RangeRequest, Revision, Txn, TxnOutcome};

contract_checks! {
    an_empty_engine_stands_at_revision_1_and_has_nothing,
    a_key_knows_when_it_was_created_and_changed_and_how_often,
    revisions_rise_by_one_for_each_change,
    a_create_finds_the_key_absent_or_conflicts,
    an_update_or_removal_needs_the_revision_that_was_seen,
    a_conflict_names_what_is_there_and_does_nothing,
    a_transaction_happens_as_a_whole_at_one_revision,
    what_changes_nothing_takes_no_revision,
    a_range_is_in_byte_order_and_half_open,
    a_limit_leaves_off_and_counts,
    pages_at_one_revision_make_up_the_whole,
    keys_and_values_may_be_any_bytes,
    what_exceeds_the_limits_is_refused_and_harms_nothing,
    only_one_of_many_concurrent_creates_wins,
    increments_by_compare_and_swap_lose_nothing,
    many_writers_at_once_get_revisions_of_their_own,
}

async fn an_empty_engine_stands_at_revision_1_and_has_nothing(place: Place) {
    let engine = place.engine().await;
    assert_eq!(engine.revision().await.expect("revision"), Revision::EMPTY);
    assert_eq!(engine.get(b"a").await.expect("get"), None);
    let all = engine.range(RangeRequest::new(Interval::all())).await.expect("range");
    assert_eq!((all.kvs.len(), all.revision, all.more()), (0, Revision(1), false));
}

async fn a_key_knows_when_it_was_created_and_changed_and_how_often(place: Place) {
    let engine = place.engine().await;
    put(&*engine, "other", "").await;
    let get = async || engine.get(b"k").await.expect("get");
    let expected = |value: &'static str, create: u64, changed: u64, version: u64| {
        Some(KeyValue {
            key: "k".into(),
            value: value.into(),
            create_revision: Revision(create),
            mod_revision: Revision(changed),
            version,
        })
    };
    put(&*engine, "k", "one").await;
    assert_eq!(get().await, expected("one", 3, 3, 1));
    put(&*engine, "k", "two").await;
    assert_eq!(get().await, expected("two", 3, 4, 2));
    delete(&*engine, "k").await;
    assert_eq!(get().await, None);
    put(&*engine, "k", "three").await;
    assert_eq!(get().await, expected("three", 6, 6, 1));
}

async fn revisions_rise_by_one_for_each_change(place: Place) {
    let engine = place.engine().await;
    for expected in 2..20 {
        let key = format!("k{}", expected % 3);
        let revision = if expected % 4 == 3 { delete(&*engine, "k2").await } else { put(&*engine, &key, "v").await };
        let current = engine.revision().await.expect("revision");
        assert!(revision == current && current.0 <= expected, "{revision} after {expected} transactions");
    }
    let before = engine.revision().await.expect("revision");
    assert_eq!(put(&*engine, "k", "v").await, before.next());
}

async fn a_create_finds_the_key_absent_or_conflicts(place: Place) {
    let engine = place.engine().await;
    assert_eq!(commit(&*engine, Txn::create("k", "one")).await, Revision(2));
    let conflict = engine.txn(Txn::create("k", "two")).await.expect("txn");
    assert!(matches!(conflict, TxnOutcome::Conflict { .. }));
    delete(&*engine, "k").await;
    assert_eq!(commit(&*engine, Txn::create("k", "three")).await, Revision(4));
    assert_eq!(content(&*engine, None).await, ["k=three"]);
}

async fn an_update_or_removal_needs_the_revision_that_was_seen(place: Place) {
    let engine = place.engine().await;
    let conflicts = async |txn| matches!(engine.txn(txn).await.expect("txn"), TxnOutcome::Conflict { .. });
    let seen = put(&*engine, "k", "one").await;
    let newer = commit(&*engine, Txn::update("k", "two", seen)).await;
    assert!(conflicts(Txn::update("k", "three", seen)).await);
    assert!(conflicts(Txn::remove("k", seen)).await);
    assert!(conflicts(Txn::update("absent", "v", seen)).await);
    assert!(conflicts(Txn::remove("absent", Revision::NONE)).await);
    assert_eq!(content(&*engine, None).await, ["k=two"]);
    commit(&*engine, Txn::remove("k", newer)).await;
    assert!(conflicts(Txn::remove("k", newer)).await);
    assert!(conflicts(Txn::default().when("k", Expect::Present).put("k", "v")).await);
    assert_eq!(content(&*engine, None).await, [""; 0]);
}

async fn a_conflict_names_what_is_there_and_does_nothing(place: Place) {
    let engine = place.engine().await;
    put(&*engine, "a", "1").await;
    put(&*engine, "b", "2").await;
    let txn = Txn::default().when("b", Expect::Absent).when("absent", Expect::Absent).when("a", Expect::Present);
    match engine.txn(txn.put("a", "changed").delete("b")).await.expect("txn") {
        TxnOutcome::Conflict { current, revision } => {
            let seen: Vec<_> = current.iter().map(|kv| kv.as_ref().map(text)).collect();
            assert_eq!(seen, [Some("b=2".to_owned()), None, Some("a=1".to_owned())]);
            assert_eq!(revision, Revision(3));
        }
        outcome => panic!("expected a conflict, got {outcome:?}"),
    }
    assert_eq!(content(&*engine, None).await, ["a=1", "b=2"]);
    assert_eq!(engine.revision().await.expect("revision"), Revision(3));
}

async fn a_transaction_happens_as_a_whole_at_one_revision(place: Place) {
    let engine = place.engine().await;
    put(&*engine, "gone", "v").await;
    let txn = Txn::default().when("gone", Expect::Present).put("a", "1").delete("gone").put("b", "2");
    let revision = commit(&*engine, txn).await;
    let all = engine.range(RangeRequest::new(Interval::all())).await.expect("range");
    assert_eq!(all.kvs.iter().map(text).collect::<Vec<_>>(), ["a=1", "b=2"]);
    assert!(all.kvs.iter().all(|kv| kv.mod_revision == revision));
    assert_eq!(all.revision, revision);
}

async fn what_changes_nothing_takes_no_revision(place: Place) {
    let engine = place.engine().await;
    put(&*engine, "k", "v").await;
    for txn in [Txn::default(), Txn::default().delete("absent"), Txn::default().when("k", Expect::Present)] {
        assert_eq!(commit(&*engine, txn).await, Revision(2));
    }
    assert_eq!(put(&*engine, "k", "v").await, Revision(3), "the same value again is a change, as in etcd");
}

async fn a_range_is_in_byte_order_and_half_open(place: Place) {
    let engine = place.engine().await;
    for key in ["b/2", "a", "b/10", "b", "c", "b/\u{e9}", "b0"] {
        put(&*engine, key, "").await;
    }
    let keys = async |interval| {
        let found = engine.range(RangeRequest::new(interval)).await.expect("range");
        found.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(keys(Interval::prefix("b/")).await, ["b/10", "b/2", "b/\u{e9}"]);
    assert_eq!(keys(Interval::key("b")).await, ["b"]);
    assert_eq!(keys(Interval::between("b", "b0")).await, ["b", "b/10", "b/2", "b/\u{e9}"]);
    assert_eq!(keys(Interval::between("c", "a")).await, [""; 0]);
    assert_eq!(keys(Interval::all().behind(b"b/2")).await, ["b/\u{e9}", "b0", "c"]);
}

async fn a_limit_leaves_off_and_counts(place: Place) {
    let engine = place.engine().await;
    for key in ["p/1", "p/2", "p/3", "p/4", "q"] {
        put(&*engine, key, "").await;
    }
    delete(&*engine, "p/2").await;
    let limited = async |limit| {
        let found = engine.range(RangeRequest::new(Interval::prefix("p/")).limit(limit)).await.expect("range");
        (found.kvs.len(), found.remaining, found.more())
    };
    assert_eq!(limited(0).await, (0, 3, true));
    assert_eq!(limited(1).await, (1, 2, true));
    assert_eq!(limited(3).await, (3, 0, false));
    assert_eq!(limited(usize::MAX).await, (3, 0, false));
}

async fn pages_at_one_revision_make_up_the_whole(place: Place) {
    let engine = place.engine().await;
    for number in 0..10 {
        put(&*engine, &format!("p/{number}"), "old").await;
    }
    let first = engine.range(RangeRequest::new(Interval::prefix("p/")).limit(3)).await.expect("range");
    let (mut found, mut last, revision) = (first.kvs.clone(), first, engine.revision().await.expect("revision"));
    while last.more() {
        put(&*engine, &format!("p/{}", 9 - found.len() / 3), "new").await;
        delete(&*engine, "p/8").await;
        let rest = Interval::prefix("p/").behind(&found.last().expect("a page").key);
        last = engine.range(RangeRequest::new(rest).at(revision).limit(3)).await.expect("range");
        found.extend(last.kvs.clone());
    }
    let expected: Vec<_> = (0..10).map(|number| format!("p/{number}=old")).collect();
    assert_eq!(found.iter().map(text).collect::<Vec<_>>(), expected);
}

async fn keys_and_values_may_be_any_bytes(place: Place) {
    let engine = place.engine().await;
    let all: Vec<u8> = (0..=255).collect();
    commit(&*engine, Txn::create(all.clone(), all.clone())).await;
    commit(&*engine, Txn::create(vec![0xff; 4096], "")).await;
    commit(&*engine, Txn::create(vec![0], vec![0; MAX_VALUE_BYTES])).await;
    assert_eq!(engine.get(&all).await.expect("get").expect("the key").value, all);
    assert_eq!(engine.get(&[0]).await.expect("get").expect("the key").value.len(), MAX_VALUE_BYTES);
    let found = engine.range(RangeRequest::new(Interval::all())).await.expect("range");
    assert_eq!(found.kvs.iter().map(|kv| kv.key.len()).collect::<Vec<_>>(), [1, 256, 4096]);
    assert_eq!(found.kvs[2].value.len(), 0, "an empty value is not a deletion");
}

async fn what_exceeds_the_limits_is_refused_and_harms_nothing(place: Place) {
    let engine = place.engine().await;
    let refused = engine.txn(Txn::create("k", vec![0; MAX_VALUE_BYTES + 1])).await;
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    let refused = engine.txn(Txn::default().put("k", "").delete("k")).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    assert_eq!(put(&*engine, "k", "v").await, Revision(2));
}

async fn only_one_of_many_concurrent_creates_wins(place: Place) {
    let engine = place.engine().await;
    let creates = (0..32).map(|number| engine.txn(Txn::create("k", number.to_string())));
    let outcomes = futures::future::try_join_all(creates).await.expect("txn");
    let won = outcomes.iter().filter(|outcome| matches!(outcome, TxnOutcome::Committed { .. })).count();
    assert_eq!(won, 1);
    assert_eq!(engine.revision().await.expect("revision"), Revision(2));
}

async fn increments_by_compare_and_swap_lose_nothing(place: Place) {
    let engine = place.engine().await;
    put(&*engine, "n", "0").await;
    let add_one = async || loop {
        let kv = engine.get(b"n").await.expect("get").expect("the key");
        let number: u64 = String::from_utf8_lossy(&kv.value).parse().expect("a number");
        let txn = Txn::update("n", (number + 1).to_string(), kv.mod_revision);
        if let TxnOutcome::Committed { .. } = engine.txn(txn).await.expect("txn") {
            return;
        }
    };
    futures::future::join_all((0..32).map(|_| add_one())).await;
    assert_eq!(content(&*engine, None).await, ["n=32"]);
}

async fn many_writers_at_once_get_revisions_of_their_own(place: Place) {
    let engine = place.engine().await;
    let writer = |number: usize| {
        let engine = engine.clone();
        tokio::spawn(async move {
            let mut mine = Vec::new();
            for _ in 0..20 {
                mine.push(put(&*engine, &format!("w/{number}"), "v").await);
            }
            mine
        })
    };
    let written = futures::future::try_join_all((0..32).map(writer)).await.expect("no writer fails");
    assert!(written.iter().all(|mine| mine.is_sorted()), "a writer's revisions rise");
    let all: BTreeSet<Revision> = written.into_iter().flatten().collect();
    assert_eq!(all, (2..=641).map(Revision).collect());
}
