//! Image names: from what people write to the full name. Pure.
//!
//! Source of the grammar, the defaults and the error texts: github.com/distribution/reference v0.6 (`regexp.go`,
//! `normalize.go`), which Docker, containerd and kubelet share.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Digest;

const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";
const MAX_REPOSITORY: usize = 255;
const MAX_TAG: usize = 128;
/// Longer texts are refused unread. The longest valid one has a domain (253), a port, a path (255), a tag and a digest.
const MAX_TEXT: usize = 1024;

/// A full image name: registry, repository, and either a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    version: Version,
}

/// What picks one image of a repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// A name that the registry may point elsewhere tomorrow.
    Tag(String),
    /// The content itself.
    Digest(Digest),
}

impl Reference {
    /// Reads a name as people write it: `busybox`, `quay.io/a/b:1`, `r:5000/x@sha256:…`.
    ///
    /// Without a registry it is Docker Hub's, without a tag `latest`; of a tag and a digest the digest wins.
    ///
    /// # Errors
    /// The text that kubelet shows for the name.
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        parse(text).map_err(|problem| InvalidReference { text: text.chars().take(MAX_TEXT).collect(), problem })
    }

    /// The registry's name, such as `docker.io` or `127.0.0.1:5000`. Where it is reached is [`crate::Registries`]' matter.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path in the registry, such as `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Tag or digest.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The same repository at a digest: a "repo digest".
    pub fn at(&self, digest: Digest) -> Reference {
        Reference { version: Version::Digest(digest), ..self.clone() }
    }

    /// What follows `/manifests/` in the registry's API.
    pub(crate) fn manifest_path(&self) -> String {
        match &self.version {
            Version::Tag(tag) => tag.clone(),
            Version::Digest(digest) => digest.to_string(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Version::Tag(tag) => write!(f, "{}/{}:{tag}", self.registry, self.repository),
            Version::Digest(digest) => write!(f, "{}/{}@{digest}", self.registry, self.repository),
        }
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;
    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        Reference::parse(text)
    }
}

