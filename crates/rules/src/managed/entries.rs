//! Who manages which fields: `metadata.managedFields`, read, written and kept short.

use std::borrow::Cow;

use remora_model::text::quoted;
use serde_json::{Map, Value, json};

use super::set::Set;
use super::typed::{Form, reconciled};
use crate::object::{at, text};

/// How many managers that only update an object may have entries of their own.
const MAX_UPDATERS: usize = 10;
/// Whose the entries beyond them become.
const ANCIENT: &str = "ancient-changes";

/// How a manager came by its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By server-side apply: what it no longer applies goes.
    Apply,
    /// By any other write.
    Update,
}

impl Operation {
    fn word(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Who manages fields. The fields stand in the order in which upstream sorts conflicts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    /// The name that it gave itself.
    pub name: String,
    /// How it writes.
    pub operation: Operation,
    /// In which version of the API.
    pub api_version: String,
    /// Through which subresource; empty for the object itself.
    pub subresource: String,
}

impl Manager {
    /// Whether both are one: whoever applies stays the same in every version.
    pub fn is(&self, other: &Manager) -> bool {
        let same_version = self.operation == Operation::Apply || self.api_version == other.api_version;
        (&self.name, self.operation, &self.subresource) == (&other.name, other.operation, &other.subresource)
            && same_version
    }

    /// As conflicts name it.
    pub fn shown(&self) -> String {
        let mut out = quoted(&self.name);
        if !self.subresource.is_empty() {
            out.push_str(&format!(" with subresource {}", quoted(&self.subresource)));
        }
        if self.operation == Operation::Update {
            out.push_str(&format!(" using {}", self.api_version));
        }
        out
    }
}

/// A manager and its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who.
    pub manager: Manager,
    /// When it last took some; RFC 3339, seconds. Empty if that is not known.
    pub time: String,
    fields: Fields,
}

/// A manager's fields: most writes touch those of one manager only, so that they are read when they are needed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fields {
    Written(Value),
    Read(Set),
}

impl Entry {
    fn decode(mut entry: Value) -> Option<Self> {
        let operation = match text(&entry, &["operation"]) {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        if text(&entry, &["fieldsType"]) != "FieldsV1" {
            return None;
        }
        let word = |name: &str| text(&entry, &[name]).to_owned();
        let manager = Manager {
            name: word("manager"),
            operation,
            api_version: word("apiVersion"),
            subresource: word("subresource"),
        };
        let time = word("time");
        let fields = entry.get_mut("fieldsV1").map_or_else(|| json!({}), Value::take);
        Some(Self { manager, time, fields: Fields::Written(fields) })
    }

    /// Its fields; none if they are written in a way that is none.
    fn read(&self) -> Option<Cow<'_, Set>> {
        match &self.fields {
            Fields::Read(set) => Some(Cow::Borrowed(set)),
            Fields::Written(fields) => Set::decode(fields).map(Cow::Owned),
        }
    }

    /// Its fields.
    pub fn fields(&self) -> Cow<'_, Set> {
        self.read().unwrap_or_default()
    }

    fn fields_mut(&mut self) -> &mut Set {
        if let Fields::Written(fields) = &self.fields {
            self.fields = Fields::Read(Set::decode(fields).unwrap_or_default());
        }
        match &mut self.fields {
            Fields::Read(set) => set,
            Fields::Written(_) => unreachable!("just read"),
        }
    }

    fn is_empty(&self) -> bool {
        match &self.fields {
            Fields::Read(set) => set.is_empty(),
            Fields::Written(fields) => fields.as_object().is_none_or(Map::is_empty),
        }
    }

    /// Takes fields away from it.
    pub fn lose(&mut self, set: &Set) {
        let has_some = match &self.fields {
            Fields::Read(_) => true,
            Fields::Written(fields) => set.meets(fields),
        };
        if has_some {
            self.fields_mut().subtract(set);
        }
    }

    fn encode(self) -> Value {
        let Self { manager, time, fields } = self;
        let mut out = Map::new();
        let words = [
            ("manager", manager.name.as_str()),
            ("operation", manager.operation.word()),
            ("apiVersion", &manager.api_version),
            ("time", &time),
            ("subresource", &manager.subresource),
        ];
        out.extend(
            words.iter().filter(|(_, word)| !word.is_empty()).map(|(name, word)| ((*name).to_owned(), (*word).into())),
        );
        out.insert("fieldsType".to_owned(), "FieldsV1".into());
        let fields = match fields {
            Fields::Read(set) => set.encode(),
            Fields::Written(fields) => fields,
        };
        out.insert("fieldsV1".to_owned(), fields);
        Value::Object(out)
    }
}

