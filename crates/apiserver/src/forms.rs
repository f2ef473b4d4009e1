//! The forms in which objects are answered: as stored, as rows of a table for people, as metadata only. Alone, in lists and
//! in watch events. Only tables decode. Called by the verbs.

use bytes::{BufMut, Bytes, BytesMut};
use http::{Response, StatusCode};
use jiff::Timestamp;
use remora_http::Body;
use remora_model::{Kind, Status};
use remora_rules::kinds::event;
use remora_rules::table::{self, IncludeObject};
use remora_store::Revision;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::encode::{self, Head};
use crate::request::Form;
use crate::response;
use crate::server::Call;
use crate::verbs::list::Page;

const META_VERSION: &str = "meta.k8s.io/v1";

/// Writes objects of one kind in one form.
pub struct Renderer {
    kind: &'static Kind,
    head: Head,
    form: Form,
    include: IncludeObject,
    now: Timestamp,
    /// Whether this kind is another view of objects that are stored as a first one.
    is_view: bool,
}

impl Renderer {
    /// How many forms are worth keeping on a watch event: the object, the usual table, metadata.
    pub const KEPT_FORMS: usize = 3;

    /// For what the request accepts.
    pub fn new(call: &Call, kind: &'static Kind) -> Self {
        Self {
            kind,
            head: Head::of(kind),
            form: call.accepted.form,
            include: IncludeObject::from_query(call.query.first("includeObject").unwrap_or_default()),
            now: call.state.now(),
            is_view: encode::storage_kind(kind) != kind,
        }
    }

    /// The place of this form among the kept ones; none if few will want it.
    pub fn kept_form(&self) -> Option<usize> {
        match (self.is_view, self.form, self.include) {
            (false, Form::Object, _) => Some(0),
            (false, Form::Table, IncludeObject::Metadata) => Some(1),
            (false, Form::Metadata, _) => Some(2),
            _ => None,
        }
    }

    /// Whether the form is a table.
    pub fn is_table(&self) -> bool {
        self.form == Form::Table
    }

    /// One object, standing alone.
    pub fn push(&self, out: &mut BytesMut, stored: &[u8], revision: Option<Revision>, columns: bool) {
        match self.form {
            Form::Object => self.push_object(out, stored, revision),
            Form::Metadata => push_metadata_object(out, stored, revision),
            Form::Table => {
                let metadata = revision.map_or(json!({}), |at| json!({"resourceVersion": at.to_string()}));
                self.open_table(out, &metadata, columns);
                self.push_row(out, stored, revision);
                out.put_slice(b"]}");
            }
        }
    }

    fn push_object(&self, out: &mut BytesMut, stored: &[u8], revision: Option<Revision>) {
        match (self.is_view, revision) {
            (false, Some(revision)) => self.head.push_object(out, stored, revision),
            (false, None) => out.put_slice(stored),
            (true, _) => encode::push_json(out, &event::from_stored(self.kind, decoded(stored, revision))),
        }
    }

    /// An object as an item of a list.
    fn push_item(&self, out: &mut BytesMut, stored: &[u8], revision: Revision) {
        match (self.form, self.is_view) {
            (Form::Table, _) => self.push_row(out, stored, Some(revision)),
            (Form::Metadata, _) => push_metadata_object(out, stored, Some(revision)),
            (Form::Object, false) => self.head.push_item(out, stored, revision),
            (Form::Object, true) => {
                let mut object = event::from_stored(self.kind, decoded(stored, Some(revision)));
                if let Some(map) = object.as_object_mut() {
                    map.remove("kind");
                    map.remove("apiVersion");
                }
                encode::push_json(out, &object);
            }
        }
    }

