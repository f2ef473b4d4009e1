//! The 2.0 document as protobuf: gnostic's `openapi.v2.Document` (github.com/google/gnostic-models `openapiv2/OpenAPIv2.proto`), the one
//! form of `/openapi/v2` that kubectl up to 1.28 takes. Pure. Made from the JSON document by tables of field numbers: what a message has
//! and our documents do not is not in them, and a test holds that nothing of a document is lost. Called by [`super::Schemas`].

use serde_json::{Map, Value};

/// A message: its fields by their JSON names.
struct Message {
    fields: &'static [(&'static str, u64, Shape)],
    /// Where all other members go, each as a pair of name and value; extensions (`x-…`) do not count.
    named: Option<(u64, &'static Shape)>,
    /// Where extensions go, each as a pair of name and YAML.
    extensions: Option<u64>,
}

/// How a JSON value is written.
enum Shape {
    Text,
    Flag,
    /// gnostic's `Any`: the value's text.
    Yaml,
    Message(&'static Message),
    /// A repeated field.
    List(&'static Shape),
    /// The value is the only field, of this number, of a message around it.
    Inside(u64, &'static Shape),
    /// `additionalProperties`: a schema, or whether there may be any.
    SchemaOrFlag,
    /// A parameter: each place that it can be in has a message of its own.
    Parameter,
}

const PLAIN: Message = Message { fields: &[], named: None, extensions: None };

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, Shape::Text),
        ("info", 2, Shape::Message(&INFO)),
        ("paths", 8, Shape::Message(&PATHS)),
        ("definitions", 9, Shape::Message(&SCHEMAS)),
    ],
    ..PLAIN
};

static INFO: Message = Message { fields: &[("title", 1, Shape::Text), ("version", 2, Shape::Text)], ..PLAIN };

static PATHS: Message = Message { named: Some((2, &Shape::Message(&PATH_ITEM))), ..PLAIN };

static PATH_ITEM: Message = Message {
    fields: &[
        ("get", 2, Shape::Message(&OPERATION)),
        ("put", 3, Shape::Message(&OPERATION)),
        ("post", 4, Shape::Message(&OPERATION)),
        ("delete", 5, Shape::Message(&OPERATION)),
        ("patch", 8, Shape::Message(&OPERATION)),
        ("parameters", 9, Shape::List(&Shape::Parameter)),
    ],
    ..PLAIN
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, Shape::List(&Shape::Text)),
        ("operationId", 5, Shape::Text),
        ("parameters", 8, Shape::List(&Shape::Parameter)),
        ("responses", 9, Shape::Message(&RESPONSES)),
    ],
    extensions: Some(13),
    ..PLAIN
};

/// `PathParameterSubSchema`, inside `Parameter` and `NonBodyParameter`.
static IN_PATH: Shape = Shape::Inside(1, &Shape::Inside(2, &Shape::Inside(4, &Shape::Message(&PATH_PARAMETER))));
/// `QueryParameterSubSchema`, likewise.
static IN_QUERY: Shape = Shape::Inside(1, &Shape::Inside(2, &Shape::Inside(3, &Shape::Message(&QUERY_PARAMETER))));

static PATH_PARAMETER: Message = Message {
    fields: &[("required", 1, Shape::Flag), ("in", 2, Shape::Text), ("name", 4, Shape::Text), ("type", 5, Shape::Text)],
    ..PLAIN
};

static QUERY_PARAMETER: Message = Message {
    fields: &[("required", 1, Shape::Flag), ("in", 2, Shape::Text), ("name", 4, Shape::Text), ("type", 6, Shape::Text)],
    ..PLAIN
};

static RESPONSES: Message = Message { named: Some((1, &Shape::Inside(1, &Shape::Message(&RESPONSE)))), ..PLAIN };

static RESPONSE: Message = Message {
    fields: &[("description", 1, Shape::Text), ("schema", 2, Shape::Inside(1, &Shape::Message(&SCHEMA)))],
    ..PLAIN
};

/// `Definitions` and `Properties`.
static SCHEMAS: Message = Message { named: Some((1, &Shape::Message(&SCHEMA))), ..PLAIN };

