//! Bounded parsing of JSON bodies: limits on size and depth, duplicate keys reported by path instead of silently
//! resolved. The API server parses every body with it before anything looks inside.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// What a body may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes.
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
    let parsed = read(&mut reader, limits.depth).map_err(ParseError::Malformed)?;
    reader.end().map_err(ParseError::Malformed)?;
    Ok(parsed)
}

/// Reads one value of any format that JSON can hold.
///
/// # Errors
/// If it is malformed, or nested more deeply.
pub fn read<'de, R: serde::Deserializer<'de>>(reader: R, depth: usize) -> Result<Parsed, R::Error> {
    let duplicates = RefCell::new(Vec::new());
    let node = Node { duplicates: &duplicates, depth_left: depth };
    let value = node.deserialize(reader)?;
    Ok(Parsed { value, duplicates: duplicates.into_inner() })
}

/// One value to be read, with how much deeper it may go. Paths of duplicates are relative to the value being read:
/// whoever reads the value around it puts its own step before them, so that bodies without any cost nothing.
#[derive(Clone, Copy)]
struct Node<'f> {
    duplicates: &'f RefCell<Vec<String>>,
    depth_left: usize,
}

impl Node<'_> {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left, ..self }),
            None => Err(E::custom("exceeded max depth")),
        }
    }

    fn count(self) -> usize {
        self.duplicates.borrow().len()
    }

    fn prefix_since(self, from: usize, step: impl Fn() -> String) {
        for path in &mut self.duplicates.borrow_mut()[from..] {
            let dot = if path.starts_with('[') { "" } else { "." };
            *path = format!("{}{dot}{path}", step());
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

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let below = self.below::<A::Error>()?;
        let mut items = Vec::new();
        loop {
            let before = self.count();
            match seq.next_element_seed(below)? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
            self.prefix_since(before, || format!("[{}]", items.len() - 1));
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let below = self.below::<A::Error>()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                self.duplicates.borrow_mut().push(key.clone());
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
    fn numbers_and_strings_survive() {
        let text = r#"{"a":-1,"b":18446744073709551615,"c":1.5,"d":"\u00fc\n"}"#;
        let parsed = parse(text.as_bytes(), SMALL).unwrap();
        assert_eq!(parsed.value, serde_json::from_str::<Value>(text).unwrap());
    }
}
