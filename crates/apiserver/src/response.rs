//! Answers: bytes, values and Statuses as HTTP responses. Knows nothing of what is in them.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use remora_http::{Body, body};
use remora_model::Status;

use crate::encode;
use crate::request::Encoding;
use crate::request::media::{JSON, YAML};

/// Audit annotations and warnings of unknown fields travel here (RFC 7234, section 5.5).
const WARNING: HeaderName = HeaderName::from_static("warning");

/// Bytes of JSON.
pub fn json_bytes(code: StatusCode, bytes: impl Into<Bytes>) -> Response<Body> {
    with_type(code, JSON, body::full(bytes))
}

/// A value as JSON.
pub fn json(code: StatusCode, value: &(impl serde::Serialize + ?Sized)) -> Response<Body> {
    json_bytes(code, encode::json(value))
}

/// Plain text.
pub fn text(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    with_type(code, "text/plain; charset=utf-8", body::full(text))
}

/// JSON in what the client wants it in.
pub fn encoded(code: StatusCode, bytes: Bytes, encoding: Encoding) -> Result<Response<Body>, Status> {
    match encoding {
        Encoding::Json => Ok(json_bytes(code, bytes)),
        Encoding::Yaml => {
            let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(Status::internal)?;
            let text = serde_norway::to_string(&value).map_err(Status::internal)?;
            Ok(with_type(code, YAML, body::full(text)))
        }
    }
}

/// A Status.
pub fn status(status: &Status) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(code, status);
    // For the audit log.
    response.extensions_mut().insert(status.clone());
    let retry = status.details.as_ref().map_or(0, |d| d.retry_after_seconds);
    if retry > 0 {
        response.headers_mut().insert(RETRY_AFTER, retry.into());
    }
    response
}

/// A body of any type. Nothing that an API server says may be cached by others.
pub fn with_type(code: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Adds `299` warnings, one header each.
pub fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted_as_recorded() {
        let mut response = text(StatusCode::OK, "");
        warn(&mut response, &["unknown field \"spec.x\"".to_owned()]);
        assert_eq!(response.headers()["warning"], "299 - \"unknown field \\\"spec.x\\\"\"");
    }
}
