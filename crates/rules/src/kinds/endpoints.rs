//! What is behind a service, in the old form (Endpoints) and the new one (EndpointSlice), as objects (upstream: `ValidateEndpoints`,
//! `pkg/apis/discovery`). Who writes them is in `controllers::endpoints`.

use std::net::IpAddr;

use remora_model::field::FieldErrors;
use remora_model::{FieldError, Path};
use serde_json::Value;

use crate::metadata::names;
use crate::metadata::validation::invalid;
use crate::object::{at, field_mut, integer, items_mut, list, set, set_default, text};
use crate::strategy::Ctx;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
const MOST_ADDRESSES: usize = 100;
const MOST_ENDPOINTS: usize = 1000;
const MOST_PORTS: usize = 20_000;

/// TCP.
pub fn set_defaults(endpoints: &mut Value) {
    for subset in items_mut(endpoints, "subsets") {
        items_mut(subset, "ports").for_each(|port| set_default(port, "protocol", "TCP"));
    }
}

/// Addresses that can be reached, with ports that can be asked.
pub fn validate(endpoints: &Value) -> FieldErrors {
    let place = Path::new("subsets");
    let subsets = list(endpoints, &["subsets"]);
    let mut errors = FieldErrors::new();
    for (i, subset) in subsets.iter().enumerate() {
        let path = place.index(i);
        let [ready, other] = ["addresses", "notReadyAddresses"].map(|field| list(subset, &[field]));
        if ready.is_empty() && other.is_empty() {
            errors.push(FieldError::required(&path, "must specify `addresses` or `notReadyAddresses`"));
        }
        for (field, addresses) in [("addresses", ready), ("notReadyAddresses", other)] {
            let addresses = addresses.iter().enumerate();
            let field = path.child(field);
            errors.extend(addresses.flat_map(|(j, address)| validate_address(address, &field.index(j))));
        }
        let ports = list(subset, &["ports"]);
        let field = path.child("ports");
        errors.extend(
            ports.iter().enumerate().flat_map(|(j, port)| validate_port(port, ports.len() > 1, &field.index(j))),
        );
    }
    errors
}

fn validate_address(address: &Value, path: &Path<'_>) -> FieldErrors {
    let (ip, at_ip) = (text(address, &["ip"]), path.child("ip"));
    let mut errors = invalid(&at_ip, ip, names::ip);
    if !text(address, &["hostname"]).is_empty() {
        errors.extend(invalid(&path.child("hostname"), text(address, &["hostname"]), names::dns_label));
    }
    if let Some(node) = at(address, &["nodeName"]).as_str() {
        errors.extend(invalid(&path.child("nodeName"), node, names::dns_subdomain));
    }
    errors.extend(invalid(&at_ip, ip, names::endpoint_ip));
    errors
}

fn validate_port(port: &Value, needs_name: bool, path: &Path<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    match text(port, &["name"]) {
        "" if needs_name => errors.push(FieldError::required(&path.child("name"), "")),
        "" => {}
        name => errors.extend(invalid(&path.child("name"), name, names::dns_label)),
    }
    errors.extend(validate_number(integer(port, &["port"]).unwrap_or_default(), &path.child("port")));
    errors.extend(validate_protocol(text(port, &["protocol"]), path));
    if let Some(protocol) = at(port, &["appProtocol"]).as_str() {
        errors.extend(invalid(&path.child("appProtocol"), protocol, names::qualified_name));
    }
    errors
}

fn validate_number(number: i64, path: &Path<'_>) -> FieldErrors {
    names::port_number(number).into_iter().map(|why| FieldError::invalid(path, number, why)).collect()
}

fn validate_protocol(protocol: &str, path: &Path<'_>) -> Option<FieldError> {
    let is_known = PROTOCOLS.contains(&protocol);
    (!is_known).then(|| FieldError::not_supported(&path.child("protocol"), protocol, &PROTOCOLS))
}

/// TCP, and a name that is none.
pub fn set_slice_defaults(slice: &mut Value) {
    for port in items_mut(slice, "ports") {
        set_default(port, "name", "");
        set_default(port, "protocol", "TCP");
    }
}

/// Where an endpoint is said to be is said in fields of their own.
pub fn prepare_slice(slice: &mut Value) {
    set(field_mut(slice, "metadata"), "generation", 1.into());
    drop_topology(slice);
}

/// Another generation for other endpoints.
pub fn prepare_slice_update(new: &mut Value, old: &Value, _: &Ctx) {
    drop_topology(new);
    let is_same = ["addressType", "endpoints", "ports"].iter().all(|field| new.get(*field) == old.get(*field));
    let labels = |slice| at(slice, &["metadata", "labels"]);
    if !is_same || labels(new) != labels(old) {
        let generation = integer(old, &["metadata", "generation"]).unwrap_or_default() + 1;
        set(field_mut(new, "metadata"), "generation", generation.into());
    }
}

