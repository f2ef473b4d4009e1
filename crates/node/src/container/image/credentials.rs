//! Registry credentials out of `imagePullSecrets`: docker's configuration files.
//!
//! Source: kubernetes `pkg/credentialprovider`. The entry whose host (and path prefix) fits the image is used.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use remora_cri::AuthConfig;
use serde::Deserialize;

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    auth: String,
    identitytoken: String,
    registrytoken: String,
}

/// What a secret has for an image's registry. A secret of another type has nothing.
pub(super) fn of_secret(secret: &Secret, image: &str) -> Vec<AuthConfig> {
    let data = secret.data.as_ref();
    let config = data.and_then(|d| d.get(".dockerconfigjson")).and_then(|b| serde_json::from_slice(&b.0).ok());
    let old = || -> Option<BTreeMap<String, Entry>> { serde_json::from_slice(&data?.get(".dockercfg")?.0).ok() };
    let auths = config.map(|c: DockerConfig| c.auths).or_else(old).unwrap_or_default();
    let image = with_registry(image);
    auths.into_iter().filter(|(host, _)| fits(host, &image)).map(|(host, entry)| auth(host, entry)).collect()
}

fn auth(server_address: String, entry: Entry) -> AuthConfig {
    AuthConfig {
        username: entry.username,
        password: entry.password,
        auth: entry.auth,
        server_address,
        identity_token: entry.identitytoken,
        registry_token: entry.registrytoken,
    }
}

/// `https://index.docker.io/v1/` means the same as `docker.io`.
fn fits(host: &str, image: &str) -> bool {
    let host = host.trim_start_matches("https://").trim_start_matches("http://");
    let host = host.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
    let host = if host == "index.docker.io" { "docker.io" } else { host };
    image.strip_prefix(host).is_some_and(|rest| rest.starts_with('/'))
}

fn with_registry(image: &str) -> String {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => image.to_owned(),
        _ => format!("docker.io/{image}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_fits_images_of_its_registry() {
        for (host, image, expected) in [
            ("https://index.docker.io/v1/", "busybox:latest", true),
            ("docker.io", "library/busybox:latest", true),
            ("reg.example.org", "reg.example.org/a:1", true),
            ("reg.example.org/team", "reg.example.org/team/a:1", true),
            ("reg.example.org/team", "reg.example.org/other/a:1", false),
            ("reg.example.org", "reg.example.organic/a:1", false),
        ] {
            assert_eq!(fits(host, &with_registry(image)), expected, "{host} {image}");
        }
    }
}
