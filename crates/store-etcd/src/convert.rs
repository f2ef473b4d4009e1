//! Our words into etcd's and back. Pure.

use bytes::{Bytes, BytesMut};
use remora_store::{Change, Compare, Event, Expect, Interval, KeyValue, Op, Revision, Txn, TxnOutcome};

use crate::messages as etcd;

/// All that is ours in an etcd: the keys that begin with a prefix, which callers do not see.
#[derive(Clone, Debug)]
pub(crate) struct Root(Bytes);

impl Root {
    /// `prefix` is not empty.
    pub(crate) fn new(prefix: Bytes) -> Root {
        Root(prefix)
    }

    /// A key of ours as etcd knows it.
    pub(crate) fn key(&self, key: &[u8]) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.0.len() + key.len());
        whole.extend_from_slice(&self.0);
        whole.extend_from_slice(key);
        whole.freeze()
    }

    /// The first key of an interval, and the first behind it.
    pub(crate) fn interval(&self, interval: &Interval) -> (Bytes, Bytes) {
        let start = self.key(&interval.start);
        let end = match &interval.end {
            Some(end) => self.key(end),
            // For etcd, one zero byte is "to the last key there is".
            None => Interval::prefix(self.0.clone()).end.unwrap_or(Bytes::from_static(b"\0")),
        };
        (start, end)
    }

    /// What etcd says that a key holds; `None` if it is not ours.
    pub(crate) fn kv(&self, kv: etcd::KeyValue) -> Option<KeyValue> {
        Some(KeyValue {
            key: self.ours(&kv.key)?,
            value: kv.value,
            create_revision: from_etcd(kv.create_revision),
            mod_revision: from_etcd(kv.mod_revision),
            version: from_etcd(kv.version).0,
        })
    }

    /// An event that outlives the answer it came in: its bytes are its own, so that one that is kept does not keep the others.
    pub(crate) fn event(&self, event: etcd::Event) -> Result<Event, Unusable> {
        let is_put = event.r#type == etcd::EventType::Put as i32;
        let kv = event.kv.and_then(|kv| self.kv(kv)).map(owned).ok_or(Unusable::Foreign)?;
        let previous = event.prev_kv.and_then(|kv| self.kv(kv)).map(owned);
        // What a key held before is read by etcd when it sends the event, and may have been compacted by then.
        if previous.is_none() && (!is_put || kv.version > 1) {
            return Err(Unusable::NoPrevious);
        }
        let change = if is_put { Change::Put(kv) } else { Change::Delete { key: kv.key, revision: kv.mod_revision } };
        Ok(Event::new(change, previous))
    }

    /// The transaction in etcd's words; if it conflicts, it reads what there is instead.
    pub(crate) fn txn(&self, txn: &Txn) -> etcd::TxnRequest {
        let read = |compare: &Compare| {
            let range = etcd::RangeRequest { key: self.key(&compare.key), ..etcd::RangeRequest::default() };
            etcd::RequestOp { request: Some(etcd::Request::Range(range)) }
        };
        etcd::TxnRequest {
            compare: txn.compares.iter().map(|compare| self.compare(compare)).collect(),
            success: txn.ops.iter().map(|op| self.op(op)).collect(),
            failure: txn.compares.iter().map(read).collect(),
        }
    }

    /// What became of it.
    pub(crate) fn outcome(&self, response: etcd::TxnResponse) -> Outcome {
        let revision = revision_of(response.header.as_ref());
        if response.succeeded {
            let changed = response.responses.iter().any(|one| match &one.response {
                Some(etcd::Response::Put(_)) => true,
                Some(etcd::Response::DeleteRange(deletion)) => deletion.deleted > 0,
                Some(etcd::Response::Range(_)) | None => false,
            });
            return Outcome { outcome: TxnOutcome::Committed { revision }, changed };
        }
        let held = |one: etcd::ResponseOp| match one.response {
            Some(etcd::Response::Range(mut range)) => range.kvs.pop().and_then(|kv| self.kv(kv)),
            _ => None,
        };
        let current = response.responses.into_iter().map(held).collect();
        Outcome { outcome: TxnOutcome::Conflict { current, revision }, changed: false }
    }

    fn ours(&self, key: &Bytes) -> Option<Bytes> {
        key.starts_with(&self.0).then(|| key.slice(self.0.len()..))
    }

    fn compare(&self, compare: &Compare) -> etcd::Compare {
        use etcd::{CompareResult, CompareTarget, CompareValue};
        let (result, target, value) = match compare.expect {
            Expect::Absent => (CompareResult::Equal, CompareTarget::Version, CompareValue::Version(0)),
            Expect::Present => (CompareResult::Greater, CompareTarget::Version, CompareValue::Version(0)),
            // For etcd a key that does not exist was last written at revision 0. Nothing has a version below 0.
            Expect::ModRevision(Revision::NONE) => {
                (CompareResult::Less, CompareTarget::Version, CompareValue::Version(0))
            }
            Expect::ModRevision(revision) => {
                (CompareResult::Equal, CompareTarget::Mod, CompareValue::ModRevision(to_etcd(revision)))
            }
        };
        let (result, target) = (result as i32, target as i32);
        etcd::Compare { result, target, key: self.key(&compare.key), value: Some(value) }
    }

    fn op(&self, op: &Op) -> etcd::RequestOp {
        let request = match op {
            Op::Put { key, value } => etcd::Request::Put(etcd::PutRequest { key: self.key(key), value: value.clone() }),
            Op::Delete { key } => etcd::Request::DeleteRange(etcd::DeleteRangeRequest {
                key: self.key(key),
                ..etcd::DeleteRangeRequest::default()
            }),
        };
        etcd::RequestOp { request: Some(request) }
    }
}

/// What became of a transaction.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) outcome: TxnOutcome,
    /// Whether watchers will hear of it.
    pub(crate) changed: bool,
}

/// Why an event cannot be told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It is of no key of ours: nothing that we watch.
    Foreign,
    /// What the key held before is gone.
    NoPrevious,
}

/// etcd's revisions are signed; what is above them has certainly not happened.
pub(crate) fn to_etcd(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

pub(crate) fn from_etcd(revision: i64) -> Revision {
    Revision(u64::try_from(revision).unwrap_or(0))
}

/// The revision at which an answer was given.
pub(crate) fn revision_of(header: Option<&etcd::ResponseHeader>) -> Revision {
    from_etcd(header.map_or(0, |header| header.revision))
}

fn owned(kv: KeyValue) -> KeyValue {
    KeyValue { key: Bytes::copy_from_slice(&kv.key), value: Bytes::copy_from_slice(&kv.value), ..kv }
}
