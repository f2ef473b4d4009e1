//! Go's ways of writing strings, where they are part of an API message.

use std::fmt::Write;

/// A string as Go's `%q` writes it: in double quotes, control characters and quotes escaped.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        push_escaped(&mut out, c);
    }
    out.push('"');
    out
}

/// Several errors as Go's `utilerrors.Aggregate` writes them: each message once, in brackets if there are more than one; empty if there is none.
pub fn aggregate(errors: impl IntoIterator<Item = String>) -> String {
    let mut once: Vec<String> = Vec::new();
    for error in errors {
        if !once.contains(&error) {
            once.push(error);
        }
    }
    if once.len() > 1 { format!("[{}]", once.join(", ")) } else { once.concat() }
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\u{b}' => out.push_str("\\v"),
        c if (c as u32) < 0x20 || c as u32 == 0x7f => write_code(out, "x", 2, c),
        c if c.is_control() => write_code(out, "u", 4, c),
        c => out.push(c),
    }
}

fn write_code(out: &mut String, letter: &str, width: usize, c: char) {
    // Writing to a String cannot fail.
    let _ = write!(out, "\\{letter}{:0width$x}", c as u32);
}

#[cfg(test)]
mod tests {
    use super::{aggregate, quoted};

    #[test]
    fn errors_are_told_once_and_together() {
        for (errors, expected) in
            [(&[] as &[&str], ""), (&["a"], "a"), (&["a", "a"], "a"), (&["b", "a", "b"], "[b, a]")]
        {
            assert_eq!(aggregate(errors.iter().map(|&error| error.to_owned())), expected);
        }
    }

    #[test]
    fn strings_are_quoted_as_go_quotes_them() {
        for (input, expected) in [
            ("plain", "\"plain\""),
            ("a \"b\" \\", "\"a \\\"b\\\" \\\\\""),
            ("line\nbreak\u{1}", "\"line\\nbreak\\x01\""),
            ("ünï", "\"ünï\""),
        ] {
            assert_eq!(quoted(input), expected);
        }
    }
}
