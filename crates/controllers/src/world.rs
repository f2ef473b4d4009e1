//! What there is, by its metadata: which objects, whose they are, and which of them go. Pure: watches tell it, controllers ask it whom a change
//! concerns. It only says where to look; what is there is read anew by whoever looks.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use remora_model::kinds::Verb;
use remora_model::{Kind, kinds};
use remora_rules::object::text;
use serde_json::Value;

use crate::objects::{Key, is_name};

/// The finalizer of an object that goes after its dependents have gone.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an object that goes after its dependents have forgotten it.
pub(crate) const ORPHAN: &str = "orphan";

/// An owner, as its dependent names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: String,
    /// None if no such kind is served here.
    pub(crate) kind: Option<&'static Kind>,
    pub(crate) name: String,
    pub(crate) controls: bool,
    /// An owner that goes after its dependents waits for this one.
    pub(crate) blocks: bool,
}

impl Owner {
    /// By an owner reference.
    pub(crate) fn of(reference: &Value) -> Self {
        let word = |field: &str| text(reference, &[field]);
        Self {
            uid: word("uid").to_owned(),
            kind: kind_of(word("apiVersion"), word("kind")),
            name: word("name").to_owned(),
            controls: reference["controller"] == true,
            blocks: reference["blockOwnerDeletion"] == true,
        }
    }

    /// Where it is, if it can be asked for: it is of a kind that can be read, it has a name that an object can have, and this dependent is in a
    /// namespace that it can be in. References are what their authors write; we follow them with rights that those may not have.
    pub(crate) fn reference(&self, dependent: &Key) -> Option<Reference> {
        let kind = self.kind.filter(|kind| kind.verbs.contains(&Verb::Get) && is_name(&self.name))?;
        let namespace = if kind.namespaced { dependent.namespace.clone() } else { String::new() };
        let key = Key { namespace, name: self.name.clone() };
        (!kind.namespaced || !key.namespace.is_empty()).then(|| Reference { kind, key, uid: self.uid.clone() })
    }
}

/// The kind that an owner reference names.
fn kind_of(api_version: &str, kind: &str) -> Option<&'static Kind> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    kinds::by_kind(group, version, kind)
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) uid: String,
    pub(crate) owners: Vec<Owner>,
    /// It is deleted, and waits for something.
    pub(crate) is_ending: bool,
    /// It waits for its dependents: to go, or to forget it.
    pub(crate) waits_for_dependents: bool,
}

impl Entry {
    /// Of an object's metadata.
    pub(crate) fn of(metadata: &ObjectMeta) -> Self {
        let owners = metadata.owner_references.iter().flatten().map(|owner| Owner {
            uid: owner.uid.clone(),
            kind: kind_of(&owner.api_version, &owner.kind),
            name: owner.name.clone(),
            controls: owner.controller == Some(true),
            blocks: owner.block_owner_deletion == Some(true),
        });
        let is_ending = metadata.deletion_timestamp.is_some();
        let waits = metadata.finalizers.iter().flatten().any(|name| name == FOREGROUND || name == ORPHAN);
        Self {
            uid: metadata.uid.clone().unwrap_or_default(),
            owners: owners.collect(),
            is_ending,
            waits_for_dependents: is_ending && waits,
        }
    }

    /// The owner that controls it.
    pub(crate) fn controller(&self) -> Option<&Owner> {
        self.owners.iter().find(|owner| owner.controls)
    }
}

/// An object of any kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reference {
    pub(crate) kind: &'static Kind,
    pub(crate) key: Key,
    pub(crate) uid: String,
}

impl std::fmt::Display for Reference {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {}", self.kind.singular, self.key)
    }
}

/// What a watch of one kind tells.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// A list of all begins: what it does not have is gone.
    ListBegins,
    /// It is there, or has changed.
    Is(Key, Entry),
    /// It is gone.
    IsGone(Key),
    /// The list is complete.
    ListEnds,
}

