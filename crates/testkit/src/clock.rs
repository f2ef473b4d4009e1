//! A wall clock that follows tokio's: with paused time, hours pass at once.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Begins at the machine's time, which the API server's stamps have, and goes as tokio's time goes. To be made inside a
/// runtime.
pub fn paused_clock() -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
    let (begun, zero) = (Instant::now(), Timestamp::now());
    Arc::new(move || {
        let passed = SignedDuration::try_from(begun.elapsed()).unwrap_or(SignedDuration::ZERO);
        zero.saturating_add(passed).unwrap_or(Timestamp::MAX)
    })
}