/// A field of an older version that v1 only shows.
fn drop_topology(slice: &mut Value) {
    items_mut(slice, "endpoints").for_each(|endpoint| crate::object::remove(endpoint, "deprecatedTopology"));
}

/// Addresses of one type, and ports.
pub fn validate_slice(slice: &Value) -> FieldErrors {
    let of = text(slice, &["addressType"]);
    let mut errors = FieldErrors::new();
    let place = Path::new("addressType");
    match of {
        "" => errors.push(FieldError::required(&place, "")),
        other if !TYPES.contains(&other) => errors.push(FieldError::not_supported(&place, other, &TYPES)),
        _ => {}
    }
    errors.extend(validate_slice_ports(list(slice, &["ports"])));
    let endpoints = list(slice, &["endpoints"]);
    let path = Path::new("endpoints");
    if endpoints.len() > MOST_ENDPOINTS {
        errors.push(FieldError::too_many(&path, endpoints.len(), MOST_ENDPOINTS));
        return errors;
    }
    errors.extend(endpoints.iter().enumerate().flat_map(|(i, one)| validate_endpoint(one, of, &path.index(i))));
    errors
}

fn validate_slice_ports(ports: &[Value]) -> FieldErrors {
    let place = Path::new("ports");
    if ports.len() > MOST_PORTS {
        return vec![FieldError::too_many(&place, ports.len(), MOST_PORTS)];
    }
    let mut errors = FieldErrors::new();
    for (i, port) in ports.iter().enumerate() {
        let path = place.index(i);
        let name = text(port, &["name"]);
        if !name.is_empty() {
            errors.extend(invalid(&path.child("name"), name, names::dns_label));
        }
        if ports[..i].iter().any(|before| text(before, &["name"]) == name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        errors.extend(validate_protocol(text(port, &["protocol"]), &path));
        if let Some(protocol) = at(port, &["appProtocol"]).as_str() {
            errors.extend(invalid(&path.child("appProtocol"), protocol, names::qualified_name));
        }
    }
    errors
}

fn validate_endpoint(endpoint: &Value, of: &str, path: &Path<'_>) -> FieldErrors {
    let addresses = list(endpoint, &["addresses"]);
    let place = path.child("addresses");
    let mut errors = FieldErrors::new();
    if addresses.is_empty() {
        errors.push(FieldError::required(&place, "must contain at least 1 address"));
    } else if addresses.len() > MOST_ADDRESSES {
        errors.push(FieldError::too_many(&place, addresses.len(), MOST_ADDRESSES));
    }
    for (i, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
        errors.extend(validate_address_of(address, of, &place, i));
    }
    for (field, check) in
        [("hostname", names::dns_label as names::Check), ("nodeName", names::dns_subdomain as names::Check)]
    {
        if let Some(name) = at(endpoint, &[field]).as_str() {
            errors.extend(invalid(&path.child(field), name, check));
        }
    }
    errors
}

fn validate_address_of(address: &str, of: &str, place: &Path<'_>, i: usize) -> FieldErrors {
    let parsed = address.parse::<IpAddr>();
    let wrong_family = |is_right: fn(&IpAddr) -> bool, why: &str| {
        (!parsed.as_ref().is_ok_and(is_right)).then(|| FieldError::invalid(place, address, why))
    };
    let mut errors: FieldErrors = match of {
        "IPv4" => wrong_family(IpAddr::is_ipv4, "must be an IPv4 address").into_iter().collect(),
        "IPv6" => wrong_family(IpAddr::is_ipv6, "must be an IPv6 address").into_iter().collect(),
        "FQDN" => return invalid(&place.index(i), address, names::dns_subdomain),
        _ => return FieldErrors::new(),
    };
    errors.extend(invalid(&place.index(i), address, names::endpoint_ip));
    errors
}

/// What the addresses are stays.
pub fn validate_slice_update(new: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let [new_type, old_type] = [new, old].map(|slice| at(slice, &["addressType"]));
    if new_type != old_type {
        errors.push(FieldError::invalid(&Path::new("addressType"), new_type.clone(), "field is immutable"));
        return errors;
    }
    errors.extend(validate_slice(new));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn another_generation_is_one_of_other_endpoints() {
        let old = json!({"metadata": {"generation": 1}, "endpoints": [{"addresses": ["10.0.0.1"]}]});
        let generation = |mut new: Value| {
            let ctx = Ctx { now: jiff::Timestamp::UNIX_EPOCH, uid: String::new(), suffix: String::new() };
            prepare_slice_update(&mut new, &old, &ctx);
            new["metadata"]["generation"].as_i64()
        };
        assert_eq!(generation(old.clone()), Some(1));
        assert_eq!(generation(json!({"metadata": {"generation": 1}, "endpoints": []})), Some(2));
    }
}
