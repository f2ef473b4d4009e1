//! Which sandboxes and containers there are, and which names are taken. In memory; records on disk are its source after a restart.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Error;
use crate::container::Container;
use crate::sandbox::Sandbox;

/// The lock is held for look-ups only, never across IO.
#[derive(Default)]
pub(crate) struct Table {
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    sandboxes: BTreeMap<String, Arc<Sandbox>>,
    containers: BTreeMap<String, Arc<Container>>,
    /// Name → id.
    names: HashMap<String, String>,
}

/// A reserved name. Given back when dropped, unless it was [kept](NameGuard::keep).
pub(crate) struct NameGuard<'a> {
    table: &'a Table,
    name: Option<String>,
}

impl Table {
    fn content(&self) -> MutexGuard<'_, Content> {
        // A panic elsewhere leaves maps whole.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves a name for an id.
    pub(crate) fn reserve(&self, what: &'static str, name: &str, id: &str) -> Result<NameGuard<'_>, Error> {
        let mut content = self.content();
        if let Some(holder) = content.names.get(name) {
            return Err(Error::NameTaken { what, name: name.to_owned(), id: holder.clone() });
        }
        content.names.insert(name.to_owned(), id.to_owned());
        Ok(NameGuard { table: self, name: Some(name.to_owned()) })
    }

    pub(crate) fn add_sandbox(&self, sandbox: Arc<Sandbox>) {
        self.content().sandboxes.insert(sandbox.id().to_owned(), sandbox);
    }

    pub(crate) fn add_container(&self, container: Arc<Container>) {
        self.content().containers.insert(container.id().to_owned(), container);
    }

    /// Forgets a sandbox and its name.
    pub(crate) fn remove_sandbox(&self, id: &str) {
        let mut content = self.content();
        content.sandboxes.remove(id);
        content.names.retain(|_, holder| holder != id);
    }

    /// Forgets a container and its name.
    pub(crate) fn remove_container(&self, id: &str) {
        let mut content = self.content();
        content.containers.remove(id);
        content.names.retain(|_, holder| holder != id);
    }

    /// By id, or by the beginning of one if it is the only such.
    pub(crate) fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>, Error> {
        find(&self.content().sandboxes, id).ok_or_else(|| Error::sandbox_not_found(id))
    }

    /// Likewise.
    pub(crate) fn container(&self, id: &str) -> Result<Arc<Container>, Error> {
        find(&self.content().containers, id).ok_or_else(|| Error::container_not_found(id))
    }

    pub(crate) fn sandboxes(&self) -> Vec<Arc<Sandbox>> {
        self.content().sandboxes.values().cloned().collect()
    }

    pub(crate) fn containers(&self) -> Vec<Arc<Container>> {
        self.content().containers.values().cloned().collect()
    }

    /// The containers of one sandbox.
    pub(crate) fn containers_of(&self, sandbox: &str) -> Vec<Arc<Container>> {
        let content = self.content();
        content.containers.values().filter(|container| container.record().sandbox_id == sandbox).cloned().collect()
    }
}

fn find<T>(map: &BTreeMap<String, Arc<T>>, id: &str) -> Option<Arc<T>> {
    if let Some(found) = map.get(id) {
        return Some(found.clone());
    }
    let mut starting = map.range(id.to_owned()..).take_while(|(other, _)| !id.is_empty() && other.starts_with(id));
    let first = starting.next()?;
    starting.next().is_none().then(|| first.1.clone())
}

impl NameGuard<'_> {
    /// The name now belongs to what is in the table.
    pub(crate) fn keep(mut self) {
        self.name = None;
    }
}

impl Drop for NameGuard<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            self.table.content().names.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_by_a_beginning_that_only_one_has() {
        let map: BTreeMap<String, Arc<i32>> =
            [("abc1", 1), ("abd2", 2), ("b", 3)].map(|(id, n)| (id.to_owned(), Arc::new(n))).into();
        let check = |id, expected: Option<i32>| assert_eq!(find(&map, id).map(|found| *found), expected, "{id:?}");
        check("abc1", Some(1));
        check("abc", Some(1));
        check("ab", None);
        check("b", Some(3));
        check("", None);
        check("x", None);
    }

    #[test]
    fn a_name_has_one_holder_until_it_is_given_back() {
        let table = Table::default();
        let first = table.reserve("sandbox", "web", "1").unwrap();
        let taken = table.reserve("sandbox", "web", "2").err().unwrap();
        assert_eq!(taken.to_string(), "failed to reserve sandbox name \"web\": name \"web\" is reserved for \"1\"");
        drop(first);
        table.reserve("sandbox", "web", "2").unwrap().keep();
        assert!(table.reserve("sandbox", "web", "3").is_err());
    }
}
