//! Values by their types: which paths a value has, what differs between two, how an applied value is merged into another, and a
//! value without some of its paths. What counts as one field, and how items of lists are told apart, is in [`remora_model::schema`].

use std::collections::{BTreeMap, BTreeSet};

use remora_model::schema::{Field, Key, Managed, Shape, Type};
use serde_json::{Map, Value};

use super::path::Element;
use super::set::Set;
use crate::patch::go_print;

const NUMERIC: &str = "numeric (int or float)";

/// What the paths of a value are made of.
#[derive(Clone, Copy, Debug)]
pub enum Form<'s> {
    /// It is one field, whatever is in it.
    Leaf,
    /// Its fields.
    Struct(&'s Type),
    /// Its entries.
    Map(&'s Shape),
    /// The values of a list.
    Values,
    /// The items of a list, told apart by these fields.
    Items(&'s [Key], &'s Shape),
}

impl<'s> Form<'s> {
    fn of(shape: &'s Shape) -> Self {
        match shape {
            Shape::Map(of) => Self::Map(of),
            shape => match shape.as_struct() {
                Some(of) if !of.atomic => Self::Struct(of),
                _ => Self::Leaf,
            },
        }
    }

    fn of_field(field: &'s Field) -> Self {
        match (&field.managed, &field.shape) {
            (Managed::Whole, _) => Self::Leaf,
            (Managed::Values, _) => Self::Values,
            (Managed::Items(keys), Shape::List(item)) => Self::Items(keys, item),
            (_, shape) => Self::of(shape),
        }
    }

    /// The form of a member of an object; what the type does not have is one field.
    fn member(self, name: &str) -> Self {
        match self {
            Self::Struct(of) => of.field(name).map_or(Self::Leaf, Self::of_field),
            Self::Map(of) => Self::of(of),
            _ => Self::Leaf,
        }
    }

    /// Whether the member is a field of a struct, so that its path goes with what is below it.
    fn names_field(self, name: &str) -> bool {
        matches!(self, Self::Struct(of) if of.field(name).is_some())
    }

    /// The steps to the items of a list, in order.
    fn step(self, at: usize, item: &Value) -> Element {
        match self {
            Self::Values => Element::value(item),
            Self::Items(keys, _) => Element::item(item, keys).unwrap_or(Element::Index(at)),
            _ => Element::Index(at),
        }
    }

    fn item(self) -> Self {
        match self {
            Self::Items(_, item) => Self::of(item),
            _ => Self::Leaf,
        }
    }

    /// What a step leads to; of what the type has, with its shape.
    fn below(self, step: &Element) -> (Self, Option<&'s Shape>) {
        match (self, step) {
            (Self::Struct(of), Element::Field(name)) => {
                of.field(name).map_or((Self::Leaf, None), |field| (Self::of_field(field), Some(&field.shape)))
            }
            (Self::Map(of), Element::Field(_)) => (Self::of(of), Some(of)),
            (Self::Items(_, item), Element::Key(_)) => (Self::of(item), Some(item)),
            _ => (Self::Leaf, None),
        }
    }

    fn is_object(self) -> bool {
        matches!(self, Self::Struct(_) | Self::Map(_))
    }

    fn is_list(self) -> bool {
        matches!(self, Self::Values | Self::Items(..))
    }
}

/// The paths of a value: its scalars and whole fields, empty objects, entries of maps and items of lists.
pub fn fields_of(form: Form<'_>, value: &Value) -> Set {
    let mut out = Set::default();
    match value {
        Value::Object(members) if form.is_object() => {
            for (name, member) in members {
                let mut below = fields_of(form.member(name), member);
                let is_empty = member.is_null() || member.as_object().is_some_and(Map::is_empty);
                if is_empty || !form.names_field(name) {
                    below.add_own();
                }
                out.attach(Element::field(name), below);
            }
        }
        Value::Array(items) if form.is_list() => {
            for (at, item) in items.iter().enumerate() {
                let mut below = fields_of(form.item(), item);
                below.add_own();
                out.attach(form.step(at, item), below);
            }
        }
        Value::Null if form.is_object() || form.is_list() => {}
        _ => out.add_own(),
    }
    out
}

/// What differs between two values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Only in the second, objects and lists that hold them included.
    pub added: Set,
    /// In both, but not equal.
    pub modified: Set,
    /// Only in the first.
    pub removed: Set,
}

