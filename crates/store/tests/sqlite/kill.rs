//! `kill -9` in the middle of writing. The child is this test binary, run again; it reports each acknowledgement over a
//! pipe, and all that it reported has to be there afterwards.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use remora_store::{Engine, Expect, Revision, Txn, TxnOutcome};

use crate::support::{all, open};

const FOLDER: &str = "REMORA_STORE_KILL_FOLDER";
const WRITERS: u64 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_acknowledged_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut acked = BTreeMap::new();
    for round in 0..12 {
        let newest = kill_after(40 + round * 61, folder.path(), &mut acked);
        let engine = open(folder.path()).await;
        assert!(engine.revision().await.unwrap() >= newest, "round {round}");
        let found: BTreeMap<_, _> =
            all(&engine).await.into_iter().map(|kv| (kv.key.to_vec(), number(&kv.value))).collect();
        for (key, value) in &acked {
            // What was not reported may be there too: it was on its way.
            let there = found.get(key.as_bytes());
            assert!(there >= Some(value), "round {round}: {key} should be at least {value}, found {there:?}");
        }
        engine.close().await.unwrap();
    }
}

fn number(value: &[u8]) -> u64 {
    let text = std::str::from_utf8(value).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Lets a child write, kills it after some acknowledgements, and takes in all that it has reported.
fn kill_after(count: usize, folder: &Path, acked: &mut BTreeMap<String, u64>) -> Revision {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child_writes_until_it_is_killed", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut seen, mut newest) = (0, Revision::NONE);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some(report) = line.strip_prefix("acked ") else { continue };
        let words: Vec<_> = report.split(' ').collect();
        acked.insert(words[0].to_owned(), words[1].parse().unwrap());
        newest = newest.max(Revision(words[2].parse().unwrap()));
        seen += 1;
        if seen == count {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(seen >= count, "the child ended by itself after {seen} writes");
    newest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of what_a_killed_process_acknowledged_is_there"]
async fn child_writes_until_it_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let engine: Arc<dyn Engine> = Arc::new(open(folder).await);
    let writers = (0..WRITERS).map(|writer| tokio::spawn(write(engine.clone(), writer)));
    futures::future::join_all(writers).await;
}

/// Counts up in one key for ever, and compacts now and then.
async fn write(engine: Arc<dyn Engine>, writer: u64) {
    let key = format!("k/{writer}");
    let start = engine.get(key.as_bytes()).await.unwrap();
    let (mut value, mut seen) = start.map_or((0, None), |kv| (number(&kv.value), Some(kv.mod_revision)));
    loop {
        value += 1;
        // Some values fill several pages, so that checkpoints happen too.
        let text = format!("{value} {}", "x".repeat((value as usize * 977) % 20_000));
        let expect = seen.map_or(Expect::Absent, Expect::ModRevision);
        let outcome = engine.txn(Txn::default().when(key.clone(), expect).put(key.clone(), text)).await.unwrap();
        let TxnOutcome::Committed { revision } = outcome else { panic!("nobody else writes {key}") };
        println!("acked {key} {value} {revision}");
        seen = Some(revision);
        if value % 50 == 0 {
            // Another writer may have compacted further already.
            let _ = engine.compact(Revision(revision.0 - 20)).await;
        }
    }
}
