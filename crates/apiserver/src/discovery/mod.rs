//! What there is: `/`, `/api`, `/apis` and below, in the old form and aggregated; `/version`. Everything is read from the
//! table of kinds. Documents do not change while we run, so the large ones are made once, on first request.

mod aggregated;
mod plain;

use std::sync::OnceLock;

use bytes::Bytes;
use http::header::{ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, Response, StatusCode};
use remora_http::{Body, body};
use remora_model::Status;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::request::{Discovery, media};
use crate::{encode, response};

/// The Kubernetes version that we are; what clients compare with.
pub const VERSION: &str = "v1.34.4";

/// A document and its hash.
#[derive(Clone, Debug)]
pub struct Document {
    /// JSON, or protobuf.
    pub bytes: Bytes,
    /// SHA-256 of it, in hexadecimal digits.
    pub hash: String,
}

impl Document {
    /// Of any bytes.
    pub fn new(bytes: Bytes) -> Self {
        let hash = Sha256::digest(&bytes).iter().map(|b| format!("{b:02X}")).collect();
        Self { bytes, hash }
    }

    /// The document, or 304 if the client has it.
    pub fn answer(&self, headers: &HeaderMap, content_type: &'static str) -> Response<Body> {
        let tag = format!("\"{}\"", self.hash);
        let has = headers.get_all(IF_NONE_MATCH).iter().any(|v| v.as_bytes() == tag.as_bytes());
        let (code, body) = match has {
            true => (StatusCode::NOT_MODIFIED, body::empty()),
            false => (StatusCode::OK, body::full(self.bytes.clone())),
        };
        let mut response = response::with_type(code, content_type, body);
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            response.headers_mut().insert(ETAG, tag);
        }
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        response
    }
}

/// The aggregated documents: of the core group and of the others, each in `v2` and `v2beta1`.
#[derive(Debug, Default)]
pub struct Documents {
    made: [OnceLock<Document>; 4],
}

impl Documents {
    fn aggregated(&self, is_core: bool, version: &'static str) -> &Document {
        let at = usize::from(is_core) + if version == "v2" { 2 } else { 0 };
        self.made[at].get_or_init(|| Document::new(encode::json(&aggregated::groups(is_core, version))))
    }
}

/// A discovery document.
///
/// # Errors
/// 404 for a group or version that is not there.
pub fn answer(
    documents: &Documents,
    what: &Discovery,
    accept: &str,
    headers: &HeaderMap,
) -> Result<Response<Body>, Status> {
    let aggregated = media::aggregated_discovery(accept);
    let value = match what {
        Discovery::Core | Discovery::Groups if aggregated.is_some() => {
            let version = aggregated.unwrap_or("v2");
            let document = documents.aggregated(*what == Discovery::Core, version);
            return Ok(document.answer(headers, aggregated::content_type(version)));
        }
        Discovery::Paths => plain::paths(),
        Discovery::Core => plain::core_versions(),
        Discovery::Groups => plain::groups(),
        Discovery::Group(name) => plain::group(name).ok_or_else(Status::no_such_resource)?,
        Discovery::Resources(group, version) => plain::resources(group, version),
    };
    Ok(response::json(StatusCode::OK, &value))
}

/// `/version`
pub fn version() -> Response<Body> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let value = json!({
        "major": "1",
        "minor": "34",
        "emulationMajor": "1",
        "emulationMinor": "34",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "33",
        "gitVersion": VERSION,
        "gitCommit": concat!("remora-", env!("CARGO_PKG_VERSION")),
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("linux/{arch}"),
    });
    response::json(StatusCode::OK, &value)
}
