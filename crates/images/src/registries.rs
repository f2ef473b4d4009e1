//! Where registries are: mirrors, plain http, fallback order. A small relative of containerd's `hosts.toml`. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// How to reach registries. The default reaches all of them by https, and those on loopback by http.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Registries {
    /// By the registry's name as references carry it, such as `docker.io` or `registry.example:5000`. `*` is for all that
    /// have no entry of their own.
    #[serde(default)]
    pub hosts: BTreeMap<String, RegistryHost>,
}

/// How to reach one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RegistryHost {
    /// Asked first, in this order; whatever goes wrong there, the next one is asked.
    #[serde(default)]
    pub mirrors: Vec<Mirror>,
    /// The registry itself, asked last; without it, `https://<name>`, for `docker.io` its well-known host.
    #[serde(default)]
    pub server: Option<String>,
}

/// A host that has the content of another registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Mirror {
    /// `http://127.0.0.1:5000` or `https://mirror.example/prefix`. The scheme decides on TLS.
    pub url: String,
}

/// One place to ask, in the order in which to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Scheme, host, port and prefix, without a slash at the end.
    pub(crate) base: String,
    /// A mirror is told on whose behalf it is asked (`?ns=`), as containerd does.
    pub(crate) mirror_of: Option<String>,
}

impl Registries {
    /// `registry` is reached through `mirror` only, as with containerd's default host: the demo's way of shutting out the
    /// internet.
    pub fn mirror_all(mirror: &str) -> Self {
        let host = RegistryHost { mirrors: Vec::new(), server: Some(mirror.to_owned()) };
        Registries { hosts: BTreeMap::from([("*".to_owned(), host)]) }
    }

    /// Where to ask for content of a registry, best first.
    pub(crate) fn endpoints(&self, registry: &str) -> Vec<Endpoint> {
        let host = self.hosts.get(registry).or_else(|| self.hosts.get("*"));
        let mirrors = host.map(|host| host.mirrors.as_slice()).unwrap_or_default();
        let own = default_server(registry);
        let server = host.and_then(|host| host.server.clone()).unwrap_or_else(|| own.clone());
        let place = |url: &str| {
            let base = url.trim_end_matches('/').to_owned();
            let mirror_of = (base != own).then(|| registry.to_owned());
            Endpoint { base, mirror_of }
        };
        mirrors.iter().map(|mirror| mirror.url.as_str()).chain([server.as_str()]).map(place).collect()
    }
}

/// Where a registry is when nothing is configured. As in containerd, loopback needs no TLS.
fn default_server(registry: &str) -> String {
    match registry {
        "docker.io" => "https://registry-1.docker.io".to_owned(),
        local if is_loopback(local) => format!("http://{local}"),
        other => format!("https://{other}"),
    }
}

fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => registry,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: serde_json::Value, registry: &str, expected: &[(&str, Option<&str>)]) {
        let registries: Registries = serde_json::from_value(config).unwrap();
        let endpoints = registries.endpoints(registry);
        let got: Vec<_> = endpoints.iter().map(|e| (e.base.as_str(), e.mirror_of.as_deref())).collect();
        assert_eq!(got, expected, "{registry}");
    }

    #[test]
    fn without_configuration_registries_are_where_their_names_say() {
        let none = || serde_json::json!({});
        check(none(), "docker.io", &[("https://registry-1.docker.io", None)]);
        check(none(), "quay.io", &[("https://quay.io", None)]);
        check(none(), "r.example:5000", &[("https://r.example:5000", None)]);
        check(none(), "localhost:5000", &[("http://localhost:5000", None)]);
        check(none(), "127.0.0.1:5000", &[("http://127.0.0.1:5000", None)]);
        check(none(), "[::1]:5000", &[("http://[::1]:5000", None)]);
    }

    #[test]
    fn mirrors_come_first_in_their_order_and_know_whom_they_mirror() {
        let config =
            serde_json::json!({"hosts": {"docker.io": {"mirrors": [{"url": "http://a/"}, {"url": "https://b/p"}]}}});
        check(
            config.clone(),
            "docker.io",
            &[
                ("http://a", Some("docker.io")),
                ("https://b/p", Some("docker.io")),
                ("https://registry-1.docker.io", None),
            ],
        );
        check(config, "quay.io", &[("https://quay.io", None)]);
    }

    #[test]
    fn a_star_stands_for_every_registry_without_an_entry() {
        let config = serde_json::json!({"hosts": {"*": {"server": "http://m:1"}, "quay.io": {}}});
        check(config.clone(), "docker.io", &[("http://m:1", Some("docker.io"))]);
        check(config, "quay.io", &[("https://quay.io", None)]);
    }
}
