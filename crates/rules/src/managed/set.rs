//! A set of paths to fields, as a tree, and its form in `managedFields` (`FieldsV1`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::path::Element;

/// Marks a path that is itself in the set, though others below it are too.
const SELF: &str = ".";

/// A set of paths. **Invariant:** no branch is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    own: bool,
    below: BTreeMap<Element, Set>,
}

impl Set {
    /// The set that has only the path that leads here.
    pub fn own() -> Self {
        Self { own: true, below: BTreeMap::new() }
    }

    /// The set that has only this path.
    pub fn path(path: &[&str]) -> Self {
        path.iter().rev().fold(Self::own(), |below, step| {
            let mut around = Self::default();
            around.attach(Element::field(step), below);
            around
        })
    }

    /// Whether no path is in it.
    pub fn is_empty(&self) -> bool {
        !self.own && self.below.is_empty()
    }

    /// Adds the path that leads here.
    pub fn add_own(&mut self) {
        self.own = true;
    }

    /// Adds paths that begin with this step.
    pub fn attach(&mut self, step: Element, below: Set) {
        if below.is_empty() {
            return;
        }
        match self.below.get_mut(&step) {
            Some(there) => there.unite(&below),
            None => {
                self.below.insert(step, below);
            }
        }
    }

    /// What follows this step.
    pub fn below(&self, step: &Element) -> Option<&Set> {
        self.below.get(step)
    }

    /// Whether the path that leads here is in it.
    pub fn has_own(&self) -> bool {
        self.own
    }

    /// Every first step, with what follows it; the steps may be told to be in the set themselves.
    pub fn map_below(&self, mut change: impl FnMut(&Element, &Set) -> Set) -> Set {
        let below = self.below.iter().map(|(step, set)| (step.clone(), change(step, set)));
        Self { own: self.own, below: below.filter(|(_, set)| !set.is_empty()).collect() }
    }

    /// Adds all paths of another set.
    pub fn unite(&mut self, other: &Set) {
        self.own |= other.own;
        for (step, set) in &other.below {
            match self.below.get_mut(step) {
                Some(there) => there.unite(set),
                None => {
                    self.below.insert(step.clone(), set.clone());
                }
            }
        }
    }

    /// Takes the paths of another set out; what lies below them stays.
    pub fn subtract(&mut self, other: &Set) {
        self.own &= !other.own;
        for (step, set) in &other.below {
            if let Some(there) = self.below.get_mut(step) {
                there.subtract(set);
                if there.is_empty() {
                    self.below.remove(step);
                }
            }
        }
    }

    /// Whether a path is also in a set that is written as `FieldsV1`.
    pub fn meets(&self, written: &Value) -> bool {
        let Some(members) = written.as_object() else { return false };
        let is_in = |(step, set): (&Element, &Set)| members.get(&step.encoded()).is_some_and(|below| set.meets(below));
        (self.own && (members.is_empty() || members.contains_key(SELF))) || self.below.iter().any(is_in)
    }

    /// The paths that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Set) -> Set {
        let mut out = Set { own: self.own && other.own, below: BTreeMap::new() };
        for (step, set) in &self.below {
            if let Some(there) = other.below.get(step) {
                out.attach(step.clone(), set.intersection(there));
            }
        }
        out
    }

    /// Takes a path out, with all below it.
    pub fn cut(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else {
            *self = Set::default();
            return;
        };
        let step = Element::field(first);
        if let Some(there) = self.below.get_mut(&step) {
            there.cut(rest);
            if there.is_empty() {
                self.below.remove(&step);
            }
        }
    }

    /// Takes one path out, not what is below it.
    pub fn remove(&mut self, path: &[&str]) {
        self.subtract(&Set::path(path));
    }

    /// Every path as messages show it: of each place first the paths that end there, then those that lead on.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect("", &mut out);
        out
    }

    fn collect(&self, prefix: &str, out: &mut Vec<String>) {
        out.extend(self.below.iter().filter(|(_, set)| set.own).map(|(step, _)| format!("{prefix}{step}")));
        for (step, set) in &self.below {
            set.collect(&format!("{prefix}{step}"), out);
        }
    }

    /// As `FieldsV1`.
    pub fn encode(&self) -> Value {
        let mut out = Map::new();
        if self.own && !self.below.is_empty() {
            out.insert(SELF.to_owned(), Value::Object(Map::new()));
        }
        out.extend(self.below.iter().map(|(step, set)| (step.encoded(), set.encode())));
        Value::Object(out)
    }

    /// From `FieldsV1`; none if it is something else.
    pub fn decode(fields: &Value) -> Option<Self> {
        let mut out = Self::decode_below(fields)?;
        // The object itself has no path.
        out.own = false;
        Some(out)
    }

    fn decode_below(fields: &Value) -> Option<Self> {
        let members = fields.as_object()?;
        let mut out = Set { own: members.is_empty(), below: BTreeMap::new() };
        for (name, value) in members {
            if name == SELF {
                out.own = true;
            } else {
                out.attach(Element::parse(name)?, Self::decode_below(value)?);
            }
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(fields: Value) -> Set {
        Set::decode(&fields).unwrap()
    }

    #[test]
    fn sets_are_read_and_written() {
        let fields = json!({"f:a": {}, "f:b": {".": {}, "k:{\"name\":\"x\"}": {"f:c": {}}}, "f:d": {"v:1": {}}});
        assert_eq!(set(fields.clone()).encode(), fields);
        let expected = [".a", ".b", r#".b[name="x"].c"#, ".d[=1]"];
        assert_eq!(set(fields).paths(), expected);
        for bad in [json!([]), json!({"f:a": 1}), json!({"a": {}})] {
            assert_eq!(Set::decode(&bad), None, "{bad}");
        }
    }

    #[test]
    fn sets_are_united_subtracted_and_intersected_path_by_path() {
        let (a, b) = (
            json!({"f:a": {".": {}, "f:x": {}}, "f:b": {}}),
            json!({"f:a": {"f:x": {}, "f:y": {}}, "f:b": {"f:z": {}}}),
        );
        let mut united = set(a.clone());
        united.unite(&set(b.clone()));
        assert_eq!(united.paths(), [".a", ".b", ".a.x", ".a.y", ".b.z"]);
        let mut less = set(a.clone());
        less.subtract(&set(b.clone()));
        assert_eq!(less.paths(), [".a", ".b"]);
        assert_eq!(set(a.clone()).intersection(&set(b.clone())).paths(), [".a.x"]);
        assert!(set(a.clone()).meets(&b) && set(b).meets(&a) && !set(json!({"f:a": {"f:z": {}}})).meets(&a));
        assert!(set(json!({"f:a": {}})).meets(&a) && !set(json!({"f:b": {}})).meets(&json!({"f:b": {"f:z": {}}})));
    }

    #[test]
    fn branches_are_cut_and_single_paths_removed() {
        let fields = || set(json!({"f:a": {".": {}, "f:x": {}}, "f:b": {}}));
        let mut cut = fields();
        cut.cut(&["a"]);
        assert_eq!(cut.paths(), [".b"]);
        let mut one = fields();
        one.remove(&["a"]);
        assert_eq!(one.paths(), [".b", ".a.x"]);
    }
}
