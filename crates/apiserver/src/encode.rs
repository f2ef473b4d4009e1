//! Objects as bytes: how they are stored, and the splices that make an answer of stored bytes without decoding them.
//! Pure. An object is stored as `{"kind":K,"apiVersion":V,"metadata":{…},…}` without `metadata.resourceVersion`, which the
//! store assigns; kind and version stand first, so that lists can leave them out.

use std::io::Write;

use bytes::{BufMut, Bytes, BytesMut};
use remora_model::Kind;
use remora_model::kinds::{KINDS, Storage};
use remora_store::Revision;
use serde_json::{Map, Value};

/// The head of every stored object of one kind.
#[derive(Clone, Debug)]
pub struct Head {
    /// `{"kind":"Pod","apiVersion":"v1",`
    type_meta: String,
}

/// What follows the type.
const METADATA: &[u8] = b"\"metadata\":{";

impl Head {
    /// Of a kind.
    pub fn of(kind: &Kind) -> Self {
        Self { type_meta: format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",", kind.kind, kind.api_version()) }
    }

    /// What follows `"metadata":{` in stored bytes of this kind; none if they are of another kind.
    fn tail<'b>(&self, stored: &'b [u8]) -> Option<&'b [u8]> {
        stored.strip_prefix(self.type_meta.as_bytes())?.strip_prefix(METADATA)
    }

    /// The object as it is answered alone. Bytes that are not of this kind are none of ours: they are given back as they are.
    pub fn object(&self, stored: &[u8], revision: Revision) -> Bytes {
        let mut out = BytesMut::with_capacity(stored.len() + 40);
        self.push_object(&mut out, stored, revision);
        out.freeze()
    }

    /// The same, at the end of `out`.
    pub fn push_object(&self, out: &mut BytesMut, stored: &[u8], revision: Revision) {
        match self.tail(stored) {
            Some(tail) => {
                out.extend_from_slice(self.type_meta.as_bytes());
                push_metadata(out, tail, revision);
            }
            None => out.extend_from_slice(stored),
        }
    }

    /// The object as it stands in a list: without kind and version.
    pub fn push_item(&self, out: &mut BytesMut, stored: &[u8], revision: Revision) {
        match self.tail(stored) {
            Some(tail) => {
                out.put_u8(b'{');
                push_metadata(out, tail, revision);
            }
            None => out.extend_from_slice(stored),
        }
    }
}

fn push_metadata(out: &mut BytesMut, tail: &[u8], revision: Revision) {
    out.extend_from_slice(METADATA);
    // Writing to a BytesMut cannot fail.
    let _ = write!(out.writer(), "\"resourceVersion\":\"{revision}\"");
    if tail.first() != Some(&b'}') {
        out.put_u8(b',');
    }
    out.extend_from_slice(tail);
}

/// The kind as which objects of a kind are stored: of two views of the same objects, the first in the table.
pub fn storage_kind(kind: &'static Kind) -> &'static Kind {
    let is_first = |k: &&Kind| k.storage == kind.storage && k.storage != Storage::Virtual;
    KINDS.iter().find(is_first).unwrap_or(kind)
}

/// The bytes under which an object, which has its stored form, is stored.
pub fn stored(kind: &'static Kind, object: &Value) -> Bytes {
    let kind = storage_kind(kind);
    let mut out = BytesMut::with_capacity(4096);
    out.extend_from_slice(Head::of(kind).type_meta.as_bytes());
    out.extend_from_slice(b"\"metadata\":");
    push_json(&mut out, &Unversioned(object.get("metadata").and_then(Value::as_object)));
    let rest = object.as_object().into_iter().flatten();
    for (name, value) in rest.filter(|(name, _)| !["kind", "apiVersion", "metadata"].contains(&name.as_str())) {
        out.put_u8(b',');
        push_json(&mut out, name);
        out.put_u8(b':');
        push_json(&mut out, value);
    }
    out.put_u8(b'}');
    // It is kept for long: not with room to grow.
    Bytes::copy_from_slice(&out)
}

/// An object's metadata without its resourceVersion.
struct Unversioned<'a>(Option<&'a Map<String, Value>>);

impl serde::Serialize for Unversioned<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.into_iter().flatten().filter(|(name, _)| *name != "resourceVersion"))
    }
}

/// Any value as JSON at the end of `out`.
pub fn push_json(out: &mut BytesMut, value: &(impl serde::Serialize + ?Sized)) {
    // JSON values with string keys always serialize, and a BytesMut takes every byte.
    let _ = serde_json::to_writer(out.writer(), value);
}

/// Any value as JSON.
pub fn json(value: &(impl serde::Serialize + ?Sized)) -> Bytes {
    let mut out = BytesMut::with_capacity(256);
    push_json(&mut out, value);
    out.freeze()
}

/// A stored object as a value, without its resourceVersion. Null if the bytes are no JSON, which the store never holds.
pub fn decode(stored: &[u8]) -> Value {
    serde_json::from_slice(stored).unwrap_or_default()
}

/// The same with its resourceVersion.
pub fn decode_at(stored: &[u8], revision: Revision) -> Value {
    let mut value = decode(stored);
    set_revision(&mut value, revision);
    value
}

/// Sets an object's resourceVersion.
pub fn set_revision(object: &mut Value, revision: Revision) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), revision.to_string().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::kinds;
    use serde_json::json;

    #[test]
    fn a_revision_is_spliced_into_stored_bytes() {
        let kind = kinds::core("configmaps");
        let object = json!({"kind": "x", "apiVersion": "y", "data": {"a": "\"metadata\":{"}, "metadata": {"name": "n", "resourceVersion": "3"}});
        let bytes = stored(kind, &object);
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
        assert_eq!(
            text(&bytes),
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"n"},"data":{"a":"\"metadata\":{"}}"#
        );
        let head = Head::of(kind);
        assert_eq!(
            text(&head.object(&bytes, Revision(7))),
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"7","name":"n"},"data":{"a":"\"metadata\":{"}}"#
        );
        let mut item = BytesMut::new();
        head.push_item(&mut item, &bytes, Revision(7));
        assert_eq!(text(&item), r#"{"metadata":{"resourceVersion":"7","name":"n"},"data":{"a":"\"metadata\":{"}}"#);
        assert_eq!(
            decode_at(&bytes, Revision(7)),
            serde_json::from_slice::<Value>(&head.object(&bytes, Revision(7))).unwrap()
        );
    }

    #[test]
    fn empty_metadata_is_spliced_too() {
        let kind = kinds::core("configmaps");
        let bytes = stored(kind, &json!({}));
        let object = Head::of(kind).object(&bytes, Revision(2));
        assert_eq!(serde_json::from_slice::<Value>(&object).unwrap()["metadata"]["resourceVersion"], "2");
    }
}
