//! What the kinds look like: `/openapi/v2` and `/openapi/v3`, made from k8s-openapi's schemas on first request and kept.
//! [`schemas`] makes the definitions, [`paths`] the operations, [`metrics`] has those that k8s-openapi lacks, [`gnostic`] writes the 2.0 document as protobuf.

mod gnostic;
mod metrics;
mod paths;
mod schemas;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use http::{HeaderMap, Response, StatusCode};
use remora_http::Body;
use remora_model::kinds::KINDS;
use remora_model::{Kind, Status};
use serde_json::{Map, Value, json};

use crate::discovery::{Document, VERSION};
use crate::request::OpenApi;
use crate::request::media::JSON;
use crate::{encode, response};

/// Which dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// Swagger 2.0
    V2,
    /// OpenAPI 3.0
    V3,
}

/// The documents.
#[derive(Debug, Default)]
pub struct Schemas {
    v2: OnceLock<Document>,
    v2_protobuf: OnceLock<Document>,
    v3: OnceLock<BTreeMap<String, Document>>,
}

impl Schemas {
    fn v2(&self) -> &Document {
        self.v2.get_or_init(|| Document::new(encode::json(&document(Dialect::V2, &all_kinds()))))
    }

    fn v2_protobuf(&self) -> &Document {
        let make = || gnostic::encode(&document(Dialect::V2, &all_kinds()));
        self.v2_protobuf.get_or_init(|| Document::new(make().into()))
    }

    /// One document for each group and version, by its path below `/openapi/v3/`.
    fn v3(&self) -> &BTreeMap<String, Document> {
        self.v3.get_or_init(|| {
            let mut documents = BTreeMap::new();
            for kind in KINDS {
                let make = || Document::new(encode::json(&document(Dialect::V3, &kinds_of(kind.group, kind.version))));
                documents.entry(place(kind.group, kind.version)).or_insert_with(make);
            }
            documents
        })
    }
}

fn all_kinds() -> Vec<&'static Kind> {
    KINDS.iter().collect()
}

fn kinds_of(group: &str, version: &str) -> Vec<&'static Kind> {
    KINDS.iter().filter(|k| k.group == group && k.version == version).collect()
}

/// `api/v1`, `apis/GROUP/VERSION`
fn place(group: &str, version: &str) -> String {
    match group {
        "" => format!("api/{version}"),
        group => format!("apis/{group}/{version}"),
    }
}

/// gnostic's protobuf. kubectl asks for it by the older name, in which `@` may not stand: it can ask so, but not read it in an answer.
const PROTOBUF_V2: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const OLD_PROTOBUF_V2: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// Whether the client wants protobuf, naming it before JSON.
fn wants_protobuf(accept: &str) -> bool {
    let mut media = accept.split(',').map(|clause| clause.split(';').next().unwrap_or_default().trim());
    let known = media.find(|media| [JSON, "*/*", PROTOBUF_V2, OLD_PROTOBUF_V2].contains(media));
    known.is_some_and(|media| media == PROTOBUF_V2 || media == OLD_PROTOBUF_V2)
}

/// An OpenAPI document.
///
/// # Errors
/// 406 if none of its forms is accepted: JSON, and of `/openapi/v2` also protobuf.
pub fn answer(schemas: &Schemas, what: &OpenApi, accept: &str, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    if *what == OpenApi::V2 && wants_protobuf(accept) {
        return Ok(schemas.v2_protobuf().answer(headers, PROTOBUF_V2));
    }
    let accepts_json = accept.is_empty() || ["json", "*/*", "application/*"].iter().any(|w| accept.contains(w));
    if !accepts_json {
        return Err(Status::not_acceptable(&[JSON]));
    }
    match what {
        OpenApi::V2 => Ok(schemas.v2().answer(headers, JSON)),
        OpenApi::V3Index => Ok(response::json(StatusCode::OK, &index(schemas.v3()))),
        OpenApi::V3(group, version) => {
            let document = schemas.v3().get(&place(group, version)).ok_or_else(Status::no_such_resource)?;
            Ok(document.answer(headers, JSON))
        }
    }
}

fn index(documents: &BTreeMap<String, Document>) -> Value {
    let url = |place: &str, hash: &str| json!({"serverRelativeURL": format!("/openapi/v3/{place}?hash={hash}")});
    let paths: Map<String, Value> =
        documents.iter().map(|(place, document)| (place.clone(), url(place, &document.hash))).collect();
    json!({ "paths": paths })
}

fn document(dialect: Dialect, kinds: &[&'static Kind]) -> Value {
    let definitions = schemas::definitions(dialect, kinds);
    let paths = paths::of(dialect, kinds);
    let info = json!({"title": "Kubernetes", "version": VERSION});
    match dialect {
        Dialect::V2 => json!({"swagger": "2.0", "info": info, "paths": paths, "definitions": definitions}),
        Dialect::V3 => {
            json!({"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": definitions}})
        }
    }
}
