//! Notices when nobody asks anything any more, and then gives memory back. What the daemon's own parts ask for does not count: they renew a lease
//! every few seconds for ever.

use std::sync::Arc;
use std::time::Duration;

use remora_http::{Observer, Peer, Responded};
use tokio::sync::Notify;

/// How long nobody may have asked.
const QUIET: Duration = Duration::from_secs(10);

/// Hears of each answer, and passes it on.
pub(crate) struct Listener {
    next: Arc<dyn Observer>,
    asked: Arc<Notify>,
}

impl Listener {
    /// Also hears of what is answered, before `next`.
    pub(crate) fn before(next: Arc<dyn Observer>, asked: Arc<Notify>) -> Self {
        Self { next, asked }
    }
}

impl Observer for Listener {
    fn responded(&self, responded: &Responded<'_>) {
        if let Peer::Tls { .. } = responded.peer {
            self.asked.notify_one();
        }
        self.next.responded(responded);
    }
}

/// Calls `then` each time that it has become quiet after somebody has asked.
pub(crate) async fn each_time(asked: Arc<Notify>, then: impl AsyncFn()) -> ! {
    loop {
        asked.notified().await;
        while tokio::time::timeout(QUIET, asked.notified()).await.is_ok() {}
        then().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_quiet_once_after_each_time_that_somebody_has_asked() {
        let (asked, calls) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&calls);
        let task = tokio::spawn(each_time(Arc::clone(&asked), async move || {
            counted.fetch_add(1, Ordering::Relaxed);
        }));
        let after = async |time: Duration| {
            tokio::time::sleep(time).await;
            calls.load(Ordering::Relaxed)
        };
        assert_eq!(after(QUIET * 3).await, 0);
        asked.notify_one();
        assert_eq!(after(QUIET / 2).await, 0);
        asked.notify_one();
        assert_eq!(after(QUIET / 2 + QUIET / 4).await, 0);
        assert_eq!(after(QUIET).await, 1);
        assert_eq!(after(QUIET * 3).await, 1);
        task.abort();
    }
}
