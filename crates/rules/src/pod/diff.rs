//! What differs between two JSON values, for people: after the sentence of a refused update.

use std::fmt::Write;

use serde_json::Value;

/// Differences shown before the rest is only counted.
const SHOWN_MAX: usize = 10;
/// Of each side of a difference, in characters.
const VALUE_MAX: usize = 400;

/// One block per differing field: `@@ spec.containers[0].command @@`, then the lines taken away and added.
/// Empty if nothing differs.
pub(super) fn show(path: &str, old: &Value, new: &Value) -> String {
    let mut found = Vec::new();
    collect(path, old, new, &mut found);
    let mut out = String::new();
    for (path, old, new) in found.iter().take(SHOWN_MAX) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "@@ {path} @@");
        for (sign, value) in [('-', old), ('+', new)] {
            if !value.is_null() {
                let _ = writeln!(out, "{sign} {}", cut(&value.to_string()));
            }
        }
    }
    if found.len() > SHOWN_MAX {
        let _ = writeln!(out, "@@ and {} more @@", found.len() - SHOWN_MAX);
    }
    out
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(VALUE_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn collect<'v>(path: &str, old: &'v Value, new: &'v Value, found: &mut Vec<(String, &'v Value, &'v Value)>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Value::Object(a), Value::Object(b)) => {
            let added = b.keys().filter(|k| !a.contains_key(*k));
            for key in a.keys().chain(added) {
                let side = |of: &'v Value| of.get(key).unwrap_or(&Value::Null);
                collect(&format!("{path}.{key}"), side(old), side(new), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (a, b)) in a.iter().zip(b).enumerate() {
                collect(&format!("{path}[{at}]"), a, b, found);
            }
        }
        _ => found.push((path.to_owned(), old, new)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_differing_field_is_shown_once() {
        let old = json!({"a": 1, "l": [{"x": "y"}], "gone": true});
        let new = json!({"a": 1, "l": [{"x": "z"}], "new": []});
        assert_eq!(
            show("spec", &old, &new),
            "@@ spec.gone @@\n- true\n@@ spec.l[0].x @@\n- \"y\"\n+ \"z\"\n@@ spec.new @@\n+ []\n"
        );
        assert_eq!(show("spec", &old, &old), "");
    }
}
