//! Kubernetes' protobuf as bodies of requests, read into the same JSON values as all other bodies. kubectl from 1.32 on and
//! client-go send typed objects so; answers are never written so (these clients accept JSON too). Pure. The numbers of the
//! fields are `data/protobuf.txt`, their shapes are `remora_model::schema`'s: no generated code. Called by [`crate::body`].
//!
//! A body is `k8s\0` and a `runtime.Unknown` (k8s.io/apimachinery `pkg/runtime/serializer/protobuf`), whose type names the
//! message inside.

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use remora_model::schema::{Shape, Type, type_of};
use serde_json::{Map, Value};

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";
/// Nested messages; no type of ours comes near.
const MAX_DEPTH: usize = 64;

/// Why a body was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// It does not begin as Kubernetes' bodies do.
    #[error("the body is no Kubernetes protobuf object: it does not begin with \"k8s\\x00\"")]
    Magic,
    /// It ends in the middle of something, or a length leads behind its end.
    #[error("unexpected end of the protobuf body")]
    Truncated,
    /// A number of more than 64 bits, or a wire type that is none.
    #[error("malformed protobuf: {0}")]
    Malformed(&'static str),
    /// A field is not of the type that it has.
    #[error("field {0} has the wrong protobuf type")]
    WrongType(String),
    /// Text that is no UTF-8.
    #[error("field {0} is not UTF-8")]
    Text(String),
    /// Messages in messages in messages.
    #[error("exceeded max depth")]
    TooDeep,
    /// A type that is not served.
    #[error("no kind {0:?} is registered here")]
    UnknownKind(String),
}

use ProtobufError as Error;