static A_SCHEMA: Shape = Shape::Message(&SCHEMA);

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, Shape::Text),
        ("format", 2, Shape::Text),
        ("description", 4, Shape::Text),
        ("default", 5, Shape::Yaml),
        ("required", 19, Shape::List(&Shape::Text)),
        ("additionalProperties", 21, Shape::SchemaOrFlag),
        ("type", 22, Shape::Inside(1, &Shape::Text)),
        ("items", 23, Shape::Inside(1, &Shape::Message(&SCHEMA))),
        ("properties", 25, Shape::Message(&SCHEMAS)),
    ],
    extensions: Some(31),
    ..PLAIN
};

/// A 2.0 document as protobuf.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 << 20);
    if let Value::Object(members) = document {
        DOCUMENT.write(&mut out, members);
    }
    out
}

impl Message {
    fn write(&self, out: &mut Vec<u8>, members: &Map<String, Value>) {
        for (name, value) in members {
            match self.place(name) {
                Some(Place::Field(number, shape)) => shape.write(out, number, value),
                Some(Place::Named(number, shape)) => pair(out, number, name, shape, value),
                None => {}
            }
        }
    }

    fn place(&self, name: &str) -> Option<Place> {
        if let Some((_, number, shape)) = self.fields.iter().find(|(field, ..)| *field == name) {
            return Some(Place::Field(*number, shape));
        }
        let is_extension = name.starts_with("x-");
        let named = self.named.filter(|_| !is_extension);
        let extension = self.extensions.filter(|_| is_extension).map(|number| (number, &Shape::Yaml));
        named.or(extension).map(|(number, shape)| Place::Named(number, shape))
    }
}