    fn open_table(&self, out: &mut BytesMut, metadata: &Value, columns: bool) {
        out.put_slice(b"{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":");
        encode::push_json(out, metadata);
        out.put_slice(b",\"columnDefinitions\":");
        let definitions = if columns { table::column_definitions(self.kind) } else { Value::Null };
        encode::push_json(out, &definitions);
        out.put_slice(b",\"rows\":[");
    }

    fn push_row(&self, out: &mut BytesMut, stored: &[u8], revision: Option<Revision>) {
        let object = decoded(stored, revision);
        let mut row = table::row(self.kind, &object, self.include, self.now);
        if self.is_view && self.include == IncludeObject::Object {
            row["object"] = event::from_stored(self.kind, object);
        }
        encode::push_json(out, &row);
    }

    /// An object that has nothing but this metadata, for bookmarks.
    pub fn bookmark(&self, metadata: Value) -> Value {
        match self.form {
            Form::Object => {
                json!({"kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata})
            }
            Form::Metadata => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": META_VERSION, "metadata": metadata})
            }
            Form::Table => {
                json!({"kind": "Table", "apiVersion": META_VERSION, "metadata": metadata, "columnDefinitions": null, "rows": []})
            }
        }
    }
}

fn decoded(stored: &[u8], revision: Option<Revision>) -> Value {
    match revision {
        Some(revision) => encode::decode_at(stored, revision),
        None => encode::decode(stored),
    }
}

fn push_metadata_object(out: &mut BytesMut, stored: &[u8], revision: Option<Revision>) {
    #[derive(Deserialize)]
    struct Only<'b> {
        #[serde(borrow)]
        metadata: &'b RawValue,
    }
    out.put_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{");
    let parsed = serde_json::from_slice::<Only<'_>>(stored);
    let metadata = parsed.as_ref().map_or("{}", |only| only.metadata.get());
    let fields = metadata.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
    if let Some(revision) = revision {
        out.put_slice(format!("\"resourceVersion\":\"{revision}\"").as_bytes());
        if !fields.is_empty() {
            out.put_u8(b',');
        }
    }
    out.put_slice(fields.as_bytes());
    out.put_slice(b"}}");
}

/// One object, as the client wants it.
///
/// # Errors
/// If it cannot be written so.
pub fn answer(
    call: &Call,
    code: StatusCode,
    kind: &'static Kind,
    stored: &[u8],
    revision: Option<Revision>,
) -> Result<Response<Body>, Status> {
    let mut out = BytesMut::with_capacity(stored.len() + 64);
    Renderer::new(call, kind).push(&mut out, stored, revision, true);
    response::encoded(code, out.freeze(), call.accepted.encoding)
}

/// A page of a collection, as the client wants it.
///
/// # Errors
/// If it cannot be written so.
pub fn answer_list(call: &Call, kind: &'static Kind, page: &Page) -> Result<Response<Body>, Status> {
    let renderer = Renderer::new(call, kind);
    let size: usize = page.items.iter().map(|kv| kv.value.len() + 32).sum();
    let mut out = BytesMut::with_capacity(size + 256);
    let metadata = list_metadata(page);
    match renderer.form {
        Form::Table => renderer.open_table(&mut out, &metadata, true),
        Form::Object => open_list(&mut out, &kind.list_kind(), &kind.api_version(), &metadata),
        Form::Metadata => open_list(&mut out, "PartialObjectMetadataList", META_VERSION, &metadata),
    }
    for (at, kv) in page.items.iter().enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        renderer.push_item(&mut out, &kv.value, kv.mod_revision);
    }
    out.put_slice(b"]}");
    let bytes: Bytes = out.freeze();
    response::encoded(StatusCode::OK, bytes, call.accepted.encoding)
}

fn list_metadata(page: &Page) -> Value {
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let Some(token) = &page.continues {
        metadata["continue"] = token.as_str().into();
    }
    if let Some(left) = page.remaining.filter(|n| *n > 0) {
        metadata["remainingItemCount"] = left.into();
    }
    metadata
}

fn open_list(out: &mut BytesMut, kind: &str, api_version: &str, metadata: &Value) {
    out.put_slice(format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":").as_bytes());
    encode::push_json(out, metadata);
    out.put_slice(b",\"items\":[");
}