impl Comparison {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// Does something to all three.
    pub fn each(&mut self, mut change: impl FnMut(&mut Set)) {
        [&mut self.added, &mut self.modified, &mut self.removed].into_iter().for_each(&mut change);
    }

    fn attach(&mut self, step: &Element, below: Comparison) {
        let Comparison { added, modified, removed } = below;
        for (set, below) in [(&mut self.added, added), (&mut self.modified, modified), (&mut self.removed, removed)] {
            if !below.is_empty() {
                set.attach(step.clone(), below);
            }
        }
    }
}

fn is_nothing(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(members)) => members.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

/// What differs; at least one of the values is there.
pub fn compare(form: Form<'_>, old: Option<&Value>, new: Option<&Value>) -> Comparison {
    let mut out = Comparison::default();
    if old == new {
        return out;
    }
    let is_leaf = matches!(form, Form::Leaf) || (is_nothing(old) && is_nothing(new));
    match (is_leaf, form.is_object()) {
        (false, true) => compare_members(form, old, new, &mut out),
        (false, false) if compare_items(form, old, new, &mut out) => {}
        _ if old.is_some() && new.is_some() => out.modified.add_own(),
        _ => {}
    }
    if old.is_none() {
        out.added.add_own();
    }
    if new.is_none() {
        out.removed.add_own();
    }
    out
}

fn compare_members(form: Form<'_>, old: Option<&Value>, new: Option<&Value>, out: &mut Comparison) {
    let [old, new] = [old, new].map(|value| value.and_then(Value::as_object));
    let names = old.into_iter().flatten().chain(new.into_iter().flatten()).map(|(name, _)| name.as_str());
    for name in names.collect::<BTreeSet<&str>>() {
        let [old, new] = [old, new].map(|members| members.and_then(|m| m.get(name)));
        if old != new {
            out.attach(&Element::field(name), compare(form.member(name), old, new));
        }
    }
}

/// Compares lists item by item; false if a key stands for several, so that they can only be compared as a whole.
fn compare_items(form: Form<'_>, old: Option<&Value>, new: Option<&Value>, out: &mut Comparison) -> bool {
    let (Some(old), Some(new)) = (by_step(form, old), by_step(form, new)) else { return false };
    for step in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        out.attach(step, compare(form.item(), old.get(step).copied(), new.get(step).copied()));
    }
    true
}

fn by_step<'v>(form: Form<'_>, list: Option<&'v Value>) -> Option<BTreeMap<Element, &'v Value>> {
    let items = list.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let found: BTreeMap<_, _> = items.iter().enumerate().map(|(at, item)| (form.step(at, item), item)).collect();
    (found.len() == items.len()).then_some(found)
}

/// The live value with the applied one put over it: what only one of them has stays, of fields in both the applied one counts.
/// Items of lists stand in the applied order, those that only the live list has where they stood among them.
pub fn merge(form: Form<'_>, live: &Value, applied: &Value) -> Value {
    match (live, applied) {
        _ if is_nothing(Some(live)) && is_nothing(Some(applied)) => applied.clone(),
        (live, Value::Null) if form.is_object() || form.is_list() => live.clone(),
        (Value::Object(live), Value::Object(applied)) if form.is_object() => {
            let mut out = live.clone();
            for (name, value) in applied {
                let merged = out.get(name).map_or_else(|| value.clone(), |old| merge(form.member(name), old, value));
                out.insert(name.clone(), merged);
            }
            Value::Object(out)
        }
        (Value::Array(live), Value::Array(applied)) if form.is_list() => merge_items(form, live, applied).into(),
        (_, applied) => applied.clone(),
    }
}

