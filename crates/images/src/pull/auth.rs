//! Who asks: challenges, tokens, and what a refusal is called. Pure.
//!
//! Source: RFC 9110 §11 (challenges), RFC 6750 (bearer), Docker's "Token Authentication Specification"; texts of containerd's
//! `core/remotes/docker/authorizer.go`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde::Deserialize;

use super::{Credentials, TransferError};

/// What a registry wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A token of this service.
    Bearer { realm: String, service: Option<String>, error: Option<String> },
    /// Name and password.
    Basic,
}

/// The challenge to answer: a bearer one rather than a basic one.
pub(crate) fn choose<'a>(headers: impl Iterator<Item = &'a HeaderValue>) -> Option<Challenge> {
    let challenges: Vec<Challenge> = headers.filter_map(|header| parse(header.to_str().ok()?)).collect();
    let bearer = challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or(challenges.first()).cloned()
}

/// One challenge: `Bearer realm="…",service="…",scope="…"`.
fn parse(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut realm, mut service, mut error) = (None, None, None);
    for (name, value) in parameters(rest) {
        match name.to_ascii_lowercase().as_str() {
            "realm" => realm = Some(value),
            "service" => service = Some(value),
            "error" => error = Some(value),
            _ => {}
        }
    }
    Some(Challenge::Bearer { realm: realm?, service, error })
}

/// `a="x, \"y\"", b=z`
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',', '\t']).to_owned();
        let (value, remaining) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        found.push((name, value));
        rest = remaining;
    }
    found
}

/// Up to the closing quote; `\` makes the next character ordinary.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(letters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

/// Where to get a token.
pub(crate) fn token_url(realm: &str, service: Option<&str>, scope: &str) -> String {
    let separator = if realm.contains('?') { '&' } else { '?' };
    let service = service.map(|service| format!("&service={}", escape(service))).unwrap_or_default();
    format!("{realm}{separator}scope={}{service}", escape(scope))
}

fn escape(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The token of a token service's answer, as an `Authorization` header.
pub(crate) fn token(bytes: &[u8]) -> Option<HeaderValue> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(bytes).ok()?;
    let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty())?;
    sensitive(&format!("Bearer {token}"))
}

/// Name and password as an `Authorization` header.
pub(crate) fn basic(credentials: &Credentials) -> Result<HeaderValue, TransferError> {
    let text = STANDARD.encode(format!("{}:{}", credentials.username, credentials.password));
    sensitive(&format!("Basic {text}")).ok_or_else(|| TransferError::Denied("authorization failed".into()))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What a second 401 is called.
pub(crate) fn denied(challenge: Option<&Challenge>) -> String {
    match challenge {
        Some(Challenge::Bearer { error: Some(error), .. }) => format!("server message: {error}: authorization failed"),
        _ => "authorization failed".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, error: Option<&str>) -> Option<Challenge> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer { realm: realm.into(), service: own(service), error: own(error) })
    }

    fn check(headers: &[&'static str], expected: Option<Challenge>) {
        let values: Vec<HeaderValue> = headers.iter().map(|text| HeaderValue::from_static(text)).collect();
        assert_eq!(choose(values.iter()), expected, "{headers:?}");
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        check(&[], None);
        check(&["Negotiate"], None);
        check(&["Basic realm=\"r\""], Some(Challenge::Basic));
        check(&["Basic"], Some(Challenge::Basic));
        check(
            &[
                "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a:pull\"",
            ],
            bearer("https://auth.docker.io/token", Some("registry.docker.io"), None),
        );
        check(
            &["bearer Realm=https://a , error=insufficient_scope"],
            bearer("https://a", None, Some("insufficient_scope")),
        );
        check(&["Basic realm=r", "Bearer realm=\"https://a\""], bearer("https://a", None, None));
        check(&["Bearer realm=\"a \\\"b\\\", c\""], bearer("a \"b\", c", None, None));
        check(&["Bearer service=\"x\""], None);
        check(&["Bearer realm=\"never closed"], bearer("never closed", None, None));
    }

    #[test]
    fn a_token_is_asked_for_by_scope_and_service() {
        assert_eq!(
            token_url("https://a/token", Some("s p"), "repository:library/x:pull"),
            "https://a/token?scope=repository:library/x:pull&service=s%20p"
        );
        assert_eq!(token_url("https://a/token?x=1", None, "s"), "https://a/token?x=1&scope=s");
    }

    #[test]
    fn both_names_of_a_token_are_understood() {
        let check = |text: &str, expected: Option<&str>| {
            let header = token(text.as_bytes()).map(|header| header.to_str().unwrap().to_owned());
            assert_eq!(header.as_deref(), expected, "{text}");
        };
        check(r#"{"token": "t", "expires_in": 300}"#, Some("Bearer t"));
        check(r#"{"access_token": "t"}"#, Some("Bearer t"));
        check(r#"{"token": ""}"#, None);
        check(r#"{"token": "a\nb"}"#, None);
        check("no json", None);
    }
}