/// The object in a body, with `kind` and `apiVersion` as its envelope names them.
///
/// # Errors
/// If it is none, or of a type that is not served.
pub fn decode(bytes: &[u8]) -> Result<Value, Error> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(Error::Magic)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Fields(rest) {
        match field? {
            (1, Wire::Bytes(type_meta)) => {
                for field in Fields(type_meta) {
                    match field? {
                        (1, Wire::Bytes(text)) => api_version = utf8(text, "apiVersion")?,
                        (2, Wire::Bytes(text)) => kind = utf8(text, "kind")?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(object)) => raw = object,
            _ => {}
        }
    }
    let name = if api_version.starts_with("events.k8s.io/") { format!("events.k8s.io/{kind}") } else { kind.clone() };
    let of = type_of(&name).ok_or_else(|| Error::UnknownKind(kind.clone()))?;
    let mut object = Map::new();
    message(of, of.name, raw, &mut object, MAX_DEPTH)?;
    object.insert("kind".to_owned(), kind.into());
    object.insert("apiVersion".to_owned(), api_version.into());
    Ok(object.into())
}

/// A field of a message: where its value goes.
#[derive(Clone, Copy)]
enum Target {
    /// A field of this name.
    Field(&'static str),
    /// The message's fields are the object's own.
    Inline(&'static str),
}

static NUMBERS: LazyLock<HashMap<&'static str, HashMap<u64, Target>>> =
    LazyLock::new(|| read_numbers(include_str!("../data/protobuf.txt")));

fn read_numbers(text: &'static str) -> HashMap<&'static str, HashMap<u64, Target>> {
    let mut types: HashMap<_, HashMap<_, _>> = HashMap::new();
    let mut current = "";
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let Some((number, name)) = line.strip_prefix("  ").and_then(|field| field.split_once(' ')) else {
            current = line;
            types.entry(current).or_default();
            continue;
        };
        let target = name.strip_prefix('>').map_or(Target::Field(name), Target::Inline);
        if let (Ok(number), Some(fields)) = (number.parse(), types.get_mut(current)) {
            fields.insert(number, target);
        }
    }
    types
}

/// Reads a message whose numbers are `numbers`' into an object of type `of` (they differ for inlined messages).
fn message(of: &Type, numbers: &str, bytes: &[u8], object: &mut Map<String, Value>, depth: usize) -> Result<(), Error> {
    let depth = depth.checked_sub(1).ok_or(Error::TooDeep)?;
    let Some(targets) = NUMBERS.get(numbers) else { return Ok(()) };
    for field in Fields(bytes) {
        let (number, wire) = field?;
        match targets.get(&number) {
            None => {}
            Some(Target::Inline(inner)) => match wire {
                Wire::Bytes(bytes) => message(of, inner, bytes, object, depth)?,
                Wire::Number(_) => return Err(Error::WrongType((*inner).to_owned())),
            },
            Some(Target::Field(name)) => {
                if let Some(field) = of.field(name) {
                    put(name, &field.shape, wire, object, depth)?;
                }
            }
        }
    }
    Ok(())
}

/// Adds one occurrence of a field: lists and maps grow, of everything else the last one counts.
fn put(name: &str, shape: &Shape, wire: Wire<'_>, object: &mut Map<String, Value>, depth: usize) -> Result<(), Error> {
    match shape {
        Shape::List(of) => {
            let slot = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(items) = slot else { return Ok(()) };
            match (of.as_ref(), wire) {
                // Numbers may come packed.
                (Shape::Int32 | Shape::Int64, Wire::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        items.push(signed(varint(&mut packed)?).into());
                    }
                }
                (of, wire) => items.push(value(name, of, wire, depth)?),
            }
        }
        Shape::Map(of) => {
            let (key, entry) = map_entry(name, of, wire, depth)?;
            let slot = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = slot {
                map.insert(key, entry);
            }
        }
        shape => {
            let value = value(name, shape, wire, depth)?;
            object.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

fn map_entry(name: &str, of: &Shape, wire: Wire<'_>, depth: usize) -> Result<(String, Value), Error> {
    let Wire::Bytes(entry) = wire else { return Err(Error::WrongType(name.to_owned())) };
    let (mut key, mut found) = (String::new(), None);
    for field in Fields(entry) {
        match field? {
            (1, Wire::Bytes(text)) => key = utf8(text, name)?,
            (2, wire) => found = Some(wire),
            _ => {}
        }
    }
    let value = match (of, found) {
        // A list as a map's value is a message of one repeated field (authorization's ExtraValue).
        (Shape::List(of), Some(Wire::Bytes(list))) => {
            let items = Fields(list).map(|item| value(name, of, item?.1, depth)).collect::<Result<Vec<_>, _>>();
            Value::Array(items?)
        }
        (of, Some(wire)) => value(name, of, wire, depth)?,
        (Shape::Text | Shape::Bytes | Shape::Quantity, None) => Value::String(String::new()),
        (_, None) => Value::Null,
    };
    Ok((key, value))
}

/// One value of a shape that is neither list nor map.
fn value(name: &str, shape: &Shape, wire: Wire<'_>, depth: usize) -> Result<Value, Error> {
    match (shape, wire) {
        (Shape::Bool, Wire::Number(n)) => Ok((n != 0).into()),
        (Shape::Int32 | Shape::Int64, Wire::Number(n)) => Ok(signed(n).into()),
        (Shape::Text, Wire::Bytes(bytes)) => utf8(bytes, name).map(Value::String),
        (Shape::Bytes, Wire::Bytes(bytes)) => Ok(STANDARD.encode(bytes).into()),
        (Shape::Time, Wire::Bytes(bytes)) => time(bytes, "%Y-%m-%dT%H:%M:%SZ"),
        (Shape::MicroTime, Wire::Bytes(bytes)) => time(bytes, "%Y-%m-%dT%H:%M:%S%.6fZ"),
        (Shape::Quantity, Wire::Bytes(bytes)) => match last(bytes, 1)? {
            Some(Wire::Bytes(text)) => utf8(text, name).map(Value::String),
            _ => Ok("0".into()),
        },
        (Shape::IntOrText, Wire::Bytes(bytes)) => int_or_text(bytes, name),
        (Shape::Any, Wire::Bytes(bytes)) => match last(bytes, 1)? {
            Some(Wire::Bytes(json)) => Ok(serde_json::from_slice(json).unwrap_or_default()),
            _ => Ok(Value::Null),
        },
        (Shape::Struct(_), Wire::Bytes(bytes)) => {
            let mut object = Map::new();
            if let Some(of) = shape.as_struct() {
                message(of, of.name, bytes, &mut object, depth)?;
            }
            Ok(object.into())
        }
        _ => Err(Error::WrongType(name.to_owned())),
    }
}

/// Seconds and nanoseconds; an empty message is no time.
fn time(bytes: &[u8], format: &str) -> Result<Value, Error> {
    let number = |at| -> Result<i64, Error> {
        Ok(match last(bytes, at)? {
            Some(Wire::Number(n)) => signed(n),
            _ => 0,
        })
    };
    let (seconds, nanos) = (number(1)?, number(2)?);
    if seconds == 0 && nanos == 0 {
        return Ok(Value::Null);
    }
    let nanos = i32::try_from(nanos).map_err(|_| Error::Malformed("a time's nanoseconds"))?;
    let at = Timestamp::new(seconds, nanos).map_err(|_| Error::Malformed("a time out of range"))?;
    Ok(at.strftime(format).to_string().into())
}

fn int_or_text(bytes: &[u8], name: &str) -> Result<Value, Error> {
    let is_text = matches!(last(bytes, 1)?, Some(Wire::Number(1)));
    match last(bytes, if is_text { 3 } else { 2 })? {
        Some(Wire::Bytes(text)) => utf8(text, name).map(Value::String),
        Some(Wire::Number(n)) => Ok(signed(n).into()),
        None => Ok(if is_text { "".into() } else { 0.into() }),
    }
}

/// The last occurrence of a field.
fn last(bytes: &[u8], number: u64) -> Result<Option<Wire<'_>>, Error> {
    let mut found = None;
    for field in Fields(bytes) {
        let (at, wire) = field?;
        if at == number {
            found = Some(wire);
        }
    }
    Ok(found)
}

fn utf8(bytes: &[u8], name: &str) -> Result<String, Error> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::Text(name.to_owned()))
}

/// Protobuf writes int32 and int64 as two's complement of 64 bits.
fn signed(n: u64) -> i64 {
    n.cast_signed()
}

/// A field's value on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wire<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

/// The fields of a message, one after the other; ends after the first error.
pub(crate) struct Fields<'b>(pub(crate) &'b [u8]);

impl<'b> Iterator for Fields<'b> {
    type Item = Result<(u64, Wire<'b>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'b> Fields<'b> {
    fn field(&mut self) -> Result<(u64, Wire<'b>), Error> {
        let tag = varint(&mut self.0)?;
        let wire = match tag & 7 {
            0 => Wire::Number(varint(&mut self.0)?),
            1 => Wire::Bytes(self.take(8)?),
            2 => {
                let length = varint(&mut self.0)?;
                Wire::Bytes(self.take(usize::try_from(length).map_err(|_| Error::Truncated)?)?)
            }
            5 => Wire::Bytes(self.take(4)?),
            _ => return Err(Error::Malformed("an unknown wire type")),
        };
        Ok((tag >> 3, wire))
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Error> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(Error::Truncated)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Error::Malformed("a number of more than 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use remora_model::canonical::canonicalize;

    /// What Go has written: each object in both forms.
    fn samples() -> Vec<(Vec<u8>, Value)> {
        let list: Vec<Value> = serde_json::from_str(include_str!("../tests/data/protobuf.json")).unwrap();
        list.into_iter().map(|sample| (bytes(sample["hex"].as_str().unwrap()), sample["object"].clone())).collect()
    }

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn what_go_writes_is_read_as_its_json() {
        for (bytes, expected) in samples() {
            let object = decode(&bytes).unwrap();
            let of = type_of(object["kind"].as_str().unwrap()).unwrap();
            let canonical = |value| canonicalize(of, value).unwrap();
            let read = canonical(object);
            assert_eq!(read.value, canonical(expected).value);
            assert!(read.unknown.is_empty(), "{:?}", read.unknown);
        }
    }

    #[test]
    fn every_numbered_field_is_in_the_table_of_types() {
        for (name, fields) in NUMBERS.iter() {
            let Some(of) = type_of(name) else { continue };
            for target in fields.values() {
                if let Target::Field(field) = target {
                    assert!(of.field(field).is_some(), "{name}.{field}");
                }
            }
        }
    }

    #[test]
    fn what_is_cut_or_of_another_kind_is_refused() {
        for (bytes, _) in samples() {
            for end in 0..bytes.len() {
                // A prefix may be a message of its own; it must not panic, and never be taken without its magic.
                assert!(decode(&bytes[..end]).is_err() || end > MAGIC.len());
            }
        }
        assert_eq!(decode(b"{}"), Err(Error::Magic));
        assert_eq!(decode(b"k8s\0\x0a\x04\x12\x02No"), Err(Error::UnknownKind("No".into())));
        assert_eq!(decode(b"k8s\0\x0a\xff\xff\xff\xff\x0f"), Err(Error::Truncated));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn no_bytes_make_it_panic(at in 0usize..400, byte: u8, sample in 0usize..8) {
            let (mut bytes, _) = samples().swap_remove(sample);
            let place = MAGIC.len() + at % (bytes.len() - MAGIC.len());
            bytes[place] = byte;
            let _read_or_refused = decode(&bytes);
        }
    }
}
