//! Answers, as the kubelet gives them: plain text, JSON, or a stream.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use remora_http::{Body, body};
use serde_json::Value;

/// A refusal, or an answer that is text.
pub(crate) fn text(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    with_type(code, "text/plain; charset=utf-8", body::full(text))
}

/// JSON.
pub(crate) fn json(value: &Value) -> Response<Body> {
    with_type(StatusCode::OK, "application/json", body::full(value.to_string()))
}

/// `404`, in the words of Go's mux.
pub(crate) fn no_page() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// Any body. Nobody on the way may keep what is said of a node.
pub(crate) fn with_type(code: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
