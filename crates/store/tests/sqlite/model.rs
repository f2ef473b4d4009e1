//! Random histories on SQLite and on the fake: every answer is the same.

use std::sync::Arc;

use proptest::prelude::*;
use remora_store::memory::{MemoryDisk, MemoryEngine};
use remora_store::{Engine, Expect, Interval, LogRequest, Op, RangeRequest, Revision, Txn};

use crate::support::open;

/// Something that is asked of both. Revisions are a share of the newest one, in 1/64.
#[derive(Debug, Clone)]
enum Step {
    Txn(Vec<(u8, Guess)>, Vec<(u8, Option<u8>)>),
    Get(u8),
    Range { from: u8, to: u8, at: Option<u64>, limit: Option<usize> },
    Log { from: u8, to: u8, after: u64, limit: usize },
    Compact(u64),
    Reopen,
}

#[derive(Debug, Clone)]
enum Guess {
    Absent,
    Present,
    /// The revision that the key was seen at.
    Seen,
    Share(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..6u8;
    let guess =
        prop_oneof![Just(Guess::Absent), Just(Guess::Present), Just(Guess::Seen), (0..70u64).prop_map(Guess::Share)];
    let compares = prop::collection::vec((key.clone(), guess), 0..2);
    let ops = prop::collection::vec((key.clone(), prop::option::weighted(0.7, any::<u8>())), 0..4);
    let span = (key.clone(), 0..8u8);
    prop_oneof![
        12 => (compares, ops).prop_map(|(compares, ops)| Step::Txn(compares, ops)),
        2 => key.prop_map(Step::Get),
        3 => (span.clone(), prop::option::of(0..70u64), prop::option::of(0..5usize))
            .prop_map(|((from, to), at, limit)| Step::Range { from, to, at, limit }),
        2 => (span, 0..70u64, 1..9usize).prop_map(|((from, to), after, limit)| Step::Log { from, to, after, limit }),
        1 => (0..70u64).prop_map(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

fn key(number: u8) -> Vec<u8> {
    // Keys that are prefixes of each other, and bytes at both ends of the order.
    [&b"a"[..], b"a\0", b"a/b", b"a\xff", b"b", b"\xff\xff"][usize::from(number % 6)].to_vec()
}

fn span(from: u8, to: u8) -> Interval {
    match to {
        0..6 => Interval::between(key(from), key(to)),
        6 => Interval::prefix(key(from)),
        _ => Interval::all().behind(&key(from)),
    }
}

/// The answer as text, errors included.
async fn answer(engine: &dyn Engine, step: &Step) -> String {
    let Ok(current) = engine.revision().await else { return "no revision".to_owned() };
    let share = |part: u64| Revision(current.0 * part / 64);
    match step {
        Step::Txn(..) => format!("{:?}", engine.txn(txn(engine, step, &share).await).await),
        Step::Get(number) => format!("{:?}", engine.get(&key(*number)).await),
        Step::Range { from, to, at, limit } => {
            let request = RangeRequest { interval: span(*from, *to), at: at.map(share), limit: *limit };
            format!("{:?}", engine.range(request).await)
        }
        Step::Log { from, to, after, limit } => log(engine, span(*from, *to), share(*after), *limit).await,
        Step::Compact(part) => format!("{:?}", engine.compact(share(*part)).await),
        Step::Reopen => format!("{current}"),
    }
}

async fn txn(engine: &dyn Engine, step: &Step, share: &impl Fn(u64) -> Revision) -> Txn {
    let Step::Txn(compares, ops) = step else { return Txn::default() };
    let mut txn = Txn::default();
    for (number, guess) in compares {
        let seen = engine.get(&key(*number)).await.unwrap().map_or(Revision::NONE, |kv| kv.mod_revision);
        let expect = match guess {
            Guess::Absent => Expect::Absent,
            Guess::Present => Expect::Present,
            Guess::Seen => Expect::ModRevision(seen),
            Guess::Share(part) => Expect::ModRevision(share(*part)),
        };
        txn = txn.when(key(*number), expect);
    }
    for (number, value) in ops {
        txn.ops.push(match value {
            Some(value) => Op::Put { key: key(*number).into(), value: vec![*value; usize::from(*value) * 40].into() },
            None => Op::Delete { key: key(*number).into() },
        });
    }
    txn
}

/// The whole log, page by page: engines may end their pages at different places.
async fn log(engine: &dyn Engine, interval: Interval, mut after: Revision, limit: usize) -> String {
    let mut events = Vec::new();
    loop {
        match engine.log(LogRequest { interval: interval.clone(), after, limit }).await {
            Ok(page) => {
                events.extend(page.events);
                if page.through == page.current {
                    return format!("{events:?}");
                }
                after = page.through;
            }
            Err(error) => return format!("{error:?}"),
        }
    }
}

async fn compare(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let disk = MemoryDisk::default();
    let mut real: Arc<dyn Engine> = Arc::new(open(folder.path()).await);
    let mut fake: Arc<dyn Engine> = Arc::new(MemoryEngine::on(disk.clone()));
    for (number, step) in steps.iter().enumerate() {
        if matches!(step, Step::Reopen) {
            real.close().await.unwrap();
            fake.close().await.unwrap();
            real = Arc::new(open(folder.path()).await);
            fake = Arc::new(MemoryEngine::on(disk.clone()));
        }
        let (real, fake) = (answer(&*real, step).await, answer(&*fake, step).await);
        prop_assert_eq!(real, fake, "step {}: {:?}", number, step);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn sqlite_answers_as_the_fake_does(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(compare(steps))?;
    }
}