impl TryFrom<String> for Reference {
    type Error = InvalidReference;
    fn try_from(text: String) -> Result<Self, InvalidReference> {
        Reference::parse(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

/// A text that names no image. Its message is kubelet's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("couldn't parse image name {text:?}: {problem}")]
pub struct InvalidReference {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not of the form at all.
    #[error("invalid reference format")]
    Format,
    /// The repository has upper case letters.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// 64 hex digits would be taken for an image's id.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Id(String),
    /// More than 255 characters.
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    /// Not `sha256`.
    #[error("unsupported digest algorithm")]
    Algorithm,
    /// Not 64 hex digits.
    #[error("invalid checksum digest length")]
    DigestLength,
}

fn parse(text: &str) -> Result<Reference, Problem> {
    if text.len() > MAX_TEXT {
        return Err(Problem::Format);
    }
    if text.len() == 64 && text.bytes().all(is_lower_hex) {
        return Err(Problem::Id(text.to_owned()));
    }
    let (registry, rest) = split_registry(text);
    let name = rest.split(':').next().unwrap_or_default();
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(Problem::Uppercase(name.to_owned()));
    }
    let (rest, digest) = match rest.split_once('@') {
        Some((rest, digest)) => (rest, Some(parse_digest(digest)?)),
        None => (rest, None),
    };
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    let repository = match path.contains('/') || registry != DEFAULT_REGISTRY {
        true => path.to_owned(),
        false => format!("library/{path}"),
    };
    if !is_registry(registry) || !repository.split('/').all(is_path_component) || !tag.is_none_or(is_tag) {
        return Err(Problem::Format);
    }
    if repository.len() > MAX_REPOSITORY {
        return Err(Problem::TooLong);
    }
    let version = digest.map_or_else(|| Version::Tag(tag.unwrap_or(DEFAULT_TAG).to_owned()), Version::Digest);
    Ok(Reference { registry: registry.to_owned(), repository, version })
}

/// The first part is a registry if it cannot be a path: it has a dot, a colon or an upper case letter, or is `localhost`.
fn split_registry(text: &str) -> (&str, &str) {
    let Some((first, rest)) = text.split_once('/') else { return (DEFAULT_REGISTRY, text) };
    let is_host = first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase());
    match (is_host, first) {
        (true, "index.docker.io") => (DEFAULT_REGISTRY, rest),
        (true, host) => (host, rest),
        (false, _) => (DEFAULT_REGISTRY, text),
    }
}

fn parse_digest(text: &str) -> Result<Digest, Problem> {
    let (algorithm, hex) = text.split_once(':').ok_or(Problem::Format)?;
    let is_name = algorithm.starts_with(|c: char| c.is_ascii_alphabetic())
        && algorithm.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_+.".contains(&b));
    if !is_name || hex.len() < 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Problem::Format);
    }
    if algorithm != "sha256" {
        return Err(Problem::Algorithm);
    }
    if hex.len() != 64 {
        return Err(Problem::DigestLength);
    }
    text.parse().map_err(|_| Problem::Format)
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, rest)) if v6.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') => match rest.strip_prefix(':') {
            None if rest.is_empty() => return !v6.is_empty(),
            None => return false,
            port => return !v6.is_empty() && port.is_some_and(is_port),
        },
        Some(_) => return false,
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    host.split('.').all(is_domain_component) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_domain_component(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// Lower case letters and digits, in between `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends_well = |b: Option<&u8>| b.is_some_and(|b| is_word(*b));
    let bytes = text.as_bytes();
    ends_well(bytes.first())
        && ends_well(bytes.last())
        && bytes
            .split(|b| is_word(*b))
            .all(|separator| matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0";

    fn check(text: &str, expected: &str) {
        let reference = Reference::parse(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(reference.to_string(), expected, "{text}");
        assert_eq!(Reference::parse(expected).unwrap(), reference, "a full name names itself");
    }

    fn refuse(text: &str, expected: &str) {
        let error = Reference::parse(text).expect_err(text);
        assert_eq!(error.to_string(), format!("couldn't parse image name {text:?}: {expected}"));
    }

    #[test]
    fn short_names_are_docker_hubs() {
        check("busybox", "docker.io/library/busybox:latest");
        check("busybox:1.36", "docker.io/library/busybox:1.36");
        check("docker.io/busybox", "docker.io/library/busybox:latest");
        check("index.docker.io/busybox", "docker.io/library/busybox:latest");
        check("library/busybox", "docker.io/library/busybox:latest");
        check("bitnami/kubectl:1.2", "docker.io/bitnami/kubectl:1.2");
        check("x/a--b__c.d_e", "docker.io/x/a--b__c.d_e:latest");
    }

    #[test]
    fn a_first_part_that_can_be_no_path_is_a_registry() {
        check("k8s.gcr.io/pause:3.1", "k8s.gcr.io/pause:3.1");
        check("localhost/x", "localhost/x:latest");
        check("localhost:5000/x", "localhost:5000/x:latest");
        check("127.0.0.1:5000/a/b/c:t", "127.0.0.1:5000/a/b/c:t");
        check("[::1]:5000/x", "[::1]:5000/x:latest");
        check("[fe80::1]/x", "[fe80::1]/x:latest");
        check("Registry/x", "Registry/x:latest");
        check("r.Example.COM/x", "r.Example.COM/x:latest");
    }

    #[test]
    fn of_tag_and_digest_the_digest_wins() {
        let full = format!("docker.io/library/busybox@sha256:{HEX}");
        check(&format!("busybox@sha256:{HEX}"), &full);
        check(&format!("busybox:1.36@sha256:{HEX}"), &full);
        check(&format!("r:1/x@sha256:{HEX}"), &format!("r:1/x@sha256:{HEX}"));
    }

    #[test]
    fn invalid_names_are_refused_with_kubelets_words() {
        refuse("Not/A/Valid:Name:x", "invalid reference format: repository name (A/Valid) must be lowercase");
        refuse("Busybox", "invalid reference format: repository name (Busybox) must be lowercase");
        refuse(HEX, &format!("invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings"));
        for text in [
            "",
            ":",
            "a:",
            "a:b:c",
            "/a",
            "a/",
            "a//b",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a b",
            "a\n",
            "é",
            "a:-t",
            "a@",
            "a@sha256",
            "a@sha256:12",
            "r.io:x/a",
            "-r.io/a",
            "r.io-/a",
            "[::g]/a",
            "[]/a",
            "[::1]x/a",
            "a:é",
            "http://r.io/a",
        ] {
            refuse(text, "invalid reference format");
        }
        refuse(&format!("a@sha512:{HEX}{HEX}"), "unsupported digest algorithm");
        refuse(&format!("a@sha256:{HEX}00"), "invalid checksum digest length");
        refuse(&format!("r.io/{}", "a".repeat(256)), "repository name must not be more than 255 characters");
        refuse(&format!("a:{}", "t".repeat(129)), "invalid reference format");
        assert!(Reference::parse(&"a".repeat(10_000)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn what_is_accepted_names_itself(text in "[a-zA-Z0-9./:@_\\[\\]-]{0,80}") {
            if let Ok(reference) = Reference::parse(&text) {
                proptest::prop_assert_eq!(Reference::parse(&reference.to_string()), Ok(reference));
            }
        }
    }
}
