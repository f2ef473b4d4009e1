//! How a server's end is told to those who work for it: first "finish" ([`Shutdown`]), then, after a bound, "cut".

use tokio_util::sync::CancellationToken;

/// Tells that the server is shutting down. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    begun: CancellationToken,
}

impl Shutdown {
    /// Completes once the server has begun to shut down: then long answers (watches, followed logs) must end.
    pub async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }
}

/// The server's own end of [`Shutdown`]. Dropped, it cuts everything.
pub(crate) struct Closing {
    cut: CancellationToken,
    begun: CancellationToken,
}

impl Closing {
    pub(crate) fn new() -> Self {
        let cut = CancellationToken::new();
        Self { begun: cut.child_token(), cut }
    }

    pub(crate) fn shutdown(&self) -> Shutdown {
        Shutdown { begun: self.begun.clone() }
    }

    pub(crate) fn token(&self) -> CancellationToken {
        self.cut.clone()
    }

    pub(crate) fn begin(&self) {
        self.begun.cancel();
    }

    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.cut.cancel();
    }
}
