//! From a parsed body to an object of its kind: type and version checked, canonical form, unknown and duplicate fields
//! refused or warned of, defaults set. What patches make goes the same way, with upstream's other words for its errors.

use remora_model::canonical::{Canonical, canonicalize};
use remora_model::field::FieldError;
use remora_model::json::Parsed;
use remora_model::kinds::Kind;
use remora_model::schema::type_of;
use remora_model::status::Qualified;
use remora_model::text::quoted;
use remora_model::{Path, Status};
use serde_json::{Value, json};

use crate::object::{set, text};
use crate::strategy::strategy;

/// What happens to fields that are unknown or given twice: the query parameter `fieldValidation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    /// They are dropped.
    Ignore,
    /// They are dropped, with a warning.
    Warn,
    /// They are an error.
    Strict,
}

impl FieldValidation {
    /// Reads the query parameter; without one it is `Warn`.
    ///
    /// # Errors
    /// 422 for another word.
    pub fn from_query(word: &str) -> Result<Self, Status> {
        match word {
            "" | "Warn" => Ok(Self::Warn),
            "Ignore" => Ok(Self::Ignore),
            "Strict" => Ok(Self::Strict),
            other => {
                let supported = ["Ignore", "Strict", "Warn"];
                let error = FieldError::not_supported(&Path::new("fieldValidation"), other, &supported);
                Err(Status::invalid(Qualified::new("meta.k8s.io", "CreateOptions"), "", &[error]))
            }
        }
    }
}

/// An object of its kind, in canonical form, defaulted.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The object.
    pub object: Value,
    /// One `Warning` header each, `unknown field "spec.foo"`, bare: code and quotes are the header's.
    pub warnings: Vec<String>,
}

/// Decodes the body of a create or an update.
///
/// # Errors
/// 400 if it is of another kind or version, or has a value of the wrong type, or is not strict enough.
pub fn body(kind: &Kind, parsed: Parsed, validation: FieldValidation) -> Result<Decoded, Status> {
    check_kind(kind, &parsed.value)?;
    let given_kind = match text(&parsed.value, &["kind"]) {
        "" => kind.kind,
        given => given,
    }
    .to_owned();
    let version = kind.version;
    let refuse = |why: &str| {
        let message =
            format!("{given_kind} in version {} cannot be handled as a {}: {why}", quoted(version), kind.kind);
        Status::bad_request(message)
    };
    let canonical = canonical(kind, parsed.value).map_err(|why| refuse(&why))?;
    finish(kind, canonical, &parsed.duplicates, validation, refuse)
}

/// Decodes what a patch has made. `shown` is the patch as errors show it, `duplicates` what its body gave twice.
///
/// # Errors
/// 422 of no kind, about the field `patch`.
pub fn patched(
    kind: &Kind,
    value: Value,
    duplicates: &[String],
    shown: impl Fn() -> String,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    check_kind(kind, &value)?;
    let refuse = |why: &str| {
        let error = FieldError::invalid(&Path::new("patch"), shown(), why);
        Status::invalid(Qualified::core(""), "", &[error])
    };
    let canonical = canonical(kind, value).map_err(|why| refuse(&why))?;
    finish(kind, canonical, duplicates, validation, refuse)
}

/// Brings what a server-side apply has made into form, with its defaults.
///
/// # Errors
/// 500, as upstream, for a value that its type cannot hold.
pub fn applied(kind: &Kind, value: Value) -> Result<Value, Status> {
    let [namespace, name] = ["namespace", "name"].map(|field| text(&value, &["metadata", field]).to_owned());
    let gvk = format!("{}/{}, Kind={}", kind.group, kind.version, kind.kind);
    let refuse = |why: String| {
        let place = format!("failed to convert new object ({namespace}/{name}; {gvk}) to proper version");
        Status::unknown(format!("{place}: unable to convert unstructured object to {gvk}: {why}"))
    };
    let canonical = canonical(kind, value).map_err(&refuse)?;
    let ignored = finish(kind, canonical, &[], FieldValidation::Ignore, |why| refuse(why.to_owned()))?;
    Ok(ignored.object)
}