/// The managers of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries(Vec<Entry>);

impl Entries {
    /// Of a stored object.
    pub fn of(object: &Value) -> Self {
        Self::decode(at(object, &["metadata", "managedFields"]).clone()).unwrap_or_default()
    }

    fn decode(list: Value) -> Option<Self> {
        let Value::Array(list) = list else { return Some(Self::default()) };
        list.into_iter().map(Entry::decode).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Of what a client sent for a stored object: `[{}]` resets them (and `[]`, see [`crate::decode`]); what is missing or cannot be read
    /// is the stored one's.
    pub fn sent(sent: Value, live: &Value) -> Self {
        if sent == *at(live, &["metadata", "managedFields"]) {
            return Self::decode(sent).unwrap_or_default();
        }
        if sent == json!([{}]) {
            return Self::default();
        }
        let given = Self::decode(sent).filter(|entries| !entries.is_empty());
        given.filter(|entries| entries.0.iter().all(|entry| entry.read().is_some())).unwrap_or_else(|| Self::of(live))
    }

    /// Whether nobody manages anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }

    /// All of them, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.0.iter_mut()
    }

    /// The entry of a manager.
    pub fn find(&self, manager: &Manager) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.manager.is(manager))
    }

    /// Gives a manager these fields besides its own, at this time.
    pub fn add(&mut self, manager: Manager, fields: Set, time: String) {
        match self.0.iter_mut().find(|entry| entry.manager.is(&manager)) {
            Some(entry) => {
                entry.fields_mut().unite(&fields);
                entry.time = time;
            }
            None => self.0.push(Entry { manager, time, fields: Fields::Read(fields) }),
        }
    }

    /// Gives a manager these fields instead of its own; without any its entry goes.
    pub fn put(&mut self, manager: Manager, fields: Set, time: String) {
        self.0.retain(|entry| !entry.manager.is(&manager));
        if !fields.is_empty() {
            self.0.push(Entry { manager, time, fields: Fields::Read(fields) });
        }
    }

    /// Drops entries without fields, and those that do not pass.
    pub fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        self.0.retain(|entry| !entry.is_empty() && keep(entry));
    }

    /// Brings the fields of a version's managers to what its type has now.
    pub fn reconcile(&mut self, form: Form<'_>, version: &str) {
        for entry in self.0.iter_mut().filter(|entry| entry.manager.api_version == version) {
            let fields = entry.fields();
            let now = reconciled(form, &fields);
            if now != *fields {
                entry.fields = Fields::Read(now);
            }
        }
    }

    /// Joins the oldest updaters of one version into one entry until there are few enough.
    pub fn cap(&mut self) {
        let is_update = |entry: &&Entry| entry.manager.operation == Operation::Update;
        let mut count = self.0.iter().filter(is_update).count();
        if count <= MAX_UPDATERS {
            return;
        }
        let mut oldest: Vec<Entry> = self.0.iter().filter(is_update).cloned().collect();
        oldest.sort_by(|a, b| (&a.time, &a.manager).cmp(&(&b.time, &b.manager)));
        let mut firsts: Vec<Manager> = Vec::new();
        for entry in oldest {
            if count <= MAX_UPDATERS {
                break;
            }
            let version = &entry.manager.api_version;
            let Some(first) = firsts.iter().find(|first| first.api_version == *version).cloned() else {
                firsts.push(entry.manager);
                continue;
            };
            let bucket = Manager {
                name: ANCIENT.to_owned(),
                operation: Operation::Update,
                api_version: version.clone(),
                subresource: String::new(),
            };
            for absorbed in [first, entry.manager.clone()].iter().filter(|manager| !manager.is(&bucket)) {
                if let Some(at) = self.0.iter().position(|there| there.manager.is(absorbed)) {
                    let fields = self.0.remove(at).fields().into_owned();
                    self.add(bucket.clone(), fields, entry.time.clone());
                }
            }
            count -= 1;
        }
    }

    /// As `metadata.managedFields`, in upstream's order; none if nobody manages anything.
    pub fn encode(mut self) -> Option<Value> {
        self.0.sort_by(|a, b| key(a).cmp(&key(b)));
        let list: Vec<Value> = self.0.into_iter().map(Entry::encode).collect();
        (!list.is_empty()).then_some(Value::Array(list))
    }
}

