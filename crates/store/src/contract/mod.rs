//! The checks that every engine has to pass, bare and under the watch cache. Called by the tests of each engine.
//!
//! A check gets a [`Fixture`] of its own, panics if the engine fails it, and reads as the sentence that its name is.

mod history;
mod keys;
mod life;
mod watches;

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::{Engine, Error, Interval, KeyValue, RangeRequest, Revision, Txn, TxnOutcome};

/// A place for one engine's data.
#[async_trait]
pub trait Fixture: Send + Sync + 'static {
    /// Opens an engine on it: an empty one at first, and after that was closed one with the same data.
    async fn open(&self) -> Result<Arc<dyn Engine>, Error>;
}

/// One thing that is asked of an engine.
pub struct Check {
    /// What is asked.
    pub name: &'static str,
    run: fn(Place) -> BoxFuture<'static, ()>,
}

/// All checks.
#[must_use]
pub fn checks() -> Vec<Check> {
    [keys::CHECKS, history::CHECKS, watches::CHECKS, life::CHECKS].concat()
}

/// Runs all checks, each on a fixture of its own, and panics with the list of those that failed.
///
/// Needs a runtime with several threads: some checks write and watch at the same time.
pub async fn run(fixture: impl Fn() -> Arc<dyn Fixture>) {
    let mut failures = String::new();
    for check in checks() {
        if let Err(failure) = tokio::spawn((check.run)(Place(fixture()))).await {
            let _ = writeln!(failures, "- {}: {failure}", check.name);
        }
    }
    assert!(failures.is_empty(), "the engine breaks its contract:\n{failures}");
}

/// Lists checks under the names of their functions.
macro_rules! contract_checks {
    ($($name:ident),* $(,)?) => {
        pub(super) const CHECKS: &[crate::contract::Check] =
            &[$(crate::contract::Check { name: stringify!($name), run: |place| Box::pin($name(place)) }),*];
    };
}
use contract_checks;

impl Clone for Check {
    fn clone(&self) -> Check {
        Check { name: self.name, run: self.run }
    }
}

/// What a check works with.
struct Place(Arc<dyn Fixture>);

impl Place {
    async fn engine(&self) -> Arc<dyn Engine> {
        self.0.open().await.expect("the engine opens")
    }
}

/// Writes without conditions and returns the revision.
async fn put(engine: &dyn Engine, key: &str, value: &str) -> Revision {
    commit(engine, Txn::default().put(key.to_owned(), value.to_owned())).await
}

async fn delete(engine: &dyn Engine, key: &str) -> Revision {
    commit(engine, Txn::default().delete(key.to_owned())).await
}

async fn commit(engine: &dyn Engine, txn: Txn) -> Revision {
    match engine.txn(txn).await.expect("the transaction is carried out") {
        TxnOutcome::Committed { revision } => revision,
        TxnOutcome::Conflict { .. } => panic!("the transaction finds what it expects"),
    }
}

/// `key=value` of all keys at a revision.
async fn content(engine: &dyn Engine, at: Option<Revision>) -> Vec<String> {
    let request = RangeRequest { at, ..RangeRequest::new(Interval::all()) };
    engine.range(request).await.expect("the range is read").kvs.iter().map(text).collect()
}

fn text(kv: &KeyValue) -> String {
    format!("{}={}", String::from_utf8_lossy(&kv.key), String::from_utf8_lossy(&kv.value))
}
