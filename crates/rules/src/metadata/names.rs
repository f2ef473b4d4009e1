//! The forms of names, labels and other words, with upstream's sentences (k8s.io/apimachinery
//! `pkg/util/validation`, `pkg/api/validation`). Each check returns what is wrong, nothing if all is well.

use std::net::IpAddr;

/// A check of a word: the sentences about what is wrong with it.
pub type Check = fn(&str) -> Vec<String>;

const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const QUALIFIED: &str = "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const ENV_NAME: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// `must be between a and b, inclusive`.
pub fn range(min: i64, max: i64) -> String {
    format!("must be between {min} and {max}, inclusive")
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// An RFC 1123 label: container names, namespaces.
pub fn dns_label(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > LABEL_MAX {
        wrong.push(too_long(LABEL_MAX));
    }
    if !is_label(text) {
        wrong.push(LABEL.to_owned());
    }
    wrong
}

/// An RFC 1035 label: the names of services.
pub fn dns_1035_label(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > LABEL_MAX {
        wrong.push(too_long(LABEL_MAX));
    }
    if !is_label(text) || text.starts_with(|c: char| c.is_ascii_digit()) {
        wrong.push(LABEL_1035.to_owned());
    }
    wrong
}

/// An RFC 1123 subdomain: the names of most objects.
pub fn dns_subdomain(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        wrong.push(too_long(SUBDOMAIN_MAX));
    }
    if !text.split('.').all(is_label) {
        wrong.push(SUBDOMAIN.to_owned());
    }
    wrong
}

fn is_name_part(text: &str) -> bool {
    let edge = |b: &u8| b.is_ascii_alphanumeric();
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let bytes = text.as_bytes();
    bytes.first().is_some_and(edge) && bytes.last().is_some_and(edge) && text.bytes().all(inner)
}

/// `[prefix/]name`: keys of labels and annotations, names of resources.
pub fn qualified_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(dns_subdomain(prefix).into_iter().map(|m| format!("prefix part {m}")));
            }
            name
        }
        _ => return vec![QUALIFIED.to_owned()],
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        wrong.push(format!("name part {}", too_long(LABEL_MAX)));
    }
    if !is_name_part(name) {
        wrong.push(NAME_PART.to_owned());
    }
    wrong
}

/// The value of a label.
pub fn label_value(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > LABEL_MAX {
        wrong.push(too_long(LABEL_MAX));
    }
    if !text.is_empty() && !is_name_part(text) {
        wrong.push(LABEL_VALUE.to_owned());
    }
    wrong
}

/// The name of an environment variable: any printable ASCII but `=` (KEP-4369).
pub fn env_name(text: &str) -> Vec<String> {
    let fine = text.bytes().all(|b| (0x20..=0x7e).contains(&b) && b != b'=');
    if fine && !text.is_empty() { Vec::new() } else { vec![ENV_NAME.to_owned()] }
}

/// A key of a config map or secret.
pub fn config_key(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > SUBDOMAIN_MAX {
        wrong.push(too_long(SUBDOMAIN_MAX));
    }
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if text.is_empty() || !text.bytes().all(fine) {
        wrong.push(CONFIG_KEY.to_owned());
    } else if matches!(text, "." | "..") {
        wrong.push(format!("must not be '{text}'"));
    } else if text.starts_with("..") {
        wrong.push("must not start with '..'".to_owned());
    }
    wrong
}

/// The name of a port of a container.
pub fn port_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 15 {
        wrong.push(too_long(15));
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        wrong.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".to_owned());
    }
    wrong
}

/// A port's number.
pub fn port_number(number: i64) -> Vec<String> {
    if (1..=65535).contains(&number) { Vec::new() } else { vec![range(1, 65535)] }
}

/// An IP address.
pub fn ip(text: &str) -> Vec<String> {
    if text.parse::<IpAddr>().is_ok() { Vec::new() } else { vec![IP.to_owned()] }
}

/// An IP address that something can be reached at from elsewhere.
pub fn endpoint_ip(text: &str) -> Vec<String> {
    let Ok(address) = text.parse::<IpAddr>() else { return vec!["must be a valid IP address".to_owned()] };
    let (is_link_local, is_link_local_multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    let mut wrong = Vec::new();
    if address.is_unspecified() {
        wrong.push(format!("may not be unspecified ({text})"));
    }
    if address.is_loopback() {
        wrong.push("may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned());
    }
    if is_link_local {
        wrong.push("may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned());
    }
    if is_link_local_multicast {
        wrong.push("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned());
    }
    wrong
}

/// What no name may have, since it stands in URLs.
pub fn path_segment(text: &str) -> Vec<String> {
    if matches!(text, "." | "..") {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"].iter().filter(|c| text.contains(**c)).map(|c| format!("may not contain '{c}'")).collect()
}

/// A name that is to get a suffix: what is generated from it must be a good name.
pub fn of_prefix(check: Check, prefix: &str) -> Vec<String> {
    // A trailing dash is fine, since the suffix follows; the dash stands for it here.
    match prefix.strip_suffix('-') {
        Some(bare) if !bare.is_empty() => check(&format!("{bare}a")),
        _ => check(prefix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(of: Check, good: &[&str], bad: &[&str]) {
        for word in good {
            assert!(of(word).is_empty(), "{word:?} is good");
        }
        for word in bad {
            assert!(!of(word).is_empty(), "{word:?} is bad");
        }
    }

    #[test]
    fn words_are_judged_as_upstream_judges_them() {
        let long = "a".repeat(64);
        check(dns_label, &["a", "my-name", "123-abc"], &["", "Bad_Name", "-a", "a-", "a.b", &long]);
        check(dns_subdomain, &["a.b-c.d", "example.com", &long], &["", "a..b", ".a", "A", "a_b"]);
        check(qualified_name, &["a", "a.b/C_d.e"], &["", "a b", "/a", "a/", "a/b/c", "A_/b", &long]);
        check(label_value, &["", "MyValue", "1.2_3-4"], &["b b", "-a", "a.", &long]);
        check(env_name, &["A", "a b", "1.2-3"], &["", "a=b", "ü", "a\n"]);
        check(config_key, &["a", ".a", "A_B.c-d"], &["", "a b", ".", "..", "..a"]);
        check(port_name, &["http", "a-1"], &["", "1", "-a", "a--b", "HTTP", "abcdefghijklmnop"]);
        check(dns_1035_label, &["a", "my-name"], &["", "1a", "a.b", "A", &long]);
        check(
            endpoint_ip,
            &["10.0.0.1", "fd00::1"],
            &["x", "0.0.0.0", "127.0.0.1", "::1", "169.254.1.1", "224.0.0.1", "ff02::1"],
        );
        check(ip, &["10.0.0.1", "::1"], &["", "10.0.0", "x", "010.0.0.1"]);
        check(path_segment, &["a.b", "..."], &[".", "..", "a/b", "a%b"]);
    }
}
