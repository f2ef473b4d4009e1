//! Patches: JSON patch, JSON merge patch, strategic merge patch. Each takes the stored object as JSON and gives the JSON
//! that the patch makes of it; [`crate::decode::patched`] then brings that into form. All are bounded in size,
//! operations and depth. Server-side apply is in [`crate::managed::apply`]; only its parameters are checked here.

pub mod merge;
pub mod operations;
pub mod strategic;

use remora_model::field::{FieldError, FieldErrors};
use remora_model::json::{Limits, ParseError, Parsed, parse};
use remora_model::kinds::Kind;
use remora_model::status::Qualified;
use remora_model::{Path, Status};
use serde_json::Value;

use crate::decode::{self, Decoded, FieldValidation};

/// Which of the patch formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' merge by keys of lists.
    Strategic,
    /// Server-side apply.
    Apply,
}

impl PatchType {
    /// The media types, in the order in which a refusal lists them.
    pub const MEDIA_TYPES: [&'static str; 4] = [
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
    ];

    /// Reads a `Content-Type`, parameters ignored.
    ///
    /// # Errors
    /// 415 for any other.
    pub fn from_media_type(content_type: &str) -> Result<Self, Status> {
        let bare = content_type.split(';').next().unwrap_or_default().trim();
        const TYPES: [PatchType; 4] = [PatchType::Json, PatchType::Merge, PatchType::Strategic, PatchType::Apply];
        let at = Self::MEDIA_TYPES.iter().position(|m| *m == bare);
        at.map(|at| TYPES[at]).ok_or_else(|| Status::unsupported_media_type(&Self::MEDIA_TYPES))
    }
}

/// Applies a patch's body to the stored object (with its resourceVersion, so that a patch can test it), and decodes what
/// comes out.
///
/// # Errors
/// 400 if the body is no patch, 422 if it does not apply or makes no such object, 413 if it costs too much, and 500
/// where upstream answers 500 (an entry without its merge key).
pub fn apply(
    kind: &Kind,
    patch_type: PatchType,
    old: &Value,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let patch = parse(body, Limits::OBJECT).map_err(|e| refused_body(&e))?;
    let make = || match patch_type {
        PatchType::Json => operations::apply(old, &patch.value),
        PatchType::Merge => merge::apply(old, &patch.value),
        PatchType::Strategic => strategic::apply(kind, old, &patch.value),
        PatchType::Apply => Err(Status::unsupported_media_type(&PatchType::MEDIA_TYPES[..3])),
    };
    // Only a refusal shows it, and makes it anew for that.
    let shown = || shown(patch_type, &patch, &make().unwrap_or_default());
    decode::patched(kind, make()?, &patch.duplicates, shown, validation)
}

fn refused_body(error: &ParseError) -> Status {
    match error {
        ParseError::TooLarge { limit } => Status::too_large(*limit),
        ParseError::Malformed(why) => Status::bad_request(format!("error decoding patch: {why}")),
    }
}

/// Upstream shows a strategic patch as Go prints a map, of the others what they have made.
fn shown(patch_type: PatchType, patch: &Parsed, made: &Value) -> String {
    match patch_type {
        PatchType::Strategic => go_print(&patch.value),
        _ => made.to_string(),
    }
}

/// A value as Go's `%v` prints what it decodes from JSON.
pub fn go_print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_print).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let entries: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", go_print(v))).collect();
            format!("map[{}]", entries.join(" "))
        }
        other => other.to_string(),
    }
}

/// The longest name of a field manager, in bytes.
const FIELD_MANAGER_MAX: usize = 128;

/// What is wrong with the name of a field manager (upstream: `ValidateFieldManager`). None at all is fine.
pub fn check_field_manager(name: &str) -> FieldErrors {
    let path = Path::new("fieldManager");
    let mut errors = FieldErrors::new();
    if name.len() > FIELD_MANAGER_MAX {
        errors.push(FieldError::too_long(&path, FIELD_MANAGER_MAX));
    }
    for (at, letter) in name.char_indices().filter(|(_, letter)| !is_printable(*letter)) {
        let why = format!("invalid character U+{:04X} (at position {at})", u32::from(letter));
        errors.push(FieldError::invalid(&path, name, why));
    }
    errors
}

/// Letters, marks, numbers, symbols and the space; Go's `unicode.IsPrint`, but for characters that no one uses.
fn is_printable(letter: char) -> bool {
    letter == ' ' || !(letter.is_control() || letter.is_whitespace())
}

/// The manager of a write that names none: the first word of the client's name for itself.
pub fn manager_of_agent(agent: &str) -> &str {
    let word = agent.split('/').next().unwrap_or_default();
    let end =
        word.char_indices().find(|(at, letter)| !is_printable(*letter) || at + letter.len_utf8() > FIELD_MANAGER_MAX);
    end.map_or(word, |(at, _)| &word[..at])
}

/// Checks the parameters of a PATCH: an apply must name its manager, nothing else can be forced.
///
/// # Errors
/// 422 about `PatchOptions`.
pub fn check_options(patch_type: PatchType, field_manager: &str, force: Option<bool>) -> Result<(), Status> {
    let mut errors = Vec::new();
    if patch_type == PatchType::Apply {
        if field_manager.is_empty() {
            errors.push(FieldError::required(&Path::new("fieldManager"), "is required for apply patch"));
        }
    } else if force.is_some() {
        errors.push(FieldError::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Status::invalid(Qualified::new("meta.k8s.io", "PatchOptions"), "", &errors)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn media_types_are_read() {
        assert_eq!(
            PatchType::from_media_type("application/merge-patch+json; charset=utf-8").unwrap(),
            PatchType::Merge
        );
        let refused = PatchType::from_media_type("text/plain").unwrap_err();
        assert_eq!((refused.code, refused.reason.as_str()), (415, "UnsupportedMediaType"));
    }

    #[test]
    fn managers_are_named_in_print() {
        let check = |name: &str| check_field_manager(name).first().map(ToString::to_string);
        assert_eq!(check("kubectl edit"), None);
        let newline = "fieldManager: Invalid value: \"a\\nb\": invalid character U+000A (at position 1)";
        assert_eq!(check("a\nb").as_deref(), Some(newline));
        assert_eq!(check(&"m".repeat(129)).as_deref(), Some("fieldManager: Too long: may not be more than 128 bytes"));
        assert_eq!(manager_of_agent("kubectl/v1.33 (linux/amd64)"), "kubectl");
        assert_eq!(manager_of_agent(""), "");
    }

    #[test]
    fn apply_wants_its_manager_and_only_apply_can_be_forced() {
        assert!(check_options(PatchType::Apply, "me", Some(true)).is_ok());
        assert_eq!(
            check_options(PatchType::Apply, "", None).unwrap_err().message,
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
        );
        assert!(check_options(PatchType::Merge, "", Some(false)).is_err());
    }

    #[test]
    fn values_are_printed_as_go_prints_them() {
        assert_eq!(go_print(&json!({"b": [1, "x", null], "a": {"c": true}})), "map[a:map[c:true] b:[1 x <nil>]]");
    }
}
