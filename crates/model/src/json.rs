//! Bounded parsing of JSON bodies: limits on size and depth, duplicate keys reported by path instead of silently
//! resolved. The API server parses every body with it before anything looks inside.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Duplicates that are told of; more are as wrong.
const MAX_DUPLICATES: usize = 100;
/// How long the path of a duplicate gets; the outer steps of a longer one are left out.
const MAX_PATH: usize = 4096;

/// What a body may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes, of what is read and of the JSON that it stands for.
    pub bytes: usize,
    /// Nested lists and objects.
    pub depth: usize,
}

impl Limits {
    /// What the API server allows for an object: upstream's 3 MiB, and a depth that no type of ours comes near.
    pub const OBJECT: Limits = Limits { bytes: 3 * 1024 * 1024, depth: 100 };
}

/// A parsed body.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The value; of a key given twice the last one counts, as in Go.
    pub value: Value,
    /// Paths of keys that were given twice: `spec.containers[0].name`.
    pub duplicates: Vec<String>,
}

/// Why a body was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// More bytes than allowed.
    #[error("limit is {limit}")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// Not JSON, nested too deeply, or followed by something.
    #[error("{0}")]
    Malformed(#[source] serde_json::Error),
}

/// Parses one JSON value.
///
/// # Errors
/// If it is too large, too deep, or no JSON.
pub fn parse(bytes: &[u8], limits: Limits) -> Result<Parsed, ParseError> {
    if bytes.len() > limits.bytes {
        return Err(ParseError::TooLarge { limit: limits.bytes });
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let parsed = read(&mut reader, limits).map_err(ParseError::Malformed)?;
    reader.end().map_err(ParseError::Malformed)?;
    Ok(parsed)
}

/// Reads one value of any format that JSON can hold. A format that can say in few bytes what stands for many, as YAML with its aliases, is held
/// to the limit of what it stands for.
///
/// # Errors
/// If it is malformed, nested more deeply, or would be larger as JSON.
pub fn read<'de, R: serde::Deserializer<'de>>(reader: R, limits: Limits) -> Result<Parsed, R::Error> {
    let (duplicates, bytes_left) = (RefCell::new(Vec::new()), Cell::new(limits.bytes));
    let node = Node { duplicates: &duplicates, bytes_left: &bytes_left, limit: limits.bytes, depth_left: limits.depth };
    let value = node.deserialize(reader)?;
    Ok(Parsed { value, duplicates: duplicates.into_inner() })
}

/// One value to be read, with how much deeper it may go. Paths of duplicates are relative to the value being read:
/// whoever reads the value around it puts its own step before them, so that bodies without any cost nothing.
#[derive(Clone, Copy)]
struct Node<'f> {
    duplicates: &'f RefCell<Vec<String>>,
    /// Of the JSON that all this stands for, at its shortest: real JSON is never shorter, so that its own limit comes first.
    bytes_left: &'f Cell<usize>,
    limit: usize,
    depth_left: usize,
}

