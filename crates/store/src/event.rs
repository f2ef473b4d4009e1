//! One change of one key, shared by the ring and every watcher, with room for what its readers derive from it.

use std::any::Any;
use std::fmt;
use std::sync::OnceLock;

use bytes::Bytes;

use crate::{KeyValue, Revision};

/// What happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The key was created or overwritten; this is what it holds since.
    Put(KeyValue),
    /// The key was deleted.
    Delete {
        /// The key.
        key: Bytes,
        /// The revision of the deletion.
        revision: Revision,
    },
}

/// One change, and what the key held before.
pub struct Event {
    /// What happened.
    pub change: Change,
    /// What the key held before; `None` if the change created it. Selectors need it to tell entering from leaving.
    pub previous: Option<KeyValue>,
    derived: Slots,
}

impl Event {
    /// An event on which nothing was derived yet.
    #[must_use]
    pub fn new(change: Change, previous: Option<KeyValue>) -> Event {
        Event { change, previous, derived: Slots::default() }
    }

    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        match &self.change {
            Change::Put(kv) => &kv.key,
            Change::Delete { key, .. } => key,
        }
    }

    /// The revision of the change. Events of one transaction share it.
    #[must_use]
    pub fn revision(&self) -> Revision {
        match &self.change {
            Change::Put(kv) => kv.mod_revision,
            Change::Delete { revision, .. } => *revision,
        }
    }

    /// What the key holds after the change; `None` for a delete.
    #[must_use]
    pub fn kv(&self) -> Option<&KeyValue> {
        match &self.change {
            Change::Put(kv) => Some(kv),
            Change::Delete { .. } => None,
        }
    }

    /// A place for `T` on this event, made empty on first use and then the same for all who hold the event.
    ///
    /// The API server keeps the encoded forms of an event here, in a type of its own (say a struct of
    /// `OnceLock<Bytes>`), so that an event is encoded once whatever the number of watchers. What `T` grows to is not
    /// counted by the ring's limit.
    pub fn slot<T: Default + Send + Sync + 'static>(&self) -> &T {
        self.derived.get::<T>()
    }

    /// Bytes of key and values that this event keeps alive.
    #[must_use]
    pub fn weight(&self) -> usize {
        let of = |kv: &KeyValue| kv.key.len() + kv.value.len();
        self.key().len() + self.kv().map_or(0, of) + self.previous.as_ref().map_or(0, of)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("change", &self.change).field("previous", &self.previous).finish()
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Event) -> bool {
        self.change == other.change && self.previous == other.previous
    }
}

/// Values by type: a list that only grows at its end, so that readers need no lock and may keep references.
#[derive(Default)]
struct Slots {
    first: OnceLock<Box<Slot>>,
}

struct Slot {
    value: Box<dyn Any + Send + Sync>,
    next: OnceLock<Box<Slot>>,
}

impl Slots {
    fn get<T: Default + Send + Sync + 'static>(&self) -> &T {
        let mut place = &self.first;
        loop {
            let slot = place.get_or_init(|| Box::new(Slot { value: Box::new(T::default()), next: OnceLock::new() }));
            match slot.value.downcast_ref::<T>() {
                Some(value) => return value,
                None => place = &slot.next,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Json(OnceLock<Bytes>);
    #[derive(Default)]
    struct Table(OnceLock<Bytes>);

    #[test]
    fn a_slot_is_made_once_for_each_type() {
        let event = Event::new(Change::Delete { key: "k".into(), revision: Revision(3) }, None);
        let mut encodings = 0;
        for _ in 0..3 {
            event.slot::<Json>().0.get_or_init(|| {
                encodings += 1;
                Bytes::from_static(b"{}")
            });
        }
        event.slot::<Table>().0.get_or_init(|| Bytes::from_static(b"table"));
        assert_eq!(encodings, 1);
        assert_eq!(event.slot::<Json>().0.get().map(|b| &b[..]), Some(&b"{}"[..]));
        assert_eq!(event.slot::<Table>().0.get().map(|b| &b[..]), Some(&b"table"[..]));
    }
}
