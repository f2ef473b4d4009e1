//! Bodies of requests: read within the limit, JSON, YAML or protobuf, into a bounded value. Called by the verbs that have one.

use bytes::Bytes;
use remora_http::{Body, ReadBodyError, read_body};
use remora_model::canonical::canonicalize;
use remora_model::json::{self, Limits, ParseError, Parsed};
use remora_model::schema::type_of;
use remora_model::{Kind, Status};
use remora_rules::decode::{self, Decoded, FieldValidation};
use remora_rules::kinds::event;
use remora_rules::object::set_default;
use serde_json::Value;

use crate::protobuf;
use crate::request::media::{self, BodyType};
use crate::server::{Call, MAX_BODY};

/// The bytes.
///
/// # Errors
/// 413 if there are too many, 400 if they did not come.
pub async fn read(body: Body) -> Result<Bytes, Status> {
    read_body(body, MAX_BODY).await.map_err(|error| match error {
        ReadBodyError::TooLarge { limit } => Status::too_large(limit),
        ReadBodyError::Broken(why) => Status::bad_request(format!("the body could not be read: {why}")),
    })
}

/// A value, as the content type says that it is written.
///
/// # Errors
/// 415 for another content type, 400 for what cannot be parsed.
pub fn parse(content_type: Option<&str>, bytes: &[u8]) -> Result<Parsed, Status> {
    match media::body_type(content_type)? {
        BodyType::Json => json::parse(bytes, Limits::OBJECT).map_err(|error| refused(&error)),
        BodyType::Yaml => parse_yaml(bytes),
        BodyType::Protobuf => {
            let value = protobuf::decode(bytes).map_err(|error| Status::bad_request(error.to_string()))?;
            Ok(Parsed { value, duplicates: Vec::new() })
        }
    }
}

fn refused(error: &ParseError) -> Status {
    match error {
        ParseError::TooLarge { limit } => Status::too_large(*limit),
        ParseError::Malformed(why) => {
            Status::bad_request(format!("couldn't get version/kind; json parse error: {why}"))
        }
    }
}

/// YAML is read as JSON is, within the same limits: what its aliases repeat counts each time, for its own parser does not bound it.
fn parse_yaml(bytes: &[u8]) -> Result<Parsed, Status> {
    let read = json::read(serde_norway::Deserializer::from_slice(bytes), Limits::OBJECT);
    read.map_err(|error| Status::bad_request(format!("error converting YAML to JSON: {error}")))
}

/// The object of a create or update, in its stored form with its defaults.
///
/// # Errors
/// As reading and parsing; 400 if it is of another kind or not strict enough.
pub async fn object(call: &Call, kind: &Kind, body: Body, validation: FieldValidation) -> Result<Decoded, Status> {
    let bytes = read(body).await?;
    let parsed = parse(call.content_type(), &bytes)?;
    let decoded = decode::body(kind, parsed, validation)?;
    call.trail.sent(&decoded.object);
    Ok(Decoded { object: event::to_stored(kind, decoded.object), ..decoded })
}

/// The body of a subresource that has a type of its own (`Binding`, `TokenRequest`), in canonical form.
///
/// # Errors
/// As reading and parsing; 400 if it is of another kind or has values of the wrong type, 405 if there is no such subresource.
pub async fn of_subresource(call: &Call, kind: &Kind, name: &str, body: Body) -> Result<Value, Status> {
    let part = kind.subresource(name).ok_or_else(Status::method_not_allowed)?;
    let mut value = typed(call.content_type(), &read(body).await?, part.kind)?;
    let version = match (part.group, part.version) {
        ("", "") => kind.api_version(),
        ("", version) => version.to_owned(),
        (group, version) => format!("{group}/{version}"),
    };
    set_default(&mut value, "kind", part.kind);
    set_default(&mut value, "apiVersion", version);
    call.trail.sent(&value);
    Ok(value)
}

/// A body of a type that is no kind of its own (`DeleteOptions`, `Binding`, `TokenRequest`), in canonical form.
///
/// # Errors
/// 400 if it is of another kind or has values of the wrong type.
pub fn typed(content_type: Option<&str>, bytes: &[u8], name: &str) -> Result<Value, Status> {
    let value = parse(content_type, bytes)?.value;
    let given = value.get("kind").and_then(Value::as_str).unwrap_or_default();
    if !given.is_empty() && given != name {
        return Err(Status::bad_request(format!("{given} cannot be handled as a {name}")));
    }
    let of = type_of(name).ok_or_else(|| Status::internal(format!("no type {name} in the schema")))?;
    let canonical = canonicalize(of, value);
    canonical.map(|canonical| canonical.value).map_err(|error| Status::bad_request(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: Option<&str> = Some("application/yaml");

    #[test]
    fn yaml_costs_what_its_aliases_stand_for() {
        let (ones, many) = (["1"; 1000].join(","), ["*a"; 1000].join(","));
        let nodes = format!("a: &a [{ones}]\nb: &b [{many}]\nc: [{}]\n", ["*b"; 220].join(","));
        let bytes = format!("a: &a {}\nb: [{}]\n", "x".repeat(1_500_000), ["*a"; 2000].join(","));
        for bomb in [nodes, bytes] {
            let refused = parse(YAML, bomb.as_bytes()).unwrap_err();
            assert_eq!(refused.code, 400);
            let why = "written out as JSON it would be larger than the limit of 3145728 bytes";
            assert!(refused.message.contains(why), "{}", refused.message);
        }
        let few = parse(YAML, b"a: &a [1, x]\nb: *a\n").unwrap();
        assert_eq!(few.value, serde_json::json!({"a": [1, "x"], "b": [1, "x"]}));
    }
}
