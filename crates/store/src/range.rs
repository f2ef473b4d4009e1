//! Reading an interval of keys as it was at one revision.

use crate::{Interval, KeyValue, Revision};

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRequest {
    /// Which keys.
    pub interval: Interval,
    /// As of which revision; `None` is the newest, which includes every write acknowledged before the call.
    pub at: Option<Revision>,
    /// At most how many keys; `None` for all of them.
    pub limit: Option<usize>,
}

impl RangeRequest {
    /// All of `interval`, now.
    #[must_use]
    pub fn new(interval: Interval) -> RangeRequest {
        RangeRequest { interval, at: None, limit: None }
    }

    /// The same as of `revision`.
    #[must_use]
    pub fn at(self, revision: Revision) -> RangeRequest {
        RangeRequest { at: Some(revision), ..self }
    }

    /// The same with at most `limit` keys.
    #[must_use]
    pub fn limit(self, limit: usize) -> RangeRequest {
        RangeRequest { limit: Some(limit), ..self }
    }
}

/// A consistent view of an interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeResponse {
    /// The keys in byte order.
    pub kvs: Vec<KeyValue>,
    /// The revision at which exactly this was true: a watch after it misses nothing and repeats nothing.
    pub revision: Revision,
    /// How many keys of the interval were left off by the limit.
    pub remaining: u64,
}

impl RangeResponse {
    /// Whether the limit left keys off.
    #[must_use]
    pub fn more(&self) -> bool {
        self.remaining > 0
    }
}
