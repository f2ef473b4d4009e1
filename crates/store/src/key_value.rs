//! What a key holds, and the revisions that order everything. Plain data; every other module speaks in these.

use std::fmt;

use bytes::Bytes;

/// A point in the store's history: the number of its last transaction.
///
/// As in etcd, an empty store stands at 1 and the first write makes 2, so that 0 stays free for "no revision".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

impl Revision {
    /// No revision: older than every store, and the `mod_revision` of a key that does not exist.
    pub const NONE: Revision = Revision(0);
    /// Where a store stands that was never written to.
    pub const EMPTY: Revision = Revision(1);

    /// The revision of the next transaction.
    #[must_use]
    pub fn next(self) -> Revision {
        Revision(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key with its value and history, as etcd's `mvccpb.KeyValue`. Cloning shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The revision that created the key, after its last deletion if there was one.
    pub create_revision: Revision,
    /// The revision that wrote this value.
    pub mod_revision: Revision,
    /// How many writes since the creation, which is the first: 1, 2, ….
    pub version: u64,
}

impl KeyValue {
    /// What `key` holds after a write of `value` at `revision` on top of `previous`.
    #[must_use]
    pub fn written(key: Bytes, value: Bytes, revision: Revision, previous: Option<&KeyValue>) -> KeyValue {
        KeyValue {
            key,
            value,
            create_revision: previous.map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: previous.map_or(1, |kv| kv.version + 1),
        }
    }
}
