//! Waiting until something in a folder changes: inotify, for tasks.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;

use remora_sys::inotify::{Event, Watcher};
use tokio::io::unix::AsyncFd;

/// Tells when something in a folder changes.
pub(crate) struct Changes(AsyncFd<Descriptor>);

struct Descriptor(Watcher);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Changes {
    /// Of what is changed from now on, nothing is missed.
    pub(crate) fn of(folder: &Path) -> Result<Self, String> {
        let watcher = Watcher::new().map_err(|e| e.to_string())?;
        watcher.watch(folder).map_err(|e| e.to_string())?;
        #[expect(deprecated, reason = "its successor is unsafe; the descriptor is ours and lives as long as this")]
        let watched = AsyncFd::new(Descriptor(watcher));
        watched.map(Self).map_err(|e| e.to_string())
    }

    /// The next changes. Cancel-safe: they are taken only once they are there.
    pub(crate) async fn next(&self) -> Result<Vec<Event>, String> {
        loop {
            let mut ready = self.0.readable().await.map_err(|e| e.to_string())?;
            let events = self.0.get_ref().0.events().map_err(|e| e.to_string())?;
            if !events.is_empty() {
                return Ok(events);
            }
            ready.clear_ready();
        }
    }
}
