//! Paths of fields and what can be wrong with them, worded as upstream's `field.Error` words it
//! (k8s.io/apimachinery `pkg/util/validation/field`). Validation in `rules` makes them; [`crate::Status::invalid`] shows them.

use std::fmt;

use serde_json::Value;

use crate::text::quoted;

/// A field's place, `spec.containers[0].name`, built without allocating: each step borrows the one before.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Name(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// The path of the whole object; upstream's nil path. Shown alone it reads `[]`, as the recordings have it.
    pub const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    /// A path of one name.
    pub const fn new(name: &'a str) -> Self {
        Path { parent: None, step: Step::Name(name) }
    }

    /// The field `name` below this one.
    pub const fn child<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Name(name) }
    }

    /// The entry at `index` of this list.
    pub const fn index<'b>(&'b self, index: usize) -> Path<'b> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// The entry under `key` of this map.
    pub const fn key<'b>(&'b self, key: &'b str) -> Path<'b> {
        Path { parent: Some(self), step: Step::Key(key) }
    }

    fn write(&self, out: &mut fmt::Formatter<'_>) -> Result<bool, fmt::Error> {
        let before = match self.parent {
            Some(parent) => parent.write(out)?,
            None => false,
        };
        match self.step {
            Step::Root => return Ok(before),
            Step::Name(name) if before => write!(out, ".{name}")?,
            Step::Name(name) => write!(out, "{name}")?,
            Step::Index(index) => write!(out, "[{index}]")?,
            Step::Key(key) => write!(out, "[{key}]")?,
        }
        Ok(true)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.write(out)? {
            out.write_str("[]")?;
        }
        Ok(())
    }
}

/// What is wrong with a field: upstream's `field.ErrorType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorType {
    /// The value does not exist.
    NotFound,
    /// The value must be given.
    Required,
    /// The value is there already.
    Duplicate,
    /// The value is malformed or out of range.
    Invalid,
    /// The value is none of a closed set.
    NotSupported,
    /// The value may not be set here and now.
    Forbidden,
    /// The value has too many bytes.
    TooLong,
    /// The list has too many items.
    TooMany,
    /// The value has the wrong type.
    TypeInvalid,
    /// A fault of ours.
    Internal,
}

impl FieldErrorType {
    /// The `reason` of the status cause.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }

    fn shows_value(self) -> bool {
        !matches!(self, Self::Required | Self::Forbidden | Self::TooLong | Self::Internal)
    }
}

/// One wrong field. Made by the constructors below, in the order in which upstream's validation finds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// What is wrong.
    pub kind: FieldErrorType,
    /// The field, `spec.containers[0].name`; `[]` for the whole object.
    pub field: String,
    /// The value as the message shows it: strings quoted as Go quotes, others as JSON. Empty where no value is shown.
    pub value: String,
    /// What to do about it; may be empty.
    pub detail: String,
}

/// Several wrong fields, in upstream's order.
pub type FieldErrors = Vec<FieldError>;

impl FieldError {
    fn new(kind: FieldErrorType, field: &Path<'_>, value: Value, detail: impl Into<String>) -> Self {
        let value = if kind.shows_value() { shown(&value) } else { String::new() };
        Self { kind, field: field.to_string(), value, detail: detail.into() }
    }

    /// `Not found: "x"`.
    pub fn not_found(field: &Path<'_>, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorType::NotFound, field, value.into(), "")
    }

    /// `Required value`, with `: detail` if there is one.
    pub fn required(field: &Path<'_>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorType::Required, field, Value::Null, detail)
    }

    /// `Duplicate value: "x"`.
    pub fn duplicate(field: &Path<'_>, value: impl Into<Value>) -> Self {
        Self::new(FieldErrorType::Duplicate, field, value.into(), "")
    }

    /// `Invalid value: "x": detail`.
    pub fn invalid(field: &Path<'_>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorType::Invalid, field, value.into(), detail)
    }

    /// `Unsupported value: "x": supported values: "a", "b"`, in the order given.
    pub fn not_supported(field: &Path<'_>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let list: Vec<String> = supported.iter().map(|s| quoted(s)).collect();
        let detail = if list.is_empty() { String::new() } else { format!("supported values: {}", list.join(", ")) };
        Self::new(FieldErrorType::NotSupported, field, value.into(), detail)
    }

    /// `Forbidden: detail`.
    pub fn forbidden(field: &Path<'_>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorType::Forbidden, field, Value::Null, detail)
    }

    /// `Too long: may not be more than N bytes`.
    pub fn too_long(field: &Path<'_>, max_bytes: usize) -> Self {
        let detail = format!("may not be more than {max_bytes} bytes");
        Self::new(FieldErrorType::TooLong, field, Value::Null, detail)
    }

    /// `Too many: 5: must have at most 3 items`.
    pub fn too_many(field: &Path<'_>, actual: usize, max: usize) -> Self {
        let items = if max == 1 { "item" } else { "items" };
        Self::new(FieldErrorType::TooMany, field, actual.into(), format!("must have at most {max} {items}"))
    }

    /// `Internal error: detail`.
    pub fn internal(field: &Path<'_>, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorType::Internal, field, Value::Null, detail)
    }

    /// The message without the field: the `message` of the status cause.
    pub fn body(&self) -> String {
        let mut text = String::from(self.kind.words());
        for part in [&self.value, &self.detail] {
            if !part.is_empty() {
                text.push_str(": ");
                text.push_str(part);
            }
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.field, self.body())
    }
}

/// Scalars as `%v` and `%q` show them, structs as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_upstream_writes_them() {
        let spec = Path::new("spec");
        let containers = spec.child("containers");
        assert_eq!(containers.index(2).child("name").to_string(), "spec.containers[2].name");
        assert_eq!(Path::new("data").key("a").to_string(), "data[a]");
        assert_eq!(Path::ROOT.to_string(), "[]");
        assert_eq!(Path::ROOT.child("x").to_string(), "x");
    }

    #[test]
    fn errors_read_as_upstream_words_them() {
        let p = Path::new("f");
        for (error, expected) in [
            (FieldError::required(&p, ""), "f: Required value"),
            (FieldError::required(&p, "name it"), "f: Required value: name it"),
            (
                FieldError::invalid(&p, 70000, "must be between 1 and 65535, inclusive"),
                "f: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ),
            (
                FieldError::not_supported(&p, "S", &["A", "B"]),
                "f: Unsupported value: \"S\": supported values: \"A\", \"B\"",
            ),
            (FieldError::duplicate(&p, "a"), "f: Duplicate value: \"a\""),
            (FieldError::not_found(&p, "g"), "f: Not found: \"g\""),
            (FieldError::too_long(&p, 63), "f: Too long: may not be more than 63 bytes"),
            (FieldError::too_many(&p, 5, 3), "f: Too many: 5: must have at most 3 items"),
            (FieldError::forbidden(&Path::ROOT, "static"), "[]: Forbidden: static"),
        ] {
            assert_eq!(error.to_string(), expected);
        }
    }
}
