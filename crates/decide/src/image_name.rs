//! Image references as a pod's spec writes them: are they well formed, and which tag is meant?
//!
//! Source: distribution `reference` grammar (opencontainers/distribution-spec, "pulling manifests"), and its words.

/// Why a text is no image reference; the message is the one that kubelets report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidImageName {
    image: String,
    why: String,
}

impl std::fmt::Display for InvalidImageName {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { image, why } = self;
        write!(out, "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: {why}")
    }
}

impl std::error::Error for InvalidImageName {}

/// The reference with `:latest` added if it has neither tag nor digest.
pub fn with_default_tag(image: &str) -> Result<String, InvalidImageName> {
    let fail = |why: &str| InvalidImageName { image: image.to_owned(), why: why.to_owned() };
    let malformed = "invalid reference format";
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    if !digest.is_none_or(is_digest) {
        return Err(fail(malformed));
    }
    let last = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[last..].find(':') {
        Some(at) => (&rest[..last + at], Some(&rest[last + at + 1..])),
        None => (rest, None),
    };
    let path = repository_path(name);
    if path.chars().any(|c| c.is_ascii_uppercase()) && path.to_ascii_lowercase().split('/').all(is_path_component) {
        return Err(fail(&format!("{malformed}: repository name ({path}) must be lowercase")));
    }
    if !path.split('/').all(is_path_component) || !tag.is_none_or(is_tag) {
        return Err(fail(malformed));
    }
    Ok(if tag.is_none() && digest.is_none() { format!("{image}:latest") } else { image.to_owned() })
}

/// The whole name, as runtimes show it: `busybox` is `docker.io/library/busybox:latest`. What is no reference stays.
pub fn full_name(image: &str) -> String {
    let Ok(tagged) = with_default_tag(image) else { return image.to_owned() };
    match tagged.split_once('/') {
        None => format!("docker.io/library/{tagged}"),
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => tagged,
        Some(_) => format!("docker.io/{tagged}"),
    }
}

/// Without the registry's host, if the first part looks like one.
fn repository_path(name: &str) -> &str {
    match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" || host.to_lowercase() != host => path,
        _ => name,
    }
}

fn is_path_component(part: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    !part.is_empty()
        && part.starts_with(alphanumeric)
        && part.ends_with(alphanumeric)
        && part.chars().all(|c| alphanumeric(c) || matches!(c, '.' | '_' | '-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=128).contains(&tag.len()) && tag.starts_with(word) && tag.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty() && hex.len() >= 32 && hex.chars().all(|c| c.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::with_default_tag;

    #[test]
    fn references_without_tag_mean_latest() {
        for (image, expected) in [
            ("busybox", "busybox:latest"),
            ("k8s.gcr.io/pause:3.1", "k8s.gcr.io/pause:3.1"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
            (
                "a@sha256:d423bb361153dcb83995208e090901b6adcab4bd3934f25b9992efdc9b979420",
                "a@sha256:d423bb361153dcb83995208e090901b6adcab4bd3934f25b9992efdc9b979420",
            ),
        ] {
            assert_eq!(with_default_tag(image).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn full_names_say_where_an_image_comes_from() {
        for (image, expected) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("nosuch/image:1", "docker.io/nosuch/image:1"),
            ("k8s.gcr.io/pause:3.1", "k8s.gcr.io/pause:3.1"),
            ("localhost/a", "localhost/a:latest"),
        ] {
            assert_eq!(super::full_name(image), expected);
        }
    }

    #[test]
    fn what_is_no_reference_is_refused_in_upstreams_words() {
        for (image, expected) in [
            (
                "Not/A/Valid:Name",
                r#"Failed to apply default image tag "Not/A/Valid:Name": couldn't parse image name "Not/A/Valid:Name": invalid reference format: repository name (A/Valid) must be lowercase"#,
            ),
            (
                "a b",
                r#"Failed to apply default image tag "a b": couldn't parse image name "a b": invalid reference format"#,
            ),
            ("", r#"Failed to apply default image tag "": couldn't parse image name "": invalid reference format"#),
        ] {
            assert_eq!(with_default_tag(image).unwrap_err().to_string(), expected);
        }
        assert!(with_default_tag("Not/A/Valid:Name:x").is_err());
    }
}
