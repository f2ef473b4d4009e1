//! How Go writes each API type as JSON: which fields exist, which are pointers, which are left out when empty, how a
//! strategic merge treats them, and which parts of them have managers of their own in server-side apply. The data is
//! `data/types.txt`; this reads it once. Canonical form, strict field checking, strategic merge and server-side apply walk it.
//! It knows nothing of what values are allowed: that is `rules`.

use std::collections::HashMap;
use std::sync::LazyLock;

/// An API type: a struct of Go.
#[derive(Debug)]
pub struct Type {
    /// `PodSpec`; two versions of one word are told apart by their group (`events.k8s.io/Event`).
    pub name: &'static str,
    /// In Go's order.
    pub fields: Vec<Field>,
    /// Whether it has one manager as a whole.
    pub atomic: bool,
}

/// One field of a type.
#[derive(Debug)]
pub struct Field {
    /// Its JSON name.
    pub name: &'static str,
    /// Its value's shape, without the pointer.
    pub shape: Shape,
    /// Whether Go holds a pointer: then a zero value that is set is kept.
    pub pointer: bool,
    /// `omitempty`.
    pub omit_empty: bool,
    /// `omitzero`.
    pub omit_zero: bool,
    /// How a strategic merge patch treats it.
    pub merge: Merge,
    /// Strategic merge: `$retainKeys` is honoured in it.
    pub retain_keys: bool,
    /// What of it can have a manager of its own.
    pub managed: Managed,
}

/// What of a value can have a manager of its own in server-side apply (KEP-555: `listType`, `mapType`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Managed {
    /// Fields of a struct, entries of a map; a list or scalar as a whole.
    ByShape,
    /// It has one manager, whatever is in it.
    Whole,
    /// Each value of a list.
    Values,
    /// Each item of a list, told apart by these of its fields.
    Items(Vec<Key>),
}

/// A field that tells items of a list apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The field.
    pub name: &'static str,
    /// What an item has that does not give it; none if it must.
    pub default: Option<serde_json::Value>,
}

/// What a JSON value must look like.
#[derive(Debug)]
pub enum Shape {
    /// A string.
    Text,
    /// true or false.
    Bool,
    /// An integer of 32 bits.
    Int32,
    /// An integer of 64 bits.
    Int64,
    /// Base64.
    Bytes,
    /// RFC 3339, seconds.
    Time,
    /// RFC 3339, microseconds.
    MicroTime,
    /// `resource.Quantity`.
    Quantity,
    /// An integer or a string.
    IntOrText,
    /// Anything.
    Any,
    /// A list.
    List(Box<Shape>),
    /// A map with string keys.
    Map(Box<Shape>),
    /// A struct; its index in the table.
    Struct(usize),
}

/// Strategic merge of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// The patch's value replaces the old one (structs and maps merge by nature).
    Replace,
    /// A list of scalars to which the patch's values are added.
    Set,
    /// A list of structs, told apart by this field.
    ByKey(&'static str),
}

struct Table {
    types: Vec<Type>,
    by_name: HashMap<&'static str, usize>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| parse(include_str!("../data/types.txt")));

/// The type of this name.
pub fn type_of(name: &str) -> Option<&'static Type> {
    TABLE.by_name.get(name).map(|&at| &TABLE.types[at])
}

impl Type {
    /// The field of this JSON name; case matters, as it does in Kubernetes.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.name == name)
    }
}

impl Shape {
    /// The type behind a struct's shape.
    pub fn as_struct(&self) -> Option<&'static Type> {
        match self {
            Shape::Struct(at) => TABLE.types.get(*at),
            _ => None,
        }
    }

    /// Go's name for the shape, as decoding errors show it.
    pub fn go_name(&self) -> String {
        match self {
            Shape::Text => "string".to_owned(),
            Shape::Bool => "bool".to_owned(),
            Shape::Int32 => "int32".to_owned(),
            Shape::Int64 => "int64".to_owned(),
            Shape::Bytes => "[]uint8".to_owned(),
            Shape::Time => "v1.Time".to_owned(),
            Shape::MicroTime => "v1.MicroTime".to_owned(),
            Shape::Quantity => "resource.Quantity".to_owned(),
            Shape::IntOrText => "intstr.IntOrString".to_owned(),
            Shape::Any => "interface {}".to_owned(),
            Shape::List(of) => format!("[]{}", of.go_name()),
            Shape::Map(of) => format!("map[string]{}", of.go_name()),
            Shape::Struct(_) => format!("v1.{}", self.as_struct().map_or("", Type::go_word)),
        }
    }
}

impl Type {
    /// The Go type's bare name.
    pub fn go_word(&self) -> &'static str {
        self.name.rsplit('/').next().unwrap_or(self.name)
    }
}

fn parse(text: &'static str) -> Table {
    let lines = || text.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    let name_of = |line: &'static str| line.split(' ').next().unwrap_or_default();
    let names = lines().filter(|l| !l.starts_with(' ')).map(name_of);
    let by_name: HashMap<_, _> = names.enumerate().map(|(at, name)| (name, at)).collect();
    let mut types: Vec<Type> = Vec::with_capacity(by_name.len());
    for line in lines() {
        match (line.strip_prefix("  "), types.last_mut()) {
            (Some(field), Some(of)) => of.fields.push(parse_field(field, &by_name)),
            _ => types.push(Type { name: name_of(line), fields: Vec::new(), atomic: line.ends_with(" atomic") }),
        }
    }
    Table { types, by_name }
}

