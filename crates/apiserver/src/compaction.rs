//! Forgets old history, so that the store does not grow without end: every five minutes what is older than the last five. Who lists page by page
//! or watches from a revision has that long, as with kube-apiserver (k8s.io/apiserver `pkg/storage/etcd3/compact.go`). Several API servers on one
//! store do it each for itself: what another has forgotten already needs nothing more.

use std::sync::Arc;
use std::time::Duration;

use remora_store::{Error, Revision, Store};
use tokio::time::sleep;

/// How long history is kept at least; twice that at most.
pub const KEPT: Duration = Duration::from_secs(5 * 60);

/// Runs until the store is closed, or this is dropped.
pub async fn run(store: Arc<dyn Store>) {
    let mut forgotten = Revision(0);
    loop {
        let seen = match store.revision().await {
            Ok(revision) => Some(revision),
            Err(Error::Closed) => return,
            Err(error) => {
                tell(&error);
                None
            }
        };
        sleep(KEPT).await;
        // Where nothing was written there is nothing to forget, and no disk to wake.
        let Some(seen) = seen.filter(|seen| *seen > forgotten) else { continue };
        match store.compact(seen).await {
            Ok(()) | Err(Error::Compacted { .. }) => forgotten = seen,
            Err(Error::Closed) => return,
            Err(error) => tell(&error),
        }
    }
}

fn tell(error: &Error) {
    tracing::warn!(error = error as &dyn std::error::Error, "old history is kept: it will be tried again");
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_store::memory::MemoryEngine;
    use remora_store::{Interval, RangeRequest, Txn};

    async fn put(store: &dyn Store, value: &'static str) -> Revision {
        store.txn(Txn::default().put("/k", value)).await.unwrap();
        store.revision().await.unwrap()
    }

    async fn can_read_at(store: &dyn Store, revision: Revision) -> bool {
        let request = RangeRequest { interval: Interval::prefix("/"), at: Some(revision), limit: None };
        match store.range(request).await {
            Ok(_) => true,
            Err(Error::Compacted { .. }) => false,
            Err(other) => panic!("{other}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn history_lasts_for_five_minutes_and_what_is_alive_for_ever() {
        let store: Arc<dyn Store> = Arc::new(remora_store::watched(Arc::new(MemoryEngine::new())).await.unwrap());
        let first = put(store.as_ref(), "1").await;
        put(store.as_ref(), "2").await;
        let task = tokio::spawn(run(Arc::clone(&store)));
        sleep(KEPT - Duration::from_secs(1)).await;
        assert!(can_read_at(store.as_ref(), first).await);
        let later = put(store.as_ref(), "3").await;
        sleep(Duration::from_secs(2)).await;
        assert!(!can_read_at(store.as_ref(), first).await);
        assert!(can_read_at(store.as_ref(), later).await);
        sleep(2 * KEPT).await;
        assert_eq!(store.get(b"/k").await.unwrap().unwrap().value, "3");
        // Another one has gone further meanwhile.
        let ahead = put(store.as_ref(), "4").await;
        store.compact(ahead).await.unwrap();
        sleep(2 * KEPT).await;
        assert!(!task.is_finished());
        store.close().await.unwrap();
        sleep(2 * KEPT).await;
        assert!(task.is_finished());
    }
}
