//! Writing: a small transaction of comparisons and operations, at one new revision or not at all.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::{Error, KeyValue, Revision};

/// The longest key.
pub const MAX_KEY_BYTES: usize = 4096;
/// The largest value; etcd's default `--max-request-bytes`.
pub const MAX_VALUE_BYTES: usize = 1536 * 1024;
/// The most operations, and the most comparisons, in one transaction; etcd's default `--max-txn-ops`.
pub const MAX_TXN_OPS: usize = 128;

/// What is expected of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// It does not exist.
    Absent,
    /// It exists.
    Present,
    /// It exists and was last written at this revision.
    ModRevision(Revision),
}

impl Expect {
    /// Whether what the key holds is as expected.
    #[must_use]
    pub fn holds(self, current: Option<&KeyValue>) -> bool {
        match self {
            Expect::Absent => current.is_none(),
            Expect::Present => current.is_some(),
            Expect::ModRevision(revision) => current.is_some_and(|kv| kv.mod_revision == revision),
        }
    }
}

/// A comparison: the transaction happens only if all of them hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    /// The key to look at.
    pub key: Bytes,
    /// What is expected of it.
    pub expect: Expect,
}

/// One write. No two operations of a transaction may touch the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Create or overwrite.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Delete; on a key that does not exist this changes nothing.
    Delete {
        /// The key.
        key: Bytes,
    },
}

impl Op {
    /// The key it writes to.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        match self {
            Op::Put { key, .. } | Op::Delete { key } => key,
        }
    }

    fn value_len(&self) -> usize {
        match self {
            Op::Put { value, .. } => value.len(),
            Op::Delete { .. } => 0,
        }
    }
}

/// Comparisons, and what to do if all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold.
    pub compares: Vec<Compare>,
    /// All happen, at one revision.
    pub ops: Vec<Op>,
}

impl Txn {
    /// Create `key`, unless it exists.
    #[must_use]
    pub fn create(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Txn {
        let key = key.into();
        Txn::default().when(key.clone(), Expect::Absent).put(key, value)
    }

    /// Overwrite `key`, if it was last written at `seen`.
    #[must_use]
    pub fn update(key: impl Into<Bytes>, value: impl Into<Bytes>, seen: Revision) -> Txn {
        let key = key.into();
        Txn::default().when(key.clone(), Expect::ModRevision(seen)).put(key, value)
    }

    /// Delete `key`, if it was last written at `seen`.
    #[must_use]
    pub fn remove(key: impl Into<Bytes>, seen: Revision) -> Txn {
        let key = key.into();
        Txn::default().when(key.clone(), Expect::ModRevision(seen)).delete(key)
    }

    /// The same, with one more comparison.
    #[must_use]
    pub fn when(mut self, key: impl Into<Bytes>, expect: Expect) -> Txn {
        self.compares.push(Compare { key: key.into(), expect });
        self
    }

    /// The same, with one more write.
    #[must_use]
    pub fn put(mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Txn {
        self.ops.push(Op::Put { key: key.into(), value: value.into() });
        self
    }

    /// The same, with one more deletion.
    #[must_use]
    pub fn delete(mut self, key: impl Into<Bytes>) -> Txn {
        self.ops.push(Op::Delete { key: key.into() });
        self
    }

    /// Bytes of keys and values that it writes.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.ops.iter().map(|op| op.key().len() + op.value_len()).sum()
    }

    /// Whether every engine would accept it: within the limits, and no key written twice.
    pub fn check(&self) -> Result<(), Error> {
        let within = |what, size, limit| {
            if size <= limit { Ok(()) } else { Err(Error::TooLarge { what, size, limit }) }
        };
        within("a transaction (operations)", self.ops.len(), MAX_TXN_OPS)?;
        within("a transaction (comparisons)", self.compares.len(), MAX_TXN_OPS)?;
        let mut written = BTreeSet::new();
        for op in &self.ops {
            within("a value (bytes)", op.value_len(), MAX_VALUE_BYTES)?;
            if !written.insert(op.key()) {
                return Err(Error::Invalid { detail: format!("a transaction writes {:?} twice", op.key()) });
            }
        }
        for key in written.into_iter().chain(self.compares.iter().map(|compare| &compare.key)) {
            within("a key (bytes)", key.len(), MAX_KEY_BYTES)?;
            if key.is_empty() {
                return Err(Error::Invalid { detail: "the empty key".to_owned() });
            }
        }
        Ok(())
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TxnOutcome {
    /// It happened, and is as durable as the engine makes it.
    Committed {
        /// The new revision; the current one if nothing had to change.
        revision: Revision,
    },
    /// A comparison did not hold; nothing happened.
    Conflict {
        /// What each compared key holds, in the order of the comparisons.
        current: Vec<Option<KeyValue>>,
        /// The revision at which they hold that.
        revision: Revision,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_has_limits() {
        let check = |txn: Txn, expected: Option<&str>| match (txn.check(), expected) {
            (Ok(()), None) => {}
            (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{error} lacks {part:?}"),
            (result, expected) => panic!("expected {expected:?}, got {result:?}"),
        };
        check(Txn::create("k", "v"), None);
        check(Txn::default(), None);
        check(Txn::default().put("k", vec![0; MAX_VALUE_BYTES]), None);
        check(Txn::default().put("k", vec![0; MAX_VALUE_BYTES + 1]), Some("a value (bytes) of 1572865"));
        check(Txn::default().delete(vec![b'k'; MAX_KEY_BYTES + 1]), Some("a key (bytes) of 4097"));
        check(Txn::default().when(vec![b'k'; MAX_KEY_BYTES + 1], Expect::Absent), Some("a key (bytes) of 4097"));
        check(Txn::default().put("", "v"), Some("the empty key"));
        check(Txn::default().put("k", "v").delete("k"), Some("writes b\"k\" twice"));
        check((0..129).fold(Txn::default(), |txn, i| txn.delete(i.to_string())), Some("(operations) of 129"));
    }
}