/// Who applies comes first, then who wrote earlier.
fn key(entry: &Entry) -> (Operation, &str, &str, &str, &str) {
    let Entry { manager, time, .. } = entry;
    (manager.operation, time, &manager.name, &manager.api_version, &manager.subresource)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, second: usize, field: &str) -> Value {
        json!({
            "manager": name, "operation": "Update", "apiVersion": "v1", "time": format!("2026-01-02T03:04:{second:02}Z"),
            "fieldsType": "FieldsV1", "fieldsV1": {format!("f:{field}"): {}},
        })
    }

    fn with(entries: Value) -> Value {
        json!({"metadata": {"managedFields": entries}})
    }

    #[test]
    fn entries_are_read_and_written_in_order() {
        let mut applied = entry("b", 9, "x");
        applied["operation"] = "Apply".into();
        let given = json!([entry("c", 2, "x"), entry("a", 2, "y"), applied, entry("d", 1, "z")]);
        let written = Entries::of(&with(given.clone())).encode().unwrap();
        assert_eq!(written, json!([applied, entry("d", 1, "z"), entry("a", 2, "y"), entry("c", 2, "x")]));
    }

    #[test]
    fn what_is_sent_counts_unless_it_is_missing_or_unreadable() {
        let live = with(json!([entry("a", 1, "x")]));
        let name = |sent: Value| Entries::sent(sent, &live).iter().map(|e| e.manager.name.clone()).collect::<Vec<_>>();
        assert_eq!(name(json!([entry("b", 1, "x")])), ["b"]);
        assert_eq!(name(Value::Null), ["a"]);
        assert_eq!(name(json!([entry("a", 1, "x")])), ["a"]);
        assert_eq!(name(json!([{"manager": "c", "operation": "Wibble"}])), ["a"]);
        let mut unreadable = entry("b", 1, "x");
        unreadable["fieldsV1"] = json!({"x": {}});
        assert_eq!(name(json!([unreadable])), ["a"]);
        assert_eq!(name(json!([{}])), [""; 0]);
    }

    #[test]
    fn the_oldest_updaters_are_joined() {
        let list: Vec<Value> = (0..12).map(|at| entry(&format!("m{at:02}"), at, &format!("f{at:02}"))).collect();
        let mut entries = Entries::of(&with(list.into()));
        entries.cap();
        let joined = entries.iter().find(|e| e.manager.name == ANCIENT).unwrap();
        assert_eq!(joined.fields().paths(), [".f00", ".f01", ".f02"]);
        assert_eq!(joined.time, "2026-01-02T03:04:02Z");
        assert_eq!(entries.iter().count(), MAX_UPDATERS);
    }
}
