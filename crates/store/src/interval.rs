//! A half-open interval of keys in byte order: what ranges and watches are about.

use bytes::Bytes;

/// Keys from `start` on, up to but without `end`; no `end` means up to the last key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Interval {
    /// The first key that may belong to it.
    pub start: Bytes,
    /// The first key behind it.
    pub end: Option<Bytes>,
}

impl Interval {
    /// Every key.
    #[must_use]
    pub fn all() -> Interval {
        Interval { start: Bytes::new(), end: None }
    }

    /// This one key.
    #[must_use]
    pub fn key(key: impl Into<Bytes>) -> Interval {
        let start = key.into();
        let end = Some(successor(&start));
        Interval { start, end }
    }

    /// The keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>) -> Interval {
        let start = prefix.into();
        let end = behind_prefix(&start);
        Interval { start, end }
    }

    /// The keys `start <= key < end`.
    #[must_use]
    pub fn between(start: impl Into<Bytes>, end: impl Into<Bytes>) -> Interval {
        Interval { start: start.into(), end: Some(end.into()) }
    }

    /// What is left of this interval behind `key`: where the next page of a limited range starts.
    #[must_use]
    pub fn behind(self, key: &[u8]) -> Interval {
        Interval { start: successor(key).max(self.start), end: self.end }
    }

    /// Whether `key` lies in it.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.start[..] <= *key && self.end.as_ref().is_none_or(|end| *key < end[..])
    }
}

/// The next key in byte order.
fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

/// The first key that is behind all keys with this prefix; `None` if there can be no such key (`""`, `"\xff\xff"`).
fn behind_prefix(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte < 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_contains_what_it_says() {
        let check = |interval: Interval, inside: &[&[u8]], outside: &[&[u8]]| {
            for key in inside {
                assert!(interval.contains(key), "{interval:?} should contain {key:?}");
            }
            for key in outside {
                assert!(!interval.contains(key), "{interval:?} should not contain {key:?}");
            }
        };
        check(Interval::all(), &[b"", b"a", b"\xff\xff"], &[]);
        check(Interval::key("a"), &[b"a"], &[b"", b"a\0", b"b"]);
        check(Interval::prefix("a/"), &[b"a/", b"a/b", b"a/\xff"], &[b"a", b"a0", b"b"]);
        check(Interval::prefix(&b"a\xff"[..]), &[b"a\xff", b"a\xff\xff"], &[b"a", b"b"]);
        check(Interval::prefix(&b"\xff\xff"[..]), &[b"\xff\xff", b"\xff\xffz"], &[b"\xff", b"z"]);
        check(Interval::between("b", "d"), &[b"b", b"c"], &[b"a", b"d"]);
        check(Interval::between("d", "b"), &[], &[b"b", b"c", b"d"]);
        check(Interval::prefix("a/").behind(b"a/b"), &[b"a/b\0", b"a/c"], &[b"a/b", b"b"]);
        check(Interval::prefix("b/").behind(b"a"), &[b"b/"], &[b"a", b"b"]);
    }
}