fn canonical(kind: &Kind, mut value: Value) -> Result<Canonical, String> {
    // No managers at all are another word for one that is nothing, which canonical form does not drop: both reset the managers.
    if let Some(Value::Array(managers)) = value.pointer_mut("/metadata/managedFields").filter(|m| **m == json!([])) {
        managers.push(json!({}));
    }
    let of = type_of(kind.schema).ok_or_else(|| format!("no type {} in the schema", kind.schema))?;
    canonicalize(of, value).map_err(|e| e.message)
}

fn finish(
    kind: &Kind,
    canonical: Canonical,
    duplicates: &[String],
    validation: FieldValidation,
    refuse: impl Fn(&str) -> Status,
) -> Result<Decoded, Status> {
    let duplicates = duplicates.iter().map(|path| format!("duplicate field {}", quoted(path)));
    let unknown = canonical.unknown.iter().map(|path| format!("unknown field {}", quoted(path)));
    let problems: Vec<String> = duplicates.chain(unknown).collect();
    if validation == FieldValidation::Strict && !problems.is_empty() {
        return Err(refuse(&format!("strict decoding error: {}", problems.join(", "))));
    }
    let mut object = canonical.value;
    set(&mut object, "kind", kind.kind.into());
    set(&mut object, "apiVersion", kind.api_version().into());
    if let Some(rules) = strategy(kind, "") {
        rules.set_defaults(&mut object);
    }
    let warnings = if validation == FieldValidation::Warn { problems } else { Vec::new() };
    Ok(Decoded { object, warnings })
}

/// A body may leave its kind and version out; given they must be those of the URL.
fn check_kind(kind: &Kind, value: &Value) -> Result<(), Status> {
    if !value.is_object() {
        return Err(Status::bad_request("couldn't get version/kind; json parse error: the body is not a JSON object"));
    }
    let (version, given) = (text(value, &["apiVersion"]), text(value, &["kind"]));
    let as_kind = kind.kind;
    if !version.is_empty() && version != kind.api_version() {
        let short = version.rsplit('/').next().unwrap_or(version);
        return Err(Status::bad_request(format!(
            "{} in version {} cannot be handled as a {as_kind}: no kind {} is registered for version {} here",
            if given.is_empty() { as_kind } else { given },
            quoted(short),
            quoted(if given.is_empty() { as_kind } else { given }),
            quoted(version),
        )));
    }
    if !given.is_empty() && given != as_kind {
        return Err(Status::bad_request(format!(
            "{given} in version {} cannot be handled as a {as_kind}: the kinds differ",
            quoted(kind.version),
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::json::{Limits, parse};
    use remora_model::kinds::core;

    fn decode(body_text: &str, validation: FieldValidation) -> Result<Decoded, Status> {
        let parsed = parse(body_text.as_bytes(), Limits::OBJECT).unwrap();
        body(core("configmaps"), parsed, validation)
    }

    #[test]
    fn unknown_and_duplicate_fields_are_dropped_warned_of_or_refused() {
        let text = r#"{"data":{"a":"1","a":"2"},"foo":1}"#;
        let problems = ["duplicate field \"data.a\"", "unknown field \"foo\""];
        assert_eq!(decode(text, FieldValidation::Warn).unwrap().warnings, problems);
        assert!(decode(text, FieldValidation::Ignore).unwrap().warnings.is_empty());
        assert_eq!(
            decode(text, FieldValidation::Strict).unwrap_err().message,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: duplicate field \"data.a\", unknown field \"foo\""
        );
    }

    #[test]
    fn a_body_of_another_kind_or_version_is_refused() {
        for text in [r#"{"apiVersion":"v9","kind":"ConfigMap"}"#, r#"{"apiVersion":"v1","kind":"Pod"}"#, "[]"] {
            assert_eq!(decode(text, FieldValidation::Ignore).unwrap_err().code, 400, "{text}");
        }
        assert_eq!(decode("{}", FieldValidation::Ignore).unwrap().object["kind"], "ConfigMap");
    }
}
