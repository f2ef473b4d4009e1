//! How a daemon is asked to end: by a signal, or through the control socket.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Asked once, heard by all clones.
#[derive(Clone, Debug)]
pub(crate) struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    /// Nobody has asked yet.
    pub(crate) fn new() -> Stop {
        Stop(Arc::new(watch::Sender::new(false)))
    }

    /// SIGINT, SIGTERM and SIGHUP ask.
    pub(crate) fn on_signals() -> io::Result<Stop> {
        let stop = Stop::new();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let mut signals = signal(kind)?;
            let stop = stop.clone();
            tokio::spawn(async move {
                if signals.recv().await.is_some() {
                    stop.ask();
                }
            });
        }
        Ok(stop)
    }

    /// Ask.
    pub(crate) fn ask(&self) {
        self.0.send_replace(true);
    }

    /// Completes once somebody has asked. Cancel safe.
    pub(crate) async fn asked(&self) {
        // The sender lives as long as we do, so that it cannot be closed.
        let mut asked = self.0.subscribe();
        let _never_closed = asked.wait_for(|asked| *asked).await;
    }
}