fn merge_items(form: Form<'_>, live: &[Value], applied: &[Value]) -> Vec<Value> {
    let steps =
        |items: &[Value]| -> Vec<Element> { items.iter().enumerate().map(|(at, item)| form.step(at, item)).collect() };
    let (live_steps, applied_steps) = (steps(live), steps(applied));
    let in_applied: BTreeSet<&Element> = applied_steps.iter().collect();
    let in_live: BTreeMap<&Element, &Value> = live_steps.iter().zip(live).collect();
    let mut shared = applied_steps.iter().filter(|step| in_live.contains_key(step)).peekable();
    let mut rest = live_steps.iter().zip(live).peekable();
    let mut out = Vec::with_capacity(live.len() + applied.len());
    for (step, value) in applied_steps.iter().zip(applied) {
        // Live items come first as far as they stand before the next one that both lists have; others that both have come later.
        while let Some((at, item)) = rest.next_if(|(at, _)| Some(at) != shared.peek()) {
            if !in_applied.contains(at) {
                out.push(item.clone());
            }
        }
        match in_live.get(step) {
            Some(old) => {
                out.push(merge(form.item(), old, value));
                shared.next();
                rest.next_if(|(at, _)| *at == step);
            }
            None => out.push(value.clone()),
        }
    }
    out.extend(rest.filter(|(step, _)| !in_applied.contains(step)).map(|(_, item)| item.clone()));
    out
}

/// The value without these paths and all that is below them; none if nothing is left of it.
pub fn without(form: Form<'_>, value: &Value, gone: &Set) -> Option<Value> {
    match value {
        Value::Object(members) if form.is_object() && !members.is_empty() => {
            let left = members.iter().filter_map(|(name, member)| match gone.below(&Element::field(name)) {
                None => Some((name.clone(), member.clone())),
                Some(set) if set.has_own() => None,
                Some(set) => without(form.member(name), member, set).map(|left| (name.clone(), left)),
            });
            let left: Map<String, Value> = left.collect();
            (!left.is_empty()).then_some(Value::Object(left))
        }
        Value::Array(items) if form.is_list() && !items.is_empty() => {
            let left = items.iter().enumerate().filter_map(|(at, item)| match gone.below(&form.step(at, item)) {
                None => Some(item.clone()),
                Some(set) if set.has_own() => None,
                Some(set) => without(form.item(), item, set),
            });
            let left: Vec<Value> = left.collect();
            (!left.is_empty()).then_some(Value::Array(left))
        }
        other => Some(other.clone()),
    }
}

/// The set with every field of a struct on the way to its paths: a struct goes with what it holds.
pub fn with_fields(form: Form<'_>, set: &Set) -> Set {
    set.map_below(|step, below| {
        let (inner, is_field) = match step {
            Element::Field(name) => (form.member(name), form.names_field(name)),
            _ => (form.item(), false),
        };
        let mut out = with_fields(inner, below);
        if is_field {
            out.add_own();
        }
        out
    })
}

/// The set as its type has it now: who had something within what is one field by now has that field. (Upstream: `ReconcileFieldSetWithSchema`.) What
/// the type does not have any more stays in the set; it harms nobody, and goes when its manager writes it anew.
pub fn reconciled(form: Form<'_>, set: &Set) -> Set {
    set.map_below(|step, below| {
        let (inner, shape) = form.below(step);
        let is_whole = matches!(inner, Form::Leaf)
            && matches!(shape, Some(Shape::List(_) | Shape::Map(_) | Shape::Struct(_)))
            && *below != Set::own();
        if is_whole { Set::own() } else { reconciled(inner, below) }
    })
}

