//! DNS, host aliases.

use k8s_openapi::api::core::v1::{PodDNSConfig, PodSpec};
use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};

use super::one_of;
use crate::metadata::names;
use crate::metadata::validation::invalid;

const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
/// All search domains together, in bytes.
const SEARCH_BYTES_MAX: usize = 2048;

pub(super) fn validate_dns_policy(spec: &PodSpec, path: &Path<'_>) -> FieldErrors {
    let known = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
    let mut errors = FieldErrors::new();
    errors.extend(one_of(&path.child("dnsPolicy"), spec.dns_policy.as_deref(), &known));
    errors
}

pub(super) fn validate_dns_config(spec: &PodSpec, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let servers = spec.dns_config.iter().flat_map(|c| c.nameservers.iter().flatten()).count();
    if spec.dns_policy.as_deref() == Some("None") && servers == 0 {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        let place = path.child("nameservers");
        let place = if spec.dns_config.is_none() { *path } else { place };
        errors.push(FieldError::required(&place, detail));
    }
    if let Some(config) = &spec.dns_config {
        errors.extend(validate_config(config, path));
    }
    errors
}

fn validate_config(config: &PodDNSConfig, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let servers = config.nameservers.as_deref().unwrap_or_default();
    let place = path.child("nameservers");
    if servers.len() > NAMESERVERS_MAX {
        let detail = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        errors.push(FieldError::invalid(&place, servers.to_vec(), detail));
    }
    for (i, server) in servers.iter().enumerate() {
        errors.extend(invalid(&place.index(i), server, names::ip));
    }
    let searches = config.searches.as_deref().unwrap_or_default();
    let place = path.child("searches");
    if searches.len() > SEARCHES_MAX {
        let detail = format!("must not have more than {SEARCHES_MAX} search paths");
        errors.push(FieldError::invalid(&place, searches.to_vec(), detail));
    }
    if searches.join(" ").len() > SEARCH_BYTES_MAX {
        let detail =
            format!("must not have more than {SEARCH_BYTES_MAX} characters (including spaces) in the search list");
        errors.push(FieldError::invalid(&place, searches.to_vec(), detail));
    }
    for (i, search) in searches.iter().enumerate().filter(|(_, s)| *s != ".") {
        let relaxed = search.strip_suffix('.').unwrap_or(search).replace('_', "a");
        errors.extend(
            names::dns_subdomain(&relaxed)
                .into_iter()
                .map(|sentence| FieldError::invalid(&place.index(i), search.as_str(), sentence)),
        );
    }
    for (i, option) in config.options.iter().flatten().enumerate() {
        if option.name.as_deref().unwrap_or_default().is_empty() {
            errors.push(FieldError::required(&path.child("options").index(i), "must not be empty"));
        }
    }
    errors
}

pub(super) fn validate_host_aliases(spec: &PodSpec, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    for alias in spec.host_aliases.iter().flatten() {
        errors.extend(invalid(&path.child("ip"), &alias.ip, names::ip));
        for hostname in alias.hostnames.iter().flatten() {
            errors.extend(invalid(&path.child("hostnames"), hostname, names::dns_subdomain));
        }
    }
    errors
}
