//! How large collections were when they were last listed, so that a list of one takes as many seats as it costs ([`remora_rules::flow::list`]).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use remora_rules::flow::list::{self, Size};

use crate::request::{Collection, ListOptions};
use crate::selection::Selection;
use crate::verbs::list::Page;

/// The most collections that are known; there may be any number of namespaces.
const MOST: usize = 1000;

/// By the prefix of their keys. Only those are kept that take more than one seat: on most nodes there is none.
#[derive(Default)]
pub struct Sizes(Mutex<HashMap<String, Size>>);

impl Sizes {
    /// The seats of a list of this collection.
    pub fn seats(&self, what: &Collection, options: &ListOptions) -> usize {
        let Some(size) = self.of(what) else { return 1 };
        match Selection::parse(what, options) {
            Ok(selection) if !selection.is_single() => list::seats(Some(size), options.limit, !selection.is_all()),
            // It reads one object, or is refused.
            _ => 1,
        }
    }

    fn of(&self, what: &Collection) -> Option<Size> {
        let known = self.lock();
        if known.is_empty() {
            return None;
        }
        known.get(&what.kind.store_prefix_in(what.namespace.as_deref())?).copied()
    }

    /// A page was read, the first or another.
    pub fn note(&self, selection: &Selection, options: &ListOptions, page: &Page) {
        if selection.is_single() || options.continues.is_some() {
            return;
        }
        let size = match (&page.continues, page.remaining) {
            (None, _) => page.read,
            (Some(_), Some(left)) => page.read.with(left),
            // How many are left is not known.
            (Some(_), None) => return,
        };
        let mut known = self.lock();
        if list::seats(Some(size), None, false) == 1 {
            known.remove(selection.prefix());
        } else if known.len() < MOST || known.contains_key(selection.prefix()) {
            known.insert(selection.prefix().to_owned(), size);
        }
    }

    /// Nothing that holds the lock can panic halfway.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Size>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
