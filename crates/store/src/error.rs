//! Everything that can go wrong with a store, in words for the one who has to act on it.
//!
//! A compare-and-swap that lost is not here: that is [`crate::TxnOutcome::Conflict`].

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::Revision;

/// Why the store did not do what it was asked. Cheap to clone: one failed group commit answers many callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The revision asked for is older than the last compaction.
    #[error("revision {requested} was compacted away: history starts at {compacted}, the store is at {current}")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// The oldest revision that can still be read.
        compacted: Revision,
        /// The newest revision.
        current: Revision,
    },
    /// The revision asked for has not happened.
    #[error("revision {requested} has not happened yet: the store is at {current}")]
    FutureRevision {
        /// What was asked for.
        requested: Revision,
        /// The newest revision.
        current: Revision,
    },
    /// A key, value or transaction above the limits; nothing was done.
    #[error("{what} of {size} exceeds the store's limit of {limit}")]
    TooLarge {
        /// What is too large, with its unit.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// A request that makes no sense; nothing was done.
    #[error("invalid request to the store: {detail}")]
    Invalid {
        /// What is wrong with it.
        detail: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// There is no room on the disk. Nothing was written; reads still work, and writes do again once there is room.
    #[error("no space left for {}: nothing was written; free some space and try again", path.display())]
    Full {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// Another process, or another part of this one, holds the store.
    #[error("the store {} is in use by another process: stop that one first, or choose another folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The store's files are not what they should be. They were left as they are.
    #[error("{} is damaged: {detail}. Nothing was changed. {hint}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
        /// The remedy.
        hint: String,
    },
    /// The store's server cannot be reached or has no leader. It is tried again without being asked; whether a write that was under way has
    /// happened is open.
    #[error("{server} is unavailable: {detail}")]
    Unavailable {
        /// Which server.
        server: String,
        /// What was found.
        detail: String,
    },
    /// The store's server did not answer in time. Whether a write has happened is open.
    #[error("{server} did not answer within {} s", after.as_secs())]
    TimedOut {
        /// Which server.
        server: String,
        /// How long was waited.
        after: Duration,
    },
    /// The store's server refused an operation, for a reason that does not pass by itself. Nothing was done.
    #[error("{server} refused: {detail}. {hint}")]
    Refused {
        /// Which server.
        server: String,
        /// Its words.
        detail: String,
        /// The remedy.
        hint: String,
    },
    /// The system refused an operation.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// A failed system call on `path`; a full disk becomes [`Error::Full`].
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Error {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::Full { path },
            _ => Error::Io { action, path, source: Arc::new(source) },
        }
    }
}