/// Something has become another, or has changed in what is not known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) kind: &'static Kind,
    pub(crate) key: Key,
    /// As it was; none if it is new.
    pub(crate) before: Option<Entry>,
    /// As it is; none if it is gone.
    pub(crate) now: Option<Entry>,
}

impl Change {
    /// As it is, or last was.
    pub(crate) fn last(&self) -> Option<&Entry> {
        self.now.as_ref().or(self.before.as_ref())
    }
}

/// What there is.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// By group and resource.
    kinds: BTreeMap<(&'static str, &'static str), Kept>,
}

#[derive(Debug)]
struct Kept {
    kind: &'static Kind,
    entries: BTreeMap<Key, Entry>,
    /// What the list under way has had so far.
    listed: Option<BTreeSet<Key>>,
}

impl World {
    /// Takes in what a watch has told.
    pub(crate) fn step(&mut self, kind: &'static Kind, seen: Seen) -> Vec<Change> {
        let kept = self.kinds.entry((kind.group, kind.plural)).or_insert_with(|| Kept::new(kind));
        match seen {
            Seen::ListBegins => {
                kept.listed = Some(BTreeSet::new());
                Vec::new()
            }
            Seen::Is(key, entry) => kept.put(key, entry),
            Seen::IsGone(key) => kept.take(key).into_iter().collect(),
            Seen::ListEnds => {
                let listed = kept.listed.take().unwrap_or_default();
                let lost: Vec<Key> = kept.entries.keys().filter(|key| !listed.contains(*key)).cloned().collect();
                lost.into_iter().filter_map(|key| kept.take(key)).collect()
            }
        }
    }

    /// What is known of an object.
    pub(crate) fn get(&self, kind: &Kind, key: &Key) -> Option<&Entry> {
        self.kinds.get(&(kind.group, kind.plural))?.entries.get(key)
    }

    /// Whether this very object is there, and stays.
    pub(crate) fn has(&self, reference: &Reference) -> bool {
        self.get(reference.kind, &reference.key).is_some_and(|entry| entry.uid == reference.uid && !entry.is_ending)
    }

    /// All objects that have owners.
    pub(crate) fn owned(&self) -> impl Iterator<Item = (Reference, &Entry)> {
        let all = self.kinds.values().flat_map(|kept| kept.entries.iter().map(|(key, entry)| (kept.kind, key, entry)));
        all.filter(|(.., entry)| !entry.owners.is_empty())
            .map(|(kind, key, entry)| (Reference { kind, key: key.clone(), uid: entry.uid.clone() }, entry))
    }

    /// All objects of a kind in a namespace.
    pub(crate) fn of<'w>(&'w self, kind: &Kind, namespace: &'w str) -> impl Iterator<Item = (&'w Key, &'w Entry)> {
        let kept = self.kinds.get(&(kind.group, kind.plural));
        kept.into_iter().flat_map(|kept| &kept.entries).filter(move |(key, _)| key.namespace == namespace)
    }

    /// All objects that name this one as an owner.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<Reference> {
        let depends = |entry: &Entry| entry.owners.iter().any(|owner| owner.uid == uid);
        self.owned().filter(|(_, entry)| depends(entry)).map(|(reference, _)| reference).collect()
    }
}

impl Kept {
    fn new(kind: &'static Kind) -> Self {
        Self { kind, entries: BTreeMap::new(), listed: None }
    }

    fn put(&mut self, key: Key, entry: Entry) -> Vec<Change> {
        if let Some(listed) = &mut self.listed {
            listed.insert(key.clone());
        }
        let before = self.entries.insert(key.clone(), entry.clone());
        let (kind, now) = (self.kind, Some(entry));
        match before {
            // Another of the same name has come: that one was gone before.
            Some(before) if now.as_ref().is_some_and(|now| now.uid != before.uid) => vec![
                Change { kind, key: key.clone(), before: Some(before), now: None },
                Change { kind, key, before: None, now },
            ],
            before => vec![Change { kind, key, before, now }],
        }
    }