fn parse_field(line: &'static str, by_name: &HashMap<&'static str, usize>) -> Field {
    let mut words = line.split(' ');
    let name = words.next().unwrap_or_default();
    let written = words.next().unwrap_or_default();
    let bare = written.trim_end_matches(['?', '!']);
    let marks = &written[bare.len()..];
    let mut field = Field {
        name,
        shape: parse_shape(bare.trim_start_matches('*'), by_name),
        pointer: bare.starts_with('*'),
        omit_empty: marks.contains('?'),
        omit_zero: marks.contains('!'),
        merge: Merge::Replace,
        retain_keys: false,
        managed: Managed::ByShape,
    };
    for word in words {
        match word.split_once(':') {
            Some(("merge", key)) => field.merge = Merge::ByKey(key),
            Some(("list", "set")) => field.managed = Managed::Values,
            Some(("list", keys)) => field.managed = Managed::Items(keys.split(',').map(parse_key).collect()),
            _ if word == "merge" => field.merge = Merge::Set,
            _ if word == "atomic" => field.managed = Managed::Whole,
            _ => field.retain_keys = word == "retainKeys",
        }
    }
    field
}

fn parse_key(word: &'static str) -> Key {
    match (word.strip_suffix('!'), word.split_once('=')) {
        (Some(name), _) => Key { name, default: None },
        (None, Some((name, default))) => {
            let number = default.parse::<i64>().map(serde_json::Value::from);
            Key { name, default: Some(number.unwrap_or_else(|_| default.into())) }
        }
        (None, None) => Key { name: word, default: Some("".into()) },
    }
}

fn parse_shape(word: &str, by_name: &HashMap<&'static str, usize>) -> Shape {
    if let Some(of) = word.strip_prefix("[]") {
        return Shape::List(Box::new(parse_shape(of, by_name)));
    }
    if let Some(of) = word.strip_prefix("{}") {
        return Shape::Map(Box::new(parse_shape(of, by_name)));
    }
    match word {
        "string" => Shape::Text,
        "bool" => Shape::Bool,
        "int32" => Shape::Int32,
        "int64" => Shape::Int64,
        "bytes" => Shape::Bytes,
        "time" => Shape::Time,
        "microtime" => Shape::MicroTime,
        "quantity" => Shape::Quantity,
        "intstr" => Shape::IntOrText,
        name => by_name.get(name).map_or(Shape::Any, |&at| Shape::Struct(at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_in_the_table_is_known() {
        for of in &TABLE.types {
            for field in &of.fields {
                let innermost = innermost(&field.shape);
                let any = matches!(innermost, Shape::Any);
                assert_eq!(any, field.name == "fieldsV1", "{}.{}", of.name, field.name);
            }
        }
    }

    fn innermost(shape: &Shape) -> &Shape {
        match shape {
            Shape::List(of) | Shape::Map(of) => innermost(of),
            other => other,
        }
    }

    #[test]
    fn merge_keys_are_fields_of_what_they_merge() {
        for of in &TABLE.types {
            for field in &of.fields {
                if let (Merge::ByKey(key), Shape::List(item)) = (field.merge, &field.shape) {
                    assert!(item.as_struct().unwrap().field(key).is_some(), "{}.{}", of.name, field.name);
                }
            }
        }
    }

    #[test]
    fn keys_of_managed_lists_are_fields_of_their_items() {
        for of in &TABLE.types {
            for field in &of.fields {
                match (&field.managed, &field.shape) {
                    (Managed::ByShape, _) | (Managed::Whole, Shape::Map(_)) => {}
                    (Managed::Values, Shape::List(item)) => {
                        assert!(item.as_struct().is_none(), "{}.{}", of.name, field.name)
                    }
                    (Managed::Items(keys), Shape::List(item)) => {
                        let item = item.as_struct().unwrap();
                        assert!(keys.iter().all(|k| item.field(k.name).is_some()), "{}.{}", of.name, field.name);
                    }
                    _ => panic!("{}.{}", of.name, field.name),
                }
            }
        }
        let ports = type_of("Container").unwrap().field("ports").unwrap();
        let key = |name, default: serde_json::Value| Key { name, default: Some(default) };
        let expected = Managed::Items(vec![key("containerPort", 0.into()), key("protocol", "TCP".into())]);
        assert_eq!(ports.managed, expected);
        assert!(type_of("LabelSelector").unwrap().atomic);
    }

    #[test]
    fn marks_are_read() {
        let container = type_of("Container").unwrap();
        let resources = container.field("resources").unwrap();
        assert!(!resources.pointer && resources.omit_empty);
        assert!(container.field("securityContext").unwrap().pointer);
        assert_eq!(container.field("volumeMounts").unwrap().merge, Merge::ByKey("mountPath"));
        assert!(type_of("PodSpec").unwrap().field("volumes").unwrap().retain_keys);
        assert!(type_of("ObjectMeta").unwrap().field("creationTimestamp").unwrap().omit_zero);
    }
}