/// What is wrong with an applied value: fields that its type does not have, values of another type, items that cannot be told apart.
pub fn check(form: Form<'_>, path: &str, value: &Value, wrong: &mut Vec<String>) {
    match (form, value) {
        (_, Value::Null) => {}
        (Form::Struct(of), Value::Object(members)) => {
            for (name, member) in members {
                let path = format!("{path}.{name}");
                match of.field(name) {
                    None => wrong.push(format!("{path}: field not declared in schema")),
                    Some(field) => check_shape(Form::of_field(field), &field.shape, &path, member, wrong),
                }
            }
        }
        (Form::Map(of), Value::Object(members)) => {
            for (name, member) in members {
                check_shape(Form::of(of), of, &format!("{path}.{name}"), member, wrong);
            }
        }
        (Form::Struct(_) | Form::Map(_), other) => wrong.push(unexpected(path, "map", other)),
        (Form::Values | Form::Items(..), Value::Array(items)) => check_items(form, path, items, wrong),
        (Form::Values | Form::Items(..), other) => wrong.push(unexpected(path, "list", other)),
        (Form::Leaf, _) => {}
    }
}

fn check_items(form: Form<'_>, path: &str, items: &[Value], wrong: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (at, item) in items.iter().enumerate() {
        let step = match form {
            Form::Items(keys, _) => match Element::item(item, keys) {
                Some(step) => step,
                None => {
                    let key = keys.iter().find(|k| k.default.is_none()).map_or("", |k| k.name);
                    wrong.push(format!("{path}: element {at}: associative list with keys has an element that omits key field {key:?} (and doesn't have default value)"));
                    continue;
                }
            },
            _ => Element::value(item),
        };
        if let Form::Items(_, shape) = form {
            check_shape(Form::of(shape), shape, &format!("{path}{step}"), item, wrong);
        }
        if !seen.insert(step.clone()) {
            wrong.push(format!("{path}: duplicate entries for key {step}"));
        }
    }
}

fn check_shape(form: Form<'_>, shape: &Shape, path: &str, value: &Value, wrong: &mut Vec<String>) {
    let expected = match (shape, value) {
        (_, Value::Null) => return,
        (Shape::List(of), Value::Array(items)) if matches!(form, Form::Leaf) => {
            let each = items.iter().enumerate();
            return each.for_each(|(at, item)| check_shape(Form::of(of), of, &format!("{path}[{at}]"), item, wrong));
        }
        (Shape::List(_), value) if !value.is_array() => "list",
        (Shape::Map(_) | Shape::Struct(_), value) if !value.is_object() => "map",
        (Shape::Struct(_), value) if matches!(form, Form::Leaf) => {
            // A struct that is managed whole is one of fields all the same.
            return shape.as_struct().map_or((), |of| check(Form::Struct(of), path, value, wrong));
        }
        (Shape::Text | Shape::Bytes, value) if !value.is_string() => "string",
        (Shape::Bool, value) if !value.is_boolean() => "boolean",
        (Shape::Int32 | Shape::Int64, value) if !value.is_number() => NUMERIC,
        _ => return check(form, path, value, wrong),
    };
    wrong.push(unexpected(path, expected, value));
}

/// In the words of upstream, which shows its own types' insides.
fn unexpected(path: &str, expected: &str, value: &Value) -> String {
    let shown = match (expected, value) {
        (NUMERIC, Value::String(_)) => "string".to_owned(),
        (NUMERIC, Value::Bool(_)) => "bool".to_owned(),
        (NUMERIC, Value::Array(_)) => "[]interface {}".to_owned(),
        (NUMERIC, _) => "map[string]interface {}".to_owned(),
        ("string", Value::Number(_) | Value::Bool(_)) => format!("&value.valueUnstructured{{Value:{value}}}"),
        _ => format!("&{{{}}}", go_print(value)),
    };
    format!("{path}: expected {expected}, got {shown}")
}