/// Where a member of a JSON object goes.
enum Place {
    /// A field of its own.
    Field(u64, &'static Shape),
    /// A repeated field of names and values.
    Named(u64, &'static Shape),
}

impl Shape {
    fn write(&self, out: &mut Vec<u8>, number: u64, value: &Value) {
        match (self, value) {
            (Self::Text, Value::String(text)) => bytes(out, number, text.as_bytes()),
            (Self::Flag, Value::Bool(flag)) => {
                varint(out, number << 3);
                varint(out, u64::from(*flag));
            }
            (Self::Yaml, value) => message(out, number, |out| bytes(out, 2, value.to_string().as_bytes())),
            (Self::Message(of), Value::Object(members)) => message(out, number, |out| of.write(out, members)),
            (Self::List(of), Value::Array(items)) => items.iter().for_each(|item| of.write(out, number, item)),
            (Self::Inside(inner, of), value) => message(out, number, |out| of.write(out, *inner, value)),
            (Self::SchemaOrFlag, Value::Bool(_)) => Self::Inside(2, &Self::Flag).write(out, number, value),
            (Self::SchemaOrFlag, _) => Self::Inside(1, &A_SCHEMA).write(out, number, value),
            (Self::Parameter, value) => {
                let shape = if value["in"] == "path" { &IN_PATH } else { &IN_QUERY };
                shape.write(out, number, value);
            }
            // A document of ours has no such value; a test says so.
            _ => {}
        }
    }
}

fn pair(out: &mut Vec<u8>, number: u64, name: &str, shape: &Shape, value: &Value) {
    message(out, number, |out| {
        bytes(out, 1, name.as_bytes());
        shape.write(out, 2, value);
    });
}

fn message(out: &mut Vec<u8>, number: u64, write: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    write(&mut inner);
    bytes(out, number, &inner);
}

fn bytes(out: &mut Vec<u8>, number: u64, of: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, of.len() as u64);
    out.extend_from_slice(of);
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openapi::{Dialect, all_kinds, document};
    use crate::protobuf::{Fields, Wire};
    use serde_json::json;

    /// Reads a message back by the same tables, into the JSON that it was.
    fn read(of: &Message, bytes: &[u8]) -> Value {
        let mut members = Map::new();
        for field in Fields(bytes) {
            let (number, wire) = field.unwrap();
            if let Some((name, _, shape)) = of.fields.iter().find(|(_, at, _)| *at == number) {
                put(&mut members, name, shape, wire);
                continue;
            }
            let Wire::Bytes(pair) = wire else { panic!("field {number} is no pair") };
            let mut parts = Fields(pair);
            let (_, Wire::Bytes(name)) = parts.next().unwrap().unwrap() else { panic!("a pair without a name") };
            let name = std::str::from_utf8(name).unwrap();
            let shape = if name.starts_with("x-") { &Shape::Yaml } else { of.named.unwrap().1 };
            put(&mut members, name, shape, parts.next().unwrap().unwrap().1);
        }
        members.into()
    }

    fn put(members: &mut Map<String, Value>, name: &str, shape: &Shape, wire: Wire<'_>) {
        match shape {
            Shape::List(of) => {
                let items = members.entry(name).or_insert_with(|| json!([]));
                items.as_array_mut().unwrap().push(read_value(of, wire));
            }
            shape => {
                members.insert(name.to_owned(), read_value(shape, wire));
            }
        }
    }

    fn read_value(shape: &Shape, wire: Wire<'_>) -> Value {
        let first = |bytes| Fields(bytes).next().unwrap().unwrap();
        match (shape, wire) {
            (Shape::Flag, Wire::Number(n)) => (n == 1).into(),
            (Shape::Text, Wire::Bytes(text)) => std::str::from_utf8(text).unwrap().into(),
            (Shape::Yaml, Wire::Bytes(any)) => match first(any) {
                (2, Wire::Bytes(yaml)) => serde_json::from_slice(yaml).unwrap(),
                other => panic!("{other:?}"),
            },
            (Shape::Message(of), Wire::Bytes(bytes)) => read(of, bytes),
            (Shape::Inside(number, of), Wire::Bytes(bytes)) => {
                let (at, wire) = first(bytes);
                assert_eq!(at, *number);
                read_value(of, wire)
            }
            (Shape::SchemaOrFlag, Wire::Bytes(bytes)) => match first(bytes) {
                (1, schema) => read_value(&Shape::Message(&SCHEMA), schema),
                (_, flag) => read_value(&Shape::Flag, flag),
            },
            (Shape::Parameter, Wire::Bytes(item)) => {
                let (_, Wire::Bytes(parameter)) = first(item) else { panic!("no parameter") };
                let (_, Wire::Bytes(non_body)) = first(parameter) else { panic!("no parameter") };
                match first(non_body) {
                    (4, wire) => read_value(&Shape::Message(&PATH_PARAMETER), wire),
                    (_, wire) => read_value(&Shape::Message(&QUERY_PARAMETER), wire),
                }
            }
            (_, wire) => panic!("{wire:?}"),
        }
    }

    /// Where two values first differ; protobuf does not tell an empty list from none.
    fn difference(path: &str, got: &Value, expected: &Value) -> Option<String> {
        match (got, expected) {
            (Value::Null, Value::Array(items)) if items.is_empty() => None,
            (Value::Object(a), Value::Object(b)) => a
                .keys()
                .chain(b.keys())
                .find_map(|name| difference(&format!("{path}/{name}"), &got[name.as_str()], &expected[name.as_str()])),
            (a, b) => (a != b).then(|| format!("{path}: {a} instead of {b}")),
        }
    }

    #[test]
    fn nothing_of_our_document_is_lost() {
        let document = document(Dialect::V2, &all_kinds());
        assert_eq!(difference("", &read(&DOCUMENT, &encode(&document)), &document), None);
    }

    #[test]
    fn a_small_document_is_written_as_the_proto_file_numbers_it() {
        let document = json!({"definitions": {"A": {"type": "object", "x-y": [1]}}});
        let extension = b"\xfa\x01\x0c\x0a\x03x-y\x12\x05\x12\x03[1]";
        let schema = [b"\xb2\x01\x08\x0a\x06object".as_slice(), extension].concat();
        let expected = [b"\x4a\x21\x0a\x1f\x0a\x01A\x12\x1a".as_slice(), &schema].concat();
        assert_eq!(encode(&document), expected);
    }
}
