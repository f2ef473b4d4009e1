//! What every key holds now, in memory, as long as that is little: whoever reads the newest revision needs no thread, no disk and no checksum
//! then. A store that has outgrown it is read from the disk, as its past always is.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Change, Event, Interval, KeyValue};

/// How much is kept unless asked otherwise, in bytes: some thousand objects.
pub(super) const LIMIT: usize = 8 * 1024 * 1024;
/// What a key costs beside its bytes, about.
pub(super) const OVERHEAD: u8 = 128;

/// All that is not deleted, or how much it is.
#[derive(Debug)]
pub(super) struct Live {
    /// How many bytes may be kept.
    limit: usize,
    /// None if it is too much.
    keys: Option<BTreeMap<Bytes, KeyValue>>,
    bytes: usize,
}

impl Live {
    /// Nothing is known yet but how many bytes there are.
    pub(super) fn unknown(limit: usize, bytes: usize) -> Live {
        Live { limit, keys: None, bytes }
    }

    /// What was read.
    pub(super) fn of(limit: usize, kvs: Vec<KeyValue>) -> Live {
        let bytes = kvs.iter().map(weight).sum();
        let keys = (bytes <= limit).then(|| kvs.into_iter().map(|kv| (kv.key.clone(), kv)).collect());
        Live { limit, keys, bytes }
    }

    /// How many bytes may be kept.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether it would fit again, with room to grow.
    pub(super) fn fits_again(&self) -> bool {
        self.keys.is_none() && self.bytes < self.limit / 2
    }

    /// Follows what has happened. What is returned is to be dropped when nobody waits.
    #[must_use]
    pub(super) fn apply(&mut self, events: &[Arc<Event>]) -> Option<BTreeMap<Bytes, KeyValue>> {
        for event in events {
            self.bytes += event.kv().map_or(0, weight);
            self.bytes = self.bytes.saturating_sub(event.previous.as_ref().map_or(0, weight));
            let Some(keys) = &mut self.keys else { continue };
            match &event.change {
                Change::Put(kv) => drop(keys.insert(kv.key.clone(), kv.clone())),
                Change::Delete { key, .. } => drop(keys.remove(key)),
            }
        }
        self.outgrown()
    }

    fn outgrown(&mut self) -> Option<BTreeMap<Bytes, KeyValue>> {
        if self.bytes > self.limit { self.keys.take() } else { None }
    }

    /// What a key holds; the outer `None` says that it is not known here.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<KeyValue>> {
        Some(self.keys.as_ref()?.get(key).cloned())
    }

    /// The first `limit` keys of an interval, and how many more there are; `None` if that is not known here.
    pub(super) fn range(&self, interval: &Interval, limit: usize) -> Option<(Vec<KeyValue>, u64)> {
        let keys = self.keys.as_ref()?;
        if interval.end.as_ref().is_some_and(|end| *end <= interval.start) {
            return Some((Vec::new(), 0));
        }
        let end = interval.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut within = keys.range::<[u8], _>((Bound::Included(&interval.start[..]), end)).map(|(_, kv)| kv);
        let kvs = within.by_ref().take(limit).cloned().collect();
        Some((kvs, within.count() as u64))
    }
}

fn weight(kv: &KeyValue) -> usize {
    kv.key.len() + kv.value.len() + usize::from(OVERHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Revision;

    fn kv(key: &str, size: usize) -> KeyValue {
        KeyValue::written(Bytes::copy_from_slice(key.as_bytes()), vec![b'x'; size].into(), Revision(2), None)
    }

    fn put(key: &str, size: usize, previous: Option<KeyValue>) -> Arc<Event> {
        Arc::new(Event::new(Change::Put(kv(key, size)), previous))
    }

    fn gone(key: &str, previous: KeyValue) -> Arc<Event> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        Arc::new(Event::new(Change::Delete { key, revision: Revision(3) }, Some(previous)))
    }

    fn keys(live: &Live, interval: Interval, limit: usize) -> Option<(Vec<String>, u64)> {
        let (kvs, more) = live.range(&interval, limit)?;
        Some((kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect(), more))
    }

    #[test]
    fn it_holds_what_has_happened() {
        let mut live = Live::of(LIMIT, vec![kv("a/2", 1), kv("b/1", 1)]);
        assert!(
            live.apply(&[put("a/1", 1, None), put("a/2", 9, Some(kv("a/2", 1))), gone("b/1", kv("b/1", 1))]).is_none()
        );
        assert_eq!(live.get(b"b/1"), Some(None));
        assert_eq!(live.get(b"a/2").flatten().map(|kv| kv.value.len()), Some(9));
        assert_eq!(keys(&live, Interval::prefix("a/"), 1), Some((vec!["a/1".into()], 1)));
        assert_eq!(keys(&live, Interval::all(), usize::MAX), Some((vec!["a/1".into(), "a/2".into()], 0)));
        assert_eq!(keys(&live, Interval::between("b", "a"), 1), Some((vec![], 0)));
        assert_eq!(live.bytes, weight(&kv("a/1", 1)) + weight(&kv("a/2", 9)));
    }

    #[test]
    fn what_is_too_much_is_let_go_until_it_is_little_again() {
        let mut live = Live::of(LIMIT, Vec::new());
        assert!(live.apply(&[put("a", LIMIT / 2, None), put("b", 1, None)]).is_none());
        let dropped = live.apply(&[put("c", LIMIT / 2, None)]);
        assert_eq!(dropped.map(|keys| keys.len()), Some(3));
        assert_eq!((live.get(b"a"), keys(&live, Interval::all(), 1), live.fits_again()), (None, None, false));
        // Too much is still known by its size.
        assert!(live.apply(&[gone("a", kv("a", LIMIT / 2)), gone("c", kv("c", LIMIT / 2))]).is_none());
        assert!(live.fits_again());
        assert_eq!(live.bytes, weight(&kv("b", 1)));
    }

    #[test]
    fn too_much_to_begin_with_is_not_kept() {
        assert_eq!(Live::of(LIMIT, vec![kv("a", LIMIT)]).get(b"a"), None);
    }
}
