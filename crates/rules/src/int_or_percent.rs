//! Numbers that may be a part of another one: `3`, `"25%"` (upstream: `intstr.IntOrString`). What they may be, and how many that is.
//! Shared by what replaces pods and what protects them.

use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};
use serde_json::Value;

const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

/// What happens to half a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// It counts.
    Up,
    /// It does not.
    Down,
}

/// A number that is not negative, or a percentage.
pub fn validate(value: &Value, path: &Path<'_>) -> FieldErrors {
    match value {
        Value::String(text) if percent(text).is_none() => vec![FieldError::invalid(path, text.clone(), PERCENT)],
        Value::String(_) => Vec::new(),
        number => not_negative(number.as_i64().unwrap_or_default(), path),
    }
}

/// No more than all of it.
pub fn not_more_than_all(value: &Value, path: &Path<'_>) -> FieldErrors {
    match value.as_str().and_then(percent) {
        Some(percent) if percent > 100 => {
            vec![FieldError::invalid(path, value.clone(), "must not be greater than 100%")]
        }
        _ => Vec::new(),
    }
}

/// A count.
pub fn not_negative(number: i64, path: &Path<'_>) -> FieldErrors {
    if number >= 0 {
        return Vec::new();
    }
    vec![FieldError::invalid(path, number, "must be greater than or equal to 0")]
}

/// Whether it is nothing, of whatever.
pub fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => percent(text).unwrap_or_default() == 0,
        number => number.as_i64().unwrap_or_default() == 0,
    }
}

/// How many of `total` it is; none if it is neither a number nor a percentage.
pub fn of(value: &Value, total: i64, round: Round) -> Option<i64> {
    let Value::String(text) = value else { return value.as_i64() };
    let hundredfold = percent(text)?.saturating_mul(total);
    Some(match round {
        Round::Up => hundredfold.saturating_add(99).div_euclid(100),
        Round::Down => hundredfold.div_euclid(100),
    })
}

/// The number before the `%`.
fn percent(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    // What is more than can be counted is more than all.
    is_number.then(|| digits.parse::<i32>().map_or(i64::from(i32::MAX), i64::from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_percentage_is_a_number_of_the_whole() {
        let check = |value: Value, up: Option<i64>, down: Option<i64>| {
            assert_eq!((of(&value, 10, Round::Up), of(&value, 10, Round::Down)), (up, down), "{value}");
        };
        check(json!(3), Some(3), Some(3));
        check(json!("25%"), Some(3), Some(2));
        check(json!("0%"), Some(0), Some(0));
        check(json!("200%"), Some(20), Some(20));
        check(json!("99999999999999999999%"), Some(214_748_365), Some(214_748_364));
        check(json!("3"), None, None);
        check(json!("-1%"), None, None);
        check(json!("%"), None, None);
    }

    #[test]
    fn what_is_neither_is_refused() {
        let path = Path::new("x");
        let check = |value: Value, expected: usize| {
            assert_eq!(validate(&value, &path).len() + not_more_than_all(&value, &path).len(), expected, "{value}");
        };
        check(json!(0), 0);
        check(json!("100%"), 0);
        check(json!(-1), 1);
        check(json!("1"), 1);
        check(json!("101%"), 1);
        assert!(is_zero(&json!("00%")) && is_zero(&json!(0)) && !is_zero(&json!("1%")));
    }
}
