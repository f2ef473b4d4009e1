//! Bytes under revisions, after etcd's MVCC model: get, range, transactions by compare-and-swap, compaction, watch.
//!
//! The parts, from the outside in:
//! - [`Store`] is what the API server holds, as `Arc<dyn Store>`.
//! - [`watched`] makes a `Store` of any [`Engine`] by putting the one watch cache in front of it.
//! - [`Engine`] is what a place to keep bytes has to offer: log and range, no watchers. [`sqlite`] is the durable one,
//!   [`memory`] the fake.
//! - [`snapshot`]: backups of one engine, with which any other can be filled.
//! - `contract` (feature `contract`) is the list of checks that every engine has to pass.
//!
//! **Invariant:** nothing here knows a Kubernetes word. Keys and values are bytes, and only revisions are compared.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod engine;
mod error;
mod event;
mod interval;
mod key_value;
mod range;
mod store;
mod txn;
mod watched;

#[cfg(feature = "contract")]
pub mod contract;
pub mod memory;
pub mod snapshot;
pub mod sqlite;

pub use engine::{Engine, Follower, LogPage, LogRequest};
pub use error::Error;
pub use event::{Change, Event};
pub use interval::Interval;
pub use key_value::{KeyValue, Revision};
pub use range::{RangeRequest, RangeResponse};
pub use store::{Store, Watch, WatchError, WatchItem, WatchRequest};
pub use txn::{Compare, Expect, MAX_KEY_BYTES, MAX_TXN_OPS, MAX_VALUE_BYTES, Op, Txn, TxnOutcome};
pub use watched::{WatchLimits, Watched, watched, watched_within};
