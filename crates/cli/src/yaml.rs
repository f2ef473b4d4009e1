//! YAML as kubectl writes it (`sigs.k8s.io/yaml`): what would read as another type without quotes stands in double ones, timestamps too. Pure.

use serde_json::Value;

/// The document of an object, without an end of line.
pub(crate) fn render(object: &Value) -> String {
    let marker = marker(&object.to_string());
    let mut marked = object.clone();
    mark(&mut marked, &marker);
    let plain = serde_norway::to_string(&marked).expect("JSON values have string keys and are valid YAML");
    let lines: Vec<String> = plain.trim_end().lines().map(|line| quoted(line, &marker)).collect();
    lines.join("\n")
}

/// A word that is nowhere in the object and that YAML writes without quotes.
fn marker(json: &str) -> String {
    let mut candidates = (0..).map(|n| format!("quoted{n}-"));
    candidates.find(|marker| !json.contains(marker.as_str())).expect("an object is finite")
}

/// The writer below knows no timestamps and quotes with `'`: words that need quotes are marked, so that it leaves them alone.
fn mark(value: &mut Value, marker: &str) {
    match value {
        Value::String(text) if reads_as_another_type(text) => text.insert_str(0, marker),
        Value::Array(items) => items.iter_mut().for_each(|item| mark(item, marker)),
        Value::Object(fields) => fields.values_mut().for_each(|field| mark(field, marker)),
        _ => {}
    }
}

fn quoted(line: &str, marker: &str) -> String {
    match line.split_once(marker) {
        Some((before, text)) => format!("{before}\"{text}\""),
        None => line.to_owned(),
    }
}

/// YAML 1.1's plain scalars that are no strings.
fn reads_as_another_type(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let is_word = ["", "~", "null", "y", "n", "yes", "no", "on", "off", "true", "false", ".nan", "<<", "="];
    is_word.contains(&lower.as_str()) || is_number(&lower) || is_base_60(text) || is_timestamp(text)
}

fn is_number(lower: &str) -> bool {
    let digits = lower.trim_start_matches(['+', '-']).replace('_', "");
    let in_base =
        |prefix: &str, base| digits.strip_prefix(prefix).is_some_and(|d| u64::from_str_radix(d, base).is_ok());
    let begins_as_one = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    digits == ".inf" || in_base("0x", 16) || in_base("0b", 2) || begins_as_one && digits.parse::<f64>().is_ok()
}

/// `1:30` is ninety.
fn is_base_60(text: &str) -> bool {
    let parts: Vec<&str> = text.trim_start_matches(['+', '-']).split(':').collect();
    parts.len() > 1
        && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
}

/// `2026-01-02`, and with a time after `T`, `t` or a space.
fn is_timestamp(text: &str) -> bool {
    let (date, time) = text.split_once(['T', 't', ' ']).map_or((text, None), |(date, time)| (date, Some(time)));
    let parts: Vec<&str> = date.split('-').collect();
    let is_date = parts.len() == 3
        && parts[0].len() == 4
        && parts[1..].iter().all(|part| (1..=2).contains(&part.len()))
        && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()));
    let is_time = |time: &str| {
        let clock = time.split(['Z', '+', '-']).next().unwrap_or_default();
        clock.split(':').count() == 3 && clock.bytes().all(|b| b.is_ascii_digit() || b == b':' || b == b'.')
    };
    is_date && time.is_none_or(is_time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_would_read_as_another_type_is_quoted_as_kubectl_does() {
        let check = |text: &str, expected: &str| assert_eq!(render(&json!({"a": text})), format!("a: {expected}"));
        check("2026-11-23T15:41:32Z", "\"2026-11-23T15:41:32Z\"");
        check("2026-11-23T15:41:32.000001Z", "\"2026-11-23T15:41:32.000001Z\"");
        check("2026-11-23T15:41:32+02:00", "\"2026-11-23T15:41:32+02:00\"");
        check("2026-11-23", "\"2026-11-23\"");
        check("", "\"\"");
        check("true", "\"true\"");
        check("No", "\"No\"");
        check("null", "\"null\"");
        check("1", "\"1\"");
        check("-1.5e3", "\"-1.5e3\"");
        check("0x1F", "\"0x1F\"");
        check("1:30", "\"1:30\"");
        for plain in
            ["web", "2026-11-23-a", "10.88.0.12", "1.2.3", "sha256:d72480", "100m", "e3", "docker.io/busybox:1.36"]
        {
            check(plain, plain);
        }
    }

    #[test]
    fn texts_of_several_lines_are_left_alone() {
        let rendered = render(&json!({"data": {"a": "at: 2026-01-01\nb: 1\n"}, "marker": "quoted0-"}));
        assert_eq!(rendered, "data:\n  a: |\n    at: 2026-01-01\n    b: 1\nmarker: quoted0-");
    }

    #[test]
    fn times_in_lists_are_quoted_too() {
        assert_eq!(render(&json!({"a": ["2026-01-01", 5, "x"]})), "a:\n- \"2026-01-01\"\n- 5\n- x");
    }
}
