//! Which object: kind, namespace and name, and the key under which the store keeps it (`/registry/pods/default/web`,
//! as Kubernetes keys etcd).

use std::fmt;

use crate::kinds::{KINDS, Kind, Storage};

/// The identity of an object over its life; a new object may take it over once the old one is gone (then the uid differs).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectKey {
    /// The kind.
    pub kind: &'static Kind,
    /// `None` for kinds without namespaces.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// Of a kind; the namespace is dropped if the kind has none.
    pub fn new(kind: &'static Kind, namespace: Option<&str>, name: impl Into<String>) -> Self {
        let namespace = namespace.filter(|_| kind.namespaced).map(str::to_owned);
        Self { kind, namespace, name: name.into() }
    }

    /// The key in the store; `None` for virtual kinds.
    pub fn store_key(&self) -> Option<String> {
        let mut key = self.kind.store_prefix_in(self.namespace.as_deref())?;
        key.push_str(&self.name);
        Some(key)
    }

    /// The object that a key of the store belongs to; of two views of the same objects, the first in the table.
    /// `None` if it is no key of ours.
    pub fn from_store_key(key: &str) -> Option<Self> {
        let below = key.strip_prefix("/registry/")?;
        // A kind's word may have a slash in it: `services/specs`.
        let rest = |kind: &Kind| match kind.storage {
            Storage::Stored(word) => below.strip_prefix(word)?.strip_prefix('/'),
            Storage::Virtual => None,
        };
        let (kind, rest) = KINDS.iter().find_map(|kind| Some((kind, rest(kind)?)))?;
        let mut parts = rest.split('/');
        let namespace = if kind.namespaced { Some(parts.next()?) } else { None };
        let name = parts.next().filter(|n| !n.is_empty())?;
        parts.next().is_none().then(|| Self::new(kind, namespace, name))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(out, "{} {namespace}/{}", self.kind.resource(), self.name),
            None => write!(out, "{} {}", self.kind.resource(), self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    #[test]
    fn a_store_key_leads_back_to_its_object() {
        for (plural, namespace, name, expected) in [
            ("pods", Some("default"), "web", "/registry/pods/default/web"),
            ("nodes", None, "anchor", "/registry/minions/anchor"),
            ("namespaces", Some("ignored"), "a", "/registry/namespaces/a"),
            ("services", Some("a"), "web", "/registry/services/specs/a/web"),
            ("endpoints", Some("a"), "web", "/registry/services/endpoints/a/web"),
        ] {
            let key = ObjectKey::new(kinds::core(plural), namespace, name);
            assert_eq!(key.store_key().unwrap(), expected);
            assert_eq!(ObjectKey::from_store_key(expected), Some(key));
        }
    }

    #[test]
    fn what_is_no_key_of_ours_is_not_taken_for_one() {
        for key in
            ["", "/registry/", "/registry/pods/web", "/registry/pods/a/b/c", "/registry/none/a/b", "/registry/pods/a/"]
        {
            assert_eq!(ObjectKey::from_store_key(key), None, "{key}");
        }
    }
}
