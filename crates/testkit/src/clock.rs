//! A wall clock that follows tokio's: with paused time, hours pass at once.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Begins at 2026-01-01T00:00:00Z and goes as tokio's time goes. To be made inside a runtime.
pub fn paused_clock() -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
    let (begun, zero) = (Instant::now(), Timestamp::constant(1_767_225_600, 0));
    Arc::new(move || {
        let passed = SignedDuration::try_from(begun.elapsed()).unwrap_or(SignedDuration::ZERO);
        zero.saturating_add(passed).unwrap_or(Timestamp::MAX)
    })
}
