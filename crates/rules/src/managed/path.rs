//! One step of a path to a field, as `FieldsV1` writes it: `f:name`, `k:{"name":"a"}`, `v:"x"`, `i:0`.

use std::fmt;

use remora_model::schema::Key;
use remora_model::text::quoted;
use serde_json::{Map, Value};

/// One step of a path. The order is that in which `FieldsV1` and conflicts name them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// A field of a struct, or an entry of a map.
    Field(String),
    /// The item of a list that has these values in these fields, by name.
    Key(Vec<(String, Scalar)>),
    /// A value of a list that is a set.
    Value(Scalar),
    /// An item that nothing else tells apart.
    Index(usize),
}

/// What can tell items apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scalar {
    /// A whole number.
    Number(i64),
    /// Text.
    Text(String),
    /// True or false.
    Flag(bool),
    /// Anything else, as JSON.
    Other(String),
}

impl Scalar {
    fn of(value: &Value) -> Self {
        match value {
            Value::Bool(flag) => Self::Flag(*flag),
            Value::String(text) => Self::Text(text.clone()),
            Value::Number(n) => n.as_i64().map_or_else(|| Self::Other(n.to_string()), Self::Number),
            other => Self::Other(other.to_string()),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Number(n) => (*n).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Flag(flag) => (*flag).into(),
            Self::Other(json) => serde_json::from_str(json).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => n.fmt(out),
            Self::Text(text) => out.write_str(&quoted(text)),
            Self::Flag(flag) => flag.fmt(out),
            Self::Other(json) => out.write_str(json),
        }
    }
}

impl Element {
    /// A field.
    pub fn field(name: &str) -> Self {
        Self::Field(name.to_owned())
    }

    /// A value of a set.
    pub fn value(value: &Value) -> Self {
        Self::Value(Scalar::of(value))
    }

    /// The item with these keys; none if it is no object or lacks a key that it must have.
    pub fn item(item: &Value, keys: &[Key]) -> Option<Self> {
        let item = item.as_object()?;
        let value = |key: &Key| item.get(key.name).filter(|v| !v.is_null()).or(key.default.as_ref()).map(Scalar::of);
        let parts: Option<Vec<_>> = keys.iter().map(|key| Some((key.name.to_owned(), value(key)?))).collect();
        let mut parts = parts?;
        parts.sort();
        Some(Self::Key(parts))
    }

    /// Reads what [`Self::to_string`] of `FieldsV1` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_at_checked(2)? {
            ("f:", name) => Some(Self::field(name)),
            ("v:", json) => serde_json::from_str(json).ok().map(|value: Value| Self::value(&value)),
            ("i:", index) => index.parse().ok().map(Self::Index),
            ("k:", json) => {
                let parts: Map<String, Value> = serde_json::from_str(json).ok()?;
                let mut parts: Vec<_> = parts.into_iter().map(|(name, value)| (name, Scalar::of(&value))).collect();
                parts.sort();
                Some(Self::Key(parts))
            }
            _ => None,
        }
    }

    /// As `FieldsV1` has it.
    pub fn encoded(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(parts) => {
                let parts: Map<String, Value> =
                    parts.iter().map(|(name, value)| (name.clone(), value.json())).collect();
                format!("k:{}", Value::Object(parts))
            }
            Self::Value(value) => format!("v:{}", value.json()),
            Self::Index(at) => format!("i:{at}"),
        }
    }
}

/// As messages show it: `.name`, `[name="a"]`, `[="x"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(out, ".{name}"),
            Self::Key(parts) => {
                let parts: Vec<String> = parts.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(out, "[{}]", parts.join(","))
            }
            Self::Value(value) => write!(out, "[={value}]"),
            Self::Index(at) => write!(out, "[{at}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn steps_are_written_read_and_shown() {
        for (text, shown) in [
            ("f:name", ".name"),
            ("f:a.b/c", ".a.b/c"),
            (r#"k:{"containerPort":80,"protocol":"TCP"}"#, r#"[containerPort=80,protocol="TCP"]"#),
            (r#"v:"x""#, r#"[="x"]"#),
            ("v:3", "[=3]"),
            ("v:true", "[=true]"),
            ("i:4", "[4]"),
        ] {
            let step = Element::parse(text).unwrap();
            assert_eq!((step.encoded().as_str(), step.to_string().as_str()), (text, shown));
        }
        for text in ["", "f", "x:a", "k:[]", "v:", "i:-1"] {
            assert_eq!(Element::parse(text), None, "{text}");
        }
    }

    #[test]
    fn items_are_told_apart_by_their_keys_and_defaults() {
        let keys = [
            Key { name: "protocol", default: Some("TCP".into()) },
            Key { name: "containerPort", default: Some(0.into()) },
        ];
        let step = Element::item(&json!({"containerPort": 80}), &keys).unwrap();
        assert_eq!(step.encoded(), r#"k:{"containerPort":80,"protocol":"TCP"}"#);
        let must = [Key { name: "name", default: None }];
        assert_eq!(Element::item(&json!({}), &must), None);
        assert_eq!(Element::item(&json!("x"), &keys), None);
    }
}
