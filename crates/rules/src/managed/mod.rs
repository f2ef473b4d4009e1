//! Who manages which field of an object (`metadata.managedFields`), on every write, and server-side apply (KEP-555). Pure: called by the
//! API server between decoding and admission, as upstream does, so that what admission and strategies add is nobody's.
//!
//! | module | what is in it |
//! |---|---|
//! | [`path`], [`set`] | steps of paths, sets of paths, `FieldsV1` |
//! | [`typed`] | values by their types: their paths, what differs, merging, taking away |
//! | [`entries`] | the managers of an object |
//! | [`update`] | what any other write than an apply takes |
//! | [`scale`] | the managers of an object as its `…/scale` has them |
//! | [`apply`] | server-side apply: conflicts, taking over, what goes when it is no longer applied |
//!
//! Managers see an object in the version that they wrote it in. Only Events have two, of two groups, and a write in one of them drops the
//! managers of the other, in Kubernetes too. Everything is checked against recorded answers (`tests/data/apply.json` of the API server).
//! Entries that an earlier version of a type has left are repaired when somebody applies or sends managers, not at every write, as upstream does:
//! until then they only name what is not there.

pub mod apply;
pub mod entries;
pub mod path;
pub mod scale;
pub mod set;
pub mod typed;
pub mod update;

use std::borrow::Cow;

use jiff::Timestamp;
use remora_model::Kind;
use remora_model::canonical::canonicalize;
use remora_model::schema::{Type, type_of};
use serde_json::{Map, Value, json};

use self::entries::{Entries, Manager, Operation};
use self::set::Set;
use self::typed::Form;
use crate::kinds::event;
use crate::object::{at, list, set as set_field};

/// What a write to an object or to one of its parts cannot change, with all below it: nobody comes to manage it there.
#[derive(Clone, Copy, Debug)]
pub struct Resets(pub &'static [&'static [&'static str]]);

impl Resets {
    /// Takes out of a set what the write cannot change.
    pub fn apply(self, set: &mut Set) {
        self.0.iter().for_each(|path| set.cut(path));
    }
}

/// Who writes, and what.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'w> {
    /// The kind as which the object is written.
    pub kind: &'static Kind,
    /// Empty for the object itself.
    pub subresource: &'static str,
    /// What such a write cannot change.
    pub resets: Resets,
    /// The manager's name.
    pub name: &'w str,
    /// Now.
    pub now: Timestamp,
}

impl Writer<'_> {
    fn manager(&self, operation: Operation) -> Manager {
        let name = if self.name.is_empty() { "unknown" } else { self.name };
        Manager {
            name: name.to_owned(),
            operation,
            api_version: self.kind.api_version(),
            subresource: self.subresource.to_owned(),
        }
    }

    fn time(&self) -> String {
        crate::time::seconds(self.now)
    }
}

/// What identifies an object, and what only the system writes, is nobody's.
const NOBODYS: [&[&str]; 11] = [
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

fn strip(set: &mut Set) {
    NOBODYS.iter().for_each(|path| set.remove(path));
}

/// A stored object as a kind shows it.
fn shown<'o>(kind: &Kind, object: &'o Value) -> Cow<'o, Value> {
    match kind.group {
        "events.k8s.io" => Cow::Owned(event::from_stored(kind, object.clone())),
        _ => Cow::Borrowed(object),
    }
}

fn type_of_kind(kind: &Kind) -> Option<&'static Type> {
    type_of(kind.schema)
}

fn form_of(kind: &Kind) -> Form<'static> {
    type_of_kind(kind).map_or(Form::Leaf, Form::Struct)
}

/// What an object is before it is created, in its stored form: its structs, and nothing in them.
pub fn nothing_yet(kind: &Kind) -> Value {
    let empty = type_of_kind(kind).and_then(|of| canonicalize(of, json!({})).ok());
    let mut object = event::to_stored(kind, empty.map_or_else(|| json!({}), |canonical| canonical.value));
    set_field(&mut object, "kind", kind.kind.into());
    set_field(&mut object, "apiVersion", kind.api_version().into());
    object
}

/// Takes an object's managers off it.
fn take_managers(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove("managedFields")
}

fn put_managers(object: &mut Value, entries: Entries) {
    match entries.encode() {
        Some(list) => set_field(crate::object::field_mut(object, "metadata"), "managedFields", list),
        None => drop(take_managers(object)),
    }
}

/// Whether nothing differs but the times at which managers took their fields: such a write changes nothing.
pub fn differs_in_times_only(old: &Value, new: &Value) -> bool {
    let managers = |object| list(object, &["metadata", "managedFields"]);
    let (before, after) = (managers(old), managers(new));
    before.len() == after.len()
        // Times order entries, so that they may have changed places.
        && before.iter().all(|a| after.iter().any(|b| are_equal_but(a, b, "time")))
        && are_equal_but(at(old, &["metadata"]), at(new, &["metadata"]), "managedFields")
        && are_equal_but(old, new, "metadata")
}

/// Whether two objects have the same members, that of one name aside.
fn are_equal_but(a: &Value, b: &Value, but: &str) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return a == b };
    let count = |of: &Map<String, Value>| of.len() - usize::from(of.contains_key(but));
    count(a) == count(b) && a.iter().all(|(name, value)| name == but || b.get(name) == Some(value))
}