    fn take(&mut self, key: Key) -> Option<Change> {
        let before = self.entries.remove(&key)?;
        Some(Change { kind: self.kind, key, before: Some(before), now: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(name: &str) -> Key {
        Key { namespace: "a".to_owned(), name: name.to_owned() }
    }

    fn entry(uid: &str, owner: Option<&str>) -> Entry {
        let named =
            |uid: &str| Owner { uid: uid.to_owned(), kind: None, name: "x".to_owned(), controls: true, blocks: true };
        let owners = owner.map(named).into_iter().collect();
        Entry { uid: uid.to_owned(), owners, is_ending: false, waits_for_dependents: false }
    }

    fn told(changes: &[Change]) -> Vec<(&str, Option<&str>, Option<&str>)> {
        let uid = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.uid.clone().leak() as &str);
        changes.iter().map(|change| (change.key.name.as_str(), uid(&change.before), uid(&change.now))).collect()
    }

    #[test]
    fn what_a_new_list_does_not_have_is_gone() {
        let pods = kinds::core("pods");
        let mut world = World::default();
        for seen in [Seen::ListBegins, Seen::Is(key("p"), entry("1", None)), Seen::Is(key("q"), entry("2", None))] {
            world.step(pods, seen);
        }
        assert!(world.step(pods, Seen::ListEnds).is_empty());
        world.step(pods, Seen::ListBegins);
        let again = world.step(pods, Seen::Is(key("q"), entry("2", None)));
        assert_eq!(told(&again), [("q", Some("2"), Some("2"))]);
        assert_eq!(told(&world.step(pods, Seen::ListEnds)), [("p", Some("1"), None)]);
        assert!(world.get(pods, &key("p")).is_none());
    }

    #[test]
    fn another_of_the_same_name_is_another() {
        let pods = kinds::core("pods");
        let mut world = World::default();
        world.step(pods, Seen::Is(key("p"), entry("1", None)));
        let changes = world.step(pods, Seen::Is(key("p"), entry("2", None)));
        assert_eq!(told(&changes), [("p", Some("1"), None), ("p", None, Some("2"))]);
        assert!(world.step(pods, Seen::IsGone(key("unknown"))).is_empty());
    }

    #[test]
    fn a_reference_leads_to_an_object_or_nowhere() {
        let to = |version: &str, kind: &str, name: &str| {
            let owner = Owner::of(&json!({"apiVersion": version, "kind": kind, "name": name, "uid": "1"}));
            owner.reference(&key("p")).map(|owner| owner.to_string())
        };
        assert_eq!(to("apps/v1", "ReplicaSet", "web").as_deref(), Some("replicaset a/web"));
        assert_eq!(to("v1", "Node", "n").as_deref(), Some("node n"));
        let roles = "rbac.authorization.k8s.io/v1";
        assert_eq!(to(roles, "ClusterRole", "who? #1").as_deref(), Some("clusterrole who? #1"));
        for name in ["", ".", "..", "kube-system/secrets?watch=true", "mine:80/proxy/x", "x%2Fy"] {
            assert_eq!(to("v1", "Pod", name), None, "{name}");
        }
        assert_eq!(to("example.com/v1", "Unknown", "x"), None);
        assert_eq!(to("authentication.k8s.io/v1", "TokenReview", "x"), None);
    }

    #[test]
    fn dependents_of_any_kind_are_found() {
        let mut world = World::default();
        world.step(kinds::core("pods"), Seen::Is(key("p"), entry("1", Some("9"))));
        world.step(kinds::core("secrets"), Seen::Is(key("s"), entry("2", Some("9"))));
        world.step(kinds::core("secrets"), Seen::Is(key("t"), entry("3", Some("8"))));
        let mut names: Vec<String> = world.dependents("9").iter().map(ToString::to_string).collect();
        names.sort();
        assert_eq!(names, ["pod a/p", "secret a/s"]);
    }
}