impl Node<'_> {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left, ..self }),
            None => Err(E::custom("exceeded max depth")),
        }
    }

    /// Before anything is kept.
    fn spend<E: serde::de::Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.bytes_left.get().checked_sub(bytes);
        self.bytes_left.set(left.ok_or_else(|| {
            E::custom(format_args!("written out as JSON it would be larger than the limit of {} bytes", self.limit))
        })?);
        Ok(())
    }

    fn note_duplicate(self, key: &str) {
        let mut duplicates = self.duplicates.borrow_mut();
        if duplicates.len() < MAX_DUPLICATES {
            duplicates.push(key.chars().take(MAX_PATH).collect());
        }
    }

    fn count(self) -> usize {
        self.duplicates.borrow().len()
    }

    fn prefix_since(self, from: usize, step: impl Fn() -> String) {
        for path in &mut self.duplicates.borrow_mut()[from..] {
            let (step, dot) = (step(), if path.starts_with('[') { "" } else { "." });
            if step.len() + path.len() < MAX_PATH {
                *path = format!("{step}{dot}{path}");
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.spend::<E>(1)?;
        Ok(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, v: bool) -> Result<Value, E> {
        self.spend::<E>(1)?;
        Ok(v.into())
    }

    fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<Value, E> {
        self.spend::<E>(1)?;
        Ok(v.into())
    }

    fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<Value, E> {
        self.spend::<E>(1)?;
        Ok(v.into())
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        self.spend::<E>(1)?;
        Ok(v.into())
    }

    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Value, E> {
        self.spend::<E>(v.len() + "\"\"".len())?;
        Ok(v.into())
    }

    fn visit_string<E: serde::de::Error>(self, v: String) -> Result<Value, E> {
        self.spend::<E>(v.len() + "\"\"".len())?;
        Ok(v.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let below = self.below::<A::Error>()?;
        self.spend::<A::Error>("[".len())?;
        let mut items = Vec::new();
        loop {
            let before = self.count();
            match seq.next_element_seed(below)? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
            self.spend::<A::Error>(",".len())?;
            self.prefix_since(before, || format!("[{}]", items.len() - 1));
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let below = self.below::<A::Error>()?;
        self.spend::<A::Error>("{".len())?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.spend::<A::Error>(key.len() + "\"\":,".len())?;
            if map.contains_key(&key) {
                self.note_duplicate(&key);
            }
            let before = self.count();
            let value = entries.next_value_seed(below)?;
            self.prefix_since(before, || key.clone());
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SMALL: Limits = Limits { bytes: 200, depth: 3 };

    #[test]
    fn a_key_given_twice_is_reported_and_the_last_one_counts() {
        let text = br#"{"a":{"b":[{"c":1,"c":2}]},"a":{"x":null}}"#;
        let parsed = parse(text, Limits { depth: 9, ..SMALL }).unwrap();
        assert_eq!(parsed.value, json!({"a": {"x": null}}));
        assert_eq!(parsed.duplicates, ["a.b[0].c", "a"]);
    }

    #[test]
    fn what_is_too_large_too_deep_or_no_json_is_refused() {
        assert!(matches!(parse(&[b' '; 201], SMALL), Err(ParseError::TooLarge { limit: 200 })));
        for text in ["[[[[]]]]", "{", "{} {}", "", "{\"a\":}"] {
            assert!(matches!(parse(text.as_bytes(), SMALL), Err(ParseError::Malformed(_))), "{text}");
        }
        assert!(parse(b"[[[]]]", SMALL).is_ok());
    }

    #[test]
    fn json_never_stands_for_more_than_it_is() {
        for text in
            ["[]", "[1]", "[1,2,3]", "{}", r#"{"a":1}"#, r#"{"a":[],"b":{"c":"d"}}"#, r#"["a",null,true]"#, "\"\""]
        {
            let limits = Limits { bytes: text.len(), depth: 3 };
            assert!(parse(text.as_bytes(), limits).is_ok(), "{text}");
        }
        let mut reader = serde_json::Deserializer::from_str("[1,2,3]");
        let error = read(&mut reader, Limits { bytes: 6, depth: 3 }).unwrap_err();
        assert!(error.to_string().starts_with("written out as JSON it would be larger than the limit of 6 bytes"));
    }

    #[test]
    fn paths_of_many_duplicates_below_a_long_key_cost_little() {
        let text = format!(r#"{{"{}":{{{}"a":1}}}}"#, "k".repeat(1 << 20), r#""a":1,"#.repeat(100_000));
        let parsed = parse(text.as_bytes(), Limits::OBJECT).unwrap();
        assert_eq!(parsed.duplicates, vec!["a"; MAX_DUPLICATES]);
    }

    #[test]
    fn numbers_and_strings_survive() {
        let text = r#"{"a":-1,"b":18446744073709551615,"c":1.5,"d":"\u00fc\n"}"#;
        let parsed = parse(text.as_bytes(), SMALL).unwrap();
        assert_eq!(parsed.value, serde_json::from_str::<Value>(text).unwrap());
    }
}
