//! Config maps and secrets: keys, sizes, immutability, and what a secret's type demands
//! (upstream: `ValidateConfigMap`, `ValidateSecret`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};
use serde_json::Value;

use crate::metadata::names;
use crate::metadata::validation::invalid;
use crate::object::{at, copy_field, flag, object_mut, remove, set_default, text};
use crate::strategy::Ctx;

/// All values of a config map or secret together, in bytes.
const SIZE_MAX: usize = 1024 * 1024;
const IMMUTABLE: &str = "field is immutable when `immutable` is set";
const DATA: Path<'static> = Path::new("data");

fn entries<'v>(object: &'v Value, field: &str) -> impl Iterator<Item = (&'v String, &'v Value)> {
    object.get(field).and_then(Value::as_object).into_iter().flatten()
}

fn decoded_len(value: &Value) -> usize {
    let bytes = value.as_str().unwrap_or_default();
    let padding = bytes.bytes().rev().take_while(|b| *b == b'=').count();
    (bytes.len() / 4 * 3).saturating_sub(padding)
}

/// Keys are file names, and each is in `data` or `binaryData`, not both.
pub fn validate_config_map(map: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut size = 0;
    for (key, value) in entries(map, "data") {
        errors.extend(invalid(&DATA.key(key), key, names::config_key));
        if map.get("binaryData").is_some_and(|b| b.get(key).is_some()) {
            let detail = "duplicate of key present in binaryData";
            errors.push(FieldError::invalid(&DATA.key(key), key.as_str(), detail));
        }
        size += value.as_str().map_or(0, str::len);
    }
    for (key, value) in entries(map, "binaryData") {
        errors.extend(invalid(&Path::new("binaryData").key(key), key, names::config_key));
        size += decoded_len(value);
    }
    if size > SIZE_MAX {
        errors.push(FieldError::too_long(&Path::ROOT, SIZE_MAX));
    }
    errors
}

/// What is immutable stays so, and keeps its data.
pub fn validate_config_map_update(new: &Value, old: &Value) -> FieldErrors {
    let mut errors = validate_immutable(new, old, &["data", "binaryData"]);
    errors.extend(validate_config_map(new));
    errors
}

fn validate_immutable(new: &Value, old: &Value, fields: &[&str]) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if !flag(old, &["immutable"]) {
        return errors;
    }
    if !flag(new, &["immutable"]) {
        errors.push(FieldError::forbidden(&Path::new("immutable"), IMMUTABLE));
    }
    let changed = fields.iter().filter(|field| new.get(**field) != old.get(**field));
    errors.extend(changed.map(|field| FieldError::forbidden(&Path::new(field), IMMUTABLE)));
    errors
}

/// `type` is `Opaque`; `stringData`, which is only for writing, goes into `data` over what is there.
pub fn default_secret(secret: &mut Value) {
    set_default(secret, "type", "Opaque");
    let Some(Value::Object(plain)) = secret.get("stringData").cloned() else { return };
    let data = object_mut(secret, "data");
    for (key, value) in plain {
        data.insert(key, STANDARD.encode(value.as_str().unwrap_or_default()).into());
    }
    remove(secret, "stringData");
}

/// Keys are file names; what the type demands is there.
pub fn validate_secret(secret: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut size = 0;
    for (key, value) in entries(secret, "data") {
        errors.extend(invalid(&DATA.key(key), key, names::config_key));
        size += decoded_len(value);
    }
    if size > SIZE_MAX {
        errors.push(FieldError::too_long(&DATA, SIZE_MAX));
    }
    errors.extend(validate_type(secret));
    errors
}

/// By type: the keys that must be there, and whether one of them is enough.
const DEMANDED: [(&str, &[&str], bool); 5] = [
    ("kubernetes.io/dockercfg", &[".dockercfg"], false),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"], false),
    ("kubernetes.io/basic-auth", &["username", "password"], true),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"], false),
    ("kubernetes.io/tls", &["tls.crt", "tls.key"], false),
];
const ACCOUNT_ANNOTATION: &str = "kubernetes.io/service-account.name";

fn validate_type(secret: &Value) -> FieldErrors {
    let word = text(secret, &["type"]);
    if word == "kubernetes.io/service-account-token" {
        let metadata = Path::new("metadata");
        let annotations = metadata.child("annotations");
        let missing = text(secret, &["metadata", "annotations", ACCOUNT_ANNOTATION]).is_empty();
        let error = FieldError::required(&annotations.key(ACCOUNT_ANNOTATION), "");
        return missing.then_some(error).into_iter().collect();
    }
    let Some((_, keys, one_is_enough)) = DEMANDED.iter().find(|(name, ..)| *name == word) else {
        return FieldErrors::new();
    };
    let missing: Vec<&&str> = keys.iter().filter(|key| at(secret, &["data", key]).is_null()).collect();
    if *one_is_enough && missing.len() < keys.len() {
        return FieldErrors::new();
    }
    let mut errors: FieldErrors = missing.into_iter().map(|key| FieldError::required(&DATA.key(key), "")).collect();
    if word.starts_with("kubernetes.io/dockerc") && errors.is_empty() {
        errors.extend(validate_json(secret, keys[0]));
    }
    errors
}

fn validate_json(secret: &Value, key: &str) -> Option<FieldError> {
    let bytes = STANDARD.decode(text(secret, &["data", key])).unwrap_or_default();
    let why = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes).err()?;
    Some(FieldError::invalid(&DATA.key(key), "<secret contents redacted>", why.to_string()))
}

/// A type that is left out is the old one.
pub fn prepare_secret_update(new: &mut Value, old: &Value, _: &Ctx) {
    if text(new, &["type"]).is_empty() {
        copy_field(old, new, "type");
    }
}

/// The type stays, and what is immutable keeps its data.
pub fn validate_secret_update(new: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if new.get("type") != old.get("type") {
        errors.push(FieldError::invalid(&Path::new("type"), text(new, &["type"]), "field is immutable"));
    }
    errors.extend(validate_immutable(new, old, &["data"]));
    errors.extend(validate_secret(new));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(errors: &FieldErrors, expected: &[&str]) {
        let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn secrets_have_what_their_type_demands() {
        let secret = |word: &str, data: Value| validate_secret(&json!({"type": word, "data": data}));
        check(
            &secret("kubernetes.io/basic-auth", json!({})),
            &["data[username]: Required value", "data[password]: Required value"],
        );
        check(&secret("kubernetes.io/basic-auth", json!({"password": "eA=="})), &[]);
        check(&secret("kubernetes.io/tls", json!({"tls.crt": "eA=="})), &["data[tls.key]: Required value"]);
        check(
            &secret("Opaque", json!({"a b": ""}))[..1].to_vec(),
            &[
                "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
            ],
        );
        assert_eq!(secret("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": "eA=="})).len(), 1);
    }

    #[test]
    fn plain_data_is_folded_in() {
        let mut secret = json!({"data": {"a": "b2xk", "b": "b2xk"}, "stringData": {"a": "1"}});
        default_secret(&mut secret);
        assert_eq!(secret, json!({"type": "Opaque", "data": {"a": "MQ==", "b": "b2xk"}}));
    }

    #[test]
    fn what_is_immutable_stays() {
        let old = json!({"immutable": true, "data": {"a": "1"}});
        check(
            &validate_config_map_update(&json!({"data": {"a": "2"}}), &old),
            &[
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ],
        );
        let big = json!({"data": {"a": "x".repeat(SIZE_MAX + 1)}});
        check(&validate_config_map(&big), &["[]: Too long: may not be more than 1048576 bytes"]);
    }
}
